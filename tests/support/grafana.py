"""What Grafana does to a board's queries before Prometheus sees them: a small model, after its documented variable formats.

Of `${name:regex}`: regular-expression characters get a backslash, several values become (a|b); "/" is escaped by some versions
and not by others.  Everything else that a query may hold is `$__rate_interval`; the model refuses what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
Choice = str | Sequence[str]

RATE_INTERVAL = "1m"
_FORMATTED = re.compile(r"\$\{(\w+):regex\}")
_SPECIAL = re.compile(r"[\\^$.*+?()[\]{}|]")
_SPECIAL_AND_SLASH = re.compile(r"[\\^$.*+?()[\]{}|/]")


@dataclass(frozen=True)
class Question:
    """One query of a board, as it is written there."""

    board: str
    panel: str
    expression: str
    instant: bool
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.expression}"


def regex(choice: Choice, *, slash: bool = True) -> str:
    """`${name:regex}` of what is chosen."""

    def escaped(text: str) -> str:
        return (_SPECIAL_AND_SLASH if slash else _SPECIAL).sub(r"\\\g<0>", text)

    if isinstance(choice, str):
        return choice if choice == ".*" else escaped(choice)
    return escaped(choice[0]) if len(choice) == 1 else f"({'|'.join(map(escaped, choice))})"


def percent_encoded(text: str) -> str:
    """`${name:percentencode}`."""
    return quote(text, safe="-_.~")


def filled(expression: str, chosen: Mapping[str, Choice], *, slash: bool = True) -> str:
    """The query that Prometheus gets; raises KeyError for a variable that is not among `chosen`."""
    text = _FORMATTED.sub(lambda found: regex(chosen[found[1]], slash=slash), expression)
    return text.replace("$__rate_interval", RATE_INTERVAL)


def panels(board: Json) -> Iterator[Json]:
    """Every panel, those in rows too."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def questions(board: Json) -> Iterator[Question]:
    """Every query of every panel."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield Question(board["uid"], panel["title"], target["expr"], target["instant"], panel.get("interval", ""))


def variables(board: Json) -> dict[str, Json]:
    """The variables by name."""
    return {each["name"]: each for each in board["templating"]["list"]}


def asked_by(variable: Json) -> tuple[str, str]:
    """Of a variable that asks for a label's values: the series that it asks for, and the label."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    assert found is not None, f"{variable['name']} asks {variable['query']['query']}"
    return found[1], found[2]
