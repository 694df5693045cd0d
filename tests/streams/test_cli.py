"""The commands as their users meet them: words, options, exit statuses, what goes to which stream."""

import gzip
import json
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from integration.worker_process import command, environment
from queuewatch_streams.brokers import free_port
from queuewatch_streams.cli import main
from queuewatch_streams.simulation import Dirt, Settings, lines
from support.events import SECOND, call, line, micros

START = micros("2026-11-20T09:00:00+00:00")
COMMANDS = ("replay", "publish", "simulate", "worker", "topics", "config", "demo")


def queuewatch(*arguments: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None) -> Result:
    """A command, run in this process; nothing of the real environment is seen."""
    cleared = {f"QUEUEWATCH_{name}": "" for name in ("CONFIG", "BROKERS", "METRICS_PORT", "WALLBOARD_PORT")}
    return CliRunner(env={**cleared, **(variables or {})}).invoke(main, arguments, input=stdin, prog_name="queuewatch")


def report(result: Result) -> dict[str, Any]:
    """The JSON on standard output."""
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture
def day() -> bytes:
    """Three calls: one answered, one abandoned, one that waits."""
    events = [
        call("queued", START),
        call("answered", START + 10 * SECOND),
        call("ended", START + 70 * SECOND),
        call("queued", START + 20 * SECOND, "c-2"),
        call("abandoned", START + 50 * SECOND, "c-2"),
        call("queued", START + 60 * SECOND, "c-3", "support"),
    ]
    return b"".join(line(event) + b"\n" for event in events)


@pytest.fixture
def file(day: bytes, tmp_path: Path) -> Path:
    """The same as a file."""
    path = tmp_path / "day.ndjson"
    path.write_bytes(day)
    return path


# ----------------------------------------------------------------------------------------------------------------- help


def test_help_names_every_command_with_a_line_about_it() -> None:
    """And the two that one needs first."""
    result = queuewatch("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", result.stdout, re.MULTILINE), name
    assert "queuewatch demo" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [(name,) for name in COMMANDS] + [("topics", "create"), ("topics", "check"), ("config", "check")],
    ids=" ".join,
)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_each_command_says_how_it_is_used(arguments: tuple[str, ...], flag: str) -> None:
    """Every option with a text, unless it is plain from its name and type."""
    result = queuewatch(*arguments, flag)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: queuewatch {' '.join(arguments)} ")
    group: click.Command = main
    for name in arguments:
        assert isinstance(group, click.Group)
        group = group.commands[name]
    assert group.help


def test_the_version_is_told() -> None:
    """That of the installed distribution."""
    assert re.fullmatch(r"queuewatch, version \d+\.\d+\.\d+\S*\n", queuewatch("--version").stdout)


