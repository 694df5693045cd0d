"""Events that come over HTTP: what of them goes on, and who may send what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from cloudevents.core.bindings.http import to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.events import EVENT_TYPES, Rejected
from queuewatch_schemas.source_settings import Http
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.simulation import Settings, Truth, eventful, lines
from queuewatch_streams.simulation import events as simulated
from queuewatch_streams.simulation.settings import Dirt
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.http.translator import Grant, Posted, Senders, TokensTrouble, batch_of, judge
from queuewatch_streams.sources.json_lines import records_of
from queuewatch_streams.sources.listening import Door, Rate, body_of
from support.events import call, cloud_event
from support.sources import (
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    events,
    mutated,
    said,
)

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
DAWN = datetime(2026, 11, 22, 6, tzinfo=UTC)
AT = 1_795_305_000_000_000
DAY: list[dict[str, Any]] = [
    event
    for event in simulated(eventful(Settings(start=DAWN, hours=3, queues=3, agent_states=True), Dirt()))
    if event["type"] != "queuewatch.call.evicted.v1"
]
TOKENS = f"""
[crm]
sha256 = "{sha256(b"crm's token").hexdigest()}"
sources = ["urn:crm:1", "urn:crm:2"]
queues = ["sales", "crm/*"]
agents = ["crm/*"]

