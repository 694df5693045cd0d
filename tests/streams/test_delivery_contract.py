"""What `delivery` believes of Faust and aiokafka still holds; if one of these fails, they have changed."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from faust.tables import recovery as recovery_module
from faust.transport import conductor as conductor_module
from faust.transport import consumer as consumer_module
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.delivery import FaustChanged, FetchApp, Row, Settings, build_app, check_faust
from queuewatch_streams.delivery.consumer import (
    FetchConsumer,
    FetchListener,
    FetchProducer,
    FetchThread,
    FetchTransport,
)
from queuewatch_streams.delivery.fetches import Part
from queuewatch_streams.delivery.pins import SOURCES, source_digest

SETTINGS = Settings(brokers="127.0.0.1:1, 127.0.0.1:2", group="g", source="events", partitions=4, session_timeout=7.0)


def test_the_installed_versions_and_sources_are_those_it_was_written_against() -> None:
    """Versions, and a digest of every part that is overridden, wrapped or leaned on."""
    check_faust()
    assert all(digest for _, digest in SOURCES.values())


def test_another_version_is_refused_with_what_to_look_at() -> None:
    """The message names the version found, the one meant, and where to look."""
    with pytest.raises(
        FaustChanged,
        match=r"aiokafka 0\.14\.0 is installed; queuewatch_streams\.delivery was written against 0\.1; .*SOURCES",
    ):
        check_faust(versions={"aiokafka": "0.1"})


def test_a_patched_source_is_refused_by_name() -> None:
    """A vendor's patch under the same version is noticed too."""
    with pytest.raises(
        FaustChanged, match=r"getmany is not the code that queuewatch_streams\.delivery was written against"
    ):
        check_faust(sources={"Consumer.getmany": (driver.Consumer.getmany, "000000000000")})


def overridden() -> list[tuple[type, str]]:
    """Each method of ours that replaces one of Faust's."""
    pairs: list[tuple[type, str]] = []
    for ours in (FetchConsumer, FetchListener, FetchProducer, FetchThread, FetchTransport, FetchApp):
        bases = ours.__mro__[1:]
        pairs += [
            (ours, name)
            for name, member in vars(ours).items()
            if inspect.isfunction(member) and name != "__init__" and any(name in vars(base) for base in bases)
        ]
    return pairs


@pytest.mark.parametrize(("ours", "name"), overridden(), ids=lambda value: getattr(value, "__name__", value))
def test_an_overridden_method_takes_what_fausts_own_takes(ours: type, name: str) -> None:
    """The same parameters in the same order, and a coroutine where Faust's is one."""
    mine, theirs = vars(ours)[name], getattr(super(ours, ours), name)
    assert list(inspect.signature(mine).parameters) == list(inspect.signature(theirs).parameters)
    assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(theirs)


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("perform_seek", FetchConsumer.perform_seek),
        ("_add_gap", FetchConsumer._add_gap),
        ("on_buffer_full", FetchConsumer.on_buffer_full),
        ("verify_event_path", FetchConsumer.verify_event_path),
        ("earliest_offsets", FetchConsumer.earliest_offsets),
        ("_to_message", FetchConsumer._to_message),
    ],
)
def test_faust_still_has_the_method_and_still_calls_it(name: str, override: Callable[..., Any]) -> None:
    """An override of something that nobody calls any more would be silence, not an error."""
    assert getattr(driver.Consumer, name) is not override
    callers = [inspect.getsource(module) for module in (consumer_module, recovery_module, driver, conductor_module)]
    assert any(f".{name}" in source for source in callers)


async def test_the_application_is_set_up_as_the_design_says() -> None:
    """No leader topic, no standby, no web, no topics of Faust's own making; limits and timeouts as designed."""
    app = build_app(SETTINGS)
    conf = app.conf
    assert [str(url) for url in conf.broker] == ["kafka://127.0.0.1:1", "kafka://127.0.0.1:2"]
    assert conf.topic_disable_leader
    assert conf.table_standby_replicas == 0
    assert not conf.web_enabled
    assert not conf.topic_allow_declare
    assert not conf.stream_wait_empty
    assert conf.producer_request_timeout <= conf.broker_session_timeout == 7.0
    assert conf.producer_max_request_size == 16 << 20
    assert app.tables["queues"].changelog_topic.get_topic_name() == "g-queues-changelog"
    assert app.whole_topics == {"events", "g-queues-changelog"}


