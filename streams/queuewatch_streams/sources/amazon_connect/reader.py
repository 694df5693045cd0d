"""Reads Amazon Connect: contact events from a queue of SQS, contact records and agent events from streams of Kinesis.

The position is that of the streams; of the queue there is none: what Kafka has is deleted there, everything else comes again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import AmazonConnect as Settings
from queuewatch_streams.sources.amazon_connect.translator import AmazonConnect
from queuewatch_streams.sources.aws.clients import amazon, clear_errors, who_we_are
from queuewatch_streams.sources.aws.kinesis import KinesisStreams
from queuewatch_streams.sources.aws.sqs import SqsMessage, SqsQueue, drain
from queuewatch_streams.sources.json_lines import loaded, records_of
from queuewatch_streams.sources.live import now
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Reader
from queuewatch_streams.sources.state import StateTrouble
from queuewatch_streams.sources.station import Station
from queuewatch_streams.tasks import together

__all__ = ["KIND", "ConnectReader"]

_LOOK_SECONDS: Final = 600
_LOOKED_AT: Final = 20
_FIGURES: Final = {
    "CONTACTS_QUEUED": "offered",
    "CONTACTS_HANDLED": "answered",
    "CONTACTS_ABANDONED": "abandoned",
    "CONTACTS_TRANSFERRED_OUT_FROM_QUEUE": "diverted",
}
_QUEUES_AT_ONCE: Final = 100
"""As many queues as one question for figures may name."""


class ConnectReader(Reader[Any]):
    """The reader of one instance."""

    def __init__(self, name: str, settings: Settings, configuration: Configuration) -> None:
        self._name = name
        self._settings = settings
        self._place = settings.region, settings.endpoint_url

    def _queue(self) -> SqsQueue:
        settings = self._settings
        return SqsQueue(settings.queue_url, *self._place, visibility_seconds=settings.visibility_seconds)

    async def run(self, station: Station[Any]) -> None:
        """Read queue and streams until one of them is lost.

        :raises Lost: it is.
        :raises StateTrouble: the position that was saved is none.
        """
        async with AsyncExitStack() as stack:
            queue = await stack.enter_async_context(self._queue())
            if not self._settings.streams:
                await drain(queue, station, _record)
            position = station.position
            if position is None:
                start = {"beginning": 0, "now": now() - 1_000_000}.get(station.begin, station.start_at)
                position = {"since": start, "streams": {}}
                # Kept at once: the next start is no first one, though nothing has come by then.
                await station.take((), position)
            elif not _is_position(position):
                saved = self._settings.state_folder / f"{self._name}.json"
                raise StateTrouble(f"{saved}: the position in it is damaged; delete it to start afresh")
            streams = await stack.enter_async_context(KinesisStreams(self._settings.streams, position, *self._place))

            async def take(
                where: Callable[[int], str], records: Sequence[bytes], position: Callable[[Any], Any]
            ) -> None:
                await station.take([loaded(each) for each in records], position, where)

            await together(
                drain(queue, station, _record, lambda before: before or position, streams.up_to),
                streams.follow(take, station.looked, lambda text: station.trouble("lost", text)),
            )

    async def look(self) -> Look:
        """Who we are, what is in the queue and the streams; nothing is taken out.  Raises Lost."""
        says = [f"Amazon, {self._settings.region}: {await who_we_are(*self._place)}"]
        records: list[Any] = []
        async with self._queue() as queue:
            counted = await queue.attributes()
            says.append(
                f"{queue.where}: about {counted['waiting']} messages wait, {counted['in_flight']} are being worked on"
            )
            records += [_record(each) for each in await queue.receive(1, only_look=True)]
        async with KinesisStreams(self._settings.streams, None, *self._place) as streams:
            for name in self._settings.streams:
                says.append(f"Kinesis {name}: {len(await streams.shards(name))} shards")
                records += [loaded(each) for each in await streams.newest(name, _LOOK_SECONDS, _LOOKED_AT)]
        return Look(tuple(says), tuple(records))

    async def counters(self, since: datetime) -> Counters:
        """Connect's own historical metrics by queue.  Raises Lost."""
        arn = self._settings.instance_arn
        if arn is None:
            raise Lost(f"set sources.{self._name}.instance_arn, which instance to ask for its figures")
        found: dict[str, dict[str, int]] = defaultdict(dict)
        async with amazon("connect", *self._place) as client:
            with clear_errors("Amazon Connect"):
                queues = await _queues_of(client, arn.rpartition("/")[2])
                for number in range(0, len(queues), _QUEUES_AT_ONCE):
                    await _figures_of(client, arn, queues[number : number + _QUEUES_AT_ONCE], since, found)
        return Counters(found, _WHY_OTHERWISE)


async def _queues_of(client: Any, instance: str) -> list[str]:
    """The ids of an instance's queues that callers wait in."""
    queues: list[str] = []
    asked: dict[str, Any] = {"InstanceId": instance, "QueueTypes": ["STANDARD"]}
    while True:
        answer = await client.list_queues(**asked)
        queues += [each["Id"] for each in answer.get("QueueSummaryList", ())]
        if not (token := answer.get("NextToken")):
            return queues
        asked["NextToken"] = token


async def _figures_of(
    client: Any, arn: str, queues: Sequence[str], since: datetime, found: dict[str, dict[str, int]]
) -> None:
    asked: dict[str, Any] = {
        "ResourceArn": arn,
        "StartTime": since,
        "EndTime": datetime.now(UTC),
        "Filters": [{"FilterKey": "QUEUE", "FilterValues": list(queues)}],
        "Groupings": ["QUEUE"],
        "Metrics": [{"Name": each} for each in _FIGURES],
    }
    while True:
        answer = await client.get_metric_data_v2(**asked)
        for row in answer.get("MetricResults", ()):
            figures = found[row["Dimensions"]["QUEUE"]]
            for each in row.get("Collections", ()):
                figure = _FIGURES.get(each["Metric"]["Name"])
                if figure is not None and each.get("Value") is not None:
                    figures[figure] = figures.get(figure, 0) + round(each["Value"])
        if not (token := answer.get("NextToken")):
            return
        asked["NextToken"] = token


def _is_position(position: Any) -> bool:
    """Whether what was saved can be the streams' position."""
    if not isinstance(position, dict) or not isinstance(position.get("since"), int):
        return False
    streams = position.get("streams")
    return isinstance(streams, dict) and all(
        isinstance(shards, dict) and all(isinstance(last, str) for last in shards.values())
        for shards in streams.values()
    )


def _record(message: SqsMessage) -> Any:
    return loaded(message.body)


_WHY_OTHERWISE: Final = (
    "Connect counts a contact as handled when it has ended; who talks now is in ours only.",
    "Its figures come some minutes late.",
    "Its transfers out of a queue are not all diverts: callbacks that were asked for are not among them.",
    "It counts as abandoned whoever a flow hung up on while he waited; where a contact record says so, ours is a divert.",
    "Contact events are best effort: without contact records what EventBridge lost is missing in ours.",
    "Callbacks are visits of their own in ours, also where the customer could not be reached.",
)

KIND = Kind(translator=AmazonConnect, reader=ConnectReader, records=records_of)
