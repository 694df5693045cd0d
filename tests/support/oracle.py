"""Every figure by brute force, written from the definitions alone: it shares no code with what it judges.

It keeps all events, joins them by visit each time it is asked, and counts visit by visit, window by window, formula by
formula.  Nothing is incremental.  Events are parsed JSON objects; times and durations are integer microseconds.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

OUTCOMES = ("answered", "abandoned", "diverted", "evicted")
ROLLING_MINUTES = {"5m": 5, "15m": 15, "30m": 30, "1h": 60}
COUNTED = ("ignore", "negative", "positive", "ignore-short")
OWN_DIVERTS = {"all-offered": "all", "answered-only": "none", "genesys": "none", "asterisk-2": "none", "removed": "all"}
ASTERISK_ABANDONED = ("timeout", "key", "no_agents", "withdrawn")
_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
_ONE = timedelta(microseconds=1)


def at_of(text: str) -> int:
    """RFC 3339 text as microseconds since the epoch."""
    return (datetime.fromisoformat(text) - _ZERO) // _ONE


def local(at: int, zone: ZoneInfo) -> datetime:
    """The instant on the local clock."""
    return (_ZERO + at * _ONE).astimezone(zone)


@dataclass(frozen=True)
class Terms:
    """A definition of a service level in its own words; `short` and `threshold` in seconds, None: as the preset has it."""

    preset: str
    threshold: float = 20
    short: float | None = None
    attribution: str = "arrival"
    clock: str = "queue"
    diverts: str | None = None
    hours: str = "all"


@dataclass
class Stay:
    """One visit as all its events together tell it."""

    queue: str
    channel: str
    arrival: int
    entered: int
    status: str
    done: int | None
    reason: str | None
    declined: int
    via: str | None
    handled: bool = False
    ended: int = 0
    talk: int = 0
    hold: int = 0
    wrap: int = 0
    wraps_up: bool = False

    @property
    def wait(self) -> int:
        """How long it waited for its outcome; a negative wait is 0."""
        assert self.done is not None
        return max(0, self.done - self.arrival)


@dataclass
class History:
    """All stays, and what is beside them: when callers were `refused`, and how many `orphans`, by queue."""

    stays: list[Stay] = field(default_factory=list)
    refused: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    orphans: Counter[str] = field(default_factory=Counter)

    def of(self, queue: str, channel: str) -> list[Stay]:
        """The stays of one queue on one channel."""
        return [stay for stay in self.stays if (stay.queue, stay.channel) == (queue, channel)]

    def channels(self) -> set[tuple[str, str]]:
        """Every (queue, channel) that somebody entered or was refused by; a refusal is one of voice."""
        return {(stay.queue, stay.channel) for stay in self.stays} | {(queue, "voice") for queue in self.refused}

    def refusals(self, queue: str, channel: str) -> list[int]:
        """When callers were refused by the queue on that channel."""
        return self.refused.get(queue, []) if channel == "voice" else []


def joined(events: Iterable[dict[str, Any]]) -> History:
    """All events of calls, joined by visit: of one kind the earliest holds, of equal times the smallest canonical JSON."""
    told: dict[tuple[str, str, int], dict[str, dict[tuple[int, str], dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for event in events:
        word = event["type"].split(".")
        if word[1] == "call":
            data = event["data"]
            key = data["queue"], event["subject"], data.get("visit", 1)
            told[key][word[2]][at_of(event["time"]), json.dumps(data, sort_keys=True)] = data
    history = History()
    for (queue, _, _), kinds in told.items():
        if "queued" not in kinds:
            if "refused" in kinds:
                history.refused[queue].append(min(at for at, _ in kinds["refused"]))
            else:
                history.orphans[queue] += 1
            continue
        history.stays.append(_stay(queue, {kind: sorted(all_told.items()) for kind, all_told in kinds.items()}))
    return history


def _stay(queue: str, kinds: dict[str, list[tuple[tuple[int, str], dict[str, Any]]]]) -> Stay:
    (queued, _), first = kinds["queued"][0]
    arrival = max(queued, at_of(first["due"])) if "due" in first else queued
    entered = min(arrival, at_of(first["entered"])) if "entered" in first else arrival
    status = next((kind for kind in OUTCOMES if kind in kinds), "waiting")
    done = reason = None
    if status != "waiting":
        (done, _), data = kinds[status][0]
        reason = data["reason"] if status in ("diverted", "evicted") else None
    channel = first.get("channel", "voice")
    stay = Stay(
        queue, channel, arrival, entered, status, done, reason, len(kinds.get("declined", ())), first.get("via")
    )
    if status == "answered" and "ended" in kinds:
        assert done is not None
        stay.handled, stay.ended = True, max(done, kinds["ended"][0][0][0])
        stay.hold = _on_hold(kinds, stay.ended)
        stay.talk = stay.ended - done - stay.hold
        stay.wraps_up = "wrapped" in kinds
        if stay.wraps_up:
            stay.wrap = max(0, kinds["wrapped"][0][0][0] - stay.ended)
    return stay


def _on_hold(kinds: dict[str, list[tuple[tuple[int, str], dict[str, Any]]]], ended: int) -> int:
    """The length of the union of the stretches from each `held` to the first `resumed` at or after it, or to the end."""
    starts = sorted({at for (at, _), _ in kinds.get("held", ()) if at < ended})
    stops = sorted({at for (at, _), _ in kinds.get("resumed", ())})
    total, until = 0, None
    for start in starts:
        if until is not None and start < until:
            continue  # on hold already
        until = min((at for at in stops if start <= at <= ended), default=ended)
        total += until - start
    return total


# ------------------------------------------------------------------------------------------------------------- windows


def interval_of(at: int, minutes: int, zone: ZoneInfo) -> int:
    """The start of the local interval that holds the instant."""
    there = local(at, zone)
    into = timedelta(minutes=there.minute % minutes, seconds=there.second, microseconds=there.microsecond)
    return at - into // _ONE


def day_of(at: int, start_hour: int, zone: ZoneInfo) -> tuple[int, int]:
    """The business day that holds the instant: found among the neighbours of its local date."""

    def begin(day: date) -> int:
        return (datetime.combine(day, time(start_hour), tzinfo=zone).astimezone(UTC) - _ZERO) // _ONE

    middle = local(at, zone).date()
    starts = [begin(middle + timedelta(days=n)) for n in (-2, -1, 0, 1, 2)]
    start = max(each for each in starts if each <= at)
    return start, min(each for each in starts if each > at)


def range_of(window: str, now: int, *, zone: ZoneInfo, minutes: int, start_hour: int) -> tuple[int, int]:
    """[start, end) of a window at an instant; rolling windows end with the ten seconds under way."""
    if window in ROLLING_MINUTES:
        end = (now // 10_000_000 + 1) * 10_000_000
        return end - ROLLING_MINUTES[window] * 60_000_000, end
    if window == "day":
        return day_of(now, start_hour, zone)
    current = interval_of(now, minutes, zone)
    if window == "interval":
        return current, current + minutes * 60_000_000
    assert window == "last_interval"
    return interval_of(current - 1, minutes, zone), current


# ---------------------------------------------------------------------------------------------------------- the counts


def counts(stays: Iterable[Stay], start: int, end: int, short: float, refused: Iterable[int] = ()) -> dict[str, int]:
    """What a window holds, zeros left out: by arrival; by outcome as `done:`; handling where talk ended."""
    found: Counter[str] = Counter(refused=sum(start <= at < end for at in refused))
    for stay in stays:
        if start <= stay.arrival < end:
            found["offered"] += 1
            found[stay.status] += 1
            if stay.status == "answered":
                found["answer_wait"] += stay.wait
            if stay.status == "abandoned":
                found["abandon_wait"] += stay.wait
                found["short"] += stay.wait <= short * 1e6
            if stay.status == "diverted":
                found[f"diverted:{stay.reason}"] += 1
        if stay.done is not None and start <= stay.done < end:
            found[f"done:{stay.status}"] += 1
            if stay.status == "diverted":
                found[f"done:diverted:{stay.reason}"] += 1
            if stay.status == "answered":
                found["done:answer_wait"] += stay.wait
            if stay.status == "abandoned":
                found["done:abandon_wait"] += stay.wait
                found["done:short"] += stay.wait <= short * 1e6
        if stay.handled and start <= stay.ended < end:
            found["handled"] += 1
            found["talk"] += stay.talk
            found["hold"] += stay.hold
            found["wrap"] += stay.wrap
    return {name: amount for name, amount in found.items() if amount}


def points_of(now: int) -> list[tuple[int, int]]:
    """[start, end) of the twelve stretches of five minutes that end with the one that holds the instant."""
    last = now // 300_000_000
    return [(each * 300_000_000, (each + 1) * 300_000_000) for each in range(last - 11, last + 1)]


def longest_wait(stays: Iterable[Stay], start: int, end: int, now: int) -> int:
    """The longest wait until `now` of those who arrived in [start, end), ghosts left out; 0 without any."""
    waits = [0]
    for stay in stays:
        if start <= stay.arrival < end and stay.status != "evicted":
            waits.append(stay.wait if stay.done is not None else now - stay.arrival)
    return max(waits)


Opening = dict[int, list[tuple[time, time]]]
"""Opening hours by weekday (Monday is 0), local, closed on the left, open on the right."""


def is_open(at: int, opening: Opening | None, zone: ZoneInfo) -> bool:
    """Whether the queue is open; one without opening hours always is."""
    if opening is None:
        return True
    there = local(at, zone)
    return any(start <= there.time() < end for start, end in opening.get(there.weekday(), ()))


def level(
    stays: Iterable[Stay],
    terms: Terms,
    start: int,
    end: int,
    now: int,
    opening: Opening | None = None,
    zone: ZoneInfo | None = None,
) -> tuple[int, int]:
    """(numerator, denominator) of a service level over [start, end), as its formula says, with callers as they are at now."""
    judged = [
        each
        for stay in stays
        if terms.hours == "all" or is_open(stay.arrival, opening, zone or ZoneInfo("UTC"))
        if (each := _Judged.of(stay, terms, now)) and each.instant is not None and start <= each.instant < end
    ]
    return _formula(judged, terms)


def limits(
    stays: Iterable[Stay],
    terms: Terms,
    start: int,
    end: int,
    now: int,
    opening: Opening | None = None,
    zone: ZoneInfo | None = None,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The lowest and highest level that callers who wait now can still bring about, by arrival, each as (met, base).

    Lowest: all who wait are answered too late.  Highest: all who have not passed the threshold are answered in time, and
    those who have are counted only where the formula counts them already.
    """
    assert terms.attribution == "arrival"
    here = [
        stay
        for stay in stays
        if start <= stay.arrival < end
        if terms.hours == "all" or is_open(stay.arrival, opening, zone or ZoneInfo("UTC"))
    ]
    worst, best = [], []
    for stay in here:
        judged = _Judged.of(stay, terms, now)
        if stay.status != "waiting":
            worst.append(judged)
            best.append(judged)
            continue
        worst.append(_Judged("answered", False, 0, None, stay.arrival))
        best.append(judged if not judged.within else _Judged("answered", True, 0, None, stay.arrival))
    return _formula(worst, terms), _formula(best, terms)


