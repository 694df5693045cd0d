"""The kinds of sources, by the word in `kind` of their settings.  A module is imported only when its kind is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from queuewatch_streams.sources.shape import Kind

__all__ = ["KINDS", "SHORT", "kind_named"]

_HERE: Final = "queuewatch_streams.sources."
KINDS: Final[Mapping[str, str]] = {
    "asterisk-queue-log": "asterisk_queue_log_file",
    "asterisk-queue-log-table": "asterisk_queue_log_table",
    "asterisk-ami": "asterisk_ami_socket",
    "freeswitch": "freeswitch_socket",
    "http": "http_server",
    "twilio-taskrouter": "twilio_webhook",
    "amazon-connect": "amazon_connect_streams",
    "genesys-cloud": "genesys_cloud",
}
"""The module that has `KIND`, for each kind."""
SHORT: Final[Mapping[str, str]] = {"asterisk": "asterisk-queue-log"}
"""Shorter words that `convert --from` takes."""


def kind_named(name: str) -> Kind:
    """The kind of that name.  Raises KeyError."""
    found: Kind = import_module(_HERE + KINDS[name]).KIND
    return found
