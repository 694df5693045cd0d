"""Decides how a process that we start never outlives us, however we end.

It runs in a process group of its own beside a watchdog, a shell that waits on a pipe which only we hold.  However we end,
kill -9 included, the pipe closes, and the watchdog kills the group and removes its folder.  (PR_SET_PDEATHSIG would end
the process with the *thread* that started it, and only Linux has it.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["call_off", "watch"]

# $1: process group, $2: its folder.  Waiting and killing are the shell's own: were a program missing from the path, the
# watchdog would not wait but kill.
SCRIPT: Final = (
    'while read -r _; do :; done; kill -s KILL -- "-$1" 2>/dev/null; PATH=/bin:/usr/bin:$PATH; rm -rf -- "$2"'
)


def watch(group: int, folder: Path) -> subprocess.Popen[bytes]:
    """A watchdog over a process group and a folder that live no longer than this process.

    :param group: the id of a process that was started with `start_new_session=True`.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT, "watchdog", str(group), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def call_off(watchdog: subprocess.Popen[bytes]) -> None:
    """End a watchdog without its deed: what it guarded has ended in order."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(watchdog.pid, signal.SIGKILL)
    watchdog.wait()
    if watchdog.stdin is not None:
        watchdog.stdin.close()
