"""What all alerts are made of: limits, words that ask Prometheus, and how what fires is held while no data come.

- **A gap is not a recovery.**  While no worker shows the queue, what was firing is held: Prometheus' own series `ALERTS` tells
  what was firing at the evaluation before.  What was pending is held for as long as a worker's move may take.  The value of
  what is held is NaN, which the texts tell as unknown.  `keep_firing_for` bridges what comes and goes.
"""

from __future__ import annotations

from typing import Final, TypedDict, Unpack

from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.promql import EVERYWHERE, Labels, Matcher, Where, by, duration
from queuewatch_dashboards.queries import Part, Queries
from queuewatch_dashboards.rules import Alert

QUEUE: Final = ("queue", "channel")
LEVEL: Final = ("queue", "channel", "definition")
PLACE: Final = ("name", "site", "group")
"""What a queue is called and where it belongs."""
INFO: Final = (*PLACE, "source")
"""What an alert of a queue is labelled with besides: for its texts, grouping, routing and inhibition.

The name is a label, though texts could ask for it: Prometheus makes the texts of every alert anew at each evaluation, so each
question in them is asked as many times as there are alerts, and when many fire there is the least time.
"""
ATTENDED: Final = "queue:queuewatch_attended:one"
"""Recorded: 1 for each queue that is open, or in which callers wait, or of which nobody says whether it is open."""
LABELS: Final = "queue:queuewatch_queue_info:one"
"""Recorded: 1 by queue and `INFO`."""

# What the values of alerts are told as; a held one's is not known.
_KINDS: Final = {
    "calls": '{{ printf "%.0f" $value }}',
    "seconds": "{{ $value | humanizeDuration }}",
    "share": "{{ $value | humanizePercentage }}",
}


def told(kind: str) -> str:
    """A template for an alert's value: `calls`, `seconds` or `share`."""
    return f'{{{{ if eq (printf "%f" $value) "NaN" }}}}unknown (no data come; held){{{{ else }}}}{_KINDS[kind]}{{{{ end }}}}'


NAME: Final = "{{ or $labels.name $labels.queue }}"
"""A template for what an alert's queue is called."""


class Told(TypedDict):
    """What every alert says."""

    lasts: float
    """Seconds for which it must hold before it fires."""
    figure: str
    """Its value without the comparison."""
    summary: str
    description: str


class Parts:
    """By one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.alerting = configuration.alerting
        self.queries = Queries(configuration)

    # ------------------------------------------------------------------------------------------------------- expressions

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
        return self.queries.increase(name, labels, where, part=part, over=duration(length), offset=back)

    def _limit(self, name: str, factor: float = 1) -> str:
        """The right side of a comparison with a queue's own limit, so many times."""
        times = "" if factor == 1 else f"{factor:g} * "
        return f"on (queue) group_left () ({times}{self._max(('queue',), name)})"

    def _held(self, name: str, severity: str, labels: tuple[str, ...], shown: str, on: str) -> str:
        """What was firing, or a moment ago pending, while what it is said of is not shown; its value is NaN."""
        was = f'ALERTS{{alertname="{name}", severity="{severity}", alertstate='
        lately = f"present_over_time({shown}[{duration(self.alerting.move)}])"
        kept = f'{was}"firing"}} or {was}"pending"}} and on ({on}) {lately}'
        return f"({by(labels, kept)}\n  unless on ({on}) {shown}) * NaN"

    # -------------------------------------------------------------------------------------------------------------- words

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
    def _definition(self) -> str:
        info = self._raw("service_level_definition_info", definition=Matcher("=", "%q"))
        return (
            f"definition {{{{ $labels.definition }}}}{{{{ {self._text(info, 'definition')} }}}}{{{{ with . | first }}}}"
            " ({{ .Labels.preset }}, {{ .Labels.threshold }} s, by {{ .Labels.attribution }}){{ end }}{{ end }}"
        )

    # ------------------------------------------------------------------------------------------------------------- alerts

    def _of_queue(
        self,
        name: str,
        severity: str,
        condition: str,
        *,
        labels: tuple[str, ...] = QUEUE,
        shown: str = "queue_info",
        watched: bool = True,
        keep: tuple[str, ...] = INFO,
        audience: str = "floor",
        **words: Unpack[Told],
    ) -> Alert:
        """An alert of a queue, held while `shown` is not there; `watched`: only while it is open or callers wait."""
        attended = f" and on (queue) {ATTENDED}" if watched else ""
        expression = f"(({condition}){attended})\n* on (queue) group_left ({', '.join(keep)}) {LABELS}"
        return self._queues_own(name, severity, audience, expression, (*labels, *keep), shown, **words)

    def _queues_own(
        self,
        name: str,
        severity: str,
        audience: str,
        expression: str,
        labels: tuple[str, ...],
        shown: str,
        **words: Unpack[Told],
    ) -> Alert:
        """An alert whose expression has all its labels, with a link to its queue's board."""
        held = self._held(name, severity, labels, self._raw(shown), "queue")
        board = f"{self.configuration.uids.queue}?var-queue={{{{ $labels.queue | urlquery }}}}"
        return self._alert(name, severity, audience, f"{expression}\nor\n{held}", labels, board, **words)

    def _of_pipeline(
        self,
        name: str,
        severity: str,
        condition: str,
        *,
        labels: tuple[str, ...] = (),
        shown: str = "",
        **words: Unpack[Told],
    ) -> Alert:
        """An alert for operators, held while `shown` is not there, if that is named."""
        held = f"\nor\n{self._held(name, severity, labels, self._raw(shown), ', '.join(labels[:1]))}" if shown else ""
        board = self.configuration.uids.pipeline
        return self._alert(name, severity, "pipeline", f"({condition}){held}", labels, board, **words)

    def _alert(
        self,
        name: str,
        severity: str,
        audience: str,
        expression: str,
        labels: tuple[str, ...],
        board: str,
        *,
        keeps: float | None = None,
        **words: Unpack[Told],
    ) -> Alert:
        links = self.configuration.links
        return Alert(
            name,
            severity,
            audience,
            expression,
            board=f"{links.grafana}/d/{board}",
            runbook=f"{links.runbook}#{name.lower()}",
            keeps=self.alerting.keep if keeps is None else keeps,
            by=labels,
            **words,
        )
