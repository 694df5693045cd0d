"""`queuewatch convert` and `queuewatch source` as people type them, and the file that a source keeps."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Business, Configuration, Timing
from queuewatch_schemas.metrics import SOURCE_METRICS, Kind
from queuewatch_streams.brokers import free_port
from queuewatch_streams.cli import main
from queuewatch_streams.sources.command import first_start
from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.live import SECRET_VARIABLE, read_secret
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.state import Saved, StateFile, StateTrouble
from sources.made_up import log, made_up_day


def convert(*arguments: str, text: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["convert", "--from", "asterisk-queue-log", *arguments], input=text)


def queuewatch(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "queuewatch_streams.cli", *arguments]


# ------------------------------------------------------------------------------------------------------------- convert


def test_files_are_read_oldest_first_whatever_their_names(tmp_path: Path) -> None:
    """As a shell lists them the log itself comes first, and the packed ones between the others."""
    day, _ = made_up_day(4, calls=60)
    whole = tmp_path / "whole"
    whole.write_bytes(b"\n".join(day) + b"\n")
    third = len(day) // 3
    (tmp_path / "queue_log").write_bytes(b"\n".join(day[2 * third :]))  # its last line has no end yet
    (tmp_path / "queue_log.1").write_bytes(b"\n".join(day[third : 2 * third]) + b"\n")
    (tmp_path / "queue_log.2.gz").write_bytes(gzip.compress(b"\n".join(day[:third]) + b"\n"))
    several = convert(*sorted(str(each) for each in tmp_path.glob("queue_log*")))
    assert several.exit_code == 0
    assert (
        several.stdout_bytes == convert(str(whole)).stdout_bytes == convert("-", text=whole.read_bytes()).stdout_bytes
    )


def test_convert_and_replay_make_a_pipe_without_kafka(tmp_path: Path) -> None:
    """Yesterday's log, counted; the queues have the names that --name says."""
    day, truth = made_up_day(5, calls=80)
    path = tmp_path / "queue_log"
    path.write_bytes(b"\n".join(day) + b"\n")
    arguments = queuewatch("convert", "--from", "asterisk", "--name", "pbx1", str(path))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as converting:
        replayed = subprocess.run(
            queuewatch("replay", "-", "--json"), stdin=converting.stdout, capture_output=True, check=True
        )
    assert converting.returncode == 0
    queues = json.loads(replayed.stdout)["queues"]
    assert {name: queues[f"pbx1/{name}"]["answered"] for name in truth} == {
        name: figures["answered"] for name, figures in truth.items()
    }


def test_what_cannot_be_read_is_told_with_its_place_and_the_status_is_2(tmp_path: Path) -> None:
    """The rest is converted all the same; of one reason the first twenty are told."""
    path = tmp_path / "queue_log"
    good = log("0|c1|sales|NONE|ENTERQUEUE||5|1")[0]
    path.write_bytes(good + b"\nnonsense\n" + b"x|c|sales|NONE|ABANDON|1|1|1\n" * 30)
    done = convert(str(path))
    assert done.exit_code == 2
    assert done.stdout_bytes.count(b"\n") == 1
    assert f"{path}:2: bad_time" in done.stderr
    assert done.stderr.count(": bad_time: ") == 20
    assert "31 records cannot be read" in done.stderr


