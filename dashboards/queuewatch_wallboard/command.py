"""`queuewatch wallboard`: serves the board, and makes and revokes the links that show it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import ConfigurationError, configuration_path, load, override
from queuewatch_wallboard.access import EVERYTHING, Scope, sign_link
from queuewatch_wallboard.keys import KeysUnreadable, create, read, revoke

R = TypeVar("R")


class Trouble(click.ClickException):
    """Something the user can mend; told on standard error, exit status 2."""

    exit_code = 2


_CONFIG = click.option("--config", type=click.Path(path_type=Path), help="TOML file.  [env: QUEUEWATCH_CONFIG]")
_PORT = click.option(
    "--wallboard-port", type=click.IntRange(0, 65_535), help="Port of the wallboard.  [env: QUEUEWATCH_WALLBOARD_PORT]"
)


def _configured(config: Path | None, **flags: Any) -> Configuration:
    """The configuration: the file, then environment variables, then flags over it.  Raises Trouble."""
    try:
        return override(load(configuration_path(config, os.environ)), **flags, environment=os.environ)
    except ConfigurationError as error:
        raise Trouble(str(error)) from None


@click.group(invoke_without_command=True)
@_CONFIG
@click.option("--brokers", help="Kafka's addresses, host:port with commas.  [env: QUEUEWATCH_BROKERS]")
@_PORT
@click.option("--host", help="Address to listen on; other than this machine's own it needs keys or networks.")
@click.pass_context
def wallboard(
    context: click.Context, config: Path | None, brokers: str | None, wallboard_port: int | None, host: str | None
) -> None:
    """Serve the wallboard: what people on the floor look up to.

    It reads what the workers publish and serves a page, JSON and a stream.  Without keys and networks in [wallboard] only
    this machine sees it; others need a signed link, or an address within the networks.

    \b
    queuewatch wallboard                                  # http://127.0.0.1:9465/
    queuewatch wallboard --config queuewatch.toml --host 0.0.0.0
    queuewatch wallboard link --group sales --days 90     # a link that shows one group
    queuewatch wallboard revoke default                   # its links show nothing any more
    """
    if context.invoked_subcommand is not None:
        context.obj = {"config": config, "wallboard_port": wallboard_port}
        return
    from queuewatch_wallboard.service import CannotServe, Running, run

    configuration = _configured(config, brokers=brokers, wallboard_port=wallboard_port, host=host)

    def started(running: Running) -> None:
        shown = _host(configuration)
        click.echo(f"the wallboard is at http://{shown}:{running.port}/", err=True)

    try:
        sys.exit(asyncio.run(run(configuration, started)))
    except (CannotServe, ConfigurationError) as error:
        raise Trouble(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)


def _host(configuration: Configuration) -> str:
    """The host to write into an address that people open."""
    host = configuration.serve.host
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _with_keys(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the configuration and the file of the keys; what is wrong with that file is told in words."""

    @_CONFIG
    @_PORT
    @click.pass_context
    @wraps(command)
    def with_keys(
        context: click.Context, config: Path | None, wallboard_port: int | None, *args: Any, **kwargs: Any
    ) -> R:
        before = context.obj  # options may stand before the subcommand too
        port = before["wallboard_port"] if wallboard_port is None else wallboard_port
        configuration = _configured(config or before["config"], wallboard_port=port)
        path = configuration.wallboard.keys_file
        if path is None:
            raise Trouble(
                'there is no file of keys: set keys_file under [wallboard], as in keys_file = "wallboard-keys.json"'
            )
        try:
            return command(configuration, path, *args, **kwargs)
        except KeysUnreadable as error:
            raise Trouble(str(error)) from None
        except OSError as error:
            raise Trouble(f"{error.filename or path}: {error.strerror or error}") from None
        except ValueError as error:
            raise Trouble(str(error)) from None

    return with_keys


@wallboard.command()
@click.option("--queue", "queues", multiple=True, help="Show this queue; may be given several times.")
@click.option("--group", "groups", multiple=True, help="Show the queues of this group; may be given several times.")
@click.option("--all", "everything", is_flag=True, help="Show everything.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="It expires then; never if left out.")
@click.option(
    "--key", "name", default="default", show_default=True, help="The key to sign with, by its id; made if missing."
)
@click.option("--base-url", help="Where browsers find the wallboard; [wallboard] base_url, or this host, if left out.")
@_with_keys
def link(
    configuration: Configuration,
    path: Path,
    *,
    queues: tuple[str, ...],
    groups: tuple[str, ...],
    everything: bool,
    days: float | None,
    name: str,
    base_url: str | None,
) -> None:
    """Make a link that shows queues or groups, to be opened on a screen; it is written to standard output.

    Whoever has the link sees them until it expires or its key is revoked.  Give each wall a key of its own where you may
    want to revoke one.

    \b
    queuewatch wallboard link --config queuewatch.toml --group sales --days 90
    queuewatch wallboard link --config queuewatch.toml --all --key lobby
    """
    if everything == bool(queues or groups):
        raise Trouble("say what the link shows: --queue and --group, or --all")
    now = int(time.time())
    key = read(path).get(name)
    if key is None:
        key = create(path, name, now)
        click.echo(f"{path}: there is a new key, {name}", err=True)
    scope = EVERYTHING if everything else Scope(frozenset(queues), frozenset(groups))
    expires = None if days is None else now + max(1, round(days * 86_400))
    token = sign_link(scope, key, now, expires)
    base = base_url or configuration.wallboard.base_url
    if base is None:
        base = f"http://{_host(configuration)}:{configuration.serve.wallboard_port}/"
    click.echo(f"{base.rstrip('/')}/#token={token}")


@wallboard.command()
@_with_keys
def keys(configuration: Configuration, path: Path) -> None:
    """List the keys, by id, with the day on which each was made."""
    found = read(path)
    for key in found.values():
        click.echo(f"{key.id}\t{time.strftime('%Y-%m-%d', time.gmtime(key.created))}")
    if not found:
        click.echo(f"{path}: there are no keys; `queuewatch wallboard link` makes one", err=True)


@wallboard.command("revoke")
@click.argument("name", metavar="KEY")
@_with_keys
def revoke_key(configuration: Configuration, path: Path, *, name: str) -> None:
    """Revoke a key: its links, and the screens that they opened, show nothing from now on."""
    if not revoke(path, name):
        raise Trouble(f"there is no key {name!r} in {path}; `queuewatch wallboard keys` lists them")
    click.echo(f"revoked {name}", err=True)
