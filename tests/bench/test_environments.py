"""The frameworks' environments hold what the core needs, without making one."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from bench.environments import HERE
from bench.processes import our_environment

IMPORTED = "import sys, bench.one_queue; print(*{name.partition('.')[0] for name in sys.modules})"


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def needed() -> set[str]:
    """The distributions of all that what drives the core in a framework imports, but our own."""
    command = [sys.executable, "-c", IMPORTED]
    printed = subprocess.run(command, env=our_environment(), capture_output=True, text=True, check=True).stdout
    distributions = packages_distributions()
    found = {canonical(each) for module in printed.split() for each in distributions.get(module, ())}
    return found - {"queuewatch", "setuptools"}  # of setuptools a hook is loaded into every process


@pytest.mark.parametrize("name", ["quix", "bytewax"])
def test_an_environment_has_every_library_that_the_core_imports(name: str, needed: set[str]) -> None:
    """A library that the core began to use would end the comparison with an import error, an hour into the benchmarks."""
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", (HERE / f"requirements-{name}.lock").read_text(), re.MULTILINE)
    assert "pydantic" in needed
    assert needed <= set(map(canonical, pinned))
