"""The commands.  What they do is elsewhere; here are their words, options and exit statuses.

0: done.  1: a check failed, or a worker crashed.  2: bad input, a bad configuration, or something that is not there.
Figures go to standard output, everything else to standard error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import wraps
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import ConfigurationError, configuration_path, load, override
from queuewatch_streams.core.partition import Clock
from queuewatch_streams.kafka import KafkaTrouble
from queuewatch_streams.sources.command import add_to as add_sources_to

R = TypeVar("R")
SHOWN = 20
"""Refused lines that are told one by one."""
COMMANDS: Final = "queuewatch.commands"
"""The group of entry points under which packages that are not to be imported here bring commands of their own."""


class Trouble(click.ClickException):
    """Something the user can mend; told on standard error, exit status 2."""

    exit_code = 2


class Instant(click.ParamType):
    """An RFC 3339 time with its offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time as an aware datetime."""
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it as in 2026-11-21T09:15:00+08:00", param, ctx)
        if at.tzinfo is None:
            self.fail(f"{value!r} has no offset; write for instance +08:00 behind it", param, ctx)
        return at


class Zone(click.ParamType):
    """A time zone of the IANA database."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        """The zone."""
        if isinstance(value, ZoneInfo):
            return value
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is no time zone; write it as in Asia/Shanghai", param, ctx)


class SeveralTimes(click.Command):
    """A command whose `--at` takes several times in a row: `--at T1 T2` as well as `--at T1 --at T2`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `--at` before each further time."""
        spread: list[str] = []
        following = False
        for arg in args:
            if arg == "--at":
                following, first = True, True
                continue
            if following and (first or _is_time(arg)):
                spread += ["--at", arg]
                first = False
                continue
            following = False
            spread.append(arg)
        if args and args[-1] == "--at":
            spread.append("--at")
        return super().parse_args(ctx, spread)


def _is_time(text: str) -> bool:
    with suppress(ValueError):
        datetime.fromisoformat(text)
        return True
    return False


def with_configuration(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the configuration: the file, then environment variables, then flags over it."""

    @click.option("--config", type=click.Path(path_type=Path), help="TOML file.  [env: QUEUEWATCH_CONFIG]")
    @click.option("--brokers", help="Kafka's addresses, host:port with commas.  [env: QUEUEWATCH_BROKERS]")
    @wraps(command)
    def run(config: Path | None, brokers: str | None, *args: Any, **kwargs: Any) -> R:
        metrics_port = kwargs.pop("metrics_port", None)
        try:
            configuration = override(
                load(configuration_path(config, os.environ)),
                brokers=brokers,
                metrics_port=metrics_port,
                environment=os.environ,
            )
        except ConfigurationError as error:
            raise Trouble(str(error)) from None
        return command(configuration, *args, **kwargs)

    return run


def _async(work: Coroutine[Any, Any, R]) -> R:
    """Run to its end; troubles with Kafka become exit status 2, an interrupt 130."""
    try:
        return asyncio.run(work)
    except (KafkaTrouble, ConfigurationError) as error:
        raise Trouble(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)


