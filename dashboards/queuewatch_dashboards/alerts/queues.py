"""What supervisors are alerted to, and what operators are of a single queue; and the recordings that both stand on.

- **A queue is watched while it is open or callers wait** in it; where nobody says whether it is open, always.
- **Few calls raise no ratio's alert.**  A ratio is judged in the shortest window that holds the queue's least number of calls:
  the rolling window, else a longer one, at last the day.
- **Two windows.**  What the judged window says must still be going on in the last minutes, so an alert ends soon after its
  cause, not when the window has passed.
"""

from __future__ import annotations

from typing import Final

from queuewatch_dashboards.alerts.parts import ATTENDED, LABELS, LEVEL, NAME, PLACE, QUEUE, Parts, told
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.promql import HOUR, WEEK, Recording, any_of, by, duration, shifted
from queuewatch_dashboards.rules import Alert
from queuewatch_schemas.config import ROLLING_SECONDS

JUDGED: Final = "queue:queuewatch_service_level_ratio:judged"
SHORT: Final = "queue:queuewatch_service_level_ratio:short"
MET: Final = "queue:queuewatch_service_level_met_calls:day"
COUNTED: Final = "queue:queuewatch_service_level_counted_calls:day"
EXPECTED: Final = "queue:queuewatch_service_level_counted_calls:expected_day"
SPENT: Final = "queue:queuewatch_service_level_budget:spent_day"
ABANDONED: Final = "queue:queuewatch_abandon_ratio:judged"
ABANDONED_SHORT: Final = "queue:queuewatch_abandon_ratio:short"
LAST_WEEK: Final = "queue:queuewatch_calls_offered:last_week"

_NOT_CLOSED: Final = ("full", "no_agents", "other")