async def test_source_events_are_read_committed_and_our_consumer_is_the_one_used() -> None:
    """Faust reads uncommitted unless exactly_once is on; ours does not."""
    app = build_app(SETTINGS)
    consumer = app.consumer
    assert isinstance(consumer, FetchConsumer)
    assert isinstance(consumer._thread, FetchThread)
    created = consumer._thread._create_worker_consumer(app.transport)
    assert created._isolation_level == "read_committed"
    assert created._session_timeout_ms == 7000


async def test_faust_keeps_no_read_offset_of_our_topics() -> None:
    """It drops what lies before its own read offset; ours may rewind."""
    consumer = build_app(SETTINGS).consumer
    ours, other = TP("events", 0), TP("other", 0)
    for tp in (ours, other):
        consumer._read_offset[tp] = 5  # type: ignore[attr-defined]  # the interface does not know it
        consumer._read_offset.update({tp: 7})  # type: ignore[attr-defined]
    assert consumer._read_offset[ours] is None  # type: ignore[attr-defined]
    assert consumer._read_offset[other] == 7  # type: ignore[attr-defined]
    await consumer._add_gap(ours, 1, 100)  # type: ignore[attr-defined]
    assert not consumer._gap[ours]  # type: ignore[attr-defined]


async def test_both_producers_are_idempotent_unless_the_broker_cannot() -> None:
    """For everything else (Faust's own) and for the changelog (one of ours each assignment)."""
    producer = build_app(SETTINGS).producer
    assert isinstance(producer, FetchProducer)
    for made in (producer._new_producer(), producer.changelog_producer()):
        assert made._sender._txn_manager is not None
        await made.client.close()
    embedded = Settings(brokers="127.0.0.1:1", group="g", source="events", partitions=4, idempotent=False)
    without = build_app(embedded).producer
    assert isinstance(without, FetchProducer)
    made = without.changelog_producer()
    assert made._sender._txn_manager is None
    await made.client.close()


@given(
    counts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10)), min_size=1, max_size=60),
    size=st.integers(10, 50),
    before=st.integers(0, 5),
    markers=st.integers(0, 3),
)
def test_a_fetch_becomes_deliveries_with_every_record_once_and_consecutive_numbers(
    counts: list[tuple[int, int]], size: int, before: int, markers: int
) -> None:
    """Whatever holes lie between its parts: none lost, none doubled, none out of order; the last ends at the position."""
    thread = object.__new__(FetchThread)  # only this one method, which needs nothing else of it
    thread._size = size
    records: list[Row] = []
    parts, end = [], 0
    for hole, count in counts:
        begin, end = end + hole, end + hole + count
        rows: list[Row] = [(offset, 0, b"k", b"v", ()) for offset in range(begin, end)]
        parts.append(Part(begin, end, count, 0, iter(rows)))
        records += rows
    position = end + markers
    deliveries = thread._deliveries(TP("events", 3), parts, 9, before, position)
    assert [d.begin for d in deliveries] == [d.parts[0].begin for d in deliveries]
    assert sum(d.count for d in deliveries) == len(records)
    assert max(d.count for d in deliveries) <= size
    assert [d.number for d in deliveries] == list(range(before + 1, before + 1 + len(deliveries)))
    assert {(d.run, d.partition, d.topic) for d in deliveries} == {(9, 3, "events")}
    assert deliveries[-1].end == position
    assert [r for d in deliveries for r in d.taken()] == records


def test_a_digest_follows_the_source() -> None:
    """Two functions with different code have different digests, one function always the same."""
    assert source_digest(check_faust) == source_digest(check_faust) != source_digest(build_app)