[all]
sha256 = "{sha256(b"another token").hexdigest()}"
sources = ["urn:all"]
queues = ["*"]
"""


def settings(**more: Any) -> Http:
    return Http(kind="http", tokens_file=Path("tokens.toml"), **more)


def make(memory: Any = None, **more: Any) -> Posted:
    return Posted(Composer("web", settings(**more)), settings(**more))


def only(event: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    (found,) = events(said(make(**more), [event]))
    return found


def senders(text: str = TOKENS) -> Senders:
    return Senders(Path("tokens.toml"), text.encode())


def grant(token: str) -> Grant:
    found = senders().of_token(token)
    assert found is not None
    return found


# -------------------------------------------------------------------------------------------------------- what goes on


def test_every_type_of_event_goes_on_with_its_id_source_and_time() -> None:
    assert {event["type"] for event in DAY} == set(EVENT_TYPES) - {"queuewatch.call.evicted.v1"}
    out = said(make(), DAY)
    assert not out.refused
    assert_sound(out.messages)
    for sent, event in zip(events(out), DAY, strict=True):
        told = dict(event["data"])
        told.pop("customer", None)
        assert sent["data"] == told
        assert [sent[name] for name in ("id", "source", "time", "type", "subject")] == [
            event[name] for name in ("id", "source", "time", "type", "subject")
        ]


def test_what_the_contract_does_not_know_is_left_out_however_deep() -> None:
    event = call("queued", AT, caller="+390612345") | {"callername": "Ann"}
    listed = cloud_event(
        "queue.snapshot", AT, "sales",
        {"complete": True, "waiting": [{"call": "c-1", "since": "2026-11-22T09:00:00Z", "number": "+390612345"}]},
    )  # fmt: skip
    state = cloud_event(
        "agent.state", AT, "anna",
        {"state": "talking", "queues": [{"queue": "sales", "who": "Ann"}],
         "contacts": [{"channel": "voice", "state": "talking", "number": "+390612345"}]},
    )  # fmt: skip
    for each in (event, listed, state):
        told = orjson.dumps(only(each)).decode()
        assert "0612345" not in told
        assert "Ann" not in told


def test_a_customer_leaves_as_a_hash_or_not_at_all(tmp_path: Path) -> None:
    event = call("queued", AT, customer="+390612345")
    assert "customer" not in only(event)["data"]
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    hidden = only(event, customer_key_file=tmp_path / "key")["data"]["customer"]
    assert len(hidden) == 32
    assert hidden == Composer("pbx", settings(customer_key_file=tmp_path / "key")).customer("+390612345")


def test_names_are_the_senders_but_for_the_map_and_what_is_ignored_is_counted() -> None:
    names = {"map": {"queues": {"q1": "sales", "q2": "support"}, "agents": {"7": "anna"}}}
    moved = only(call("diverted", AT, queue="q1", reason="transfer", to_queue="q2"), **names)
    assert moved["data"] == {"queue": "sales", "reason": "transfer", "to_queue": "support"}
    assert only(call("answered", AT, queue="other", agent="7"), **names)["data"] == {"queue": "other", "agent": "anna"}
    state = cloud_event("agent.state", AT, "7", {"state": "available", "queues": [{"queue": "q1"}, {"queue": "test"}]})
    told = only(state, ignore={"queues": ["test"]}, **names)
    assert (told["subject"], told["data"]["queues"]) == ("anna", [{"queue": "sales"}])
    out = said(
        make(ignore={"queues": ["test"], "agents": ["7"]}),
        [
            call("queued", AT, queue="test"),
            cloud_event("queue.opened", AT, "test", {}),
            state,
            call("declined", AT, agent="7"),
            call("answered", AT, agent="7"),
        ],
    )
    assert out.ignored == {"queue": 2, "agent": 2}
    assert [each["type"] for each in events(out)] == ["queuewatch.call.answered.v1"]


def test_what_is_ignored_is_not_named_by_others_either() -> None:
    ignored = {"ignore": {"queues": ["test"]}}
    assert only(call("queued", AT, queue="sales", from_queue="test"), **ignored)["data"] == {"queue": "sales"}
    contact = {"channel": "voice", "state": "talking"}
    state = {"state": "talking", "queues": [], "contacts": [contact | {"queue": "test"}, contact | {"queue": "sales"}]}
    told = only(cloud_event("agent.state", AT, "7", state), **ignored)
    assert told["data"]["contacts"] == [contact, contact | {"queue": "sales"}]


def test_only_the_monitor_gives_visits_up() -> None:
    with pytest.raises(Rejected, match="foreign_eviction"):
        judge(call("evicted", AT))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ({"type": "queuewatch.call.sold.v1"}, "unknown_event"),
        ({"time": "yesterday +390612345"}, "wrong_field"),
        ({"data": {}}, "missing_field"),
        ({"data": {"queue": " +390612345"}}, "bad_queue_name"),
        ({"subject": 10**30}, "unreadable"),
        ({"subject": "\ud800"}, "unreadable"),
        ({"id": ["+390612345"]}, "wrong_field"),
    ],
)
def test_what_is_wrong_is_told_without_what_was_sent(spoil: dict[str, Any], reason: str) -> None:
    out = said(make(), [call("queued", AT) | spoil])
    assert not out.messages
    assert [each.reason for each in out.refused] == [reason]
    assert "0612345" not in out.refused[0].detail


def test_an_event_that_a_cloudevents_library_wrote_is_taken() -> None:
    attributes = {
        "id": "1", "source": "urn:crm:1", "type": "queuewatch.call.queued.v1", "subject": "c-1", "time": START,
    }  # fmt: skip
    message = to_structured(CloudEvent(attributes, {"queue": "sales"}), JSONFormat())
    (event,) = batch_of(message.headers["content-type"], message.body)
    assert only(event)["data"] == {"queue": "sales"}


def test_a_batch_is_an_array_and_nothing_else_is_taken() -> None:
    batch = "application/cloudevents-batch+json"
    assert batch_of(batch, b"[]") == []
    with pytest.raises(ValueError, match="array"):
        batch_of(batch, b"{}")
    with pytest.raises(ValueError, match="not JSON"):
        batch_of("application/cloudevents+json", b"{")
    with pytest.raises(LookupError, match="cloudevents-batch"):
        batch_of("application/json", b"{}")


# ------------------------------------------------------------------------------------------------------------- senders


def test_a_token_is_known_by_its_hash_alone() -> None:
    assert grant("crm's token").name == "crm"
    assert senders().of_token("crm's tokeN") is None
    assert senders().of_token("") is None
    assert senders().of_token("\ud800") is None
    assert senders("").of_token("") is None


@pytest.mark.parametrize(
    ("event", "forbidden"),
    [
        (call("queued", AT, source="urn:crm:1"), None),
        (call("queued", AT, source="urn:crm:1", queue="crm/1"), None),
        (call("queued", AT, source="urn:crm:3"), "source"),
        (call("queued", AT, source="urn:crm:1", queue="sales2"), "data.queue"),
        (cloud_event("queue.closed", AT, "support", {}, "urn:crm:1"), "subject"),
        (cloud_event("agent.state", AT, "crm/7", {"state": "offline", "queues": []}, "urn:crm:1"), None),
        (cloud_event("agent.state", AT, "7", {"state": "offline", "queues": []}, "urn:crm:1"), "subject"),
        (
            cloud_event(
                "agent.state", AT, "crm/7", {"state": "busy", "queues": [{"queue": "support"}]}, "urn:crm:1"
            ),
            "data.queues[0]",
        ),
        (
            cloud_event(
                "agent.state", AT, "crm/7",
                {"state": "busy", "queues": [], "contacts": [{"channel": "voice", "state": "x", "queue": "support"}]},
                "urn:crm:1",
            ),
            "data.contacts[0]",
        ),
        (
            cloud_event(
                "source.heartbeat", AT, "urn:crm:1",
                {"interval_s": 10, "upstream": "ok", "queues": ["sales", "support"]}, "urn:crm:1",
            ),
            "data.queues[1]",
        ),
    ],
)  # fmt: skip
def test_a_token_speaks_for_its_sources_about_its_queues_and_agents(event: Any, forbidden: str | None) -> None:
    judge(event)
    why = grant("crm's token").forbids(event)
    assert (why is None) if forbidden is None else (why is not None and why.startswith(f"{forbidden}:"))


def test_a_token_with_a_star_speaks_about_every_queue_and_one_without_agents_about_none() -> None:
    assert grant("another token").forbids(call("queued", AT, source="urn:all", queue="x")) is None
    state = cloud_event("agent.state", AT, "7", {"state": "offline", "queues": []}, "urn:all")
    assert grant("another token").forbids(state) is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[crm]\nsha256 = 'geheim'\nsources = ['a']", "crm.sha256"),
        (f"[crm]\nsha256 = '{'0' * 64}'", "crm.sources"),
        (f"[crm]\nsha256 = '{'0' * 64}'\nsources = ['a']\ntoken = 'geheim'", "crm.token"),
        ("[crm", "no TOML"),
        ("geheim\n", "line 1"),
        (f"[a]\nsha256 = '{'0' * 64}'\nsources = ['a']\n[b]\nsha256 = '{'0' * 64}'\nsources = ['b']", "one token"),
    ],
)
def test_a_bad_file_of_tokens_is_told_without_what_it_holds(text: str, told: str) -> None:
    with pytest.raises(TokensTrouble) as trouble:
        senders(text)
    assert told in str(trouble.value)
    assert "geheim" not in str(trouble.value)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), max_size=50))
def test_never_more_comes_than_the_rate_and_what_may_come_at_once(steps: list[tuple[float, int]]) -> None:
    now = [0.0]
    rate, taken = Rate(10, 20, lambda: now[0]), 0
    for pause, number in steps:
        now[0] += pause
        wait = rate.wait(number)
        if wait == 0:
            taken += number
        else:
            now[0] += wait * 1.000001
            assert rate.wait(number) == 0, "after the time that was told it may come"
            taken += number
        assert taken <= 20 + 10 * now[0] * 1.000001


# ------------------------------------------------------------------------------------------------------------- requests


async def _answers(*pieces: bytes) -> bytes:
    """What the port of a source answers to what is sent to it piece by piece, and then no more."""
    settings = Http.model_validate({"kind": "http", "tokens_file": "none", "port": 0})
    door: Door[Any] = Door(settings, "sources.web")

    async def taken(request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        return body if isinstance(body, web.Response) else web.Response(status=202)

    await door.open([web.post("/v1/events", taken)])
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write_eof()
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        return answer
    finally:
        await door.close()


@pytest.mark.parametrize(("line", "status"), [("GET /v1/events", 405), ("POST /v1/events/", 404), ("POST /", 404)])
def test_what_is_not_there_is_answered_as_every_other_fault_is(line: str, status: int) -> None:
    answer = asyncio.run(_answers(f"{line} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode()))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/problem+json" in head
    assert (b"Allow: POST" in head) == (status == 405)
    assert orjson.loads(body)["reason"] == "not_here"


def test_a_token_in_what_is_no_http_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.run(_answers(b"POST /v1/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer geheim\x01\r\n\r\n"))
    assert b" 400 " in told
    assert "geheim" not in caplog.text


def test_a_sender_that_goes_away_amidst_a_body_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: here\r\nContent-Length: 50\r\n\r\n"
    asyncio.run(_answers(head, b"{"))
    assert "Traceback" not in caplog.text


# ---------------------------------------------------------------------------------------------------- properties, days


def test_a_memory_can_be_saved_anywhere_and_a_repeat_adds_nothing() -> None:
    assert_a_memory_can_be_saved_anywhere(make, DAY[:300], (0, 1, 150, 299))
    assert_a_repeat_adds_nothing(make, DAY[:300], 200, 100)


def test_100_000_mutated_events_raise_nothing() -> None:
    out = said(make(), list(mutated(DAY, 100_000)))
    assert_sound(out.messages, ids=False)
    assert len(out.messages) + len(out.refused) == 100_000
    assert len(out.messages) > 1000
    assert len(out.refused) > 1000


@pytest.mark.parametrize("seed", [1, 2])
def test_a_whole_day_over_http_comes_to_what_the_simulator_knows(seed: int) -> None:
    """In order, and shuffled with every fifth event twice."""
    truth = Truth()
    day = list(lines(eventful(Settings(start=START, hours=24, seed=seed, queues=4), Dirt()), truth))
    dice = random.Random(seed)
    shuffled = [*day, *dice.sample(day, len(day) // 5)]
    dice.shuffle(shuffled)
    for feed in (day, shuffled):
        out = said(make(), [event for _, event in records_of(feed)])
        assert not out.refused
        replay = Replay(Question(threshold=20))
        assert not replay.fold_all(value for _, _, value in out.messages)
        found = replay.report()["queues"]
        assert set(found) <= set(truth.queues)
        for name, true in truth.queues.items():
            if name in found:
                row = found[name]
                for fact in FACTS:
                    assert row[fact] == getattr(true, fact), (name, fact)
                assert dict(row["diverted_by"]) == dict(true.diverted_by)
            else:
                assert not true.offered
                assert not true.refused


FACTS = (
    "offered", "answered", "abandoned", "diverted", "waiting", "refused", "declined", "handled", "answer_wait_sum",
    "abandon_wait_sum", "longest_answer_wait", "talk_sum", "hold_sum", "wrap_sum",
)  # fmt: skip
