"""Records that are JSON: one of them, or a file with one in each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

__all__ = ["loaded", "records_of"]


def loaded(text: str | bytes) -> Any:
    """A record from its text; None, which translators refuse, where it is no JSON."""
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def records_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """For `convert`: the records of a file, one a line, each with its number; blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            yield number, loaded(line)
