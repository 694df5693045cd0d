"""Decides which of the worker's figures the demo shows, and whether a queue is ok, behind or unknown.

They are read from the text of /metrics, so that what is shown is what Prometheus would get.  A figure that is not there
is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client.parser import text_string_to_metric_families

from queuewatch_schemas.metrics import metric

__all__ = ["UNKNOWN", "Figures", "QueueFigures", "State", "read", "state", "together"]

CHANNEL: Final = "voice"
RECENT: Final = "15m"
TODAY: Final = "day"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """One queue's figures of the channel voice; times in seconds, ratios 0 to 1, None where a figure is not known."""

    queue: str
    waiting: float | None = None
    longest: float | None = None
    """The longest wait of those waiting now; 0 when nobody waits."""
    talking: float | None = None
    offered: float | None = None
    """Today, as the three that follow."""
    answered: float | None = None
    abandoned: float | None = None
    evicted: float | None = None
    met: float | None = None
    """Visits that met the service level in the last 15 minutes, of those `counted`."""
    counted: float | None = None
    definition: str | None = None
    """The service level's definition in words: "80 % in 20 s, negative"."""
    target: float | None = None
    answers: float | None = None
    """Answered visits of the last 15 minutes, which had waited `answer_wait` together."""
    answer_wait: float | None = None
    handled: float | None = None
    """Calls that ended in the last 15 minutes; `handle` is their talk, hold and after-call work together."""
    handle: float | None = None
    abandon_ratio: float | None = None
    longest_limit: float | None = None
    waiting_limit: float | None = None
    abandon_limit: float | None = None
    minimum: float | None = None
    """With fewer calls in the window, its ratios say nothing yet."""
    source_up: bool = True
    """False when a source of the queue is known to be down."""

    @property
    def level(self) -> float | None:
        """The service level, None where nothing is counted."""
        return _ratio(self.met, self.counted)

    @property
    def asa(self) -> float | None:
        """The average speed of answer, None where nobody was answered."""
        return _ratio(self.answer_wait, self.answers)

    @property
    def aht(self) -> float | None:
        """The average handle time, None where nothing was handled."""
        return _ratio(self.handle, self.handled)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one reading of /metrics told."""

    queues: tuple[QueueFigures, ...] = ()
    ready: bool = False
    events: float | None = None
    """Read and accepted since the start, as the counts that follow."""
    duplicates: float | None = None
    rejected: float | None = None
    lag: float | None = None
    """Records that are not in the figures yet."""
    residual: float | None = None
    """The sum of the queues' balance residuals, each as a positive number: anything but 0 is a fault."""
    newest_event: float | None = None
    """The newest event's own time, in seconds since the epoch."""

    @property
    def definitions(self) -> tuple[str, ...]:
        """The service levels in use, in words."""
        return tuple(dict.fromkeys(queue.definition for queue in self.queues if queue.definition is not None))


UNKNOWN: Final = Figures()
"""Nothing is known."""


@dataclass(frozen=True, slots=True)
class State:
    """How a queue is: the word, and which figures are beyond their limits."""

    word: Literal["ok", "behind", "unknown"]
    beyond: frozenset[str] = field(default_factory=frozenset)
    """Among "waiting", "longest", "level", "abandoned"."""


def state(queue: QueueFigures) -> State:
    """Whether the queue keeps its targets and limits; unknown while its figures are, or while its source is down.

    A ratio counts once its window holds `minimum` calls.
    """
    if queue.waiting is None or queue.longest is None or not queue.source_up:
        return State("unknown")
    enough = queue.minimum or 0
    beyond = {
        "waiting": _above(queue.waiting, queue.waiting_limit),
        "longest": _above(queue.longest, queue.longest_limit),
        "level": (queue.counted or 0) >= enough and _above(queue.target, queue.level),
        "abandoned": (queue.counted or 0) >= enough and _above(queue.abandon_ratio, queue.abandon_limit),
    }
    found = frozenset(name for name, is_beyond in beyond.items() if is_beyond)
    return State("behind" if found else "ok", found)


def together(name: str, queues: Sequence[QueueFigures]) -> QueueFigures:
    """All queues as one: sums, and means of sums; a service level only where all have the same definition.

    What is unknown of one queue is unknown of all.
    """

    def of(
        what: Callable[[QueueFigures], float | None], fold: Callable[[Iterable[float]], float] = sum
    ) -> float | None:
        values = [value for queue in queues if (value := what(queue)) is not None]
        return fold(values) if values and len(values) == len(queues) else None

    definitions = {queue.definition for queue in queues}
    comparable = len(definitions) == 1
    return QueueFigures(
        name,
        waiting=of(lambda queue: queue.waiting),
        longest=of(lambda queue: queue.longest, max),
        talking=of(lambda queue: queue.talking),
        offered=of(lambda queue: queue.offered),
        answered=of(lambda queue: queue.answered),
        abandoned=of(lambda queue: queue.abandoned),
        evicted=of(lambda queue: queue.evicted),
        met=of(lambda queue: queue.met) if comparable else None,
        counted=of(lambda queue: queue.counted) if comparable else None,
        definition=definitions.pop() if comparable else None,
        answers=of(lambda queue: queue.answers),
        answer_wait=of(lambda queue: queue.answer_wait),
        handled=of(lambda queue: queue.handled),
        handle=of(lambda queue: queue.handle),
        source_up=all(queue.source_up for queue in queues),
    )


