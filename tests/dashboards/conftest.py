"""Decides where Prometheus' own programs are found, and when a missing one is a failure.

Where they are not installed the tests that need them are skipped and say what to install; with QUEUEWATCH_REQUIRE_ALL=1 a
missing one is a failure.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import started
from queuewatch_streams.brokers import Broker, apache_kafka

_PACKAGES = {"promtool": "prometheus", "prometheus": "prometheus"}


def program(*names: str) -> str:
    """The path of the first of these programs that is installed; skips the test, or fails it where all is required."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    package = _PACKAGES.get(names[0], "prometheus-alertmanager")
    missing = f"{names[0]} is not installed; on Debian: apt-get install --no-install-recommends {package}"
    if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1":
        pytest.fail(f"QUEUEWATCH_REQUIRE_ALL=1 and a part is missing: {missing}", pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' tool that checks and tests rules."""
    return program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The server itself."""
    return program("prometheus")


@pytest.fixture(scope="session")
def amtool() -> str:
    """Alertmanager's tool that checks its configuration."""
    return program("amtool")


@pytest.fixture(scope="session")
def alertmanager() -> str:
    """Alertmanager itself; Debian names it after Prometheus."""
    return program("prometheus-alertmanager", "alertmanager")


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The folder of what is deployed."""
    return Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture(scope="module")
def kafka_of_module() -> Iterator[Broker]:
    """An Apache Kafka for one module's tests."""
    broker = started(apache_kafka())
    yield broker
    broker.stop()
