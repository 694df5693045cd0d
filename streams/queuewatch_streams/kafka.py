"""Decides how every Kafka client of ours is set up from the configuration, and how their troubles read.

All take their keyword arguments from `client_settings`, so brokers, users and certificates are understood in one place;
producers add `producer_settings`.  Secrets are read from their files when a client is made, never kept in a setting.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaClient
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, KafkaError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from queuewatch_schemas.config import KafkaSettings
from queuewatch_schemas.configuration_file import ConfigurationError
from queuewatch_schemas.topics import MAXIMUM_MESSAGE_BYTES

__all__ = [
    "KafkaTrouble",
    "administration",
    "client_settings",
    "gives_producer_ids",
    "password",
    "producer_settings",
    "tls_context",
    "topic_id",
]

log = logging.getLogger(__name__)


class KafkaTrouble(RuntimeError):
    """Kafka cannot be reached or refuses what is asked; the text says what, of whom, and what to do."""


def client_settings(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client: where the brokers are and how to prove who we are.

    :raises ConfigurationError: a password or certificate file cannot be used.
    """
    settings: dict[str, Any] = {
        "bootstrap_servers": kafka.brokers.split(","),
        "security_protocol": kafka.security_protocol,
    }
    if (context := tls_context(kafka)) is not None:
        settings["ssl_context"] = context
    if kafka.sasl_mechanism is not None:
        settings["sasl_mechanism"] = kafka.sasl_mechanism
        settings["sasl_plain_username"] = kafka.sasl_username
        settings["sasl_plain_password"] = password(kafka)
    return settings


def producer_settings(kafka: KafkaSettings, *, idempotent: bool) -> dict[str, Any]:
    """Keyword arguments that an AIOKafkaProducer takes beside those of `client_settings`.

    Every copy in sync must have a record before it counts.  No request lasts longer than the session, so nothing of a
    worker that has lost its group can still be on its way.

    :param idempotent: whether a retry is kept from storing a record twice; needs a broker that `gives_producer_ids`.
    """
    return {
        "acks": "all",
        "enable_idempotence": idempotent,
        "compression_type": None if kafka.compression == "none" else kafka.compression,
        "request_timeout_ms": round((kafka.request_timeout_seconds or kafka.session_timeout_seconds) * 1000),
        "max_request_size": MAXIMUM_MESSAGE_BYTES,
        # A partition's batches go one after the other: of 16 KB each, a crowd of letters waits long.
        "max_batch_size": 1 << 18,
    }


def password(kafka: KafkaSettings) -> str | None:
    """The SASL password, without the line end that editors add to its file; None where no user is set.

    :raises ConfigurationError: its file cannot be read or is empty.
    """
    path = kafka.sasl_password_file
    if path is None:
        return None
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise _unusable("sasl_password_file", path, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise _unusable("sasl_password_file", path, "is not UTF-8") from None
    if not secret:
        raise _unusable("sasl_password_file", path, "is empty")
    return secret


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """What to trust and to show when connections are encrypted, None when they are not.  Host names are always checked.

    :raises ConfigurationError: a file cannot be read or holds no certificate or key that fits.
    """
    if not kafka.security_protocol.endswith("SSL"):
        return None
    authorities = kafka.tls_ca_file
    try:
        context = ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    except (OSError, ssl.SSLError) as error:
        assert authorities is not None
        raise _unusable("tls_ca_file", authorities, f"holds no certificates in PEM: {_short(error)}") from None
    if kafka.tls_certificate_file is not None and kafka.tls_key_file is not None:
        try:
            context.load_cert_chain(
                kafka.tls_certificate_file,
                kafka.tls_key_file,
                password=lambda: "",  # else OpenSSL would ask for it at the terminal
            )
        except (OSError, ssl.SSLError) as error:
            both = f"does not fit its key {kafka.tls_key_file}, or one of them is not PEM: {_short(error)}"
            raise _unusable("tls_certificate_file", kafka.tls_certificate_file, both) from None
    return context


async def gives_producer_ids(settings: Mapping[str, Any]) -> bool:
    """Whether idempotent producers are served by the brokers of these `client_settings`.

    The embedded broker does not serve aiokafka's: against it a retry after a lost answer may store an event twice,
    which the figures bear, since duplicates change nothing.

    :raises KafkaTrouble: no broker can be reached.
    """
    client = AIOKafkaClient(**settings)
    try:
        await client.bootstrap()
        answer = await client.send(client.get_random_node(), InitProducerIdRequest(None, 60_000))
    except KafkaConnectionError as error:
        raise unreachable(settings, error) from error
    except IncompatibleBrokerVersion:
        return False
    finally:
        await client.close()
    # UNKNOWN_SERVER_ERROR, CLUSTER_AUTHORIZATION_FAILED; what else there is (a coordinator that loads) passes.
    return answer.error_code not in (-1, 31)


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]  # aiokafka ships no types
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_TAGS = ("tags", TaggedFields)


class _TopicIdsResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()), _TAGS
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("authorized_operations", Int32),
        _TAGS,
    )


class _TopicIdsRequestV10(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _TopicIdsRequest(Request[_TopicIdsRequestV10]):  # type: ignore[misc]
    """Metadata version 10, the first that tells topic ids; aiokafka knows them up to 5."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_TopicIdsRequestV10]) -> _TopicIdsRequestV10:
        return request_struct_class([(UUID(int=0), self._topic, {})], False, False, False, {})


async def topic_id(client: AIOKafkaClient, topic: str) -> str | None:
    """What tells this topic from an earlier one of the same name; None where the brokers tell no such id.

    :raises KafkaError: no broker answered.
    """
    try:
        answer = await client.send(client.get_random_node(), _TopicIdsRequest(topic))
    except (IncompatibleBrokerVersion, NotImplementedError):  # what aiokafka makes of a broker that is too old
        return None
    [(_, _, found, *_)] = answer.topics
    return str(found) if found.int else None


@asynccontextmanager
async def administration(kafka: KafkaSettings, *, timeout_ms: int = 30_000) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client.

    :raises KafkaTrouble: no broker can be reached, or the connection is lost on the way.
    """
    settings = client_settings(kafka)
    client = AIOKafkaAdminClient(**settings, request_timeout_ms=timeout_ms)
    try:
        await client.start()
        yield client
    except KafkaConnectionError as error:
        raise unreachable(settings, error) from error
    except (KafkaError, TimeoutError) as error:
        raise KafkaTrouble(f"Kafka at {kafka.brokers} did not do as asked: {described(error)}") from error
    finally:
        await client.close()


def unreachable(settings: Mapping[str, Any], error: BaseException) -> KafkaTrouble:
    """The trouble of finding no broker, in words."""
    brokers = ", ".join(settings["bootstrap_servers"])
    advice = "is it running, and is kafka.brokers (or --brokers) right?"
    if settings.get("security_protocol", "PLAINTEXT") != "PLAINTEXT":
        advice += " Do the security protocol, user, password and certificates fit?"
    return KafkaTrouble(f"no Kafka broker can be reached at {brokers}: {advice} ({described(error)})")


def described(error: BaseException) -> str:
    """An aiokafka error as short text: its name says more than its number."""
    text = str(error)
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


def _unusable(field: str, path: Path, fault: str) -> ConfigurationError:
    return ConfigurationError(None, [f"kafka.{field}: {path} {fault}"])


def _short(error: OSError) -> str:
    return error.strerror or str(error)
