"""What people are alerted to: each alert's condition, how long it must hold, and its words.

Limits that differ from queue to queue (targets, longest wait, calls waiting, abandon rate, the least number of calls, opening
hours) are series of queuewatch, so the rules are the same for every queue.  These rules hold for all alerts:

- **`instance` is aggregated away** in what is said of a queue or a partition: it moves between workers, its alert must not.
- **A queue is watched while it is open or callers wait** in it; where nobody says whether it is open, always.
- **A gap is not a recovery.**  While no worker shows the queue, what was firing is held: Prometheus' own series `ALERTS` tells
  what was firing at the evaluation before.  What was pending is held for as long as a worker's move may take.  The value of
  what is held is NaN, which the texts tell as unknown.  `keep_firing_for` bridges what comes and goes.
- **Few calls raise no ratio's alert.**  A ratio is judged in the shortest window that holds the queue's least number of calls:
  the rolling window, else a longer one, at last the day.
- **Two windows.**  What the judged window says must still be going on in the last minutes, so an alert ends soon after its
  cause, not when the window has passed.
"""

from __future__ import annotations

from typing import Final

from queuewatch_dashboards.alerting import HOUR, WEEK
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.queries import EVERYWHERE, Labels, Matcher, Part, Queries, Recording, Where, any_of, by
from queuewatch_dashboards.rules import Alert, Group, file_of, span
from queuewatch_schemas.config import ROLLING_SECONDS
from queuewatch_schemas.metrics import metric

__all__ = ["Alerts", "rule_files"]

QUEUE: Final = ("queue", "channel")
LEVEL: Final = ("queue", "channel", "definition")
INFO: Final = ("site", "group", "source")
"""What an alert of a queue is labelled with besides, for grouping, routing and inhibition."""


_HEARTBEAT: Final = "queuewatch.source.heartbeat.v1"
_EVICTED: Final = "queuewatch.call.evicted.v1"
_NOT_CLOSED: Final = ("full", "no_agents", "other")

# What the values of alerts are told as; a held one's is not known.
_KINDS: Final = {
    "calls": '{{ printf "%.0f" $value }}',
    "seconds": "{{ $value | humanizeDuration }}",
    "share": "{{ $value | humanizePercentage }}",
}


def told(kind: str) -> str:
    """A template for an alert's value."""
    return f'{{{{ if eq (printf "%f" $value) "NaN" }}}}unknown (no data come; held){{{{ else }}}}{_KINDS[kind]}{{{{ end }}}}'


