"""Sources as processes of their own: killed again and again while their system goes on, and one that ends as it should."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from queuewatch_schemas.config import Configuration

KILLS = 15
TESTS = Path(__file__).resolve().parents[1]


def configuration_file(folder: Path, site: Configuration, name: str, settings: str) -> Path:
    """A file with the site's brokers and topics, and one source.

    :param settings: the lines of the source's table.
    """
    topics = "\n".join(f"{role} = {json.dumps(topic)}" for role, topic in site.topics.model_dump().items())
    file = folder / "queuewatch.toml"
    file.write_text(
        f"[kafka]\nbrokers = {json.dumps(site.kafka.brokers)}\npartitions = {site.kafka.partitions}\n[topics]\n{topics}\n"
        f"[sources.{name}]\nheartbeat_seconds = 1\nmetrics_port = 0\n{settings}\n",
        encoding="utf-8",
    )
    return file


async def killed_again_and_again(config: Path, name: str, *, longest: float = 1.0) -> None:
    """Run a source so often, each time killed at a moment of its own, after so many seconds at most."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(TESTS / "sources" / "killed_source.py"), str(config), name, str(KILLS), "3", str(longest),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    told, _ = await process.communicate()
    assert [line.split()[1] for line in told.splitlines()] == [b"-9"] * KILLS


@asynccontextmanager
async def last_of_all(config: Path, name: str) -> AsyncIterator[None]:
    """The source once more, as long as the block runs; ended by SIGTERM, as it should."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "queuewatch_streams.cli", "source", name, "--config", str(config), "--from", "beginning"
    )
    try:
        yield
        process.terminate()
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that comes soon."""
    try:
        async with asyncio.timeout(90):
            while not true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it does not come: {what}") from None
