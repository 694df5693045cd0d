"""The file of the keys that sign links: a JSON Web Key Set, readable for its owner alone, and read again when it changes.

A key is revoked by taking it out of the file; links and tickets that it signed, and streams opened by them, end with it.
A file that cannot be read holds no keys: a slip of the pen lets nobody in.
"""

from __future__ import annotations

import binascii
import fcntl
import json
import logging
import os
import re
import secrets
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from queuewatch_wallboard.access import Key

__all__ = ["KeyFile", "KeysUnreadable", "create", "read", "revoke"]

log = logging.getLogger(__name__)

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NONE: Final[Mapping[str, Key]] = MappingProxyType({})
_BYTES: Final = 32


class KeysUnreadable(ValueError):
    """The file of keys is not as it must be; the message says where and what to do, and holds no secret."""


def read(path: Path) -> Mapping[str, Key]:
    """The keys of a file by their ids; none where there is no file.  Raises KeysUnreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _NONE
    except (OSError, UnicodeDecodeError) as error:
        raise KeysUnreadable(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8'}") from None
    try:
        found = [_key(each) for each in json.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError, binascii.Error, RecursionError):
        raise KeysUnreadable(
            f"{path}: is no set of keys; restore it, or delete it and make new links (the old ones are void then)"
        ) from None
    keys = {key.id: key for key in found}
    if len(keys) < len(found):
        raise KeysUnreadable(f"{path}: two keys have the same id; delete one")
    return MappingProxyType(keys)


def _key(told: Mapping[str, object]) -> Key:
    name, encoded, created = told["kid"], told["k"], told.get("iat", 0)
    if (
        told["kty"] != "oct"
        or told.get("alg", "HS256") != "HS256"
        or not isinstance(name, str)
        or not _ID.fullmatch(name)
    ):
        raise ValueError
    if not isinstance(encoded, str) or type(created) is not int:
        raise ValueError
    secret = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if len(secret) < _BYTES:
        raise ValueError
    return Key(name, secret, created)


def create(path: Path, name: str, now: int) -> Key:
    """Add a key under an id, at `now` (seconds since the epoch), with a random secret; the file is made where it is missing.

    Raises ValueError where the id is taken or no id, KeysUnreadable, OSError.
    """
    if not _ID.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a key's id: 1 to 64 letters (a-z), digits, dots, underscores, hyphens")
    with _alone(path):
        keys = read(path)
        if name in keys:
            raise ValueError(f"there is a key {name!r} already in {path}")
        key = Key(name, secrets.token_bytes(_BYTES), now)
        _write(path, {**keys, name: key})
    return key


def revoke(path: Path, name: str) -> bool:
    """Take a key out of the file; whether it was there.  Raises KeysUnreadable, OSError."""
    with _alone(path):
        keys = dict(read(path))
        if keys.pop(name, None) is None:
            return False
        _write(path, keys)
    return True


def _text(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile."""
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: Mapping[str, Key]) -> None:
    """All at once, so that no reader sees half of it."""
    told = [
        {"kty": "oct", "alg": "HS256", "kid": key.id, "iat": key.created, "k": _text(key.secret)}
        for key in keys.values()
    ]
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(json.dumps({"keys": told}, indent=2) + "\n")
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class KeyFile:
    """The keys of a file as they are now: a look at its status each time, a read where that has changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: object = None
        self._keys = _NONE

    def current(self) -> Mapping[str, Key]:
        """The keys of now; none where the file is missing or unreadable, which is logged once for each change."""
        if self._path is None:
            return _NONE
        try:
            status = self._path.stat()
        except OSError as error:
            seen: object = error.errno
        else:
            seen = status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
        if seen != self._seen:
            self._seen = seen
            try:
                self._keys = read(self._path)
            except KeysUnreadable as error:
                log.error("%s; until then no link is valid", error)
                self._keys = _NONE
            else:
                if isinstance(seen, tuple) and status.st_mode & stat.S_IROTH:
                    log.warning("%s: everybody on this machine can read it and make links; run: chmod 600", self._path)
        return self._keys
