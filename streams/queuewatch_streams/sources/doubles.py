"""Whether a PBX is listened to twice: two sources that tell of the same calls, each under its own name, count them double.

A call is `SOURCE-vendor's id`, so two sources never mean the same one, whatever their queues are called; the vendor's ids give
them away.  Two systems may give out the same id now and then; one system under two names gives out all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import orjson

from queuewatch_schemas.config import Configuration
from queuewatch_streams.sources.compose import source_urn
from queuewatch_streams.sources.topic import values_since

__all__ = ["doubled", "doubled_in"]

_URN: Final = source_urn("")
_ENOUGH: Final = 3
"""Calls that two systems may have in common by chance, less one."""
_SHARE: Final = 0.2
"""Of the calls of the source that has fewer, so many are the same where both listen to one system."""


async def doubled(configuration: Configuration, name: str, since: datetime) -> dict[str, int]:
    """Other sources that have told of the same calls since then, and of how many.

    :raises KafkaTrouble: the topic cannot be read, or not to its end.
    """
    return doubled_in([value async for value in values_since(configuration, since) if b"call.queued" in value], name)


def doubled_in(values: Iterable[bytes], name: str) -> dict[str, int]:
    """The same for these events; what is no event is passed over."""
    calls: Mapping[str, set[str]] = defaultdict(set)
    for value in values:
        try:
            event = orjson.loads(value)
            source, subject = event["source"], event["subject"]
            if event["type"] == "queuewatch.call.queued.v1" and source.startswith(_URN):
                calls[source].add(subject.removeprefix(source.removeprefix(_URN) + "-"))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    own = calls.get(source_urn(name), set())
    found = {}
    for source, others in calls.items():
        same = len(own & others)
        if source != source_urn(name) and same >= max(_ENOUGH, _SHARE * min(len(own), len(others))):
            found[source.removeprefix(_URN)] = same
    return found
