"""The commands `source` and `convert`: their words, options and exit statuses; what they do is elsewhere.

0: done, or ended by SIGTERM.  1: a check found something wrong.  2: bad input, a bad configuration, something not there.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import os
import signal
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, cast
from zoneinfo import ZoneInfo

import click

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import ConfigurationError
from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.kafka import KafkaTrouble
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.doubles import doubled
from queuewatch_streams.sources.kinds import KINDS, SHORT, kind_named
from queuewatch_streams.sources.shape import Begin, Kind, Lost, Out, Reader, Translator

__all__ = ["add_to", "convert_files", "convert_kind", "first_start", "run_checks", "run_source", "tell_comparison"]

SHOWN: Final = 20
"""Problems that are told one by one."""
_AT_ONCE: Final = 200
"""Events that are written at once."""


class SourceTrouble(RuntimeError):
    """The command cannot do what is asked; the text says why, and what to do."""


def settings_of(configuration: Configuration, name: str) -> SourceSettings:
    """The settings of a source.  Raises SourceTrouble that names those there are."""
    found = configuration.sources.get(name)
    if found is None:
        known = ", ".join(configuration.sources) or "none"
        raise SourceTrouble(
            f"there is no source {name!r} in the configuration (there are: {known}); add [sources.{name}]"
        )
    return found


def _kind_of(settings: SourceSettings) -> str:
    return cast(str, settings.kind)  # type: ignore[attr-defined]  # every kind has one of its own


def first_start(configuration: Configuration, now: datetime) -> int:
    """Where "business-day" begins, in microseconds since the epoch: with the day, but no earlier than events can be counted.

    Of a source that begins at noon the morning would be refused as late, event by event, unless grace is that long.
    """
    graceful = now - timedelta(seconds=configuration.timing.grace_seconds)
    return max(_business_day_start(configuration, now), round(graceful.timestamp()) * 1_000_000)


def _business_day_start(configuration: Configuration, now: datetime) -> int:
    business = configuration.business
    local = now.astimezone(ZoneInfo(business.time_zone))
    start = local.replace(hour=business.day_starts_at_hour, minute=0, second=0, microsecond=0, fold=0)
    if start.astimezone(UTC) > now:
        start = (start.replace(tzinfo=None) - timedelta(days=1)).replace(tzinfo=start.tzinfo)
    return round(start.timestamp()) * 1_000_000


# ------------------------------------------------------------------------------------------------------------- source


async def run_source(configuration: Configuration, name: str, begin: Begin) -> None:
    """Run a source until SIGTERM or Ctrl-C.

    :raises SourceTrouble: there is no such source.
    :raises StateTrouble: its state cannot be used, or another process runs it.
    :raises PortTaken: its port cannot be listened on.
    :raises ConfigurationError: a file that the settings name cannot be used.
    """
    from queuewatch_streams.serve import Server
    from queuewatch_streams.sources.serving import Figures, routes
    from queuewatch_streams.sources.state import StateFile
    from queuewatch_streams.sources.station import Station

    settings = settings_of(configuration, name)
    kind = kind_named(_kind_of(settings))
    state = StateFile(settings.state_folder, name, _kind_of(settings))
    figures = Figures(name)
    reader = kind.reader(name, settings, configuration)
    station = Station[Any](
        name,
        settings,
        configuration,
        kind,
        reader,
        state,
        figures,
        begin=begin,
        start_at=first_start(configuration, datetime.now(UTC)),
    )
    state.lock()
    if not logging.getLogger().isEnabledFor(logging.INFO):  # it tells of every try, ten a second
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    server = Server(
        routes(figures, lambda: station.ill), configuration.serve.host, settings.metrics_port, "metrics_port"
    )
    try:
        await server.start()
        running = asyncio.ensure_future(station.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            return
    finally:
        await server.stop()
        state.unlock()


async def run_checks(configuration: Configuration, name: str) -> bool:
    """Look at a source and tell what would be sent; whether all is well."""
    settings = settings_of(configuration, name)
    kind = kind_named(_kind_of(settings))
    reader: Reader[Any] = kind.reader(name, settings, configuration)
    try:
        seen = await reader.look()
    except Lost as why:
        click.echo(f"{name}: {why}", err=True)
        return False
    for line in seen.says:
        click.echo(line)
    composer = Composer(name, settings)
    translator, out = kind.translator(composer, None, settings), Out()
    for record in seen.records:
        translator.translate(record, out)
    click.echo(f"of its {len(seen.records)} newest records {len(out.messages)} events would be sent, the last of them:")
    for _, key, value in out.messages[-5:]:
        click.echo(f"  {key}: {value.decode()}")
    for reason, number in sorted(out.ignored.items()):
        click.echo(f"  left out ({reason}): {number}")
    for refusal in out.refused[:SHOWN]:
        click.echo(f"  {refusal.reason}: {refusal.detail}", err=True)
    well = await _topics_are_there(configuration)
    if well:
        for other, number in (await doubled(configuration, name, datetime.now(UTC) - timedelta(hours=1))).items():
            click.echo(
                f"the source {other} tells of the same calls ({number} in the last hour): end one of the two", err=True
            )
            well = False
    return well and not any(refusal.reason != "unknown_event" for refusal in out.refused)


async def _topics_are_there(configuration: Configuration) -> bool:
    from queuewatch_streams.sources.writer import Writer

    writer = Writer(configuration)
    try:
        await writer.start()
    except KafkaTrouble as why:
        click.echo(str(why), err=True)
        return False
    finally:
        await writer.stop()
    click.echo(f"Kafka at {configuration.kafka.brokers} takes events")
    return True


async def tell_comparison(configuration: Configuration, name: str, hours: float) -> bool:
    """Print the vendor's own counts beside those of our events; whether both are the same."""
    from queuewatch_streams.sources.compare import compare

    settings = settings_of(configuration, name)
    kind = kind_named(_kind_of(settings))
    since = datetime.now(UTC) - timedelta(hours=hours)
    return await compare(configuration, name, settings, kind.reader(name, settings, configuration), since)


