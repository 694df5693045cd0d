"""Several tasks that stand and fall together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["together"]


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Do several things at once until the first of them ends or fails; the others have ended by then, and its error is ours."""
    tasks = {asyncio.ensure_future(each) for each in work}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
