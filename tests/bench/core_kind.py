"""Whether the core that runs here was compiled by mypyc or is read as Python."""

from __future__ import annotations

from typing import Literal

from queuewatch_streams.core import partition


def core_is() -> Literal["compiled", "pure"]:
    """By the file that the core's partition was loaded from."""
    return "pure" if str(partition.__file__).endswith((".py", ".pyc")) else "compiled"