@pytest.mark.parametrize("arguments", [("replai",), ("replay",), ("replay", "--nothing"), ("worker", "--clock", "sun")])
def test_what_is_no_command_is_told_on_standard_error(arguments: tuple[str, ...]) -> None:
    """With exit status 2."""
    result = queuewatch(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


# --------------------------------------------------------------------------------------------------------------- replay


def test_replay_tells_the_keys_of_the_recount(file: Path) -> None:
    """As JSON on standard output, and nothing else there."""
    result = queuewatch("replay", str(file), "--json", "--tz", "UTC")
    assert (result.exit_code, result.stderr) == (0, "")
    told = report(result)
    assert set(told) == {"queues", "intervals", "outcomes", "events", "at"}
    sales = told["queues"]["sales"]
    assert (sales["offered"], sales["answered"], sales["abandoned"]) == (2, 1, 1)
    assert (sales["answer_wait_sum"], sales["talk_sum"], sales["service_level"]["negative"]) == (10, 60, 0.5)
    assert list(told["intervals"]) == ["2026-11-20T09:00:00+00:00"]


def test_replay_takes_several_times_behind_one_at(file: Path) -> None:
    """`--at T1 T2` as well as `--at T1 --at T2`, before the file or behind it."""
    times = ["2026-11-20T09:00:05+00:00", "2026-11-20T09:00:30+00:00"]
    expected = {
        times[0]: {"sales": {"waiting": 1, "longest_wait": 5.0}},
        times[1]: {"sales": {"waiting": 1, "longest_wait": 10.0}},
    }
    for arguments in (
        (str(file), "--at", *times, "--json"),
        ("--at", *times, str(file), "--json"),
        ("--json", "--at", times[0], "--at", times[1], str(file)),
        ("--json", str(file), "--at", *times),
    ):
        result = queuewatch("replay", *arguments)
        assert result.exit_code == 0, result.stderr
        assert report(result)["at"] == expected


def test_replay_reads_gz_standard_input_and_several_files(file: Path, day: bytes, tmp_path: Path) -> None:
    """All give the same, also twice over: duplicates change nothing."""
    packed = tmp_path / "day.ndjson.gz"
    packed.write_bytes(gzip.compress(day))
    once = report(queuewatch("replay", str(file), "--json"))
    assert report(queuewatch("replay", str(packed), "--json")) == once
    assert report(queuewatch("replay", "-", "--json", stdin=day)) == once
    assert report(queuewatch("replay", str(file), str(packed), "-", "--json", stdin=day)) == once
    half = day.splitlines(keepends=True)
    file.write_bytes(b"".join(half[::2]))
    assert report(queuewatch("replay", str(file), "-", "--json", stdin=b"".join(half[1::2]))) == once


def test_replay_counts_by_its_options(file: Path) -> None:
    """Threshold, short abandons, interval, zone and the instant that is now."""
    told = report(queuewatch("replay", str(file), "--json", "--threshold", "9.5", "--short", "30", "--interval", "15"))
    assert told["queues"]["sales"]["answered_within"] == 0
    assert told["queues"]["sales"]["short_abandoned"] == 1
    early, late = "2026-11-20T09:01:10Z", "2026-11-20T09:02:00Z"
    for now, counted in ((early, 0), (late, 1)):
        told = report(queuewatch("replay", str(file), "--json", "--now", now))
        assert told["queues"]["support"]["counted"] == counted


def test_replay_tells_bad_lines_and_counts_the_others(file: Path, day: bytes) -> None:
    """Each with file, line, reason; the figures are printed all the same, and the exit status is 2."""
    good = day.splitlines(keepends=True)
    file.write_bytes(b"".join([good[0], b"not an event\n", b"\n", *good[1:], b'{"specversion":"1.0"}\n', b"\xff\n"]))
    result = queuewatch("replay", str(file), "--json")
    assert result.exit_code == 2
    assert report(result)["queues"]["sales"]["offered"] == 2
    told = result.stderr.splitlines()
    assert told[0].startswith(f"{file}:2: unreadable_json: ")
    assert told[1].startswith(f"{file}:9: missing_field: ")
    assert told[2].startswith(f"{file}:10: not_utf8: ")
    assert told[3] == "Error: 3 lines are no events; the figures are those of all other lines"


def test_replay_of_nothing_but_bad_lines_shows_the_first_of_them(file: Path) -> None:
    """Twenty lines, and how many there are."""
    file.write_bytes(b"junk\n" * 30)
    result = queuewatch("replay", str(file), "--json")
    assert (result.exit_code, report(result)["queues"]) == (2, {})
    assert len(result.stderr.splitlines()) == 21
    assert "30 lines are no events, of which 20 are shown" in result.stderr


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_replay_of_an_empty_file_is_empty(content: bytes, file: Path) -> None:
    """Not an error."""
    file.write_bytes(content)
    result = queuewatch("replay", str(file), "--json")
    assert result.exit_code == 0, result.stderr
    assert report(result)["queues"] == {}
    assert queuewatch("replay", str(file)).exit_code == 0


def test_replay_says_which_file_cannot_be_read(tmp_path: Path) -> None:
    """One that is missing, a folder, one that is no gzip, and one that was cut short."""
    cut, fake = tmp_path / "cut.gz", tmp_path / "fake.gz"
    cut.write_bytes(gzip.compress(b"x" * 100_000, 0)[:5000])
    fake.write_bytes(b"this is not gzip")
    for path in (tmp_path / "missing.ndjson", tmp_path, cut, fake):
        result = queuewatch("replay", str(path))
        assert result.exit_code == 2, path
        assert f"{path}: cannot be read" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "yesterday"), "'yesterday' is no time"),
        (("--now", "2026-11-20T09:00:00"), "has no offset"),
        (("--tz", "Mars/Olympus"), "'Mars/Olympus' is no time zone"),
        (("--threshold", "-1"), "--threshold"),
        (("--interval", "0"), "--interval"),
    ],
)
def test_replay_says_which_option_it_cannot_use(arguments: tuple[str, str], said: str, file: Path) -> None:
    """With exit status 2 and no figures."""
    result = queuewatch("replay", str(file), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


# --------------------------------------------------------------------------------------------------------------- config


def test_config_check_tells_what_is_in_force(tmp_path: Path) -> None:
    """Levels and queues in words; without a file, the defaults."""
    path = tmp_path / "queuewatch.toml"
    path.write_text(
        '[definitions.gold]\nthreshold_seconds = 10\n[queues.sales]\nname = "Sales"\ndefinitions = ["gold"]\n'
    )
    result = queuewatch("config", "check", "--config", str(path))
    assert result.exit_code == 0, result.stderr
    assert "service level gold: negative, 80% in 10 s, booked by arrival" in result.stdout
    assert "queue sales: Sales; gold; UTC" in result.stdout
    assert "application queuewatch" in queuewatch("config", "check").stdout


def test_config_check_tells_every_problem_with_its_place(tmp_path: Path) -> None:
    """All of them at once, each on a line of its own."""
    path = tmp_path / "broken.toml"
    path.write_text(
        '[definitions.gold]\npreset = "fo"\ntarget = 80\n[queues.sales]\ndefinition = ["gold"]\n'
        '[kafka]\nbrokers = "nowhere"\n'
    )
    result = queuewatch("config", "check", "--config", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    for place in ("definitions.gold.preset", "definitions.gold.target", "queues.sales.definition", "kafka.brokers"):
        assert re.search(rf"^  {re.escape(place)}: \S", result.stderr, re.MULTILINE), (place, result.stderr)
    assert "did you mean definitions?" in result.stderr
    assert str(path) in result.stderr


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b"a = ", "is not TOML"), (b"\xff", "is not UTF-8")]
)
def test_a_configuration_that_cannot_be_read_ends_any_command(content: bytes | None, said: str, tmp_path: Path) -> None:
    """With exit status 2, before anything else happens."""
    path = tmp_path / "queuewatch.toml"
    if content is not None:
        path.write_bytes(content)
    for arguments in (("config", "check"), ("worker",), ("topics", "create"), ("simulate",)):
        result = queuewatch(*arguments, "--config", str(path))
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert f"{path}: {said}" in result.stderr


