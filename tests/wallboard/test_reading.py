"""How the topics are read: on both brokers, whatever lies there and whatever happens to it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.conftest import broker, embedded, kafka, own_broker, unique  # noqa: F401
from queuewatch_schemas.examples import EVENTS, QUEUE_SNAPSHOT
from queuewatch_schemas.records import UnreadableRecordError
from queuewatch_streams.brokers import Broker
from queuewatch_wallboard.agents import AgentStates
from queuewatch_wallboard.known import Known
from queuewatch_wallboard.reading import Ignored, take_agent_record, take_queue_record
from support.boards import at, news, snapshot
from wallboard.serving import Wall, counted, queue_of, until

# ------------------------------------------------------------------------------------------------------ one record, pure


def refused(key: bytes | None, value: bytes | None) -> str:
    """Why that record is left out."""
    with pytest.raises(Ignored) as caught:
        take_queue_record(Known(), key, value, at(0), live=True)
    return caught.value.reason


GOOD = QUEUE_SNAPSHOT.to_bytes()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, GOOD, "foreign_key"),
        (b"", GOOD, "foreign_key"),
        (b"\xff\xfe", GOOD, "foreign_key"),
        (b"\0three", GOOD, "foreign_key"),
        (b"\0three", None, "foreign_key"),
        (b"\x003", None, "foreign_key"),
        (b"another queue", GOOD, "foreign_key"),
        (b"\x001", news(3, 1, 0).to_bytes(), "foreign_key"),
        (b"sales", b"", "unreadable"),
        (b"sales", b"{", "unreadable"),
        (b"sales", b"[]", "unreadable"),
        (b"sales", b"\xff\xfe", "unreadable"),
        (b"sales", b"[" * 100_000, "unreadable"),
        (b"sales", orjson.dumps({**orjson.loads(GOOD), "offset": -1}), "unreadable"),
        (b"sales", GOOD.replace(b'"offset":', b'"offset":' + b"9" * 50), "unreadable"),
        (b"sales", GOOD.replace(b'"longest_wait_seconds":', b'"longest_wait_seconds":1e999,"x":', 1), "unreadable"),
        (b"sales", orjson.dumps({**orjson.loads(GOOD), "version": 2}), "version"),
        (b"sales", orjson.dumps({"version": 7, "all": "different"}), "version"),
        (b"\x003", orjson.dumps({"version": "two"}), "version"),
    ],
)
def test_what_is_no_record_of_ours_is_left_out_for_a_stated_reason(
    key: bytes | None, value: bytes | None, reason: str
) -> None:
    """And nothing of it is held."""
    assert refused(key, value) == reason


@given(st.binary(max_size=200) | st.none(), st.binary(max_size=200) | st.none())
def test_no_bytes_raise_anything_else(key: bytes | None, value: bytes | None) -> None:
    """Whatever lies there."""
    known = Known()
    with suppress(Ignored):
        take_queue_record(known, key, value, at(0), live=True)
    assert known.snapshots == {}
    assert known.news == {}


def test_a_snapshot_of_a_newer_worker_of_the_same_version_is_understood() -> None:
    """Fields that are not known are ignored."""
    known = Known()
    take_queue_record(known, b"sales", orjson.dumps({**orjson.loads(GOOD), "mood": "sunny"}), at(0), live=True)
    assert known.snapshots["sales"].record == QUEUE_SNAPSHOT


def test_of_the_agents_topic_only_their_states_are_taken() -> None:
    """What is no event, and what is another one, is left out for a stated reason."""
    agents = AgentStates()
    reasons = []
    for value in (None, b"{}", *(orjson.dumps(event) for event in EVENTS)):
        try:
            take_agent_record(agents, value)
        except Ignored as ignored:
            reasons.append(ignored.reason)
    assert reasons[:2] == ["unreadable"] * 2
    assert set(reasons[2:]) == {"other_event"}
    assert len(reasons) == 2 + len(EVENTS) - 1


# ------------------------------------------------------------------------------------------------------- a real broker


async def test_it_waits_for_its_topic_and_says_so(
    broker: Broker,  # noqa: F811
    unique: str,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Why, in the log, since anybody may ask; then it reads what comes, without being started again."""
    async with Wall(broker, unique) as wall:
        await wall.start()

        async def reason() -> str | None:
            response, body = await wall.get("/readyz")
            assert response.status == 503
            found: str = orjson.loads(body)["reason"]
            assert unique not in found
            return found if "cannot be read" in found and "there is no such topic" in caplog.text else None

        await until("to say that the topic is missing", reason)
        response, body = await wall.get("/api/v1/queues")
        assert (response.status, orjson.loads(body)) == (503, {"error": "starting"})
        assert int(response.headers["Retry-After"]) > 0
        await wall.create()
        async with wall.living():
            await wall.snapshot("sales", waiting=3)
            board = await wall.until_board(
                "a fresh row", lambda board: (row := queue_of(board, "sales")) and not row.stale
            )
            assert queue_of(board, "sales").waiting == 3
        assert (await wall.get("/readyz"))[0].status == 200


