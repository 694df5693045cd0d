"""Environments for the frameworks that queuewatch is compared with: one each, pinned, made when first needed.

What is in one is said by `requirements-NAME.lock` beside this file, with hashes; `make lock` resolves it anew from
`requirements-NAME.in`.  It lies under `.cache/bench/`, and a changed lock or another Python makes another one.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from integration.worker_process import ROOT

HERE = Path(__file__).parent
_PATIENCE = 900.0


class NoEnvironment(RuntimeError):
    """A framework's environment cannot be made here; the message says why."""


def interpreter(name: str, console: Console) -> Path:
    """The Python of an environment, which is made if it is not there.  Raises NoEnvironment."""
    lock = HERE / f"requirements-{name}.lock"
    digest = hashlib.sha256(lock.read_bytes() + platform.python_version().encode()).hexdigest()[:12]
    folder = ROOT / ".cache" / "bench" / f"{name}-{digest}"
    python, made = folder / "bin" / "python", folder / "made"
    if made.exists():
        return python
    console.print(f"making the environment of {name} ({lock.name})")
    shutil.rmtree(folder, ignore_errors=True)
    _do(name, sys.executable, "-m", "venv", folder)
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
    _do(name, *pip, "--require-hashes", "-r", lock)
    made.touch()
    return python


def _do(name: str, *command: object) -> None:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise NoEnvironment(f"the environment of {name} was not made within {_PATIENCE:g} s") from None
    if done.returncode:
        raise NoEnvironment(
            f"the environment of {name} cannot be made with Python {platform.python_version()}:\n{done.stderr[-1500:]}"
        )
