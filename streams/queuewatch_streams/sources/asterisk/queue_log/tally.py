"""The log's own figures, for `--compare`: its lines counted as they stand, and why that may be another number than ours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from queuewatch_streams.sources.asterisk.queue_log.lines import LEFT, REFUSED
from queuewatch_streams.sources.shape import Counters

__all__ = ["Tally"]

_COUNTED: Final = {
    "ENTERQUEUE": "offered",
    "CONNECT": "answered",
    "ABANDON": "abandoned",
    **{event: "diverted" for event in LEFT if event != "ABANDON"},
    **dict.fromkeys(REFUSED, "refused"),
}
_WHY_OTHERWISE: Final = (
    "A line that stands twice in the log is counted twice there, once here.",
    "A stay whose ENTERQUEUE or CONNECT is missing is rebuilt here from the durations of its last line.",
    "What was open when Asterisk died is counted here as diverted (withdrawn) at its next start; the log has no line for it.",
    "A queue that the dialplan spells in other letters than queues.conf stands in the log under both; map both.",
    "Calls of ignored callers are in the log's figures, not in ours.",
)


class Tally:
    """The figures of the lines that were counted."""

    def __init__(self) -> None:
        self._queues: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, fields: Sequence[str]) -> None:
        """Count a line."""
        if len(fields) > 4 and (counted := _COUNTED.get(fields[4])) is not None:
            self._queues[fields[2]][counted] += 1

    def told(self) -> Counters:
        """What was counted."""
        return Counters(self._queues, _WHY_OTHERWISE)
