"""Where a source is and what it has not finished: one small file, replaced as a whole or not at all.

The file is written beside, forced to the disk and then put in the place of the old one, so a crash leaves the old or the new.
A lock keeps two processes from running one source: they would write every event twice and overwrite each other's position.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

__all__ = ["Saved", "StateFile", "StateTrouble"]

_FORM: Final = 1


class StateTrouble(RuntimeError):
    """The state cannot be read, written or locked; the text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a source knew when all of it was acknowledged."""

    position: Any
    """Where to read on, in the reader's own terms."""
    memory: Any
    """The translator's memory at that position."""


class StateFile:
    """The state of one source.

    :param folder: made where it is missing.
    :param name: the source's.
    :param kind: the source's; another kind's state is not taken for one's own.
    """

    def __init__(self, folder: Path, name: str, kind: str) -> None:
        self.path = folder / f"{name}.json"
        self._kind = kind
        self._lock: int | None = None

    def lock(self) -> None:
        """Keep the source to this process until it ends.  Raises StateTrouble where another one has it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateTrouble(f"{self.path}: another process runs this source; end it first") from None
        except OSError as error:
            raise StateTrouble(f"{self.path}: cannot be locked: {error.strerror or error}") from None

    def unlock(self) -> None:
        """Let another process have the source."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> Saved | None:
        """What was saved last; None at the first start.  Raises StateTrouble."""
        try:
            found = orjson.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StateTrouble(f"{self.path}: cannot be read: {error}; delete it to start afresh") from None
        if not isinstance(found, dict) or found.get("form") != _FORM or found.get("kind") != self._kind:
            raise StateTrouble(
                f"{self.path}: is no state of a source of the kind {self._kind}; delete it to start afresh"
            )
        return Saved(found.get("position"), found.get("memory"))

    def save(self, saved: Saved) -> None:
        """Replace what is saved.  Raises StateTrouble."""
        content = orjson.dumps({"form": _FORM, "kind": self._kind, "position": saved.position, "memory": saved.memory})
        beside = self.path.with_suffix(".new")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateTrouble(f"{self.path}: cannot be written: {error.strerror or error}") from None
