"""The page's files, read once when the service starts, with the version that is made of them and of the messages' form."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from queuewatch_schemas.wallboard import FORM

__all__ = ["Asset", "Page", "read_page"]

INDEX: Final = "index.html"
_PLACE: Final = b"{{version}}"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "webmanifest": "application/manifest+json",
}
"""By the end of a name; a file of another kind is not served."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, also as it is compressed."""

    content_type: str
    plain: bytes
    compressed: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """The page and its assets, by their paths below its folder."""

    version: str
    index: Asset
    assets: dict[str, Asset]


def _asset(name: str, content: bytes) -> Asset:
    return Asset(_TYPES[name.rpartition(".")[2]], content, gzip.compress(content, mtime=0))


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for each in sorted(folder.iterdir(), key=lambda found: found.name):
        if each.is_dir():
            yield from _walk(each, f"{prefix}{each.name}/")
        elif each.name.rpartition(".")[2] in _TYPES:
            yield prefix + each.name, each.read_bytes()


def read_page() -> Page:
    """The page as it is installed."""
    found = dict(_walk(files("queuewatch_wallboard") / "page"))
    digest = sha256()
    for name, content in found.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    version = f"{FORM}.{digest.hexdigest()[:12]}"
    index = _asset(INDEX, found.pop(INDEX).replace(_PLACE, version.encode()))
    return Page(version, index, {name: _asset(name, content) for name, content in found.items()})