def read(text: str, expected: Iterable[str] = ()) -> Figures:
    """The figures in the text of /metrics, of the `expected` queues (all unknown where it has none) and all others.

    Raises ValueError where the text is not of that format.
    """
    samples = _samples(text)
    queues = dict.fromkeys(expected, None) | dict.fromkeys(
        labels["queue"]
        for each in _BY_QUEUE.values()
        for labels, _ in samples.get(each[0], ())
        if labels.get("channel", CHANNEL) == CHANNEL
    )
    found: dict[str, dict[str, float]] = {queue: {} for queue in queues}
    for name, (full, wanted) in _BY_QUEUE.items():
        for labels, value in samples.get(full, ()):
            if labels["queue"] in found and _fits(labels, wanted):
                found[labels["queue"]].setdefault(name, value)
    definitions = _definitions(samples)
    down = {labels["queue"] for labels, value in samples.get(_full("queue_source_up"), ()) if not value}

    def total(name: str) -> float | None:
        values = [value for _, value in samples.get(_full(name), ())]
        return sum(values) if values else None

    residuals = [abs(value) for _, value in samples.get(_full("balance_residual"), ())]
    newest = [value for _, value in samples.get(_full("last_event_timestamp_seconds"), ())]
    return Figures(
        queues=tuple(
            QueueFigures(queue, definition=definitions.get(queue), source_up=queue not in down, **values)
            for queue, values in found.items()
        ),
        ready=bool(total("ready")),
        events=total("events_total"),
        duplicates=total("duplicate_events_total"),
        rejected=total("rejected_events_total"),
        lag=total("consumer_lag_records"),
        residual=sum(residuals) if residuals else None,
        newest_event=max(newest, default=None),
    )


def _full(name: str) -> str:
    return metric(name).full


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def _fits(labels: Labels, wanted: Labels) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())


_NOW: Final = {"channel": CHANNEL}
_RECENT: Final = {"channel": CHANNEL, "window": RECENT}
_TODAY: Final = {"channel": CHANNEL, "window": TODAY}
_BY_QUEUE: Final[Mapping[str, tuple[str, Labels]]] = {
    "waiting": (_full("calls_waiting"), _NOW),
    "longest": (_full("longest_wait_seconds"), _NOW),
    "talking": (_full("calls_talking"), _NOW),
    "offered": (_full("window_offered_calls"), _TODAY),
    "answered": (_full("window_calls"), {**_TODAY, "outcome": "answered"}),
    "abandoned": (_full("window_calls"), {**_TODAY, "outcome": "abandoned"}),
    "evicted": (_full("window_calls"), {**_TODAY, "outcome": "evicted"}),
    "met": (_full("service_level_met_calls"), _RECENT),
    "counted": (_full("service_level_counted_calls"), _RECENT),
    "target": (_full("service_level_target_ratio"), _NOW),
    "answers": (_full("window_calls"), {**_RECENT, "outcome": "answered"}),
    "answer_wait": (_full("window_answer_wait_seconds_sum"), _RECENT),
    "handled": (_full("window_handled_calls"), _RECENT),
    "handle": (_full("window_handle_seconds_sum"), _RECENT),
    "abandon_ratio": (_full("abandon_ratio"), _RECENT),
    "longest_limit": (_full("longest_wait_limit_seconds"), {}),
    "waiting_limit": (_full("calls_waiting_limit"), {}),
    "abandon_limit": (_full("abandon_limit_ratio"), {}),
    "minimum": (_full("window_minimum_calls"), {}),
}
"""Field of QueueFigures: its metric, and the labels to look for.  Of several definitions a queue's first is taken."""

_WANTED: Final = frozenset(
    {
        *(full for full, _ in _BY_QUEUE.values()),
        *map(
            _full,
            (
                *("queue_source_up", "ready", "events_total", "duplicate_events_total", "rejected_events_total"),
                *("consumer_lag_records", "balance_residual", "last_event_timestamp_seconds"),
                "service_level_definition_info",
            ),
        ),
    }
)


def _samples(text: str) -> dict[str, list[tuple[Labels, float]]]:
    """The samples that are shown, by full name.  The other lines, most of them, are not parsed at all."""
    lines = (line for line in text.split("\n") if line.partition("{")[0].partition(" ")[0] in _WANTED)
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _definitions(samples: Mapping[str, Sequence[tuple[Labels, float]]]) -> dict[str, str]:
    """Each queue's first definition in words."""
    known = {labels["definition"]: labels for labels, _ in samples.get(_full("service_level_definition_info"), ())}
    said: dict[str, str] = {}
    for labels, target in samples.get(_full("service_level_target_ratio"), ()):
        info = known.get(labels["definition"])
        if info is not None and labels["channel"] == CHANNEL:
            said.setdefault(labels["queue"], f"{target * 100:g} % in {info['threshold']} s, {info['preset']}")
    return said
