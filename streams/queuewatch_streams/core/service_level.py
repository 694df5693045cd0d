"""What a visit means to a service level: whether it is in the base, and whether it was met.

Every preset is a sum over visits of two indicators, `met` and `base`; the level is met / base.  So a level over any window,
group or site is a sum over sums, and a visit that is corrected can be taken out again.  Sources of the formulas: Cisco UCCE
(ignore, negative, positive), Asterisk app_queue (answered-only, asterisk-2), CxEngage (ignore-short), Avaya CMS and Talkdesk
(all-offered), Amazon Connect (removed), Genesys Cloud (genesys).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from queuewatch_schemas.config import Attribution, Definition, Diverts, Hours, Preset, WaitClock

# Where a visit stands; of conflicting outcomes the greatest counts.  Plain numbers: they are compared for every event.
REFUSED: Final = 0
WAITING: Final = 1
EVICTED: Final = 2
DIVERTED: Final = 3
ABANDONED: Final = 4
ANSWERED: Final = 5
STATUS: Final = ("refused", "waiting", "evicted", "diverted", "abandoned", "answered")
"""The names in labels, by number."""

LIKE_ABANDONED: Final = frozenset({"timeout", "key", "no_agents", "withdrawn"})
"""Reasons of a diversion that Asterisk's second service level counts among the abandoned."""


class Pending(Enum):
    """When a visit without outcome enters the base of a level."""

    NEVER = "never"
    PAST_THRESHOLD = "past threshold"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Level:
    """One definition, made ready for counting: times in microseconds, nothing left open."""

    name: str
    preset: Preset
    threshold: int
    short: int | None
    attribution: Attribution
    clock: WaitClock
    diverts: Diverts
    only_open: bool
    target: float
    base_key: str = field(init=False, repr=False, compare=False)
    """Under which name a window counts the visits in the base."""
    met_key: str = field(init=False, repr=False, compare=False)
    """Under which name a window counts those that met the level."""
    by_arrival: bool = field(init=False, repr=False, compare=False)
    plain: bool = field(init=False, repr=False, compare=False)
    """Whether the level judges each visit's wait in this queue, whenever it came."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_key", "base:" + self.name)
        object.__setattr__(self, "met_key", "met:" + self.name)
        object.__setattr__(self, "by_arrival", self.attribution is Attribution.ARRIVAL)
        object.__setattr__(self, "plain", self.clock is WaitClock.QUEUE and not self.only_open)

    @classmethod
    def of(cls, name: str, definition: Definition) -> Level:
        """From the configuration's definition of that name."""
        full = definition.resolved()
        assert full.diverts is not None, "resolved() fills it in"
        return cls(
            name=name,
            preset=full.preset,
            threshold=round(full.threshold_seconds * 1_000_000),
            short=None if full.short_seconds is None else round(full.short_seconds * 1_000_000),
            attribution=full.attribution,
            clock=full.clock,
            diverts=full.diverts,
            only_open=full.hours is Hours.OPEN,
            target=full.target,
        )

    @property
    def pending(self) -> Pending:
        """When a caller who still waits enters the base, under this level's attribution.

        A caller past the threshold has had a service-level event, but no outcome; so a level that is booked by outcome
        knows nothing of callers who wait.
        """
        if self.attribution is Attribution.OUTCOME:
            return Pending.NEVER
        if self.preset is Preset.REMOVED:
            return Pending.ALWAYS if self.attribution is Attribution.ARRIVAL else Pending.PAST_THRESHOLD
        if self.preset in (Preset.IGNORE, Preset.NEGATIVE, Preset.POSITIVE, Preset.IGNORE_SHORT):
            return Pending.PAST_THRESHOLD
        return Pending.NEVER


# What a visit is to a level: not in its base, in the base, in the base and met.
NEITHER: Final = 0
MISSED: Final = 1
MET: Final = 2


def settle(level: Level, status: int, wait: int, reason: str) -> int:
    """NEITHER, MISSED or MET: a visit with an outcome, after a wait of so many microseconds, diverted for that reason.

    The threshold is inclusive: a wait of exactly T is within it, as Prometheus' `le` is.
    """
    within = wait <= level.threshold
    preset = level.preset
    if status == ANSWERED:
        return MET if within else MISSED
    if status == ABANDONED:
        if preset is Preset.ANSWERED_ONLY or (level.short is not None and wait <= level.short):
            return NEITHER
        if not within:
            return MISSED
        if preset is Preset.IGNORE:
            return NEITHER
        return MET if preset in (Preset.POSITIVE, Preset.REMOVED, Preset.ASTERISK_2) else MISSED
    if preset is Preset.REMOVED:  # its base is all that were queued
        return MET if within and status == DIVERTED and reason == "callback" else MISSED
    if status == EVICTED or reason == "elsewhere":
        return NEITHER
    if preset is Preset.ASTERISK_2 and reason in LIKE_ABANDONED:
        return MET if within else MISSED
    if level.diverts is Diverts.NONE or (level.diverts is Diverts.AFTER_THRESHOLD and within):
        return NEITHER
    return MISSED


def ratio(met: int, base: int) -> float | None:
    """met / base; None, never 0 or 1, where nothing is in the base."""
    return met / base if base else None


def bounds(level: Level, met: int, base: int, open_within: int, open_past: int) -> tuple[float | None, float | None]:
    """The lowest and highest that the level can still become by those who wait now, of `met` and `base` as they stand.

    `open_within` and `open_past` wait and have not passed, or have passed, the threshold.  Lower: all of them will miss.
    Upper: all who have not passed it will be met.  Those whom `base` holds already are not added again.  The level lies
    between the two; both are None where nobody was or may be counted.  Only meaningful for attribution by arrival.
    """
    pending = level.pending
    in_base = {Pending.NEVER: 0, Pending.PAST_THRESHOLD: open_past, Pending.ALWAYS: open_within + open_past}[pending]
    lower = ratio(met, base + open_within + open_past - in_base)
    upper = ratio(met + open_within, base + (0 if pending is Pending.ALWAYS else open_within))
    return lower, upper
