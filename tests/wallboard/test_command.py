"""The commands: links, keys, and what is told when something is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from queuewatch_wallboard.access import Admission, admit, client, exchange
from queuewatch_wallboard.command import wallboard
from queuewatch_wallboard.keys import read


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A configuration with a file of keys beside it."""
    path = tmp_path / "queuewatch.toml"
    path.write_text('[serve]\nwallboard_port = 8080\n[wallboard]\nkeys_file = "keys.json"\n', encoding="utf-8")
    return path


def ran(*arguments: str) -> Result:
    """The command's end."""
    return CliRunner().invoke(wallboard, list(arguments), env={"QUEUEWATCH_CONFIG": None})


def scope_of(link: str, keys: Path) -> tuple[frozenset[str], frozenset[str], bool]:
    """What a link shows, as the service sees it."""
    found = read(keys)
    ticket, _ = exchange(link.partition("#token=")[2], found, int(time.time()))
    grant = admit(ticket, client("192.0.2.1", [], ()), "localhost", Admission(), found, int(time.time()))
    return grant.scope.queues, grant.scope.groups, grant.scope.everything


def test_a_link_is_all_that_stands_on_standard_output_and_it_shows_what_was_named(toml: Path) -> None:
    """The key is made when it is missing, and kept."""
    keys = toml.with_name("keys.json")
    first = ran("link", "--config", str(toml), "--group", "sales", "--queue", "north", "--days", "90")
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("http://127.0.0.1:8080/#token=")
    assert first.stdout.count("\n") == 1
    assert "new key, default" in first.stderr
    assert scope_of(first.stdout.strip(), keys) == (frozenset({"north"}), frozenset({"sales"}), False)
    second = ran("link", "--config", str(toml), "--all", "--base-url", "https://wall.example/board/")
    assert second.stdout.startswith("https://wall.example/board/#token=")
    assert second.stderr == ""
    assert scope_of(second.stdout.strip(), keys) == (frozenset(), frozenset(), True)
    assert list(read(keys)) == ["default"]


def test_keys_are_listed_and_revoked_by_id_and_never_shown(toml: Path) -> None:
    """A key that is not there is told."""
    ran("link", "--config", str(toml), "--all", "--key", "lobby")
    listed = ran("keys", "--config", str(toml))
    assert listed.stdout.startswith("lobby\t20")
    secret = toml.with_name("keys.json").read_text(encoding="utf-8")
    assert listed.stdout.strip() not in secret
    assert ran("revoke", "--config", str(toml), "lobby").exit_code == 0
    assert read(toml.with_name("keys.json")) == {}
    again = ran("revoke", "--config", str(toml), "lobby")
    assert again.exit_code == 2
    assert "there is no key 'lobby'" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["link", "--config", "{toml}"], "say what the link shows"),
        (["link", "--config", "{toml}", "--all", "--group", "sales"], "say what the link shows"),
        (["link", "--config", "{toml}", "--group", ""], "names queues or groups"),
        (["link", "--config", "{toml}", "--all", "--key", "../key"], "cannot be a key's id"),
        (["link", "--all"], "keys_file under"),
        (["keys", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--config", "{toml}", "--brokers", "nonsense"], "--brokers"),
        (["--host", "0.0.0.0"], "everything to everyone"),
        (["--config", "{toml}"], "there are no keys in"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do_and_status_2(toml: Path, arguments: list[str], told: str) -> None:
    """On standard error; never a trace."""
    ended = ran(*(each.format(toml=toml) for each in arguments))
    assert ended.exit_code == 2, ended.output
    assert told in ended.stderr
    assert ended.stdout == ""


def test_the_configuration_may_stand_before_the_subcommand_too(toml: Path) -> None:
    """As people write it."""
    assert ran("--config", str(toml), "link", "--all").exit_code == 0