def test_flags_go_before_variables_and_variables_before_the_file(tmp_path: Path) -> None:
    """Of the brokers' address, which config check tells."""
    path = tmp_path / "queuewatch.toml"
    path.write_text('[kafka]\nbrokers = "file:1"\n')
    variables = {"QUEUEWATCH_CONFIG": str(path)}
    assert "Kafka at file:1" in queuewatch("config", "check", variables=variables).stdout
    variables["QUEUEWATCH_BROKERS"] = "variable:2"
    assert "Kafka at variable:2" in queuewatch("config", "check", variables=variables).stdout
    assert "Kafka at flag:3" in queuewatch("config", "check", "--brokers", "flag:3", variables=variables).stdout
    result = queuewatch("config", "check", variables={"QUEUEWATCH_BROKERS": "no port"})
    assert result.exit_code == 2
    assert "QUEUEWATCH_BROKERS" in result.stderr


# --------------------------------------------------------------------------------------------------------- without Kafka


@pytest.mark.parametrize(
    "arguments",
    [("topics", "create"), ("topics", "check"), ("publish", "FILE"), ("simulate", "--kafka"), ("worker",)],
    ids=" ".join,
)
def test_no_broker_is_told_with_its_address_and_what_to_do(arguments: tuple[str, ...], file: Path) -> None:
    """Exit status 2, no trace of our insides."""
    address = f"127.0.0.1:{free_port()}"
    given = [str(file) if each == "FILE" else each for each in arguments]
    if arguments == ("worker",):
        given += ["--metrics-port", "0"]
    result = queuewatch(*given, "--brokers", address)
    assert result.exit_code == 2
    assert f"no Kafka broker can be reached at {address}" in result.stderr
    assert "is it running" in result.stderr
    assert "Traceback" not in result.output


# ------------------------------------------------------------------------------------------------------------- simulate


def test_the_same_seed_writes_the_same_lines() -> None:
    """One event a line, all of them good; another seed writes others."""
    options = ("--hours", "1", "--start", "2026-11-20T09:00:00+00:00", "--calls-per-hour", "20")
    first = queuewatch("simulate", "--seed", "7", *options)
    assert first.exit_code == 0, first.stderr
    assert queuewatch("simulate", "--seed", "7", *options).stdout_bytes == first.stdout_bytes
    assert queuewatch("simulate", "--seed", "8", *options).stdout_bytes != first.stdout_bytes
    settings = Settings(start=datetime(2026, 11, 20, 9, tzinfo=UTC), hours=1, seed=7, calls_per_hour=20, dirt=Dirt())
    assert first.stdout_bytes == b"".join(lines(settings))


def test_simulated_lines_can_be_replayed_through_a_pipe() -> None:
    """`simulate | replay -`: real processes, and what is malformed is told by the replay alone."""
    options = ["--hours", "1", "--eventful", "--dirty", "--malformed", "0.01", "--start", "2026-11-20T09:00:00+00:00"]
    with subprocess.Popen(command("simulate", *options), env=environment(), stdout=subprocess.PIPE) as simulated:
        replayed = subprocess.run(
            command("replay", "-", "--json"),
            env=environment(),
            stdin=simulated.stdout,
            capture_output=True,
            check=False,
        )
    assert simulated.returncode == 0
    assert replayed.returncode == 2
    assert re.search(rb"Error: \d+ lines are no events", replayed.stderr)
    assert sum(row["offered"] for row in json.loads(replayed.stdout)["queues"].values()) > 100


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`simulate | head -1` says nothing on standard error."""
    with subprocess.Popen(
        command("simulate", "--hours", "24", "--start", "2026-11-20T00:00:00+00:00"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as simulated:
        assert simulated.stdout is not None
        assert simulated.stderr is not None
        assert simulated.stdout.readline().startswith(b"{")
        simulated.stdout.close()
        assert simulated.stderr.read() == b""
    assert simulated.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--incident", "sales"), "write it as in sales:10:15"),
        (("--incident", "nowhere:1:2"), "nowhere"),
        (("--start", "noon"), "'noon' is no time"),
        (("--hours", "0"), "--hours"),
    ],
)
def test_simulate_says_what_it_cannot_simulate(arguments: tuple[str, str], said: str) -> None:
    """With exit status 2."""
    result = queuewatch("simulate", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
