"""A worker with a bug on purpose, named by QUEUEWATCH_PLANTED: the harness has to catch each of them.

The bug is put into the real modules before the worker starts; nothing of the worker itself knows of this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from queuewatch_streams.checkpoints import Checkpoints, _Best
from queuewatch_streams.core.partition import Partition, Pending
from queuewatch_streams.deliveries import Deliveries
from queuewatch_streams.delivery import Delivery, Row

__all__ = ["PLANTED", "Bug"]


@dataclass(frozen=True, slots=True)
class Bug:
    """How a bug is planted, and the faults that must bring it to light."""

    plant: Callable[[], None]
    faults: tuple[str, ...]
    checkpoint_seconds: float = 2.0


def commit_first() -> None:
    """Acknowledge before the checkpoint: what is committed and resumed at is what is folded, not what is written."""
    Partition._first_unwritten = lambda self: Pending(self.next_offset, self.log_time)  # type: ignore[method-assign]


def keep_lost() -> None:
    """Keep a lost partition's keys: what was owned once is shown for ever."""
    exposed = Deliveries.exposed
    kept: dict[int, Any] = {}

    def exposed_and_kept(self: Deliveries[Any]) -> dict[int, Any]:
        kept.update(exposed(self))
        return dict(kept)

    Deliveries.exposed = exposed_and_kept  # type: ignore[method-assign]


def fold_twice() -> None:
    """Skip the offset check of loaded queue records: what a record holds is folded into it again."""
    restored = Partition.restored.__func__  # type: ignore[attr-defined]

    def restored_without_offsets(kind: type[Partition], *arguments: Any, **named: Any) -> Partition:
        partition: Partition = restored(kind, *arguments, **named)
        partition._settled = 0
        partition._true_up_to.clear()
        return partition

    Partition.restored = classmethod(restored_without_offsets)  # type: ignore[assignment]


def last_record() -> None:
    """The last record of a key wins, not the one with the highest source offset."""

    def load(self: Checkpoints[Any], partition: int, records: Sequence[Row]) -> None:
        best = self._loaded.setdefault(partition, {})
        for _, _, key, value, headers in records:
            if key is not None:
                best[key] = _Best(self._true_up_to(value, headers), value, False)

    Checkpoints.load = load  # type: ignore[method-assign]


def fold_early() -> None:
    """Fold before recovery is done: a partition begins when only a part of its changelog has been read."""
    restored = Partition.restored.__func__  # type: ignore[attr-defined]

    def restored_in_part(
        kind: type[Partition], number: int, configuration: Any, values: Iterable[bytes], **named: Any
    ) -> Partition:
        read = list(values)
        partition: Partition = restored(kind, number, configuration, read[: 1 + len(read) // 2], **named)
        return partition

    Partition.restored = classmethod(restored_in_part)  # type: ignore[assignment, arg-type]


def any_run() -> None:
    """Fold whatever delivery comes: its run and its number are not looked at."""
    deliver = Deliveries.deliver

    def deliver_all(self: Deliveries[Any], delivery: Delivery) -> None:
        owned = self._owned.get(delivery.partition)
        if owned is not None:
            delivery.run, delivery.number = owned.run, owned.folded + 1
            delivery.begin = max(delivery.begin, owned.partition.next_offset)
        deliver(self, delivery)

    Deliveries.deliver = deliver_all  # type: ignore[method-assign]


def drop_one() -> None:
    """One delivery is taken for folded."""
    deliver = Deliveries.deliver
    seen = 0

    def deliver_most(self: Deliveries[Any], delivery: Delivery) -> None:
        nonlocal seen
        owned = self._owned.get(delivery.partition)
        if owned is not None and delivery.run == owned.run and delivery.number == owned.folded + 1:
            seen += 1
            if seen == 40:
                owned.folded = delivery.number
                return
        deliver(self, delivery)

    Deliveries.deliver = deliver_most  # type: ignore[method-assign]


PLANTED: Mapping[str, Bug] = {
    "commit-first": Bug(commit_first, ("slow", "kill-both"), 6.0),
    "keep-lost": Bug(keep_lost, ("stop",)),
    "fold-twice": Bug(fold_twice, ("kill-both",)),
    "last-record": Bug(last_record, ("pause-past-end",)),
    "fold-early": Bug(fold_early, ("kill",)),
    "any-run": Bug(any_run, ("third", "slow", "storm")),
    "drop-one": Bug(drop_one, ("slow",)),
}


if __name__ == "__main__":
    PLANTED[os.environ["QUEUEWATCH_PLANTED"]].plant()
    from queuewatch_streams.cli import main

    sys.argv[0] = "queuewatch"
    main()
