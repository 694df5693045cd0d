"""Which alert explains which, so that people hear of the explanation alone: Alertmanager mutes what is explained.

Both Alertmanager's rules of inhibition and the order of the alerts in their group are made from here.  The order matters:
Prometheus evaluates and tells a group's alerts in their order, so where an explanation and what it explains begin at one
evaluation, the explanation must come first, and all must be in one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from queuewatch_dashboards.rules import Alert

__all__ = ["INHIBITIONS", "Inhibition", "explanations_first"]

Which = Mapping[str, tuple[str, ...]]
"""Labels that an alert always has (alertname, severity, audience), and the values of which it must have one."""


class Inhibition(NamedTuple):
    """While an alert of the one kind fires, those of the other that are equal in some labels are muted."""

    why: str
    explains: Which
    explained: Which
    equal: tuple[str, ...] = ()

    def holds(self, one: Alert, other: Alert) -> bool:
        """Whether the one may mute the other, as far as what they always say tells."""
        named_alike = "alertname" not in self.equal or one.name == other.name
        return one != other and named_alike and _is(one, self.explains) and _is(other, self.explained)


def _is(alert: Alert, which: Which) -> bool:
    said = {"alertname": alert.name, "severity": alert.severity, "audience": alert.audience}
    return all(said[label] in values for label, values in which.items())


def _named(*names: str) -> Which:
    return {"alertname": names}


_FLOOR: Final[Which] = {"audience": ("floor",)}

INHIBITIONS: Final = (
    Inhibition(
        "The source of a site is down: the figures of the queues that it alone feeds stand still, and so do their alerts.",
        _named("QueuewatchSourceDown"),
        _FLOOR,
        ("site", "source"),
    ),
    Inhibition(
        "No worker shows a queue: its alerts are held at what was known last.",
        _named("QueueNotShown"),
        _FLOOR,
        ("queue",),
    ),
    Inhibition(
        "Its books do not balance, or two workers show it: its figures cannot be trusted.",
        _named("QueueBalanceBroken", "QueueOnTwoWorkers"),
        _FLOOR,
        ("queue",),
    ),
    Inhibition(
        "Nobody is there: that explains the service level and the day.",
        {**_named("QueueNobodyAnswers"), "severity": ("critical",)},
        _named("QueueServiceLevelLow", "QueueDayBudgetAtRisk"),
        ("queue", "channel"),
    ),
    Inhibition(
        "No events at all explain a queue without calls.",
        _named("QueuewatchNoEvents"),
        _named("QueueNothingOffered"),
    ),
    Inhibition(
        "A worker that does not answer is not ready either, and writes nothing.",
        _named("QueuewatchDown"),
        _named("QueuewatchNotReady", "QueuewatchCheckpointsOld"),
        ("instance",),
    ),
    Inhibition(
        "A partition without owner has neither lag nor delay.",
        _named("QueuewatchPartitionWithoutOwner"),
        _named("QueuewatchPartitionSilent", "QueuewatchConsumerLag", "QueuewatchEventDelay"),
        ("partition",),
    ),
    Inhibition(
        "And its queues are shown by nobody: one message, not one for each of them.",
        _named("QueuewatchPartitionWithoutOwner"),
        _named("QueueNotShown"),
    ),
    Inhibition(
        "Of the same thing, critical is enough.",
        {"severity": ("critical",)},
        {"severity": ("warning",)},
        ("alertname", "site", "source", "queue", "channel", "definition", "partition", "instance", "reason"),
    ),
)


def explanations_first(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """The alerts, each behind all that may mute it, and otherwise in their order.

    Raises ValueError where some mute each other in a circle.
    """
    left, ordered = list(alerts), list[Alert]()
    while left:
        free = (each for each in left if not any(rule.holds(other, each) for other in left for rule in INHIBITIONS))
        first = next(free, None)
        if first is None:
            raise ValueError(f"these alerts mute each other: {', '.join(each.name for each in left)}")
        left.remove(first)
        ordered.append(first)
    return tuple(ordered)
