"""What all this was written against: versions, and digests of the sources that are overridden, wrapped or leaned on."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from aiokafka import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.producer.sender import Sender
from aiokafka.protocol.api import Request, RequestStruct
from faust.app import base as faust_app
from faust.stores import memory as faust_memory
from faust.tables import recovery as faust_recovery
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as faust_driver
from mode.utils import queues as mode_queues


class FaustChanged(RuntimeError):
    """The installed Faust, mode or aiokafka is not the one that this package was written against."""


#: Distributions and their versions.
VERSIONS: Mapping[str, str] = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}

#: What is overridden, wrapped or leaned on, with the first digits of the SHA-256 of its source.
SOURCES: Mapping[str, tuple[Any, str]] = {
    "faust.transport.consumer.Consumer.getmany": (faust_consumer.Consumer.getmany, "4b168d84882a"),
    "faust.transport.consumer.Consumer._wait_next_records": (
        faust_consumer.Consumer._wait_next_records,
        "6218e1969a63",
    ),
    "faust.transport.consumer.Consumer._drain_messages": (faust_consumer.Consumer._drain_messages, "44a2500309e8"),
    "faust.transport.consumer.Consumer._add_gap": (faust_consumer.Consumer._add_gap, "4df2573ded7c"),
    "faust.transport.consumer.Consumer.perform_seek": (faust_consumer.Consumer.perform_seek, "0e8c130ff4b0"),
    "faust.transport.consumer.Consumer.on_buffer_full": (faust_consumer.Consumer.on_buffer_full, "c8961679e0bc"),
    "faust.transport.consumer.Consumer.on_partitions_revoked": (
        faust_consumer.Consumer.on_partitions_revoked,
        "d04b7ae72c6f",
    ),
    "faust.transport.consumer.Consumer.on_partitions_assigned": (
        faust_consumer.Consumer.on_partitions_assigned,
        "29ce96596f05",
    ),
    "faust.transport.consumer.ThreadDelegateConsumer": (faust_consumer.ThreadDelegateConsumer, "a1b934b198fa"),
    "faust.transport.drivers.aiokafka.ConsumerRebalanceListener": (
        faust_driver.ConsumerRebalanceListener,
        "f3d04f29dfb3",
    ),
    "faust.transport.drivers.aiokafka.Consumer": (faust_driver.Consumer, "959f899e8ebf"),
    "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread": (faust_driver.AIOKafkaConsumerThread, "8ca70be32815"),
    "faust.transport.drivers.aiokafka.Producer": (faust_driver.Producer, "d160f20ab8ec"),
    "faust.tables.recovery.Recovery": (faust_recovery.Recovery, "a652ef029484"),
    "faust.stores.memory.Store": (faust_memory.Store, "83ceb1145af0"),
    "faust.app.base.App.on_stop": (faust_app.App.on_stop, "bfe5a933defb"),
    "faust.app.base.App._on_partitions_revoked": (faust_app.App._on_partitions_revoked, "d5c895bbe57d"),
    "faust.app.base.App._on_partitions_assigned": (faust_app.App._on_partitions_assigned, "de932b7927db"),
    "faust.app.base.App._new_transport": (faust_app.App._new_transport, "42db531312dd"),
    "mode.utils.queues.FlowControlEvent": (mode_queues.FlowControlEvent, "1da8f905ab65"),
    "aiokafka.client.AIOKafkaClient.send": (AIOKafkaClient.send, "246b277687d7"),
    "aiokafka.client.AIOKafkaClient.force_metadata_update": (AIOKafkaClient.force_metadata_update, "cb7befef21c8"),
    "aiokafka.protocol.api.Request": (Request, "1dc66f0574be"),
    "aiokafka.protocol.api.RequestStruct": (RequestStruct, "0c94b7d19018"),
    "aiokafka.consumer.fetcher.Fetcher.fetched_records": (Fetcher.fetched_records, "be4348896b9b"),
    "aiokafka.consumer.fetcher.Fetcher._update_fetch_positions": (Fetcher._update_fetch_positions, "d7774d8241dc"),
    "aiokafka.consumer.fetcher.Fetcher._proc_fetch_request": (Fetcher._proc_fetch_request, "59bf948fff47"),
    "aiokafka.consumer.subscription_state.TopicPartitionState": (TopicPartitionState, "2b83334afadf"),
    "aiokafka.consumer.fetcher.FetchResult": (FetchResult, "d7db13f06de8"),
    "aiokafka.consumer.fetcher.PartitionRecords": (PartitionRecords, "94aa0da0dbec"),
    "aiokafka.consumer.group_coordinator.GroupCoordinator": (GroupCoordinator, "3cc75f875a23"),
    "aiokafka.producer.sender.Sender": (Sender, "46ef144176b7"),
}


@functools.cache
def source_digest(thing: Any) -> str:
    """The first twelve digits of the SHA-256 of an object's source text; empty where there is no source."""
    try:
        return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12]
    except OSError:
        return ""


def check_faust(
    versions: Mapping[str, str] | None = None, sources: Mapping[str, tuple[Any, str]] | None = None
) -> None:
    """Raise `FaustChanged` unless the installed versions and sources are those that this package was written against."""
    for name, version in (VERSIONS if versions is None else versions).items():
        installed = metadata.version(name)
        if installed != version:
            raise FaustChanged(
                f"{name} {installed} is installed; queuewatch_streams.delivery was written against {version}; install that one,"
                " or look at what changed in the parts that delivery/pins.py lists under SOURCES, run"
                " tests/streams/test_delivery_contract.py and tests/integration/test_delivery.py, and write down the new"
                " version there"
            )
    for name, (thing, digest) in (SOURCES if sources is None else sources).items():
        found = source_digest(thing)
        if found and found != digest:
            raise FaustChanged(
                f"{name} is not the code that queuewatch_streams.delivery was written against (its source has the digest"
                f" {found}, not {digest}); install the versions {', '.join(f'{n} {v}' for n, v in VERSIONS.items())} unpatched,"
                " or look at what changed there"
            )