async def test_everything_that_lies_there_is_read_before_anything_is_shown(broker: Broker, unique: str) -> None:  # noqa: F811
    """The greatest offset of each queue, whatever order they lie in; and it is told as of before until a worker is heard."""
    async with Wall(broker, unique) as wall:
        await wall.create()
        for offset in (5, 9, 7):
            await wall.tell(snapshot("sales", offset, 0, waiting=offset))
        await wall.tell(snapshot("gone", 3, 0, partition=1))
        await wall.send(b"gone", None, partition=1)
        wall.offset = 9
        await wall.news()
        await wall.start()
        board = await wall.until_board("a board", lambda _: True)
        assert [row.queue for row in board.queues] == ["sales"]
        [row] = board.queues
        assert row.waiting == 9
        assert row.stale is not None
        assert row.stale.why == "no_news"
        async with wall.living():
            await wall.snapshot("sales", waiting=1)
            board = await wall.until_board("it to be fresh", lambda board: board.queues[0].stale is None)
            assert board.queues[0].waiting == 1


async def test_malformed_records_are_counted_told_once_and_disturb_nothing(
    embedded: Broker,  # noqa: F811
    unique: str,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many of one kind."""
    async with Wall(embedded, unique) as wall:
        await wall.create()
        await wall.start()
        with caplog.at_level(logging.WARNING):
            async with wall.living():
                for number in range(5):
                    await wall.send(b"sales", b"{broken")
                    await wall.send(b"sales", b'{"version": 2}')
                    await wall.send(None, b"{}")
                    await wall.snapshot("sales", waiting=number)
                    await wall.send(b"anna", b"{broken", role="agents")
                await wall.until_board("the last good one", lambda board: board.queues and board.queues[0].waiting == 4)
                await until(
                    "all to be counted",
                    lambda: _so(counted(wall, "ignored_records_total", "agents", "unreadable") == 5),
                )
        for reason in ("unreadable", "version", "foreign_key"):
            assert counted(wall, "ignored_records_total", "queues", reason) == 5
        told = [record.getMessage() for record in caplog.records if "is ignored" in record.getMessage()]
        assert len(told) == 4, told


async def _so(found: bool) -> bool:
    return found


async def test_a_topic_that_was_made_anew_is_read_anew(kafka: Broker, unique: str) -> None:  # noqa: F811
    """Nothing of the old one is shown; offsets that mean something else now are not continued."""
    async with Wall(kafka, unique) as wall:
        await wall.create()
        await wall.start()
        async with wall.living():
            for queue in ("old", "sales"):
                await wall.snapshot(queue, waiting=7)
            await wall.until_board("the old topic", lambda board: len(board.queues) == 2)
        await wall.delete()
        await asyncio.sleep(1)
        await wall.create("queues")
        wall.offset = 0
        async with wall.living():
            await wall.snapshot("sales", waiting=1)
            board = await wall.until_board(
                "the new topic",
                lambda board: [row.queue for row in board.queues] == ["sales"] and not board.queues[0].stale,
            )
            assert board.queues[0].waiting == 1


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to connect follow quickly."""
    monkeypatch.setattr("queuewatch_wallboard.reading.AGAIN", (0.2,))
    monkeypatch.setattr("queuewatch_wallboard.reading.LOOK_EVERY", 1.0)


@pytest.mark.usefixtures("no_waiting")
async def test_a_broker_that_was_stopped_and_started_greys_everything_and_then_it_goes_on_by_itself(
    own_broker: Broker,  # noqa: F811
    unique: str,  # noqa: F811
) -> None:
    """Meanwhile every row says since when; the service stays, and so do its screens."""
    async with Wall(own_broker, unique) as wall:
        await wall.create()
        await wall.start()
        async with wall.screen() as screen:
            async with wall.living():
                await wall.snapshot("sales", waiting=2)
                await screen.board(lambda board: board.queues and not board.queues[0].stale)
            stopped = time.time()
            await asyncio.to_thread(own_broker.halt)
            board = await screen.board(lambda board: board.queues[0].stale)
            assert board.queues[0].stale is not None
            assert board.queues[0].stale.since is not None
            assert board.queues[0].stale.since.timestamp() <= stopped
            assert len(board.partitions.without_news) == 2
            await asyncio.to_thread(own_broker.start)
            async with wall.living():
                await wall.snapshot("sales", waiting=1)
                board = await screen.board(lambda board: not board.queues[0].stale)
                assert board.queues[0].waiting == 1


def test_the_error_of_a_record_names_its_place() -> None:
    """For whoever reads the log."""
    with pytest.raises(UnreadableRecordError, match="offset"):
        type(QUEUE_SNAPSHOT).from_bytes(orjson.dumps({**orjson.loads(GOOD), "offset": -1}))
