"""Decides which brokers the integration tests run against, and when a missing one is a failure.

`broker` runs a test against both: the embedded one and Apache Kafka, each started once a session.  Where the parts for
one are not installed its tests are skipped with the reason; with QUEUEWATCH_REQUIRE_ALL=1 a missing part is a failure.
A test that stops, kills or slows a broker starts one of its own.
"""

import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest

from queuewatch_streams.brokers import Broker, MissingPart, apache_kafka, embedded_broker

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A runner in the background ignores Ctrl-C; the processes that tests start would inherit that and never hear theirs.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(broker: Broker) -> Broker:
    """The broker, running; skips the test, or fails it where all is required, when a part of it is not installed."""
    try:
        broker.start()
    except MissingPart as error:
        if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1":
            pytest.fail(f"QUEUEWATCH_REQUIRE_ALL=1 and a part is missing: {error}", pytrace=False)
        pytest.skip(str(error))
    return broker


@pytest.fixture(scope="session")
def embedded() -> Iterator[Broker]:
    """The embedded broker, one for all tests."""
    broker = started(embedded_broker())
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """Apache Kafka, one for all tests."""
    broker = started(apache_kafka())
    yield broker
    broker.stop()


@pytest.fixture(scope="session", params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """A running broker; what uses it runs against both."""
    running: Broker = request.getfixturevalue(request.param)
    assert running.running(), f"{running.name} ended during the tests:\n{running.log_tail()}"
    return running


@pytest.fixture
def own_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running Apache Kafka that is this test's own, to be stopped and killed."""
    broker = started(apache_kafka())
    yield broker
    broker.stop()


@pytest.fixture
def unique() -> str:
    """A name that no other test has, for topics and groups."""
    return f"test-{uuid4().hex[:12]}"