def test_an_event_that_nobody_knows_is_told_and_the_status_is_0(tmp_path: Path) -> None:
    """Dialplans write what they like into the log."""
    path = tmp_path / "queue_log"
    path.write_bytes(b"\n".join(log("0|c1|sales|NONE|ENTERQUEUE||5|1", "1|c1|sales|NONE|SURVEY|5")))
    done = convert(str(path))
    assert done.exit_code == 0
    assert "unknown_event: the event SURVEY" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--from", "nothing", "x"], "neither a source"),
        (["--from", "asterisk", "nowhere"], "nowhere: cannot be read"),
        (["--from", "asterisk", "."], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_status_is_2(arguments: list[str], why: str) -> None:
    """An unknown kind, a missing file, a folder."""
    done = CliRunner().invoke(main, ["convert", *arguments])
    assert done.exit_code == 2
    assert why in done.stderr


def test_a_cut_off_packed_file_is_said_and_what_came_before_is_there(tmp_path: Path) -> None:
    """As after a full disk."""
    day, _ = made_up_day(6, calls=400)
    path = tmp_path / "queue_log.1.gz"
    path.write_bytes(gzip.compress(b"\n".join(day), 1)[:-200])
    done = convert(str(path))
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`convert … | head -1`."""
    day, _ = made_up_day(7, calls=3000)
    path = tmp_path / "queue_log"
    path.write_bytes(b"\n".join(day))
    with subprocess.Popen(
        queuewatch("convert", "--from", "asterisk", str(path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


# -------------------------------------------------------------------------------------------------------------- source


def test_a_source_that_is_not_configured_is_said(tmp_path: Path) -> None:
    """With those that are."""
    config = tmp_path / "q.toml"
    config.write_text('[sources.pbx1]\nkind = "asterisk-queue-log"\nfile = "queue_log"\n', encoding="utf-8")
    done = CliRunner().invoke(main, ["source", "pbx2", "--config", str(config)])
    assert done.exit_code == 2
    assert "there are: pbx1" in done.stderr


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_customer_key_that_cannot_be_used_is_said(tmp_path: Path, content: bytes | None) -> None:
    """A missing file, and one that could be guessed."""
    config = tmp_path / "q.toml"
    config.write_text(
        '[sources.pbx1]\nkind = "asterisk-queue-log"\nfile = "queue_log"\ncustomer_key_file = "key"\n', encoding="utf-8"
    )
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    done = CliRunner().invoke(main, ["source", "pbx1", "--config", str(config)])
    assert done.exit_code == 2
    assert "sources.pbx1.customer_key_file" in done.stderr


def test_a_first_start_begins_with_the_business_day_but_not_before_what_can_be_counted() -> None:
    """The day begins at four in Rome; grace is a quarter of an hour unless it is set."""
    business = Business(time_zone="Europe/Rome", day_starts_at_hour=4)
    graceful = Configuration(business=business, timing=Timing(grace_seconds=86_400))
    at = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
    assert moment(first_start(graceful, at)) == "2026-11-21T03:00:00Z"
    assert moment(first_start(graceful, at.replace(hour=2))) == "2026-11-20T03:00:00Z"
    assert moment(first_start(Configuration(business=business), at)) == "2026-11-21T14:45:00Z"
    assert moment(first_start(Configuration(business=business), at.replace(hour=3, minute=5))) == "2026-11-21T03:00:00Z"


def test_a_check_of_a_system_that_is_away_says_where_and_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim\n")
    settings = f'kind = "freeswitch"\nhost = "127.0.0.1"\nport = {free_port()}\nsecret_file = "secret"\n'
    (tmp_path / "q.toml").write_text(f"[sources.fs1]\n{settings}")
    done = CliRunner().invoke(main, ["source", "fs1", "--config", str(tmp_path / "q.toml"), "--check"])
    assert done.exit_code == 1
    assert ": connection refused; does it run, and listen there?" in done.output


def test_a_secret_in_the_environment_may_end_with_a_line_as_one_in_a_file_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "geheim\r\n")
    assert read_secret("sources.fs1.secret_file", None) == "geheim"


# --------------------------------------------------------------------------------------------------------------- state


def test_what_was_saved_is_loaded_and_another_kinds_is_not(tmp_path: Path) -> None:
    """A first start has none; a file that is none is said, not overwritten."""
    state = StateFile(tmp_path / "made", "pbx1", "a-kind")
    assert state.load() is None
    state.lock()
    state.save(Saved({"offset": 5}, {"calls": {"é": 1}}))
    assert StateFile(tmp_path / "made", "pbx1", "a-kind").load() == Saved({"offset": 5}, {"calls": {"é": 1}})
    with pytest.raises(StateTrouble, match="no state of a source of the kind other"):
        StateFile(tmp_path / "made", "pbx1", "other").load()
    state.path.write_bytes(b"{")
    with pytest.raises(StateTrouble, match="delete it to start afresh"):
        state.load()
    assert oct(state.path.stat().st_mode & 0o777) == "0o600"
    state.unlock()


def test_a_memory_that_is_damaged_is_said_with_its_file(tmp_path: Path) -> None:
    """As a file of the right form and kind, in which someone has written."""
    (tmp_path / "q.toml").write_text('[sources.pbx1]\nkind = "asterisk-queue-log"\nfile = "log"\nmetrics_port = 0\n')
    state = StateFile(tmp_path / "queuewatch-state", "pbx1", "asterisk-queue-log")
    state.path.parent.mkdir()
    state.save(Saved(None, {"newest": 0, "last": 0, "open": []}))
    done = subprocess.run(
        queuewatch("source", "pbx1", "--config", str(tmp_path / "q.toml")), check=False, capture_output=True
    )
    assert done.returncode == 2
    assert b"pbx1.json: what it remembers is damaged; delete it to start afresh" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_crash_while_saving_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new content is whole and on the disk before it takes the old one's place."""
    state = StateFile(tmp_path, "pbx1", "kind")
    state.save(Saved(1, None))
    done: list[str] = []
    synced, replaced = os.fsync, os.replace

    def sync(file: int) -> None:
        done.append("sync")
        synced(file)

    monkeypatch.setattr(os, "fsync", sync)

    def crash(old: object, new: object) -> None:
        done.append("replace")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(StateTrouble, match="No space left"):
        state.save(Saved(2, None))
    assert done == ["sync", "replace"]
    assert state.load() == Saved(1, None)
    monkeypatch.setattr(os, "replace", replaced)
    state.save(Saved(3, None))
    assert state.load() == Saved(3, None)


def test_two_processes_cannot_run_one_source(tmp_path: Path) -> None:
    """The second is told; after the first has ended it may."""
    first, second = StateFile(tmp_path, "pbx1", "kind"), StateFile(tmp_path, "pbx1", "kind")
    first.lock()
    with pytest.raises(StateTrouble, match="another process"):
        second.lock()
    StateFile(tmp_path, "pbx2", "kind").lock()
    first.unlock()
    second.lock()
    second.unlock()


# ------------------------------------------------------------------------------------------------------------- compose


@given(st.integers(-2_208_988_800_000_000, 32_503_679_999_999_999))
def test_a_moment_is_the_text_of_its_time(at: int) -> None:
    """To the microsecond, in all the years that events may have."""
    text = moment(at)
    assert datetime.fromisoformat(text).astimezone(UTC) == datetime.fromtimestamp(at // 10**6, UTC).replace(
        microsecond=at % 10**6
    )
    assert text.endswith("Z")


@pytest.mark.parametrize("at", [-2_208_988_800_000_001, 32_503_680_000_000_000, 1 << 62])
def test_a_time_beyond_the_calendar_is_refused(at: int) -> None:
    """Other years cannot be told in every time zone."""
    with pytest.raises(Unreadable):
        moment(at)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30), st.text(max_size=10))
