"""PromQL as text: quoting, matchers, selectors, durations, aggregation.  What is asked is decided in `queries` and `alerts`.

Names of queues are data: a matcher quotes what it is given, and a Grafana variable stands between backquotes as
`${name:regex}`.  There PromQL knows no escapes, so the backslashes that Grafana puts before `|`, `(` or `\\` reach the regular
expression as they are, and quotation marks mean nothing.  (A queue whose name holds a backquote cannot be chosen on a board:
"All" shows it.  No format of Grafana escapes one, and `:json`, which quotes lists, leaves a single value as it is.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

HOUR: Final = 3600
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
"""Seconds."""


class UnknownName(LookupError):
    """A metric or label that the catalogue does not have; the text names it."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a label's value must be, where that is more than one text.  `value` is PromQL, quoted already."""

    operator: Literal["=", "!=", "=~", "!~"]
    value: str


Where = str | Matcher
"""A label's value: exactly this text, or what a matcher says."""
Labels = Mapping[str, Where]
"""Which series: what each of these labels must be."""
EVERYWHERE: Final[Labels] = MappingProxyType({})
"""All series."""


class Recording(NamedTuple):
    """A recording rule: under which name what is kept."""

    name: str
    expression: str


def quoted(text: str) -> str:
    """A text as a PromQL string: between double quotes, with what means something there escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def chosen(variable: str) -> Matcher:
    """What is chosen in a Grafana variable: one value, several, or all."""
    return Matcher("=~", f"`${{{variable}:regex}}`")


def not_chosen(variable: str) -> Matcher:
    """Anything but what is chosen in a Grafana variable."""
    return Matcher("!~", f"`${{{variable}:regex}}`")


def any_of(*texts: str) -> Matcher:
    """One of these texts, which must hold nothing that means something in a regular expression."""
    return Matcher("=~", quoted("|".join(texts)))


def none_of(*texts: str) -> Matcher:
    """None of these texts, which must hold nothing that means something in a regular expression."""
    return Matcher("!~", quoted("|".join(texts)))


def duration(seconds: float) -> str:
    """A length of time as PromQL writes it, in one unit, to the millisecond: 5400 is `90m`, -3600 `-1h`, 0.5 `500ms`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0 and milliseconds:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def shifted(offset: float) -> str:
    """PromQL's `offset`, so many seconds back, negative for ahead; nothing for 0."""
    return f" offset {duration(offset)}" if offset else ""


def by(labels: Iterable[str], expression: str, operator: str = "max") -> str:
    """`max by (labels) (expression)`, or another operator; over all where there are no labels."""
    kept = ", ".join(labels)
    return f"{operator} by ({kept}) ({expression})" if kept else f"{operator}({expression})"


def selector(name: str, labels: Iterable[str], where: Labels, offset: float = 0) -> str:
    """Series of a name, which have these labels; raises UnknownName for a label of `where` that is none of them."""
    known = set(labels)
    matchers = []
    for label, value in where.items():
        if label not in known:
            raise UnknownName(f"{name} has no label {label!r}; it has {', '.join(sorted(known)) or 'none'}")
        matchers.append(
            f"{label}={quoted(value)}" if isinstance(value, str) else f"{label}{value.operator}{value.value}"
        )
    inner = "{" + ", ".join(matchers) + "}" if matchers else ""
    return f"{name}{inner}{shifted(offset)}"