# ------------------------------------------------------------------------------------------------------------ convert


def convert_kind(configuration: Configuration, what: str) -> tuple[str, Kind, SourceSettings | None]:
    """The name, kind and settings for `convert --from`: those of a source, or a kind without settings.

    :raises SourceTrouble: it is neither.
    """
    if what in configuration.sources:
        settings = configuration.sources[what]
        return what, kind_named(_kind_of(settings)), settings
    kind = SHORT.get(what, what)
    if kind not in KINDS:
        names = ", ".join([*configuration.sources, *KINDS, *SHORT])
        raise SourceTrouble(f"--from {what}: is neither a source of the configuration nor a kind; there are {names}")
    return what, kind_named(kind), None


class Problems:
    """What convert could not read: told on standard error, the first of each reason, and counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def tell(self, place: str, out: Out) -> None:
        """Tell what `out` holds, and take it out."""
        for refusal in out.refused:
            self.counts[refusal.reason] += 1
            if self.counts[refusal.reason] <= SHOWN:
                click.echo(f"{place}: {refusal.reason}: {refusal.detail}", err=True)
        out.refused.clear()

    @property
    def bad(self) -> int:
        """Records that could not be read; events that nobody knows are none of them."""
        return sum(number for reason, number in self.counts.items() if reason != "unknown_event")


def convert_files(
    files: Iterable[str], kind: Kind, composer: Composer, settings: SourceSettings | None, to: IO[bytes]
) -> Problems:
    """Write the events of files, oldest first, one a line.

    :raises SourceTrouble: a file cannot be read.
    """
    from queuewatch_streams.report import counting

    problems, out = Problems(), Out()
    translator = kind.translator(composer, None, settings)
    translate = translator.translate
    with counting(list(files)) as progress, _without_collector():
        for file in _in_order(list(files), kind, composer, settings):
            with _opened(file) as (lines, raw):
                size = None if raw is None else os.fstat(raw.fileno()).st_size
                task = progress.add_task(file, total=size)
                for number, record in kind.records(lines):
                    translate(record, out)
                    if out.refused:
                        problems.tell(f"{file}:{number}", out)
                    if len(out.messages) >= _AT_ONCE:
                        _write(out, to)
                        if raw is not None:
                            progress.update(task, completed=raw.tell())
                _write(out, to)
        translator.advance(sys.maxsize, out)
        problems.tell("at the end", out)
        _write(out, to)
    return problems


@contextmanager
def _without_collector() -> Iterator[None]:
    """Records make no cycles, and to look for some among them is a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _write(out: Out, to: IO[bytes]) -> None:
    if out.messages:
        to.write(b"\n".join([value for _, _, value in out.messages]) + b"\n")
        out.messages.clear()


def _in_order(files: list[str], kind: Kind, composer: Composer, settings: SourceSettings | None) -> list[str]:
    """The files by the time of their first record, then by that of their last change: a shell's list is by name."""
    if "-" in files or len(files) < 2:
        return files
    return sorted(files, key=lambda file: (_begins(file, kind, composer, settings), Path(file).stat().st_mtime_ns))


