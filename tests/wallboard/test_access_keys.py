"""The file of keys: made for its owner alone, read again when it changes, empty when it cannot be read."""

from __future__ import annotations

import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_wallboard.access import EVERYTHING, Refused, exchange, sign_link
from queuewatch_wallboard.keys import KeyFile, KeysUnreadable, create, read, revoke

NOW = 1_795_305_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_comes_back_as_it_was_made(path: Path) -> None:
    """Each with a secret of its own."""
    made = {name: create(path, name, NOW) for name in ("lobby", "office", "b.2_x-Y")}
    assert read(path) == made
    assert len({key.secret for key in made.values()}) == 3
    assert all(len(key.secret) == 32 for key in made.values())


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_file_is_for_its_owner_alone(path: Path, mask: int) -> None:
    """From its first moment on, whatever the mask; and after each change."""
    before = os.umask(mask)
    try:
        create(path, "lobby", NOW)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        create(path, "office", NOW)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        revoke(path, "lobby")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_link_ends_with_its_key_at_once_and_alone(path: Path) -> None:
    """The service sees the change at its next look; no other link is touched."""
    keys = KeyFile(path)
    assert keys.current() == {}
    lobby, office = (sign_link(EVERYTHING, create(path, name, NOW), NOW) for name in ("lobby", "office"))
    for link in (lobby, office):
        exchange(link, keys.current(), NOW)
    assert revoke(path, "lobby")
    with pytest.raises(Refused):
        exchange(lobby, keys.current(), NOW)
    exchange(office, keys.current(), NOW)
    create(path, "lobby", NOW)
    with pytest.raises(Refused):
        exchange(lobby, keys.current(), NOW)
    path.unlink()
    assert keys.current() == {}


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    """Each request asks."""
    create(path, "lobby", NOW)
    keys = KeyFile(path)
    assert keys.current() is keys.current()


def test_no_file_means_no_keys() -> None:
    """A board without links needs none."""
    assert KeyFile(None).current() == {}


def test_what_is_not_there_cannot_be_revoked(path: Path) -> None:
    """And nothing is written then."""
    assert not revoke(path, "lobby")
    assert not path.exists()
    create(path, "lobby", NOW)
    before = path.stat().st_mtime_ns
    assert not revoke(path, "office")
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "x" * 65, "a\n"])
def test_an_id_is_a_plain_word(path: Path, name: str) -> None:
    """It stands in every token's head and in commands."""
    with pytest.raises(ValueError, match="cannot be a key's id"):
        create(path, name, NOW)


def test_an_id_is_given_once(path: Path) -> None:
    """Another secret under the same id would void links that nobody meant."""
    create(path, "lobby", NOW)
    with pytest.raises(ValueError, match="there is a key 'lobby' already"):
        create(path, "lobby", NOW)


def good() -> dict[str, object]:
    return {"kty": "oct", "alg": "HS256", "kid": "lobby", "iat": NOW, "k": "A" * 43}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b'{"keys": 7}',
        b'{"keys": {"lobby": {}}}',
        b"[" * 100_000,
        *(
            json.dumps({"keys": [good() | bad]}).encode()
            for bad in (
                {"kty": "RSA"},
                {"alg": "HS512"},
                {"kid": ""},
                {"kid": 7},
                {"k": ""},
                {"k": "A" * 42},
                {"k": "A" * 20},
                {"k": 7},
                {"k": "é" * 43},
                {"k": "*" * 43},
                {"iat": "today"},
            )
        ),
        json.dumps({"keys": [good(), good()]}).encode(),
        json.dumps({"keys": [good(), 7]}).encode(),
    ],
)
def test_a_spoilt_file_lets_nobody_in_and_says_so_once(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of it is not believed either; mended, it holds again.  Its secrets are in no message."""
    link = sign_link(EVERYTHING, create(path, "office", NOW), NOW)
    whole, keys = path.read_bytes(), KeyFile(path)
    exchange(link, keys.current(), NOW)
    path.write_bytes(content)
    with pytest.raises(KeysUnreadable, match=r"keys\.json"):
        read(path)
    with pytest.raises(KeysUnreadable):
        create(path, "new", NOW)
    assert path.read_bytes() == content
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(Refused):
                exchange(link, keys.current(), NOW)
    assert len(caplog.records) == 1
    assert "A" * 20 not in caplog.text
    path.write_bytes(whole)
    exchange(link, keys.current(), NOW)


@given(st.binary(max_size=200))
def test_no_content_does_harm(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """It is a set of keys or it is not."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(content)
    assert KeyFile(path).current() == {}


def test_a_file_that_everybody_may_read_is_told_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It works, as a mounted secret may be so; but whoever reads it makes links."""
    create(path, "lobby", NOW)
    path.chmod(0o644)
    keys = KeyFile(path)
    with caplog.at_level(logging.WARNING):
        assert keys.current().keys() == keys.current().keys() == {"lobby"}
    assert len(caplog.records) == 1
    assert "chmod 600" in caplog.text


def test_a_secret_that_is_mounted_by_links_is_seen_to_change(tmp_path: Path) -> None:
    """Kubernetes puts another folder behind the same name."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        create(tmp_path / f"v{number}" / "keys.json", f"key-{number}", NOW)
    (tmp_path / "data").symlink_to("v1")
    keys = KeyFile(tmp_path / "data" / "keys.json")
    assert set(keys.current()) == {"key-1"}
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(tmp_path / "data")
    assert set(keys.current()) == {"key-2"}


def test_a_file_behind_a_link_is_changed_where_it_lies(tmp_path: Path) -> None:
    """And the link stays one."""
    real, name = tmp_path / "real.json", tmp_path / "keys.json"
    create(real, "lobby", NOW)
    name.symlink_to("real.json")
    create(name, "office", NOW)
    assert name.is_symlink()
    assert set(read(real)) == {"lobby", "office"}


def test_several_who_make_keys_at_once_lose_none(path: Path) -> None:
    """Each waits for the others."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: create(path, f"key-{number}", NOW), range(40)))
    assert len(read(path)) == 40
