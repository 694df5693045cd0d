"""A stand-in for Amazon's queues: moto's server in this process, and what tests do with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


@contextmanager
def stand_in_for_amazon() -> Iterator[str]:
    """Where it listens; credentials that it takes are in the environment meanwhile, and no others."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield f"http://{host}:{port}"
        finally:
            server.stop()


def put(client: Any, url: str, records: Sequence[Any]) -> None:
    """Put messages into a queue, ten at once; a text as it is."""
    for number in range(0, len(records), 10):
        entries = [
            {"Id": str(place), "MessageBody": each if isinstance(each, str) else orjson.dumps(each).decode()}
            for place, each in enumerate(records[number : number + 10])
        ]
        client.send_message_batch(QueueUrl=url, Entries=entries)


def left(client: Any, url: str) -> int:
    """How many messages are in a queue, worked on or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(told[each]) for each in names)