def _begins(file: str, kind: Kind, composer: Composer, settings: SourceSettings | None) -> int:
    translator: Translator[Any] = kind.translator(composer, None, settings)
    out = Out()
    with _opened(file) as (lines, _):
        for _, record in islice(kind.records(lines), 100):
            translator.translate(record, out)
            if translator.newest:
                break
    return translator.newest


@contextmanager
def _opened(file: str) -> Iterator[tuple[Iterable[bytes], IO[bytes] | None]]:
    """The lines of a file, `.gz` unpacked, and what lies on the disk; `-` for standard input."""
    try:
        if file == "-":
            yield sys.stdin.buffer, None
            return
        with Path(file).open("rb") as raw:
            if file.endswith(".gz"):
                with gzip.open(raw) as lines:
                    yield cast(Iterable[bytes], lines), raw
            else:
                yield raw, raw
    except BrokenPipeError:
        raise
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SourceTrouble(f"{file}: cannot be read: {reason}") from None


# ---------------------------------------------------------------------------------------------------- the two commands


def add_to(
    group: click.Group,
    with_configuration: Callable[[Callable[..., None]], Callable[..., None]],
    trouble: type[click.ClickException],
) -> None:
    """Give the command line `source` and `convert`."""

    @group.command("source")
    @click.argument("name")
    @with_configuration
    @click.option("--check", is_flag=True, help="Only look: can it be reached, what is there, what would be sent.")
    @click.option(
        "--from",
        "begin",
        type=click.Choice(["now", "business-day", "beginning"]),
        default="business-day",
        show_default=True,
        help="Where a first start begins; with business-day at most timing.grace_seconds back, older events being late.",
    )
    @click.option("--compare", "hours", type=click.FloatRange(min=0, min_open=True), metavar="HOURS",
                  help="Only print the system's own counts of the last hours beside ours.")  # fmt: skip
    def source(configuration: Configuration, name: str, check: bool, begin: Begin, hours: float | None) -> None:
        """Listen to a telephony system and send its calls to Kafka, until SIGTERM.

        NAME is that of a table [sources.NAME] in the configuration.  Where it left off is kept in a file.

        \b
        queuewatch source pbx1 --check
        queuewatch source pbx1 --config queuewatch.toml
        """
        from queuewatch_streams.serve import PortTaken
        from queuewatch_streams.sources.state import StateTrouble

        try:
            if check:
                sys.exit(0 if asyncio.run(run_checks(configuration, name)) else 1)
            if hours is not None:
                sys.exit(0 if asyncio.run(tell_comparison(configuration, name, hours)) else 1)
            asyncio.run(run_source(configuration, name, begin))
        except (SourceTrouble, StateTrouble, PortTaken, KafkaTrouble, ConfigurationError, Lost) as error:
            raise trouble(str(error)) from None
        except KeyboardInterrupt:
            sys.exit(130)

    @group.command("convert")
    @click.argument("files", metavar="FILE...", nargs=-1, required=True)
    @with_configuration
    @click.option("--from", "what", metavar="NAME|KIND", required=True,
                  help=f"A source of the configuration, or one of {', '.join([*KINDS, *SHORT])}.")  # fmt: skip
    @click.option("--name", help="The name before calls, queues and agents; that of --from if left out.")
    def convert(configuration: Configuration, files: tuple[str, ...], what: str, name: str | None) -> None:
        """Write what a system's FILES hold as events, one a line, without Kafka.

        A FILE may end in .gz, or be - for standard input; several are read oldest first.  What cannot be read is told on
        standard error with its place, and the exit status is then 2.

        \b
        queuewatch convert --from asterisk-queue-log /var/log/asterisk/queue_log* | queuewatch replay -
        queuewatch convert --from pbx1 queue_log.1.gz > yesterday.ndjson
        """
        began = time.monotonic()
        try:
            default, kind, settings = convert_kind(configuration, what)
            composer = Composer(name or default, settings)
            problems = convert_files(files, kind, composer, settings, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except (SourceTrouble, ConfigurationError) as error:
            raise trouble(str(error)) from None
        except BrokenPipeError:  # the reader has seen enough
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        for reason, number in problems.counts.most_common():
            if number > SHOWN:
                click.echo(f"{reason}: {number} records, of which {SHOWN} are shown", err=True)
        if problems.bad:
            raise trouble(f"{problems.bad} records cannot be read; the events are those of all others")
        if sys.stderr.isatty():
            click.echo(f"done in {time.monotonic() - began:.1f} s", err=True)
