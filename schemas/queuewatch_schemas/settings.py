"""What every part of the configuration is made of: checked kinds of text and numbers, and the ground of all settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from queuewatch_schemas.names import queue_name

_TOKEN = re.compile(r"[A-Za-z0-9._-]+")


def token(text: str, most: int, what: str) -> str:
    """The text itself if it is fit for names of topics and files.  Raises ValueError that says what it cannot be."""
    if not _TOKEN.fullmatch(text) or len(text) > most or text in (".", ".."):
        raise ValueError(
            f"{text!r} cannot be {what}: 1 to {most} letters (a-z), digits, dots, underscores and hyphens are allowed"
        )
    return text


def _name(text: str) -> str:
    """A name that stands in tables and in labels: printable, trimmed, 1 to 64 characters."""
    if not text or len(text) > 64 or text != text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} cannot be a name: it takes 1 to 64 printable characters, no blanks at the ends")
    return text


def _label(text: str) -> str:
    if len(text) > 200 or text != text.strip() or not text.isprintable():
        raise ValueError(f"{text!r}: at most 200 printable characters without blanks at the ends are allowed")
    return text


@lru_cache(maxsize=1024)
def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = get_close_matches(text, available_timezones(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "write it as in 'Europe/Rome'"
        raise ValueError(f"{text!r} is no time zone of the IANA database; {hint}") from None
    return text


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else folder / path


Name = Annotated[str, AfterValidator(_name)]
Label = Annotated[str, AfterValidator(_label)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
QueueName = Annotated[str, AfterValidator(queue_name)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
FilePath = Annotated[Path, AfterValidator(_beside)]
"""A path; a relative one is taken from the folder of the file that it is written in."""


def place_of(location: Iterable[int | str]) -> str:
    """`queues."North sales".limits`, with `[2]` for the third element of a list."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            quoted = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{quoted}" if text else quoted
    return text


class Settings(BaseModel):
    """Frozen; an unknown name is a problem; the text below a field is its description in the JSON Schema."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )
