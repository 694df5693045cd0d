"""Asterisk's manager interface and FreeSWITCH's event socket as sources: over real sockets, onto a real broker, and back."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.kafka import KafkaTrouble
from queuewatch_streams.sources import command, topic
from queuewatch_streams.sources.kinds import kind_named
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.state import StateFile
from queuewatch_streams.sources.station import Station
from sources.made_up_ami import QUEUES, made_up_session, truth_of
from support.kills import until
from support.pbx import AmiServer, EventSocketServer, Part, _Server, recorded_ami, recorded_event_socket
from support.topics import site_of
from support.topics import written as written_on

pytestmark = pytest.mark.asyncio

SECRET = "geheim: äöü"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str, tmp_path: Path) -> Configuration:
    """A configuration with topics of its own for the past, and a secret's file."""
    (tmp_path / "secret").write_text(SECRET + "\n", encoding="utf-8")
    return await site_of(embedded, unique)


def with_source(site: Configuration, kind: str, port: int, folder: Path, **more: Any) -> Configuration:
    """The configuration with the source `pbx`, which asks again and again without a pause."""
    settings = {"kind": kind, "host": "127.0.0.1", "port": port, "secret_file": folder / "secret"}
    settings |= {"state_folder": folder / "state", "heartbeat_seconds": 1, "status_seconds": 1, "metrics_port": 0}
    if kind == "asterisk-ami":
        settings["username"] = "queuewatch"
    made = Configuration.model_validate({"sources": {"pbx": settings | more}}).sources["pbx"]
    faster: SourceSettings = made.model_copy(update={"status_seconds": 0.01})
    return site.model_copy(update={"sources": {"pbx": faster}})


def station_of(configuration: Configuration, name: str = "pbx") -> Station[Any]:
    """A station of the source `pbx`, whatever its name."""
    settings = configuration.sources["pbx"]
    kind = kind_named(settings.kind)
    state = StateFile(settings.state_folder, name, settings.kind)
    settings.state_folder.mkdir(exist_ok=True)
    reader = kind.reader(name, settings, configuration)
    return Station(name, settings, configuration, kind, reader, state, Figures(name))


@asynccontextmanager
async def running(configuration: Configuration, name: str = "pbx") -> AsyncIterator[Station[Any]]:
    """The source, as long as the block runs; ended as by SIGTERM."""
    station = station_of(configuration, name)
    task = asyncio.ensure_future(station.run())
    try:
        yield station
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def written(configuration: Configuration) -> list[dict[str, Any]]:
    """All that lies on the topic of events, in the order of each partition."""
    return await written_on(configuration, configuration.topics.events)


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the core makes of it, by queue."""
    replay = Replay(Question(threshold=20))
    for event in events:
        replay.fold(orjson.dumps(event))
    found: dict[str, Any] = replay.report()["queues"]
    return found


def upstreams(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["upstream"] for event in events if event["type"] == "queuewatch.source.heartbeat.v1"]


def parts_of(seed: int, calls: int) -> tuple[list[Part], dict[str, Any]]:
    """A made-up manager session in parts, and its truth."""
    messages, visits = made_up_session(seed, calls)
    parts: list[Part] = []
    events: list[Any] = []
    rows: list[Any] = []
    for _, fields in messages[1:]:
        if fields["Event"] == "QueueStatusComplete":
            parts.append(Part(events, rows))
            events, rows = [], []
        elif "ActionID" in fields:
            rows.append({key: value for key, value in fields.items() if key != "ActionID"})
        else:
            events.append(fields)
    empty = [{"Event": "QueueParams", "Queue": queue, "Calls": "0"} for queue in QUEUES]
    return [*parts, Part(events, empty)], truth_of(visits)


def matches(found: dict[str, Any], truth: dict[str, Any]) -> None:
    for queue, row in truth.items():
        ours = found[f"pbx/{queue}"]
        assert {key: ours[key] for key in row} == row, queue


# ------------------------------------------------------------------------------------------------- Asterisk's manager


async def test_a_session_over_the_wire_comes_to_what_its_maker_knows(site: Configuration, tmp_path: Path) -> None:
    parts, truth = parts_of(3, 60)
    server = AmiServer(parts, SECRET)
    await server.start()
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path)
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the session's end")
        await asyncio.sleep(1)
    await server.stop()
    events = await written(configuration)
    matches(folded(events), truth)
    assert set(upstreams(events)) <= {"ok", "unknown"}
    assert "ok" in upstreams(events)
    assert len({event["id"] for event in events}) == len({orjson.dumps(event) for event in events})


async def test_a_lost_connection_is_told_and_taken_up_again_without_loss(site: Configuration, tmp_path: Path) -> None:
    """The stand-in closes the connection between two events and goes on with the next: nothing happened meanwhile."""
    parts, truth = parts_of(4, 60)
    server = AmiServer(parts, SECRET)
    server.drop_after = len(parts) // 2
    await server.start()
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path)
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the session's end")
        await asyncio.sleep(1)
    await server.stop()
    assert server.connections == 2
    matches(folded(await written(configuration)), truth)


async def test_a_source_that_was_ended_goes_on_with_its_calls(site: Configuration, tmp_path: Path) -> None:
    parts, truth = parts_of(5, 60)
    server = AmiServer(parts, SECRET)
    await server.start()
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path)
    whole, server.parts = server.parts, server.parts[: len(parts) // 2]
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the first half")
        await asyncio.sleep(1.5)
    server.parts = whole
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the second half")
        await asyncio.sleep(1)
    await server.stop()
    matches(folded(await written(configuration)), truth)


async def test_a_wrong_secret_is_told_and_heartbeats_say_down(site: Configuration, tmp_path: Path) -> None:
    server = AmiServer([Part()], "another")
    await server.start()
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path)
    async with running(configuration) as station:
        await until(lambda: server.refused > 0 and station.ill is not None, "a refusal")
        await asyncio.sleep(2.5)
        assert "refused Login: Authentication failed" in (station.ill or "")
        assert SECRET not in (station.ill or "")
    await server.stop()
    assert upstreams(await written(configuration))[-1] == "down"


async def test_the_manager_interface_is_heard_over_tls_and_only_from_whom_the_certificates_vouch_for(
    site: Configuration, tmp_path: Path
) -> None:
    parts, truth = parts_of(6, 20)
    server = AmiServer(parts, SECRET)
    await server.start(certificate(tmp_path))
    strange = with_source(site, "asterisk-ami", server.port, tmp_path, tls=True)
    async with running(strange) as station:
        await until(lambda: "certificate verify failed" in (station.ill or "").lower(), "a refusal")
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path, tls=True, ca_file=tmp_path / "pbx.pem")
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the session's end")
        await asyncio.sleep(1)
    await server.stop()
    matches(folded(await written(configuration)), truth)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate for 127.0.0.1, which lies in pbx.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pbx")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "pbx.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "pbx.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pbx.pem", folder / "pbx.key")
    return context


async def test_a_system_that_answers_no_more_is_lost(
    site: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuewatch_streams.sources.asterisk.ami.reader.ANSWER_SECONDS", 0.5)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Asterisk Call Manager/11.0.0\r\n")
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    configuration = with_source(site, "asterisk-ami", port, tmp_path)
    with pytest.raises(Lost, match="no answer to Challenge"):
        await station_of(configuration)._reader.look()
    server.close()


# ------------------------------------------------------------------------------------------------ check and compare


async def test_a_pbx_that_is_listened_to_twice_is_noticed(
    site: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("queuewatch_streams.sources.station.DOUBLES_SECONDS", 5.0)
    parts, _ = parts_of(8, 20)
    servers = [AmiServer(parts, SECRET), AmiServer(parts, SECRET)]
    shown: list[float] = []
    for server in servers:
        await server.start()
    one, other = (with_source(site, "asterisk-ami", server.port, tmp_path) for server in servers)
    both = other.model_copy(update={"sources": {"pbx": one.sources["pbx"], "twin": other.sources["pbx"]}})
    assert await command.run_checks(both, "pbx")
    async with running(one) as station, running(other, "twin"):
        await until(lambda: all(server.over for server in servers), "the session's end")

        def doubled() -> bool:
            found = station._figures.registry.get_sample_value("queuewatch_source_doubled_calls", {"source": "pbx"})
            shown.extend([] if found is None else [found])
            return bool(found)

        await until(doubled, "the gauge")
    assert shown[-1] >= 3
    capsys.readouterr()
    assert not await command.run_checks(both, "pbx")
    assert "the source twin tells of the same calls" in capsys.readouterr().err
    for server in servers:
        await server.stop()


@pytest.mark.parametrize("kind", ["asterisk-ami", "freeswitch"])
async def test_check_and_compare_say_what_is_there(
    site: Configuration, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server: _Server
    if kind == "asterisk-ami":
        rows = [
            {"Event": "QueueParams", "Queue": "sales", "Calls": "1", "Completed": "7", "Abandoned": "2"},
            {"Event": "QueueEntry", "Queue": "sales", "Uniqueid": "c1", "Wait": "5"},
        ]
        server = AmiServer([Part((), rows)], SECRET)
    else:
        head = "name|strategy|moh_sound|max_wait_time|calls_answered|calls_abandoned\n"
        answers = {"callcenter_config queue list": f"{head}sales|round-robin|x|0|7|2\n+OK\n"}
        waiting = "queue|instance_id|uuid|session_uuid|cid_number|cid_name|joined_epoch|rejoined_epoch|state\n"
        answers["callcenter_config queue list members sales"] = (
            f"{waiting}sales|b|m1|c1|5|Ann|1795305000|0|Waiting\n+OK\n"
        )
        server = EventSocketServer([Part((), answers)], SECRET)
    await server.start()
    configuration = with_source(site, kind, server.port, tmp_path)
    assert await command.run_checks(configuration, "pbx")
    told = capsys.readouterr().out
    assert "queue sales" in told
    assert "1 callers waiting" in told
    assert "pbx-c1" in told
    assert not await command.tell_comparison(configuration, "pbx", 1)
    told = capsys.readouterr().out
    assert "7 / 0" in told
    assert "Why they may differ" in told
    await server.stop()
    assert not await command.run_checks(configuration, "pbx")


async def test_brokers_that_answer_no_more_amidst_a_comparison_are_told_in_words(
    site: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = AmiServer([Part()], SECRET)
    await server.start()
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path)
    async with running(configuration) as station:
        await until(lambda: station.ill is None, "a heartbeat")
        await asyncio.sleep(1)
    monkeypatch.setattr(topic, "_ENOUGH", 0.0)
    with pytest.raises(KafkaTrouble, match="stopped answering"):
        await command.tell_comparison(configuration, "pbx", 1)
    await server.stop()


# --------------------------------------------------------------------------------------------------------- recordings


@pytest.mark.skipif(not (SHARED / "asterisk").exists(), reason="the recorded Asterisk lies outside this repository")
async def test_a_recorded_asterisk_over_the_wire_gives_the_true_counts(site: Configuration, tmp_path: Path) -> None:
    parts = recorded_ami(SHARED / "asterisk" / "ami.txt.gz")
    server = AmiServer(parts, SECRET)
    server.drop_after = 11
    await server.start()
    configuration = with_source(site, "asterisk-ami", server.port, tmp_path)
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the session's end")
        await asyncio.sleep(1.5)
    await server.stop()
    events = await written(configuration)
    truth, found = json.loads((SHARED / "asterisk" / "truth.json").read_text()), folded(events)
    refused = Counter(event["data"]["reason"] for event in events if event["type"] == "queuewatch.call.refused.v1")
    assert refused == {"no_agents": truth["total"]["refused_joinempty"], "full": truth["total"]["refused_full"]}
    for queue, row in truth["queues"].items():
        if row["entered"]:
            ours = found[f"pbx/{queue}"]
            diverted = ours["diverted_by"]
            assert ours["offered"] == row["entered"]
            assert ours["answered"] == row["answered"]
            assert ours["abandoned"] == row["abandoned"]
            assert ours["waiting"] == 0
            assert diverted.get("timeout", 0) == row["timed_out"]
            assert diverted.get("key", 0) == row["exited_key"]
            assert diverted.get("no_agents", 0) == row["leave_empty"]
            assert diverted.get("withdrawn", 0) == row["withdrawn"]
            assert diverted.get("transfer", 0) == row["redirected_while_waiting"]
            assert ours["answered_within"] == row["answered_within_20s"]
            assert abs(ours["answer_wait_sum"] - row["sum_wait_answered_s"]) < 0.02 * row["answered"]
            assert abs(ours["talk_sum"] - row["talk_time_sum_s"]) < 0.02 * row["answered"]


@pytest.mark.skipif(not (SHARED / "freeswitch").exists(), reason="the recorded FreeSWITCH lies outside this repository")
async def test_a_recorded_freeswitch_over_the_wire_gives_the_true_counts(site: Configuration, tmp_path: Path) -> None:
    server = EventSocketServer(recorded_event_socket(SHARED / "freeswitch"), SECRET)
    server.drop_after = 9
    await server.start()
    configuration = with_source(site, "freeswitch", server.port, tmp_path)
    async with running(configuration) as station:
        await until(lambda: server.over and station.ill is None, "the session's end")
        await asyncio.sleep(1.5)
    await server.stop()
    truth, found = json.loads((SHARED / "freeswitch" / "truth.json").read_text()), folded(await written(configuration))
    unsure = Counter(queue for _, queue, *_ in truth["ambiguous_timeout_kind"])
    for queue, row in truth["queues"].items():
        ours = found[f"pbx/{queue}"]
        diverted = ours["diverted_by"]
        assert ours["offered"] == row["entered"]
        assert ours["answered"] == row["answered"]
        assert ours["abandoned"] == row["abandoned"]
        assert ours["answered_within"] == row["answered_within_20s"]
        assert diverted.get("key", 0) == row["exited_by_key"]
        assert abs(diverted.get("timeout", 0) - row["timed_out"]) <= unsure[queue]
        assert abs(diverted.get("no_agents", 0) - row["no_agent_timeout"]) <= unsure[queue]
        assert abs(ours["answer_wait_sum"] - row["sum_wait_answered"]) < 0.06 * row["answered"]
        assert ours["waiting"] == 0