class Commands(click.Group):
    """The commands here, and those that other packages of this distribution bring, which are imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all of them."""
        return sorted({*super().list_commands(ctx), *entry_points(group=COMMANDS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, if there is one."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            for brought in entry_points(group=COMMANDS, name=cmd_name):
                found = cast(click.Command, brought.load())
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="queuewatch")
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
def main(verbose: bool) -> None:
    """A streaming real-time monitor for call queues: exact, honest, fast.

    \b
    See it live, without Docker and without a JVM:    queuewatch demo
    Count a file of events without Kafka:             queuewatch replay calls.ndjson
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


@main.command(cls=SeveralTimes, context_settings={"show_default": True})
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--threshold", type=click.FloatRange(min=0), default=20, help="Seconds within which an answer is in time."
)
@click.option("--short", type=click.FloatRange(min=0), default=5, help="Seconds up to which an abandon is short.")
@click.option("--interval", type=click.IntRange(1, 60), default=30, help="Minutes of an interval of local time.")
@click.option("--now", type=Instant(), help="Count those who wait as of then; the newest event if left out.")
@click.option("--at", "instants", type=Instant(), multiple=True, help="Tell who waited then; several may follow.")
@click.option("--tz", "zone", type=Zone(), default="Asia/Jerusalem", help="Zone of the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def replay(
    files: tuple[str, ...],
    threshold: float,
    short: float,
    interval: int,
    now: datetime | None,
    instants: tuple[datetime, ...],
    zone: ZoneInfo,
    as_json: bool,
) -> None:
    """Count files of events exactly, without Kafka.

    A FILE holds one CloudEvent a line, in any order, with any duplicates; it may end in .gz, or be - for standard input.
    Several files count as one.  Lines that are no events are told on standard error, and the exit status is then 2.

    \b
    queuewatch replay monday.ndjson.gz --tz Europe/Rome --threshold 30
    queuewatch replay monday.ndjson --json --at 2026-11-21T10:00:00+01:00 > figures.json
    """
    from queuewatch_streams.core.replay import Question, Replay
    from queuewatch_streams.report import counting, event_lines, print_report

    counted = Replay(Question(threshold, short, interval, zone, now, instants))
    bad = 0
    with counting(files) as progress:
        for file in files:
            try:
                for number, rejected in counted.fold_all(event_lines(file, progress)):
                    bad += 1
                    if bad <= SHOWN:
                        click.echo(f"{file}:{number}: {rejected.reason}: {rejected.detail}", err=True)
            except OSError as error:
                raise Trouble(f"{file}: cannot be read: {error.strerror or error}") from None
    report = counted.report()
    if as_json:
        click.echo(json.dumps(report, indent=1, sort_keys=True))
    else:
        print_report(report, threshold)
    if bad:
        more = f", of which {SHOWN} are shown" if bad > SHOWN else ""
        raise Trouble(f"{bad} lines are no events{more}; the figures are those of all other lines")


@main.command()
@click.argument("file")
@with_configuration
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Pace by event time: 1 as it happened.")
@click.option("--shift-to-now", is_flag=True, help="Move all times so that the newest (with --speed: oldest) is now.")
@click.option("--history", is_flag=True, help="Give each record its event's time: for `worker --clock events`.")
def publish(configuration: Configuration, file: str, speed: float | None, shift_to_now: bool, history: bool) -> None:
    """Publish a FILE of events (ndjson, .gz, or - for standard input) to Kafka.

    \b
    queuewatch publish monday.ndjson.gz --history
    queuewatch publish monday.ndjson --shift-to-now --speed 1
    """
    from queuewatch_streams.publish import UnreadableFile
    from queuewatch_streams.publish import publish as publish_file

    try:
        done = _async(publish_file(file, configuration, speed=speed, shift_to_now=shift_to_now, history=history))
    except UnreadableFile as error:
        raise Trouble(str(error)) from None
    click.echo(f"{done.published} events published in {done.seconds:.1f} s ({done.per_second:.0f} a second)", err=True)
    if done.skipped:
        raise Trouble(f"{done.skipped} lines could not be published and were left out")


@main.command(context_settings={"show_default": True})
@with_configuration
@click.option("--seed", type=int, default=1, help="The same seed gives the same events.")
@click.option("--start", type=Instant(), help="First moment; the last midnight in --tz if left out.")
@click.option("--tz", "zone", type=Zone(), default="UTC", help="The centre's time zone.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=24.0)
@click.option("--queues", type=click.IntRange(min=1), default=5)
@click.option("--calls-per-hour", type=click.FloatRange(min=0, min_open=True), default=120.0, help="By queue, at peak.")
@click.option("--flat", is_flag=True, help="The same load at every hour, instead of a day's curve.")
@click.option("--eventful", is_flag=True, help="Short of agents, with every kind of event often.")
@click.option("--dirty", is_flag=True, help="The dirt of real feeds: duplicates, disorder, ghosts, lost ends and more.")
@click.option("--malformed", type=click.FloatRange(0, 1), default=0.0, help="Bad lines per good one.")
@click.option("--heartbeats", is_flag=True, help="A source.heartbeat every ten seconds.")
@click.option("--snapshots", is_flag=True, help="A queue.snapshot of every queue each minute.")
@click.option("--agent-states", is_flag=True, help="agent.state events too.")
@click.option("--incident", metavar="QUEUE:MINUTE:MINUTES", multiple=True, help="Agents of QUEUE are gone for a while.")
@click.option("--real-time", is_flag=True, help="From now on, as it happens, without end.")
@click.option("--kafka", "to_kafka", is_flag=True, help="Send to Kafka instead of standard output.")
def simulate(configuration: Configuration, to_kafka: bool, real_time: bool, **options: Any) -> None:
    """Simulate a call centre and write its events, one a line.

    \b
    queuewatch simulate --seed 7 --hours 24 > day.ndjson
    queuewatch simulate --eventful --dirty | queuewatch replay -
    queuewatch simulate --flat --heartbeats --real-time --kafka
    """
    from queuewatch_streams.simulate import to_kafka as send
    from queuewatch_streams.simulate import to_stream

    try:
        settings = _simulation(**options)
    except ValueError as error:
        raise Trouble(str(error)) from None
    try:
        if to_kafka:
            sent = _async(send(settings, configuration, real_time=real_time))
            click.echo(f"{sent} events sent", err=True)
        else:
            _async(to_stream(settings, sys.stdout.buffer, real_time=real_time))
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _simulation(
    *,
    start: datetime | None,
    zone: ZoneInfo,
    eventful: bool,
    dirty: bool,
    malformed: float,
    incident: tuple[str, ...],
    **plain: Any,
) -> Any:
    """The simulator's settings from the command's options.  Raises ValueError."""
    from dataclasses import replace

    from queuewatch_streams.simulation import ORDINARY_DIRT, Dirt, Incident, Settings
    from queuewatch_streams.simulation import eventful as make_eventful

    incidents = []
    for text in incident:
        queue, minute, minutes = ([*text.rsplit(":", 2), "", ""])[:3]
        try:
            incidents.append(Incident(queue, float(minute), float(minutes)))
        except ValueError:
            raise ValueError(f"--incident {text}: write it as in sales:10:15 (queue, minute, minutes)") from None
    begin = start or datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    dirt = replace(ORDINARY_DIRT if dirty else Dirt(), malformed=malformed)
    settings = Settings(start=begin.astimezone(zone), incidents=tuple(incidents), dirt=dirt, **plain)
    return make_eventful(settings, dirt) if eventful else settings


@main.command()
@with_configuration
@click.option(
    "--clock",
    type=click.Choice([clock.value for clock in Clock]),
    default="live",
    show_default=True,
    help="live: late and ahead are judged, now is now; events: a history, now is its newest event.",
)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65_535), help="Port of /metrics.  [env: QUEUEWATCH_METRICS_PORT]"
)
@click.option("--data-folder", type=click.Path(path_type=Path, file_okay=False), help="For Faust's own small files.")
@click.option("--create-topics", is_flag=True, help="Create the topics that are missing first.")
def worker(configuration: Configuration, clock: str, data_folder: Path | None, create_topics: bool) -> None:
    """Fold call events into live figures and expose them on /metrics.

    It waits for its topics, shares their partitions with other workers of the same application, and carries on where
    the last one ended.

    \b
    queuewatch worker --config queuewatch.toml
    queuewatch worker --clock events          # a history that was published with --history
    """
    from queuewatch_streams.accelerator import Stale
    from queuewatch_streams.delivery import FaustChanged
    from queuewatch_streams.serve import PortTaken
    from queuewatch_streams.topics import ensure
    from queuewatch_streams.worker import run

    if data_folder is not None:
        try:
            data_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Trouble(f"--data-folder {data_folder}: cannot be made: {error.strerror or error}") from None
    if create_topics:
        ensured = _async(ensure(configuration, history=clock == Clock.EVENTS.value))
        for difference in ensured.differences:
            click.echo(str(difference), err=True)
    level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
    try:
        scratch = tempfile.TemporaryDirectory(prefix="queuewatch-") if data_folder is None else nullcontext(data_folder)
        with scratch as folder:
            sys.exit(run(configuration, Clock(clock), Path(folder), loglevel=level))
    except (KafkaTrouble, ConfigurationError, FaustChanged, PortTaken, Stale) as error:
        raise Trouble(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)


@main.command()
@with_configuration
@click.option(
    "--clock",
    type=click.Choice([clock.value for clock in Clock]),
    default="live",
    show_default=True,
    help="As the workers have it.",
)
@click.option("--queue", "queues", multiple=True, help="Only this queue; may be given several times.")
@click.option(
    "--since", type=Instant(), help="Compare only windows that began then or later, as after a change of rules."
)
def audit(configuration: Configuration, clock: str, queues: tuple[str, ...], since: datetime | None) -> None:
    """Recount the event topic by brute force and compare with what the workers publish.

    Exit status 1 on any difference; what cannot be compared is told with the reason.

    \b
    queuewatch audit --config queuewatch.toml
    queuewatch audit --queue sales
    """
    from queuewatch_streams.audit import audit as audit_topics
    from queuewatch_streams.audit import print_audit

    report = _async(audit_topics(configuration, history=clock == Clock.EVENTS.value, queues=queues, since=since))
    print_audit(report)
    if report.empty:
        raise Trouble("there are events, but no snapshot to compare with: is a worker running?")
    sys.exit(0 if report.clean else 1)


@main.group()
def topics() -> None:
    """Create the Kafka topics, or check that they are as they must be."""


@topics.command()
@with_configuration
@click.option("--history", is_flag=True, help="For the past: producers' timestamps, nothing is ever deleted.")
def create(configuration: Configuration, history: bool) -> None:
    """Create the topics that are missing, and tell where existing ones differ."""
    from queuewatch_streams.topics import ensure

    ensured = _async(ensure(configuration, history=history))
    for name in ensured.created:
        click.echo(f"created {name}")
    for name in ensured.existed:
        click.echo(f"exists  {name}")
    _tell_differences(ensured.differences)


@topics.command()
@with_configuration
@click.option("--history", is_flag=True, help="Check them as topics for the past.")
def check(configuration: Configuration, history: bool) -> None:
    """Check the topics; exit status 1 and a line each where one is not as it must be."""
    from queuewatch_streams.topics import check as check_topics

    differences = _async(check_topics(configuration, history=history))
    _tell_differences(differences)
    if not differences:
        click.echo("all topics are as they must be")


def _tell_differences(differences: Any) -> None:
    for difference in differences:
        click.echo(str(difference), err=True)
    if any(difference.found is not None for difference in differences):
        sys.exit(1)


@main.group()
def config() -> None:
    """Look at the configuration."""


@config.command("check")
@with_configuration
def check_configuration(configuration: Configuration) -> None:
    """Check the configuration: exit status 2 and a line for each problem, or a summary."""
    click.echo(f"application {configuration.application}, Kafka at {configuration.kafka.brokers}")
    for name, definition in configuration.definitions.items():
        full = definition.resolved()
        short = "" if full.short_seconds is None else f", abandons up to {full.short_seconds:g} s left out"
        click.echo(
            f"service level {name}: {full.preset.value}, {full.target:.0%} in {full.threshold_seconds:g} s, booked by"
            f" {full.attribution.value}{short}"
        )
    for name in configuration.queues:
        queue = configuration.queue(name)
        levels = ", ".join(level for level, _ in queue.definitions)
        click.echo(f"queue {name}: {queue.name}; {levels}; {queue.time_zone}")


@main.command()
@click.option("--metrics-port", type=click.IntRange(0, 65_535), default=9464, show_default=True)
@click.option("--wallboard-port", type=click.IntRange(0, 65_535), default=9465, show_default=True)
@click.option("--queues", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0), help="End after so long; without end if left out.")
def demo(metrics_port: int, wallboard_port: int, queues: int, seed: int, seconds: float | None) -> None:
    """A live picture without Docker and without a JVM.

    Starts an embedded Kafka-protocol broker, a worker, the wallboard and a simulated call centre in real time, and shows
    their figures here and on http://127.0.0.1:9465/.  Ctrl-C ends everything (status 130; SIGTERM 143; --seconds 0).
    --metrics-port 0 and --wallboard-port 0 take any free port.
    """
    from queuewatch_streams.demo import DemoFailed, run_demo

    try:
        demo = run_demo(
            metrics_port=metrics_port, wallboard_port=wallboard_port, queues=queues, seed=seed, seconds=seconds
        )
        sys.exit(asyncio.run(demo))
    except DemoFailed as error:
        raise Trouble(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)


add_sources_to(main, with_configuration, Trouble)

if __name__ == "__main__":
    main()
