"""How long work that can wait may hold the event loop: slices of a millisecond or so, with everybody else's turn between."""

from __future__ import annotations

import asyncio
import time
from typing import Final

SLICE: Final = 0.0015
"""Seconds that one slice of such work takes; what it does is divided where it may be seen half done."""


class Pace:
    """One piece of work on the event loop, done in slices; it begins with its first slice."""

    __slots__ = ("_began", "_until", "spent")

    def __init__(self) -> None:
        self.spent = 0.0
        """Seconds of processor time that the slices took which are over: what others take of the machine is not ours."""
        self._began = time.thread_time()
        self._until = time.perf_counter() + SLICE

    def over(self) -> bool:
        """Whether the slice is used up."""
        return time.perf_counter() >= self._until

    async def rest(self) -> None:
        """End the slice, let the others have their turn, and begin the next one."""
        self.end()
        await asyncio.sleep(0)
        self._began = time.thread_time()
        self._until = time.perf_counter() + SLICE

    def so_far(self) -> float:
        """Seconds of processor time that the slices took, the one under way included."""
        return self.spent + time.thread_time() - self._began

    def end(self) -> None:
        """End the last slice, for `spent` to be whole."""
        self.spent = self.so_far()
