"""The kinds of sources, by the word in `kind` of their settings.  A module is imported only when its kind is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from queuewatch_streams.sources.shape import Kind

__all__ = ["KINDS", "SHORT", "kind_named"]

_HERE: Final = "queuewatch_streams.sources."
KINDS: Final[Mapping[str, str]] = {
    "asterisk-queue-log": "asterisk.queue_log.file",
    "asterisk-queue-log-table": "asterisk.queue_log.table",
    "asterisk-ami": "asterisk.ami.reader",
    "freeswitch": "freeswitch.event_socket",
    "http": "http.server",
    "twilio-taskrouter": "twilio.webhook",
    "amazon-connect": "amazon_connect.reader",
    "genesys-cloud": "genesys.reader",
}
"""The module that has `KIND`, for each kind."""
SHORT: Final[Mapping[str, str]] = {"asterisk": "asterisk-queue-log"}
"""Shorter words that `convert --from` takes."""


def kind_named(name: str) -> Kind:
    """The kind of that name.  Raises KeyError."""
    found: Kind = import_module(_HERE + KINDS[name]).KIND
    return found
