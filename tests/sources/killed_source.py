"""Runs a source and kills it, again and again, each time somewhere else.

python killed_source.py CONFIG NAME KILLS SEED LONGEST, which is how many seconds it may live.

Everything is imported once, here; each source is a fork that only has to run.  Prints a line for each kill.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from queuewatch_schemas.configuration_file import load
from queuewatch_streams.sources import serving, station, writer  # noqa: F401 - before the fork
from queuewatch_streams.sources.command import run_source
from queuewatch_streams.sources.kinds import kind_named


def main(config: str, name: str, kills: int, seed: int, longest: float) -> None:
    """Kill it so many times."""
    configuration = load(Path(config))
    settings = configuration.sources[name]
    kind_named(settings.kind)
    if "status_seconds" in type(settings).model_fields:  # more lists between two kills than there may be in earnest
        settings = settings.model_copy(update={"status_seconds": 0.2})
        configuration = configuration.model_copy(update={"sources": {name: settings}})
    dice = random.Random(seed)
    for number in range(kills):
        child = os.fork()
        if not child:
            try:
                asyncio.run(run_source(configuration, name, "beginning"))
            finally:
                os._exit(0)
        # Often before it has begun, mostly in the middle of its work.
        time.sleep(dice.choice((dice.uniform(0, 0.1), dice.uniform(0.1, 0.5), dice.uniform(0.2, longest))))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(number, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