class OfQueues(Parts):
    """By one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self._day = configuration.windows.day
        rolling = configuration.windows.rolling
        longer = [each for each, length in ROLLING_SECONDS.items() if length > ROLLING_SECONDS[rolling]]
        self._windows: tuple[str, ...] = (rolling, *longer, self._day)
        """Windows in which ratios are judged, the shortest first; those that are not kept are skipped."""

    # -------------------------------------------------------------------------------------------------------- recordings

    def recordings(self) -> tuple[Recording, ...]:
        """What the alerts stand on, in the order in which it must be evaluated."""
        return (
            Recording(LABELS, self._labels()),
            Recording(ATTENDED, self._attended()),
            Recording(MET, self._max(LEVEL, "service_level_met_calls", window=self._day)),
            Recording(COUNTED, self._max(LEVEL, "service_level_counted_calls", window=self._day)),
            Recording(JUDGED, self._judged_level()),
            Recording(SHORT, self._short_level()),
            Recording(EXPECTED, self._expected()),
            Recording(SPENT, self._spent()),
            Recording(ABANDONED, self._judged_abandons()),
            Recording(ABANDONED_SHORT, self._short_abandons()),
            Recording(LAST_WEEK, self._last_week()),
        )

    def _labels(self) -> str:
        """1 by queue, name, site, group, and source where the queue has one alone: what its alerts are labelled with.

        `topk` holds off two sets of labels for one queue, as two workers show during a reload.  A source that cannot tell for a
        while whether it is up, such as a quiet log, keeps its place: an alert is what its labels are, and must not begin anew.
        """
        info = f"topk by (queue) (1, {self._max(('queue', *PLACE), 'queue_info')})"
        lately = f"last_over_time({self._raw('queue_source_up')}[{duration(self.alerting.hour)}])"
        up = by(("queue", "source"), lately)
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
        back = f"offset {duration(self.alerting.short)}"
        gained = f"({MET} - {MET} {back}) / ({COUNTED} - {COUNTED} {back} > 0)"
        return f"{self._max(LEVEL, 'service_level_ratio', window='5m')}\nor on ({', '.join(LEVEL)}) ({gained})"

    def _expected(self) -> str:
        """How many calls will count in the whole day: as many as on the week's mean day, or those that did already."""
        offered = self.queries.total("calls_offered_total")
        mean = f"clamp_min({offered} - {offered} offset {duration(self.alerting.week)}, 0) / 7"
        return f"(0 * {COUNTED} + on (queue, channel) group_left () ({mean})) > {COUNTED}\nor {COUNTED}"

    def _spent(self) -> str:
        """The share of the misses that the day may have which have happened."""
        allowed = f"(1 - {self._max(LEVEL, 'service_level_target_ratio')}) * {EXPECTED}"
        return f"({COUNTED} - {MET}) / ({allowed})"

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

        The distance is a week, or an hour more or less where the queue's offset from UTC changed by as much in between.
        """
        half, week = self.alerting.hour / 2, self.alerting.week
        changes = [0.0] if week != WEEK else [0.0, -HOUR, HOUR]
        ahead = self._max(("queue",), "queue_utc_offset_seconds")

        def at(change: float) -> str:
            then = by(("queue",), f"{self._raw('queue_utc_offset_seconds')}{shifted(week + change)}")
            offered = self._rise(QUEUE, "calls_offered_total", half, back=week + change)
            return f"({offered} and on (queue) ({then} - {ahead} == {change:.0f}))"

        return f"\nor on ({', '.join(QUEUE)}) ".join(at(change) for change in changes)

    # ------------------------------------------------------------------------------------------------------------- alerts

    def alerts(self) -> tuple[Alert, ...]:
        """All of them."""
        return (
            *self._levels(),
            self._budget(),
            *self._waits(),
            *self._abandons(),
            *self._nobody_answers(),
            *self._counted(),
            self._nothing_offered(),
            *self._shown(),
        )

    def _levels(self) -> tuple[Alert, ...]:
        set_, target = self.alerting, self._max(LEVEL, "service_level_target_ratio")
        on = f"on ({', '.join(LEVEL)})"
        return tuple(
            self._of_queue(
                "QueueServiceLevelLow",
                severity,
                f"{JUDGED} < {on} {share:g} * {target} unless {on} ({SHORT} >= {on} {target})",
                lasts=lasts,
                figure=JUDGED,
                labels=LEVEL,
                summary=f"{NAME}: service level {told('share')}",
                description=f"The service level of queue {NAME} is {told('share')} by {self._definition}, below"
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
        pace = f"{set_.budget_burn:g} * {COUNTED} / {EXPECTED}"
        enough = f"{COUNTED} >= {self._limit('window_minimum_calls')}"
        return self._of_queue(
            "QueueDayBudgetAtRisk",
            "warning",
            f"(({SPENT} >= {set_.budget_share:g}) > ({pace}) or {SPENT} >= 1) and on ({', '.join(LEVEL)}) ({enough})",
            lasts=set_.window,
            figure=SPENT,
            labels=LEVEL,
            summary=f"{NAME}: {told('share')} of the day's misses are spent",
            description=f"Queue {NAME} has spent {told('share')} of the calls that may miss the service level today by"
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
                    summary=f"{NAME}: a caller has waited {told('seconds')}",
                    description=f"In queue {NAME} the longest wait of those who wait now is {told('seconds')}; its limit"
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
                    summary=f"{NAME}: {told('calls')} callers wait",
                    description=f"In queue {NAME} {told('calls')} callers wait now; its limit is"
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
                f"{ABANDONED} > {self._limit('abandon_limit_ratio', factor)}"
                f" unless {on} ({ABANDONED_SHORT} <= {self._limit('abandon_limit_ratio')})",
                lasts=set_.short,
                figure=ABANDONED,
                summary=f"{NAME}: {told('share')} of callers hang up",
                description=f"In queue {NAME} {told('share')} of the callers hung up while waiting: (abandoned - short) /"
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
            f"{told('calls')} callers wait in queue {NAME} and no call was answered there for {duration(set_.short)}"
        )
        return (
            self._of_queue(
                "QueueNobodyAnswers",
                "warning",
                silent,
                lasts=set_.short,
                figure=waiting,
                shown="calls_waiting",
                summary=f"{NAME}: callers wait and nobody answers",
                description=f"{words}; agents may be on long calls.",
            ),
            self._of_queue(
                "QueueNobodyAnswers",
                "critical",
                f"{silent} and {on} ({talking} == 0)",
                lasts=set_.move,
                figure=waiting,
                shown="calls_waiting",
                summary=f"{NAME}: callers wait and nobody is there",
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
        before = by(QUEUE, f"{self.queries.total('calls_evicted_total')} offset {duration(set_.week)}", "sum")
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
                summary=f"{NAME}: {told('calls')} calls were turned away",
                description=f"Queue {NAME} refused {told('calls')} calls in {duration(window)} although it was not closed"
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
                summary=f"{NAME}: {told('calls')} ghosts in {duration(set_.hour)}",
                description=f"Queue {NAME}: {told('calls')} visits were given up as ghosts in {duration(set_.hour)}, more"
                f" than {set_.evicted_factor:g} times the week's mean: their ends are not heard of.",
            ),
            self._of_queue(
                "QueueAgentsDecline",
                "warning",
                f"({declined_share} > {set_.declined_share:g}) and {on}"
                f" ({declined} + {answered} >= {self._limit('window_minimum_calls')})",
                lasts=set_.short,
                figure=declined_share,
                summary=f"{NAME}: {told('share')} of ringing calls are not taken",
                description=f"In queue {NAME} agents did not take {told('share')} of the calls that rang at them in"
                f" {duration(window)}: declined / (declined + answered).",
            ),
            self._of_queue(
                "QueueOrphansRising",
                "warning",
                f"({orphaned} {few}) and {on} ({orphaned} > {set_.orphaned_share:g} * {offered})",
                lasts=set_.short,
                figure=orphaned,
                watched=False,
                audience="pipeline",
                summary=f"{NAME}: {told('calls')} visits without an entry",
                description=f"Queue {NAME}: of {told('calls')} visits in {duration(window)} events came but never the"
                " queued one; they count nowhere.",
            ),
            self._of_queue(
                "QueueBalanceBroken",
                "critical",
                f"{residual} > 0",
                lasts=set_.moment,
                figure=residual,
                watched=False,
                audience="pipeline",
                summary=f"{NAME}: the books are off by {told('calls')} calls",
                description=f"Queue {NAME}: offered - answered - abandoned - diverted - evicted differs from the visits"
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
            f"({LAST_WEEK} >= {set_.some}) and on ({', '.join(QUEUE)}) ({offered} == 0)",
            lasts=set_.short,
            figure=offered,
            summary=f"{NAME}: no calls, a week ago {told('calls')}",
            description=f"Queue {NAME} is open and was offered no call in {duration(half)}; a week ago, at the same local"
            f" time, {told('calls')} came.",
        )

    def _shown(self) -> tuple[Alert, ...]:
        set_ = self.alerting
        hour = duration(set_.hour)
        known = by(("queue", *PLACE), f"last_over_time({self._raw('queue_info')}[{hour}])")
        busy = by(("queue",), f"last_over_time({self._raw('window_offered_calls', window=self._day)}[{hour}])")
        twice = by(("queue",), self._raw("queue_info"), "count")
        missing = (
            f"(topk by (queue) (1, {known}) and on (queue) ({busy} > 0)) unless on (queue) {self._raw('queue_info')}"
        )
        return (
            self._queues_own(
                "QueueNotShown",
                "warning",
                "pipeline",
                f"({missing})",
                ("queue", *PLACE),
                "queue_info",
                lasts=set_.move,
                figure=known,
                summary=f"{NAME}: no worker shows this queue",
                description=f"No worker shows queue {NAME}, which had calls today.  Its figures are unknown; its"
                " alerts are held and muted.",
            ),
            self._of_queue(
                "QueueOnTwoWorkers",
                "critical",
                f"{twice} > 1",
                lasts=set_.moment,
                figure=twice,
                labels=("queue",),
                keep=PLACE,
                watched=False,
                audience="pipeline",
                summary=f"{NAME}: {told('calls')} workers show this queue",
                description=f"{told('calls')} workers show queue {NAME}.  One of them should have stopped: its figures"
                " may be stale, and boards take the greater ones.",
            ),
        )


def _times(factor: float) -> str:
    return "" if factor == 1 else f", and this is more than {factor:g} times as much"
