"""What people are alerted to: each alert's condition, how long it must hold, and its words.

Limits that differ from queue to queue (targets, longest wait, calls waiting, abandon rate, the least number of calls, opening
hours) are series of queuewatch, so the rules are the same for every queue.  `instance` is aggregated away in what is said of a
queue or a partition: it moves between workers, its alert must not.  What holds for alerts of queues stands in `queues`, how a
gap in the data is bridged in `parts`, what mutes what in `inhibition`.
"""

from __future__ import annotations

from queuewatch_dashboards.alerts.inhibition import explanations_first
from queuewatch_dashboards.alerts.pipeline import OfPipeline
from queuewatch_dashboards.alerts.queues import OfQueues
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.queries import Queries
from queuewatch_dashboards.rules import Alert, Group, file_of

__all__ = ["alerts", "groups", "rule_files"]


def groups(configuration: Configuration) -> tuple[Group, Group]:
    """Counters as they are recorded; and all alerts, with what they stand on right before them.

    All alerts are one group, so that they look at one instant and an explanation is told before what it explains.
    """
    of_queues, of_pipeline = OfQueues(configuration), OfPipeline(configuration)
    every = explanations_first((*of_queues.alerts(), *of_pipeline.alerts()))
    return (
        Group("queuewatch-recordings", Queries(configuration).recordings()),
        Group("queuewatch-alerts", of_queues.recordings(), every),
    )


def alerts(configuration: Configuration) -> tuple[Alert, ...]:
    """All alerts, in the order of their file."""
    return groups(configuration)[1].alerts


def rule_files(configuration: Configuration) -> dict[str, str]:
    """The rule files by name."""
    recordings, watching = groups(configuration)
    return {"recordings.yml": file_of([recordings]), "alerts.yml": file_of([watching])}
