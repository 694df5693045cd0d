"""Sources that are killed at any moment while their system goes on: what each promises of what is then on the topics."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, ClientTimeout
from sqlalchemy import create_engine

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.times import instant
from queuewatch_streams.brokers import Broker, free_port
from queuewatch_streams.core.partition import Clock, Record
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.simulation import Settings, eventful
from queuewatch_streams.simulation import events as simulated
from queuewatch_streams.simulation.settings import Dirt
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.compose import Composer
from sources import made_up_ami, made_up_freeswitch
from sources.heard import START, Stay, assert_nothing_counts_twice
from sources.made_up import made_up_day
from support.audits import audited, published
from support.databases import insert_queue_log, make_queue_log, postgresql
from support.kills import KILLS, configuration_file, killed_again_and_again, last_of_all, until
from support.pbx import AmiByTheClock, EventSocketByTheClock
from support.sources import said
from support.topics import site_of, stored, written

pytestmark = pytest.mark.asyncio

SECRET = "geheim: äöü"
TOKEN = "a token that nobody guesses"
URN = "urn:queuewatch:simulator"


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str) -> Configuration:
    return await site_of(embedded, unique, partitions=1)


def numbered(events: list[bytes]) -> list[Record]:
    """Events as records of one partition."""
    return [Record(offset, 0, b"any", value, ()) for offset, value in enumerate(events)]


# ------------------------------------------------------------------------------------------------------ events over HTTP


async def test_http_killed_anywhere_has_every_event_that_was_answered_with_202(
    site: Configuration, tmp_path: Path
) -> None:
    """Senders that send again until 202: the topic comes to what one pass over all that was posted comes to."""
    digest = sha256(TOKEN.encode()).hexdigest()
    (tmp_path / "tokens.toml").write_text(
        f"[crm]\nsha256 = '{digest}'\nsources = ['{URN}']\nqueues = ['*']\nagents = ['*']\n", encoding="utf-8"
    )
    port = free_port()
    config = configuration_file(
        tmp_path,
        site,
        "web",
        f'kind = "http"\nport = {port}\ntokens_file = "tokens.toml"\nevents_per_second = 100000\nanswer_seconds = 2',
    )
    start = datetime(2026, 11, 20, 8, tzinfo=UTC)
    day = list(simulated(eventful(Settings(start=start, hours=3, queues=4, agent_states=True), Dirt())))
    failed, size = 0, 5

    async def send(session: ClientSession, mine: list[dict[str, Any]]) -> None:
        nonlocal failed
        while mine:
            batch, mine = mine[:size], mine[size:]
            while True:
                try:
                    async with session.post(
                        f"http://127.0.0.1:{port}/v1/events",
                        data=orjson.dumps(batch),
                        headers={
                            "Content-Type": "application/cloudevents-batch+json",
                            "Authorization": f"Bearer {TOKEN}",
                        },
                    ) as answer:
                        if answer.status == 202:
                            await asyncio.sleep(0.01 if size == 5 else 0)
                            break
                        assert answer.status == 503, await answer.text()
                except (ClientError, TimeoutError):
                    failed += 1
                await asyncio.sleep(0.02)

    half = [sum(event["subject"].encode()) % 2 for event in day]  # two senders, each with its own calls
    async with ClientSession(timeout=ClientTimeout(total=5)) as session:
        sending = asyncio.gather(
            *(
                send(session, [event for event, place in zip(day, half, strict=True) if place == each])
                for each in (0, 1)
            )
        )
        await killed_again_and_again(config, "web")
        assert not sending.done(), "there was something to send until the last kill"
        size = 500
        async with last_of_all(config, "web"):
            await sending
    assert failed >= KILLS // 2
    heartbeat = "queuewatch.source.heartbeat.v1"
    expected = {role: [event for event in day if _role(event) == role] for role in ("events", "agents")}
    for role, posted in expected.items():
        found = await written(site, getattr(site.topics, role))
        told = {event["id"]: event for event in found if event["source"] == URN}
        assert set(told) == {event["id"] for event in posted}, role
    [records] = await stored(site, site.topics.events)
    sent = [each.value for each in records if each.value and orjson.loads(each.value)["type"] != heartbeat]
    calls = [orjson.dumps(event) for event in expected["events"] if event["type"] != heartbeat]
    plain = Configuration()
    snapshots = {
        name: each.model_copy(update={"offset": len(sent)})
        for name, each in published(numbered(calls), plain, Clock.EVENTS).items()
    }
    assert len(snapshots) == 4
    assert audited(numbered(sent), snapshots, plain, Clock.EVENTS) == []


# ------------------------------------------------------------------------------------------------- queue_log as a table


@pytest.fixture
def database() -> Iterator[str]:
    with postgresql() as url:
        yield url


async def test_a_table_killed_anywhere_comes_to_what_its_rows_say(
    site: Configuration, tmp_path: Path, database: str
) -> None:
    """While rows are added: every event of one pass over all rows, byte for byte, and the figures of their maker."""
    (tmp_path / "url").write_text(database, encoding="utf-8")
    config = configuration_file(
        tmp_path,
        site,
        "pbx1",
        'kind = "asterisk-queue-log-table"\nurl_file = "url"\ntime_zone = "Europe/Rome"\npoll_seconds = 0.05',
    )
    lines, truth = made_up_day(7, calls=1500, spacing=0.05, start=int(time.time()) - 600)
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    make_queue_log(engine, "char(26)")
    killing = asyncio.ensure_future(killed_again_and_again(config, "pbx1"))
    with engine.connect() as connection:
        place = 0
        while not killing.done():
            insert_queue_log(connection, lines[place : place + 3])
            place = min(place + 3, len(lines))
            await asyncio.sleep(0.01)
        await killing
        assert place < len(lines), "rows came until the last kill"
        insert_queue_log(connection, lines[place:])
    engine.dispose()
    saved = tmp_path / "queuewatch-state" / "pbx1.json"
    async with last_of_all(config, "pbx1"):
        await until(lambda: saved.exists() and orjson.loads(saved.read_bytes())["position"] == len(lines), "all rows")
    expected = said(QueueLog(Composer("pbx1")), lines)
    for role in ("events", "agents"):
        [records] = await stored(site, getattr(site.topics, role))
        sent = [each.value for each in records if each.value and b"source.heartbeat" not in each.value]
        assert set(sent) == {value for kind, _, value in expected.messages if kind == role}, role
    replay = Replay(Question())
    for event in await written(site, site.topics.events):
        replay.fold(orjson.dumps(event))
    report = replay.report()["queues"]
    for queue, row in truth.items():
        assert {key: report[f"pbx1/{queue}"][key] for key in row} == row, queue


# ------------------------------------------------------------------------------- what is told only to who is connected


class Site(NamedTuple):
    """A telephony system that plays a session by the clock, and what its maker knows of it."""

    server: AmiByTheClock | EventSocketByTheClock
    stays: list[Stay]
    settings: str


def ami() -> Site:
    session = made_up_ami.live(7, 120, spacing=0.12, pace=0.06)

    def rows(second: float) -> list[dict[str, str]]:
        listed = (fields for _, fields in session.lists(second) if fields["Event"] != "QueueStatusComplete")
        return [{key: value for key, value in fields.items() if key != "ActionID"} for fields in listed]

    told = [(second, fields) for second, (_, fields) in session.records]
    settings = 'kind = "asterisk-ami"\nusername = "queuewatch"'
    return Site(AmiByTheClock(told, rows, START, SECRET), session.stays, settings)


def freeswitch() -> Site:
    session = made_up_freeswitch.live(7, 120, spacing=0.12, pace=0.06)

    def answers(second: float) -> dict[str, str]:
        return {fields["cmd"]: fields["out"] for _, fields in session.lists(second)}

    told = [(second, fields) for second, (_, fields) in session.records]
    return Site(EventSocketByTheClock(told, answers, START, SECRET), session.stays, 'kind = "freeswitch"')


async def test_live_sources_killed_anywhere_count_nothing_twice_and_have_what_their_lists_vouch_for(
    embedded: Broker, unique: str, tmp_path: Path
) -> None:
    """What happens while nobody is connected, nobody tells any more.  Promised is, whenever a source is killed:

    - no stay counts twice, and none is answered twice;
    - after the next lists nobody waits who is gone, in the figures and in the source's own memory;
    - of whom it heard from the entry to the end it has told all, with the very times, once it has told a list after that:
      a snapshot of the queue vouches for what was heard before it.

    Asterisk and FreeSWITCH at once, each with a source and topics of its own.
    """

    async def play(name: str, site: Site) -> None:
        folder = tmp_path / name
        folder.mkdir()
        configuration = await site_of(embedded, f"{unique}-{name}", partitions=1)
        await site.server.start()
        (folder / "secret").write_text(SECRET, encoding="utf-8")
        config = configuration_file(
            folder, configuration, "pbx", f'{site.settings}\nhost = "127.0.0.1"\nport = {site.server.port}\n'
            'secret_file = "secret"\nstatus_seconds = 1',
        )  # fmt: skip
        await killed_again_and_again(config, "pbx", longest=1.5)
        async with last_of_all(config, "pbx"):
            await until(lambda: site.server.over, "the session's end")
        await site.server.stop()
        memory = orjson.loads((folder / "queuewatch-state" / "pbx.json").read_bytes())["memory"]
        assert memory["visits"]["open"] == {}, name
        [records] = await stored(configuration, configuration.topics.events)
        stays = [stay._replace(call=site.server.name_of(stay.call)) for stay in site.stays]
        assert_nothing_counts_twice(records, stays)
        assert_lists_vouch(records, stays, site.server)

    await asyncio.gather(play("ami", ami()), play("freeswitch", freeswitch()))


def assert_lists_vouch(records: list[Record], stays: list[Stay], server: AmiByTheClock | EventSocketByTheClock) -> None:
    """Whoever was heard whole, and then a list of his queue was told, is told to the very times."""
    moments: dict[tuple[str, str], set[tuple[str, float]]] = defaultdict(set)
    snapshots: dict[str, list[float]] = defaultdict(list)
    for event in (orjson.loads(each.value or b"") for each in records):
        what, when = event["type"].split(".")[2], instant(event["time"]) / 1e6 - server.begins
        if what == "snapshot":
            snapshots[event["subject"]].append(when)
        elif ".call." in event["type"]:
            moments[event["subject"], event["data"]["queue"]].add((what, when))
    vouched = 0
    for stay in stays:
        queue = f"pbx/{stay.queue}"
        heard = any(
            told.since < stay.joined and any(told.vouches(stay.last, each) for each in snapshots[queue])
            for told in server.told
        )
        again = any(
            (each.call, each.queue) == (stay.call, stay.queue) and 0 < stay.joined - each.joined < 4 for each in stays
        )  # what was told of the stay before, if its end was missed, is taken for this one's entry
        if heard and not again:
            vouched += 1
            said = moments[f"pbx-{stay.call}", queue]
            assert any(what == "queued" and abs(when - stay.joined) < 1e-5 for what, when in said), stay
            assert any(what == stay.kind and abs(when - stay.done) < 0.03 for what, when in said), stay
            assert stay.kind != "answered" or any(what == "ended" for what, _ in said), stay
    assert 0 < vouched < len(stays)


def _role(event: dict[str, Any]) -> str:
    return "agents" if event["type"] == "queuewatch.agent.state.v1" else "events"
