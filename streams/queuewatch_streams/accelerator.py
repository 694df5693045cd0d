"""The optional accelerator: the pure core, as it stands, compiled by mypyc to extension modules beside its sources.

Without it everything works, at about half the speed; with it the same tests pass.  Python prefers an extension module to the
source beside it, so one that was built from other sources would be a silent lie: `state` compares digests and says so.

    python -m queuewatch_streams.accelerator build | remove | state

It needs mypy, setuptools and a C compiler (Debian: gcc and libc6-dev); `make accelerate` brings the first two.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

__all__ = ["Stale", "build", "remove", "state"]

MODULES: Final = (
    "queuewatch_schemas.names",
    "queuewatch_schemas.times",
    "queuewatch_schemas.plain",
    *(
        f"queuewatch_streams.core.{name}"
        for name in (
            "calendar", "service_level", "visit", "windows", "policy", "queue", "figures", "intervals", "ghosts", "checkpoint",
            "partition",
        )
    ),
)  # fmt: skip
"""What is compiled: all that an event passes on its way into the figures, and what tells them."""
_PACKAGES: Final = ("queuewatch_schemas", "queuewatch_streams")
_SUFFIXES: Final = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_DIGESTS: Final = "accelerated.json"


class Stale(RuntimeError):
    """The extension modules were built from other sources than those beside them."""


class CannotBuild(RuntimeError):
    """There is no compiler, or it failed; the message says what to do."""


def _root(package: str) -> Path:
    """The folder that holds a package's folder; both packages may have one each, or share it where they are installed."""
    import queuewatch_schemas

    of_package = queuewatch_schemas.__file__ if package == "queuewatch_schemas" else __file__
    assert of_package is not None, "packages with an __init__.py have a file"
    return Path(of_package).parent.parent


def _source(module: str) -> Path:
    return _root(module.partition(".")[0]).joinpath(*module.split(".")).with_suffix(".py")


def _digests() -> dict[str, str]:
    return {module: hashlib.sha256(_source(module).read_bytes()).hexdigest() for module in MODULES}


def _extensions() -> list[Path]:
    """The extension modules beside the sources, and the shared one that they stand on."""
    beside = [found for module in MODULES for found in _source(module).parent.glob(f"{_source(module).stem}.*")]
    shared = [found for package in _PACKAGES for found in _root(package).glob("*__mypyc.*")]
    return [found for found in (*beside, *shared) if found.name.endswith(_SUFFIXES)]


def _record() -> Path:
    return Path(__file__).with_name(_DIGESTS)


def state() -> str:
    """ "compiled" or "pure".  Raises Stale."""
    if not _extensions():
        return "pure"
    record = _record()
    if not record.exists() or json.loads(record.read_text()) != _digests():
        raise Stale(
            "the compiled core was built from other sources than those beside it; run `make accelerate` to build it anew, or"
            " `make pure` to go without"
        )
    return "compiled"


def remove() -> None:
    """Go without: remove what `build` made."""
    for found in _extensions():
        found.unlink()
    _record().unlink(missing_ok=True)


def build() -> None:
    """Compile the core, in a folder of its own, and put the extension modules beside their sources.

    Raises CannotBuild with the compiler's words.
    """
    digests = _digests()
    with tempfile.TemporaryDirectory(prefix="queuewatch-accelerator-") as folder:
        under = Path(folder)
        for package in _PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__", *(f"*{suffix}" for suffix in _SUFFIXES))
            shutil.copytree(_root(package) / package, under / package, ignore=ignored)
        settings = under / "mypy.ini"
        settings.write_text("[mypy]\npython_version = 3.11\nplugins = pydantic.mypy\nignore_missing_imports = True\n")
        files = ["/".join(module.split(".")) + ".py" for module in MODULES]
        command = [sys.executable, "-m", "mypyc", "--config-file", str(settings), *files]
        done = subprocess.run(command, cwd=under, capture_output=True, text=True, check=False)
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise CannotBuild(f"the core could not be compiled; it needs mypy, setuptools and a C compiler:\n{said}")
        remove()
        for made in under.rglob("*"):
            if made.name.endswith(_SUFFIXES) and "build" not in made.relative_to(under).parts:
                package, *inner = made.relative_to(under).parts
                target = _root(package).joinpath(package, *inner) if inner else _root("queuewatch_streams") / package
                shutil.copy2(made, target)
    _record().write_text(json.dumps(digests, indent=1) + "\n")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, help=(__doc__ or "").split("\n\n")[0])
def main() -> None:
    """The command."""


@main.command("build")
def build_command() -> None:
    """Compile the core; about half a minute."""
    try:
        build()
    except CannotBuild as error:
        raise click.ClickException(str(error)) from None
    click.echo("the core is compiled")


@main.command("remove")
def remove_command() -> None:
    """Go without."""
    remove()
    click.echo("the core is pure Python")


@main.command("state")
def state_command() -> None:
    """Say whether the core is compiled; status 1 where it was built from other sources."""
    try:
        click.echo(state())
    except Stale as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