class Alerts:
    """All rules, by a configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.alerting = configuration.alerting
        self.queries = Queries(configuration)
        self._day = configuration.windows.day
        rolling = configuration.windows.rolling
        longer = [each for each, length in ROLLING_SECONDS.items() if length > ROLLING_SECONDS[rolling]]
        self._windows: tuple[str, ...] = (rolling, *longer, self._day)
        """Windows in which ratios are judged, the shortest first; those that are not kept are skipped."""

    # ------------------------------------------------------------------------------------------------------------- parts

    def _raw(self, name: str, **where: Where) -> str:
        return self.queries.metric(name, where)

    def _max(self, labels: tuple[str, ...], name: str, **where: Where) -> str:
        return by(labels, self._raw(name, **where))

    def _rise(
        self,
        labels: tuple[str, ...],
        name: str,
        length: float,
        where: Labels = EVERYWHERE,
        *,
        part: Part = "",
        back: float = 0,
    ) -> str:
        """How much a counter rose in the last `length` seconds, `back` seconds ago."""
        shift = f" offset {span(back)}" if back else ""
        rising = f"increase({self.queries.total(name, where, part=part)}[{span(length)}]{shift})"
        return by(labels, rising, "sum") if labels else f"sum({rising})"

    def _limit(self, name: str, factor: float = 1) -> str:
        """The right side of a comparison with a queue's own limit, so many times."""
        times = "" if factor == 1 else f"{factor:g} * "
        return f"on (queue) group_left () ({times}{self._max(('queue',), name)})"

    def _text(self, expression: str, *labels: str) -> str:
        """A query in a template: `expression` has `%q` for each of the alert's labels."""
        named = " ".join(f"$labels.{label}" for label in labels)
        return f"with printf `{expression}` {named} | query" if labels else f"with query `{expression}`"

    def _asked(self, name: str, how: str, *labels: str) -> str:
        """A template for what a series says now: a limit, a target."""
        matched = {label: Matcher("=", "%q") for label in labels}
        query = self._text(f"max({self._raw(name, **matched)})", *labels)
        return f"{{{{ {query} }}}}{{{{ . | first | value{how} }}}}{{{{ else }}}}unknown{{{{ end }}}}"

    @property
    def _name(self) -> str:
        query = self._text(self._raw("queue_info", queue=Matcher("=", "%q")), "queue")
        return f'{{{{ {query} }}}}{{{{ . | first | label "name" }}}}{{{{ else }}}}{{{{ $labels.queue }}}}{{{{ end }}}}'

    @property
    def _definition(self) -> str:
        info = self._raw("service_level_definition_info", definition=Matcher("=", "%q"))
        return (
            f"definition {{{{ $labels.definition }}}}{{{{ {self._text(info, 'definition')} }}}}{{{{ with . | first }}}}"
            " ({{ .Labels.preset }}, {{ .Labels.threshold }} s, by {{ .Labels.attribution }}){{ end }}{{ end }}"
        )

    # -------------------------------------------------------------------------------------------------------- recordings

    ATTENDED: Final = "queue:queuewatch_attended:one"
    LABELS: Final = "queue:queuewatch_queue_info:one"
    JUDGED: Final = "queue:queuewatch_service_level_ratio:judged"
    SHORT: Final = "queue:queuewatch_service_level_ratio:short"
    MET: Final = "queue:queuewatch_service_level_met_calls:day"
    COUNTED: Final = "queue:queuewatch_service_level_counted_calls:day"
    EXPECTED: Final = "queue:queuewatch_service_level_counted_calls:expected_day"
    SPENT: Final = "queue:queuewatch_service_level_budget:spent_day"
    ABANDONED: Final = "queue:queuewatch_abandon_ratio:judged"
    ABANDONED_SHORT: Final = "queue:queuewatch_abandon_ratio:short"
    LAST_WEEK: Final = "queue:queuewatch_calls_offered:last_week"

    def recordings(self) -> tuple[Recording, ...]:
        """What the alerts stand on, in the order in which it must be evaluated."""
        return (
            Recording(self.LABELS, self._labels()),
            Recording(self.ATTENDED, self._attended()),
            Recording(self.MET, self._max(LEVEL, "service_level_met_calls", window=self._day)),
            Recording(self.COUNTED, self._max(LEVEL, "service_level_counted_calls", window=self._day)),
            Recording(self.JUDGED, self._judged_level()),
            Recording(self.SHORT, self._short_level()),
            Recording(self.EXPECTED, self._expected()),
            Recording(self.SPENT, self._spent()),
            Recording(self.ABANDONED, self._judged_abandons()),
            Recording(self.ABANDONED_SHORT, self._short_abandons()),
            Recording(self.LAST_WEEK, self._last_week()),
        )

    def _labels(self) -> str:
        """1 by queue, site, group, and source where the queue has one alone: what its alerts are labelled with.

        `topk` holds off two sets of labels for one queue, as two workers show during a reload.
        """
        info = f"topk by (queue) (1, {self._max(('queue', 'site', 'group'), 'queue_info')})"
        up = self._max(("queue", "source"), "queue_source_up")
        return (
            f"{info}\n  * on (queue) group_left (source)\n"
            f"    (({up} >= bool 0) and on (queue) (count by (queue) ({up}) == 1))\nor on (queue) {info}"
        )

    def _attended(self) -> str:
        waiting = by(("queue",), self._max(QUEUE, "calls_waiting"), "sum")
        shown = f"({self._max(('queue',), 'queue_info')} unless on (queue) {self._raw('queue_open')})"
        return f"({self._max(('queue',), 'queue_open')} == 1)\nor on (queue) ({waiting} > bool 0 == 1)\nor on (queue) {shown}"

    def _judged(self, labels: tuple[str, ...], ratio: str, base: dict[str, str]) -> str:
        """A ratio in the shortest window whose base holds the least number of calls; `{window}` stands for the window."""
        alternatives = (
            f"({by(labels, self._raw(ratio, window=window))} and on ({', '.join(labels)})"
            f" ({base[window]} >= {self._limit('window_minimum_calls')}))"
            for window in self._windows
        )
        return f"\nor on ({', '.join(labels)}) ".join(alternatives)

    def _judged_level(self) -> str:
        base = {each: self._max(LEVEL, "service_level_counted_calls", window=each) for each in self._windows}
        return self._judged(LEVEL, "service_level_ratio", base)

    def _short_level(self) -> str:
        """The level of the last minutes: of the window of 5 minutes where it is kept, else from what the day gained."""
        back = f"offset {span(self.alerting.short)}"
        gained = f"({self.MET} - {self.MET} {back}) / ({self.COUNTED} - {self.COUNTED} {back} > 0)"
        return f"{self._max(LEVEL, 'service_level_ratio', window='5m')}\nor on ({', '.join(LEVEL)}) ({gained})"

    def _expected(self) -> str:
        """How many calls will count in the whole day: as many as on the week's mean day, or those that did already."""
        offered = self.queries.total("calls_offered_total")
        mean = f"clamp_min({offered} - {offered} offset {span(self.alerting.week)}, 0) / 7"
        return f"(0 * {self.COUNTED} + on (queue, channel) group_left () ({mean})) > {self.COUNTED}\nor {self.COUNTED}"

    def _spent(self) -> str:
        """The share of the misses that the day may have which have happened."""
        allowed = f"(1 - {self._max(LEVEL, 'service_level_target_ratio')}) * {self.EXPECTED}"
        return f"({self.COUNTED} - {self.MET}) / ({allowed})"

    def _judged_abandons(self) -> str:
        def base(window: str) -> str:
            each = self._max(
                (*QUEUE, "outcome"), "window_calls", window=window, outcome=any_of("answered", "abandoned")
            )
            return by(QUEUE, each, "sum")

        return self._judged(QUEUE, "abandon_ratio", {each: base(each) for each in self._windows})

    def _short_abandons(self) -> str:
        abandoned = self._rise(QUEUE, "calls_abandoned_total", self.alerting.short)
        answered = self._rise(QUEUE, "calls_answered_total", self.alerting.short)
        return f"{abandoned} / ({abandoned} + {answered} > 0)"

    def _last_week(self) -> str:
        """Calls offered in the same half hour of the week before, by local time.

        The distance of the two business days' starts says whether the clocks were changed in between.
        """
        half, week = self.alerting.hour / 2, self.alerting.week
        start = self._max(("queue",), "interval_start_timestamp_seconds", window=self._day)
        shifts = [week] if week != WEEK else [WEEK, WEEK - HOUR, WEEK + HOUR]

        def at(back: float) -> str:
            raw = self._raw("interval_start_timestamp_seconds", window=self._day)
            agrees = f"{start} - {by(('queue',), f'{raw} offset {span(back)}')} == {back:.0f}"
            return f"({self._rise(QUEUE, 'calls_offered_total', half, back=back)} and on (queue) ({agrees}))"

        return f"\nor on ({', '.join(QUEUE)}) ".join(at(back) for back in shifts)

    # ------------------------------------------------------------------------------------------------------------- alerts

    def _held(self, name: str, severity: str, labels: tuple[str, ...], shown: str, on: str) -> str:
        """What was firing, or a moment ago pending, while what it is said of is not shown; its value is NaN."""
        was = f'ALERTS{{alertname="{name}", severity="{severity}", alertstate='
        lately = f"present_over_time({shown}[{span(self.alerting.move)}])"
        kept = f'{was}"firing"}} or {was}"pending"}} and on ({on}) {lately}'
        return f"({by(labels, kept) if labels else f'max({kept})'}\n  unless on ({on}) {shown}) * NaN"

    def _of_queue(
        self,
        name: str,
        severity: str,
        condition: str,
        *,
        lasts: float,
        figure: str,
        summary: str,
        description: str,
        labels: tuple[str, ...] = QUEUE,
        shown: str = "queue_info",
        watched: bool = True,
        keep: tuple[str, ...] = INFO,
        audience: str = "floor",
    ) -> Alert:
        attended = f" and on (queue) {self.ATTENDED}" if watched else ""
        return Alert(
            name,
            severity,
            audience,
            f"(({condition}){attended})\n* on (queue) group_left ({', '.join(keep)}) {self.LABELS}\nor\n"
            + self._held(name, severity, (*labels, *keep), self._raw(shown), "queue"),
            summary,
            description,
            self._board(self.configuration.uids.queue) + "?var-queue={{ $labels.queue | urlquery }}",
            self._runbook(name),
            lasts,
            self.alerting.keep,
            (*labels, *keep),
            figure,
        )

    def _of_pipeline(
        self,
        name: str,
        severity: str,
        condition: str,
        *,
        lasts: float,
        figure: str,
        summary: str,
        description: str,
        labels: tuple[str, ...] = (),
        shown: str = "",
    ) -> Alert:
        held = f"\nor\n{self._held(name, severity, labels, self._raw(shown), ', '.join(labels[:1]))}" if shown else ""
        return Alert(
            name,
            severity,
            "pipeline",
            f"({condition}){held}",
            summary,
            description,
            self._board(self.configuration.uids.pipeline),
            self._runbook(name),
            lasts,
            self.alerting.keep,
            labels,
            figure,
        )

    def _board(self, uid: str) -> str:
        return f"{self.configuration.links.grafana}/d/{uid}"

    def _runbook(self, name: str) -> str:
        return f"{self.configuration.links.runbook}#{name.lower()}"

    def of_queues(self) -> tuple[Alert, ...]:
        """What supervisors are alerted to."""
        return (
            *self._levels(),
            self._budget(),
            *self._waits(),
            *self._abandons(),
            *self._nobody_answers(),
            *self._counted(),
            self._nothing_offered(),
        )

    def _levels(self) -> tuple[Alert, ...]:
        set_, target = self.alerting, self._max(LEVEL, "service_level_target_ratio")
        on = f"on ({', '.join(LEVEL)})"
        return tuple(
            self._of_queue(
                "QueueServiceLevelLow",
                severity,
                f"{self.JUDGED} < {on} {share:g} * {target} unless {on} ({self.SHORT} >= {on} {target})",
                lasts=lasts,
                figure=self.JUDGED,
                labels=LEVEL,
                summary=f"{self._name}: service level {told('share')}",
                description=f"The service level of queue {self._name} is {told('share')} by {self._definition}, below"
                f" {share:.0%} of its target of {self._asked('service_level_target_ratio', ' | humanizePercentage', *LEVEL)},"
                f" over the last {self._windows[0]}, or the shortest longer window with calls enough, and it goes on.",
            )
            for severity, share, lasts in (
                ("warning", set_.warning_share, set_.short),
                ("critical", set_.critical_share, set_.window),
            )
        )

    def _budget(self) -> Alert:
        set_ = self.alerting
        pace = f"{set_.budget_burn:g} * {self.COUNTED} / {self.EXPECTED}"
        enough = f"{self.COUNTED} >= {self._limit('window_minimum_calls')}"
        return self._of_queue(
            "QueueDayBudgetAtRisk",
            "warning",
            f"(({self.SPENT} >= {set_.budget_share:g}) > ({pace}) or {self.SPENT} >= 1)"
            f" and on ({', '.join(LEVEL)}) ({enough})",
            lasts=set_.window,
            figure=self.SPENT,
            labels=LEVEL,
            summary=f"{self._name}: {told('share')} of the day's misses are spent",
            description=f"Queue {self._name} has spent {told('share')} of the calls that may miss the service level today by"
            f" {self._definition} if its target of {self._asked('service_level_target_ratio', ' | humanizePercentage', *LEVEL)}"
            " is to be reached over the whole day, and faster than calls come in.",
        )

    def _waits(self) -> tuple[Alert, ...]:
        set_ = self.alerting
        longest, waiting = self._max(QUEUE, "longest_wait_seconds"), self._max(QUEUE, "calls_waiting")
        rows = (("warning", 1.0), ("critical", set_.critical_factor))
        return (
            *(
                self._of_queue(
                    "QueueLongestWait",
                    severity,
                    f"{longest} > {self._limit('longest_wait_limit_seconds', factor)}",
                    lasts=set_.moment,
                    figure=longest,
                    shown="calls_waiting",
                    summary=f"{self._name}: a caller has waited {told('seconds')}",
                    description=f"In queue {self._name} the longest wait of those who wait now is {told('seconds')}; its limit"
                    f" is {self._asked('longest_wait_limit_seconds', ' | humanizeDuration', 'queue')}"
                    f"{_times(factor)}.",
                )
                for severity, factor in rows
            ),
            *(
                self._of_queue(
                    "QueueCallersWaiting",
                    severity,
                    f"{waiting} > {self._limit('calls_waiting_limit', factor)}",
                    lasts=set_.move,
                    figure=waiting,
                    shown="calls_waiting",
                    summary=f"{self._name}: {told('calls')} callers wait",
                    description=f"In queue {self._name} {told('calls')} callers wait now; its limit is"
                    f" {self._asked('calls_waiting_limit', '', 'queue')}{_times(factor)}.",
                )
                for severity, factor in rows
            ),
        )

    def _abandons(self) -> tuple[Alert, ...]:
        set_, on = self.alerting, f"on ({', '.join(QUEUE)})"
        return tuple(
            self._of_queue(
                "QueueAbandonRateHigh",
                severity,
                f"{self.ABANDONED} > {self._limit('abandon_limit_ratio', factor)}"
                f" unless {on} ({self.ABANDONED_SHORT} <= {self._limit('abandon_limit_ratio')})",
                lasts=set_.short,
                figure=self.ABANDONED,
                summary=f"{self._name}: {told('share')} of callers hang up",
                description=f"In queue {self._name} {told('share')} of the callers hung up while waiting: (abandoned - short) /"
                f" (answered + abandoned - short), over the last {self._windows[0]}, or the shortest longer window with calls"
                f" enough.  Its limit is {self._asked('abandon_limit_ratio', ' | humanizePercentage', 'queue')}"
                f"{_times(factor)}.",
            )
            for severity, factor in (("warning", 1.0), ("critical", set_.critical_factor))
        )

    def _nobody_answers(self) -> tuple[Alert, ...]:
        set_, on = self.alerting, f"on ({', '.join(QUEUE)})"
        waiting = self._max(QUEUE, "calls_waiting")
        answered = self._rise(QUEUE, "calls_answered_total", set_.short)
        silent = f"({waiting} > 0) and {on} ({answered} == 0)"
        talking = self._max(QUEUE, "calls_talking")
        words = (
            f"{told('calls')} callers wait in queue {self._name} and no call was answered there for {span(set_.short)}"
        )
        return (
            self._of_queue(
                "QueueNobodyAnswers",
                "warning",
                silent,
                lasts=set_.short,
                figure=waiting,
                shown="calls_waiting",
                summary=f"{self._name}: callers wait and nobody answers",
                description=f"{words}; agents may be on long calls.",
            ),
            self._of_queue(
                "QueueNobodyAnswers",
                "critical",
                f"{silent} and {on} ({talking} == 0)",
                lasts=set_.move,
                figure=waiting,
                shown="calls_waiting",
                summary=f"{self._name}: callers wait and nobody is there",
                description=f"{words}, nor does anybody talk: it looks as if no agent is there.",
            ),
        )

    def _counted(self) -> tuple[Alert, ...]:
        """What counters tell: refused, evicted, declined, orphaned, and books that do not balance."""
        set_, on = self.alerting, f"on ({', '.join(QUEUE)})"
        window, few = set_.window, f">= {set_.few}"
        offered = self._rise(QUEUE, "calls_offered_total", window)
        refused = self._rise(QUEUE, "calls_refused_total", window, {"reason": any_of(*_NOT_CLOSED)})
        evicted = self._rise(QUEUE, "calls_evicted_total", set_.hour)
        offered_hour = self._rise(QUEUE, "calls_offered_total", set_.hour)
        ghosts = by(QUEUE, self.queries.total("calls_evicted_total"), "sum")
        before = by(QUEUE, f"{self.queries.total('calls_evicted_total')} offset {span(set_.week)}", "sum")
        normal = f"{set_.evicted_factor:g} * clamp_min({ghosts} - {before}, 0) / {set_.week / set_.hour:.0f}"
        declined = self._rise(QUEUE, "calls_declined_total", window)
        answered = self._rise(QUEUE, "calls_answered_total", window)
        orphaned = self._rise(QUEUE, "orphaned_visits_total", window)
        declined_share = f"{declined} / ({declined} + {answered} > 0)"
        residual = by(QUEUE, f"abs({self._raw('balance_residual')})")
        return (
            self._of_queue(
                "QueueRefusesCalls",
                "warning",
                f"({refused} {few}) and {on} ({refused} > {set_.refused_share:g} * ({offered} + {refused}))",
                lasts=set_.moment,
                figure=refused,
                summary=f"{self._name}: {told('calls')} calls were turned away",
                description=f"Queue {self._name} refused {told('calls')} calls in {span(window)} although it was not closed"
                f" (full, no agents, other): more than {set_.refused_share:.0%} of all.  They are in no service level.",
            ),
            self._of_queue(
                "QueueEvictionsHigh",
                "warning",
                f"(({evicted} {few}) and {on} ({evicted} > {set_.evicted_share:g} * {offered_hour}))"
                f" unless {on} ({evicted} <= {normal})",
                lasts=set_.short,
                figure=evicted,
                watched=False,
                audience="pipeline",
                summary=f"{self._name}: {told('calls')} ghosts in {span(set_.hour)}",
                description=f"Queue {self._name}: {told('calls')} visits were given up as ghosts in {span(set_.hour)}, more"
                f" than {set_.evicted_factor:g} times the week's mean: their ends are not heard of.",
            ),
            self._of_queue(
                "QueueAgentsDecline",
                "warning",
                f"({declined_share} > {set_.declined_share:g}) and {on}"
                f" ({declined} + {answered} >= {self._limit('window_minimum_calls')})",
                lasts=set_.short,
                figure=declined_share,
                summary=f"{self._name}: {told('share')} of ringing calls are not taken",
                description=f"In queue {self._name} agents did not take {told('share')} of the calls that rang at them in"
                f" {span(window)}: declined / (declined + answered).",
            ),
            self._of_queue(
                "QueueOrphansRising",
                "warning",
                f"({orphaned} {few}) and {on} ({orphaned} > {set_.orphaned_share:g} * {offered})",
                lasts=set_.short,
                figure=orphaned,
                watched=False,
                audience="pipeline",
                summary=f"{self._name}: {told('calls')} visits without an entry",
                description=f"Queue {self._name}: of {told('calls')} visits in {span(window)} events came but never the queued"
                " one; they count nowhere.",
            ),
            self._of_queue(
                "QueueBalanceBroken",
                "critical",
                f"{residual} > 0",
                lasts=set_.moment,
                figure=residual,
                watched=False,
                audience="pipeline",
                summary=f"{self._name}: the books are off by {told('calls')} calls",
                description=f"Queue {self._name}: offered - answered - abandoned - diverted - evicted differs from the visits"
                f" held by {told('calls')}.  This is a fault of queuewatch; its figures of this queue cannot be trusted.",
            ),
        )

    def _nothing_offered(self) -> Alert:
        set_ = self.alerting
        half = set_.hour / 2
        offered = self._rise(QUEUE, "calls_offered_total", half)
        return self._of_queue(
            "QueueNothingOffered",
            "warning",
            f"({self.LAST_WEEK} >= {set_.some}) and on ({', '.join(QUEUE)}) ({offered} == 0)",
            lasts=set_.short,
            figure=offered,
            summary=f"{self._name}: no calls, a week ago {told('calls')}",
            description=f"Queue {self._name} is open and was offered no call in {span(half)}; a week ago, at the same local"
            f" time, {told('calls')} came.",
        )

    def of_pipeline(self) -> tuple[Alert, ...]:
        """What operators are alerted to."""
        return (
            *self._sources(),
            *self._shown(),
            *self._partitions(),
            *self._workers(),
            *self._records(),
        )

    def _sources(self) -> tuple[Alert, ...]:
        set_, limits = self.alerting, self.configuration.thresholds
        up = f"({self._max(('queue', 'source'), 'queue_source_up')} * on (queue) group_left (site) {self.LABELS})"
        site_up = by(("source", "site"), up)
        age = f"time() - {self._max(('source',), 'source_heartbeat_timestamp_seconds')}"
        events = {"type": Matcher("!~", f'"{_HEARTBEAT}|{_EVICTED}"')}
        silence = set_.window * limits.event_silence_seconds / 900
        came = self._rise((), "events_total", silence, events)
        before = self._rise((), "events_total", silence, events, back=silence)
        last_week = self._rise((), "events_total", silence, events, back=set_.week)
        went_on = 'max(ALERTS{alertname="QueuewatchNoEvents", alertstate="firing"})'
        alive = f"max({self._raw('queue_source_up')}) == 1"
        opened = f"count({self._raw('queue_open')} == 1) > 0"
        return (
            self._of_pipeline(
                "QueuewatchSourceDown",
                "critical",
                f"({site_up} == bool 0) == 1\nor on (source) ({age} > {limits.heartbeat_age_seconds:g}"
                f" unless on (source) {self._raw('queue_source_up')})",
                labels=("source", "site"),
                shown="source_heartbeat_timestamp_seconds",
                lasts=set_.moment,
                figure=site_up,
                summary="Source {{ $labels.source }} is down{{ with $labels.site }} ({{ . }}){{ end }}",
                description="The heartbeats of source {{ $labels.source }} stay away, or say that it cannot be looked at."
                "  The figures of its queues{{ with $labels.site }} at {{ . }}{{ end }} stand still; alerts of these queues"
                " are muted.",
            ),
            self._of_pipeline(
                "QueuewatchNoEvents",
                "critical",
                f"({came} == 0) and on () ({before} >= {set_.some} or {last_week} >= {set_.some} or {went_on})"
                f" and on () ({alive}) and on () ({opened})",
                shown="events_total",
                lasts=set_.moment,
                figure=came,
                summary="No call events though the sources are alive",
                description=f"For {span(silence)} no call event came although a source sends heartbeats, a queue is open, and"
                " shortly before, or at this time a week ago, events did come.",
            ),
        )

    def _shown(self) -> tuple[Alert, ...]:
        set_ = self.alerting
        hour = span(set_.hour)
        known = by(("queue", "site", "group"), f"last_over_time({self._raw('queue_info')}[{hour}])")
        busy = by(("queue",), f"last_over_time({self._raw('window_offered_calls', window=self._day)}[{hour}])")
        labels = ("queue", "site", "group")
        twice = by(("queue",), self._raw("queue_info"), "count")
        name = "QueueNotShown"
        missing = (
            f"(topk by (queue) (1, {known}) and on (queue) ({busy} > 0)) unless on (queue) {self._raw('queue_info')}"
        )
        return (
            Alert(
                name,
                "warning",
                "pipeline",
                f"({missing})\nor\n{self._held(name, 'warning', labels, self._raw('queue_info'), 'queue')}",
                "{{ $labels.queue }}: no worker shows this queue",
                "No worker shows queue {{ $labels.queue }}, which had calls today.  Its figures are unknown; its alerts are"
                " held and muted.",
                self._board(self.configuration.uids.queue) + "?var-queue={{ $labels.queue | urlquery }}",
                self._runbook(name),
                set_.move,
                set_.keep,
                labels,
                known,
            ),
            self._of_queue(
                "QueueOnTwoWorkers",
                "critical",
                f"{twice} > 1",
                lasts=set_.moment,
                figure=twice,
                labels=("queue",),
                keep=("site", "group"),
                watched=False,
                audience="pipeline",
                summary=f"{self._name}: {told('calls')} workers show this queue",
                description=f"{told('calls')} workers show queue {self._name}.  One of them should have stopped: its figures"
                " may be stale, and boards take the greater ones.",
            ),
        )

    def _partitions(self) -> tuple[Alert, ...]:
        set_, limits = self.alerting, self.configuration.thresholds
        partition = ("partition",)
        ready = self._raw("partition_ready")
        known = by(partition, f"last_over_time({ready}[{span(set_.hour)}])", "count")
        age = f"(time() - {self._max(partition, 'last_event_timestamp_seconds')})"
        fresh = f"time() - max({self._raw('last_event_timestamp_seconds')}) < {limits.heartbeat_age_seconds:g}"
        lag = self._max(partition, "consumer_lag_records")
        read = self._rise(partition, "events_total", set_.short)
        delay = self._rise(("le", "partition"), "event_delay_seconds", set_.short, part="bucket")
        delayed = f"histogram_quantile(0.95, {delay})"
        events = self._rise(partition, "event_delay_seconds", set_.short, part="count")
        lost = self._rise(partition, "lost_records_total", set_.hour)
        return (
            self._of_pipeline(
                "QueuewatchPartitionWithoutOwner",
                "critical",
                f"{known} unless on (partition) {ready}",
                labels=partition,
                shown="partition_ready",
                lasts=set_.move,
                figure=known,
                summary="Partition {{ $labels.partition }} has no owner",
                description="No worker shows partition {{ $labels.partition }} of the event topic any more: its queues are not"
                " watched.",
            ),
            self._of_pipeline(
                "QueuewatchPartitionSilent",
                "critical",
                f"{age} > {3 * limits.heartbeat_age_seconds:g} and on () ({fresh})"
                f" and on () ({self._max(('source',), 'source_heartbeat_timestamp_seconds')} > 0)",
                labels=partition,
                shown="partition_ready",
                lasts=set_.moment,
                figure=age,
                summary="Partition {{ $labels.partition }} has been silent for " + told("seconds"),
                description="Heartbeats go to every partition, and others have fresh ones, but the newest event of partition"
                f" {{{{ $labels.partition }}}} is {told('seconds')} old: its worker reads nothing, or a connector skips it.",
            ),
            self._of_pipeline(
                "QueuewatchConsumerLag",
                "warning",
                f"({lag} > {limits.consumer_lag_records}) > on (partition) {60 / set_.short:g} * {read}",
                labels=partition,
                shown="partition_ready",
                lasts=set_.short,
                figure=lag,
                summary="Partition {{ $labels.partition }} is " + told("calls") + " records behind",
                description=f"The worker of partition {{{{ $labels.partition }}}} is {told('calls')} records behind, more than"
                " it reads in a minute: figures are old by as much.",
            ),
            self._of_pipeline(
                "QueuewatchEventDelay",
                "warning",
                f"{delayed} > {limits.event_delay_seconds:g} and on (partition) ({events} >= {set_.some})",
                labels=partition,
                shown="partition_ready",
                lasts=set_.short,
                figure=delayed,
                summary="Events of partition {{ $labels.partition }} come " + told("seconds") + " late",
                description="From an event's own time to its arrival in Kafka it takes"
                f" {told('seconds')} (95th percentile over {span(set_.short)}) in partition {{{{ $labels.partition }}}}:"
                " the source, its connector or its clock lags.",
            ),
            self._of_pipeline(
                "QueuewatchRecordsLost",
                "critical",
                f"{lost} > 0",
                labels=partition,
                shown="partition_ready",
                lasts=set_.moment,
                figure=lost,
                summary="Partition {{ $labels.partition }}: " + told("calls") + " records were lost",
                description=f"Retention deleted {told('calls')} records of partition {{{{ $labels.partition }}}} before they"
                " were read: its figures lack them.",
            ),
        )

    def _workers(self) -> tuple[Alert, ...]:
        set_, limits = self.alerting, self.configuration.thresholds
        age = self._max(("instance",), "checkpoint_age_seconds")
        ready = self._max(("instance",), "ready")
        info = self._raw("service_level_definition_info")
        counts = metric("service_level_definition_info").labels
        by_definition = f"count by (definition) ({info})"
        contents = f"count by (definition) (count by ({', '.join(counts)}) ({info}))"
        workers = f"count({self._raw('build_info')})"
        up = self.queries.target("up")
        return (
            self._of_pipeline(
                "QueuewatchDown",
                "critical",
                f"{by(('instance',), up)} == 0 or absent({up})",
                labels=("instance",),
                lasts=set_.moment,
                figure=by(("instance",), up),
                summary="Worker {{ $labels.instance }} does not answer",
                description="Prometheus cannot scrape worker {{ $labels.instance }}{{ if not $labels.instance }}: it knows of"
                " no worker at all{{ end }}.  Its queues go to the others; with none left nothing is watched.",
            ),
            self._of_pipeline(
                "QueuewatchNotReady",
                "critical",
                f"({ready} == bool 0) == 1",
                labels=("instance",),
                lasts=set_.short,
                figure=ready,
                summary="Worker {{ $labels.instance }} is not ready",
                description=f"Worker {{{{ $labels.instance }}}} has not caught up, or lost its group, for {span(set_.short)}"
                " and shows nothing of the queues it should own.  `/readyz` says why.",
            ),
            self._of_pipeline(
                "QueuewatchCheckpointsOld",
                "warning",
                f"{age} > {limits.checkpoint_age_seconds:g}",
                labels=("instance",),
                lasts=set_.move,
                figure=age,
                summary="Worker {{ $labels.instance }} has not written for " + told("seconds"),
                description=f"Worker {{{{ $labels.instance }}}} holds a change that no record has for {told('seconds')}; a"
                " restart would replay as much.",
            ),
            self._of_pipeline(
                "QueuewatchReloadFailed",
                "warning",
                f"{contents} > 1 or {by_definition} < on () group_left () {workers}",
                labels=("definition",),
                lasts=set_.window,
                figure=by_definition,
                summary="Workers disagree about definition {{ $labels.definition }}",
                description="Not all workers have the same service level definition {{ $labels.definition }}: a reload failed"
                " or was forgotten on some, and figures depend on which worker shows a queue.",
            ),
        )

    def _records(self) -> tuple[Alert, ...]:
        set_ = self.alerting
        window = set_.window
        rejected = self._rise(("reason",), "rejected_events_total", window)
        rekeyed = self._rise((), "rekeyed_events_total", window)
        events = self._rise((), "events_total", window)
        return (
            self._of_pipeline(
                "QueuewatchEventsRejected",
                "warning",
                f"({rejected} >= {set_.some}) > on () group_left () {set_.rejected_share:g} * {events}",
                labels=("reason",),
                shown="rejected_events_total",
                lasts=set_.moment,
                figure=rejected,
                summary=told("calls") + " events were refused: {{ $labels.reason }}",
                description=f"{told('calls')} records were refused in {span(window)}, reason {{{{ $labels.reason }}}}: more"
                f" than {set_.rejected_share:.0%} of all.  They lie in the dead-letter topic and count nowhere.",
            ),
            self._of_pipeline(
                "QueuewatchEventsRekeyed",
                "warning",
                f"({rekeyed} >= {set_.some}) > on () {set_.rejected_share:g} * {events}",
                shown="rekeyed_events_total",
                lasts=window,
                figure=rekeyed,
                summary="A producer keys events wrongly",
                description=f"{told('calls')} events in {span(window)} lay on a partition that their queue does not mean and"
                " were published again, which costs time: a producer's partitioner is set wrongly.",
            ),
        )

    def watchdog(self) -> Alert:
        """Fires always: where it stops coming, Prometheus or Alertmanager is down."""
        return Alert(
            "Watchdog",
            "none",
            "pipeline",
            "vector(1)",
            "Alerting works",
            "This alert always fires.  Whoever receives it should raise the alarm when it stays away.",
            self._board(self.configuration.uids.pipeline),
            self._runbook("Watchdog"),
            figure="vector(1)",
        )

    # -------------------------------------------------------------------------------------------------------------- files

    def groups(self) -> tuple[Group, ...]:
        """All rules.  What alerts of queues stand on is recorded in their own group, right before them."""
        return (
            Group("queuewatch-recordings", self.queries.recordings()),
            Group("queuewatch-queues", self.recordings(), self.of_queues()),
            Group("queuewatch-pipeline", (), (*self.of_pipeline(), self.watchdog())),
        )

    def alerts(self) -> tuple[Alert, ...]:
        """All alerts, in the order of the files."""
        return tuple(alert for group in self.groups() for alert in group.alerts)


def _times(factor: float) -> str:
    return "" if factor == 1 else f", and this is more than {factor:g} times as much"


def rule_files(configuration: Configuration) -> dict[str, str]:
    """The rule files by name."""
    recordings, *alerts = Alerts(configuration).groups()
    return {"recordings.yml": file_of([recordings]), "alerts.yml": file_of(alerts)}