def test_whatever_names_hold_the_event_is_json_that_says_so(call: str, agent: str, which: str) -> None:
    """It is put together by hand: quotes, backslashes, control characters and all."""
    composer, out = Composer("pbx1"), Out()
    try:
        subject, who = composer.subject(call), composer.agent(agent)
        composer.call(
            out, "answered", 1_795_305_000_000_001, subject, {"queue": "sales", "agent": who}, visit=2, which=which
        )
        composer.agent_does(out, 5, who, composer.agent_data("available", ["sales"]), which)
    except Unreadable:
        return
    found = [orjson.loads(value) for _, _, value in out.messages]
    assert found[0] == {
        "specversion": "1.0",
        "id": f"pbx1-{call}/2/answered/1795305000000001/{which}sales",
        "source": "urn:source:pbx1",
        "type": "queuewatch.call.answered.v1",
        "time": "2026-11-21T23:50:00.000001Z",
        "subject": f"pbx1-{call}",
        "data": {"queue": "sales", "agent": f"pbx1/{agent}", "visit": 2},
    }
    assert found[1]["subject"] == f"pbx1/{agent}"


def test_every_figure_of_the_catalogue_is_exposed_and_no_other() -> None:
    """Counters from the start, gauges once they are known."""
    figures = Figures("pbx1")
    found = {metric.name for metric in figures.registry.collect()}
    assert found == {metric.full.removesuffix("_total") for metric in SOURCE_METRICS}
    for metric in SOURCE_METRICS:
        expected = 0.0 if metric.kind is Kind.COUNTER else None
        for reason in metric.values.get("reason", ("",)):
            labels = {"source": "pbx1"} | ({"reason": reason} if reason else {})
            assert figures.registry.get_sample_value(metric.full, labels) == expected
