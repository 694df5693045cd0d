"""What every source's translator is held to, whatever system it speaks for.

A test gives `make`, which builds a translator from a memory (None: a new one), and the records of its vendor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from queuewatch_schemas.events import parse
from queuewatch_streams.publish import address
from queuewatch_streams.sources.shape import Message, Out, Translator

Make = Callable[[Any], Translator[Any]]
ALL = 1 << 62
"""Later than any record, for `advance`."""


def said(translator: Translator[Any], records: Sequence[Any], *, end: bool = True) -> Out:
    """All that a translator has to say of records, and at the end of what was held back."""
    out = Out()
    for record in records:
        translator.translate(record, out)
    if end:
        translator.advance(ALL, out)
    return out


def events(out: Out) -> list[dict[str, Any]]:
    """The events as objects."""
    return [orjson.loads(value) for _, _, value in out.messages]


def assert_sound(messages: Sequence[Message], *, ids: bool = True) -> None:
    """Every event is one of the contract, on its topic, under its key.

    :param ids: an id tells one event; where the records are spoilt, two may claim to be the same.
    """
    told: dict[str, bytes] = {}
    for role, key, value in messages:
        parse(value)
        event = orjson.loads(value)
        assert address(event)[:2] == (role, key)
        assert not ids or told.setdefault(event["id"], value) == value, "two events have one id"


def assert_a_memory_can_be_saved_anywhere(make: Make, records: Sequence[Any], cuts: Sequence[int]) -> None:
    """Ended and begun again at any of these places, through JSON, it says the same, byte for byte."""
    whole = said(make(None), records)
    for cut in cuts:
        first = make(None)
        before = said(first, records[:cut], end=False)
        second = make(orjson.loads(orjson.dumps(first.memory())))
        after = said(second, records[cut:])
        assert before.messages + after.messages == whole.messages, f"cut at {cut}"


def assert_a_repeat_adds_nothing(make: Make, records: Sequence[Any], cut: int, back: int) -> None:
    """What is read again after a crash, from a memory of then, are events that were sent before, byte for byte."""
    first = make(None)
    said(first, records[: cut - back], end=False)
    saved = orjson.dumps(first.memory())
    sent = said(first, records[cut - back : cut], end=False).messages
    assert said(make(orjson.loads(saved)), records[cut - back : cut], end=False).messages == sent


def mutated(records: Sequence[Any], number: int, seed: int = 1) -> Iterator[Any]:
    """So many records with faults: texts cut, doubled, spoilt; objects with fields gone or of other kinds."""
    dice = random.Random(seed)
    for _ in range(number):
        record = dice.choice(records)
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            record = _spoilt(record, records, dice)
        yield record


_ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    -1,
    10**30,
    1.5,
    True,
    [],
    {},
    [None],
    {"a": 1},
    "\ud800",
    "é\x00",
    "9" * 40,
    "NaN",
)


def _spoilt(record: Any, records: Sequence[Any], dice: random.Random) -> Any:
    if isinstance(record, bytes | str):
        return _spoilt_text(record, dice)
    if isinstance(record, dict):
        copy = dict(record)
        if not copy:
            return copy
        key = dice.choice(list(copy))
        what = dice.randrange(5)
        if what == 0:
            del copy[key]
        elif what == 1:
            copy[key] = dice.choice(_ODD)
        elif what == 2:
            copy[key] = _spoilt(copy[key], records, dice)
        elif what == 3:
            other = dice.choice(records)
            copy[key] = other.get(key) if isinstance(other, dict) else dice.choice(_ODD)
        else:
            copy[f"{key}{dice.randrange(9)}"] = copy[key]
        return copy
    if isinstance(record, list | tuple):
        values = list(record)
        if values:
            place = dice.randrange(len(values))
            values[place] = dice.choice((dice.choice(_ODD), _spoilt(values[place], records, dice)))
            if dice.random() < 0.2:
                values = values[: dice.randrange(len(values) + 1)]
        return type(record)(values) if type(record) in (list, tuple) else values
    return dice.choice(_ODD)


def _spoilt_text(record: bytes | str, dice: random.Random) -> bytes | str:
    raw = record if isinstance(record, bytes) else record.encode("utf-8", "surrogatepass")
    what, place, length = dice.randrange(6), dice.randrange(len(raw) + 1), dice.randrange(12)
    noise = bytes(dice.choice(b"|0123456789NONE-.\\\"'{}\x00\xff\xc3\r\n ;:=") for _ in range(length))
    if what == 0:
        raw = raw[:place]
    elif what == 1:
        raw = raw[:place] + raw[place + length :]
    elif what == 2:
        raw = raw[:place] + noise + raw[place:]
    elif what == 3:
        raw = raw[:place] + noise + raw[place + length :]
    elif what == 4:
        raw = raw[:place] + raw[place - min(place, length) :]
    else:
        raw = raw[place:] + raw[:place]
    return raw if isinstance(record, bytes) else raw.decode("utf-8", "replace")