@dataclass
class _Judged:
    """A stay under one definition: how it stands at `now`, and where its service level books it (None: nowhere yet)."""

    status: str
    within: bool
    wait: int
    reason: str | None
    instant: int | None

    @classmethod
    def of(cls, stay: Stay, terms: Terms, now: int) -> _Judged:
        threshold = round(terms.threshold * 1e6)
        began = stay.entered if terms.clock == "call" else stay.arrival
        wait = max(0, (stay.done if stay.done is not None else now) - began)
        within = wait <= threshold
        instant: int | None = stay.arrival
        if terms.attribution == "outcome":
            instant = stay.done
        elif terms.attribution == "event":
            candidates = [began + threshold] if not within else []
            if stay.done is not None and within:
                candidates.append(stay.done)
            instant = min(candidates, default=None)
        return cls(stay.status, within, wait, stay.reason, instant)


def _formula(judged: list[_Judged], terms: Terms) -> tuple[int, int]:
    preset = terms.preset
    short = terms.short if terms.short is not None else (5 if preset == "ignore-short" else None)
    diverts = terms.diverts or OWN_DIVERTS.get(preset, "after-threshold")

    def those(status: str, within: bool | None = None) -> list[_Judged]:
        return [each for each in judged if each.status == status and within in (None, each.within)]

    def diverted() -> list[_Judged]:
        real = [each for each in those("diverted") if each.reason != "elsewhere"]
        if diverts == "none":
            return []
        return real if diverts == "all" else [each for each in real if not each.within]

    dropped = [each for each in those("abandoned") if short is not None and each.wait <= round(short * 1e6)]
    kept = [each for each in those("abandoned") if each not in dropped]
    kept_within = [each for each in kept if each.within]
    met = len(those("answered", True))
    if preset in COUNTED:
        late_waiting = those("waiting", False) if terms.attribution != "outcome" else []
        counted = len(those("answered")) + len(kept) + len(diverted()) + len(late_waiting)
        if preset == "ignore":
            counted -= len(kept_within)
        if preset == "positive":
            met += len(kept_within)
        return met, counted
    if preset == "answered-only":
        return met, len(those("answered")) + len(diverted())
    if preset in ("all-offered", "genesys"):
        return met, len(those("answered")) + len(kept) + len(diverted())
    if preset == "removed":
        callbacks = [each for each in those("diverted", True) if each.reason == "callback"]
        queued = len(judged) - len(dropped)
        return met + len(kept_within) + len(callbacks), queued
    assert preset == "asterisk-2"
    named = [each for each in those("diverted") if each.reason in ASTERISK_ABANDONED]
    others = [each for each in diverted() if each not in named]
    met += len(kept_within) + len([each for each in named if each.within])
    return met, len(those("answered")) + len(kept) + len(named) + len(others)
