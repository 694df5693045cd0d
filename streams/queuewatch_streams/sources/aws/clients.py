"""How Amazon's services are spoken to: clients, and what their errors mean in words.

Who we are is found as everywhere at Amazon (environment, profile, role of the machine or container) and never a setting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aioboto3  # type: ignore[import-untyped]
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from queuewatch_streams.sources.live import now
from queuewatch_streams.sources.shape import Lost

__all__ = ["amazon", "answered_at", "clear_errors", "code_of", "micros", "who_we_are"]

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 35
"""Longer than a long poll waits."""
_TRIES: Final = 3
_CONNECTIONS: Final = 64
_WHO: Final = "give them by the environment, a profile (AWS_PROFILE) or the machine's role"
_SIGNATURE: Final = "the secret key does not fit the access key, or this machine's clock is wrong"
_KEY: Final = "access to the key that it is encrypted with is denied; it needs kms:Decrypt"
_MEANINGS: Final = {
    "AccessDenied": "access denied; see the policy in this source's page",
    "AccessDeniedException": "access denied; see the policy in this source's page",
    "AWS.SimpleQueueService.NonExistentQueue": "there is no such queue",
    "QueueDoesNotExist": "there is no such queue",
    "ResourceNotFoundException": "there is no such stream or instance",
    "InvalidClientTokenId": "the credentials are not known to Amazon",
    "UnrecognizedClientException": "the credentials are not known to Amazon",
    "SignatureDoesNotMatch": _SIGNATURE,
    "InvalidSignatureException": _SIGNATURE,
    "KMSAccessDeniedException": _KEY,
    "KMS.AccessDeniedException": _KEY,
    "KmsAccessDenied": _KEY,
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "RequestExpired": "the request came too late; is this machine's clock right?",
}


@asynccontextmanager
async def amazon(service: str, region: str, endpoint_url: str | None = None) -> AsyncIterator[Any]:
    """A client of a service.  Raises Lost where there are no credentials."""
    config = AioConfig(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
    )
    with clear_errors(service):
        session = aioboto3.Session()
        made = session.client(service, region_name=region, endpoint_url=endpoint_url, config=config)
        client = await made.__aenter__()
    try:
        yield client
    finally:
        await made.__aexit__(None, None, None)


@contextmanager
def clear_errors(where: str) -> Iterator[None]:
    """Turn what goes wrong at Amazon into Lost, which says where and what to do."""
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code = str(told.get("Code", "unknown error"))
        meaning = _MEANINGS.get(code)
        raise Lost(f"{where}: {meaning} ({code})" if meaning else f"{where}: Amazon answers {code}") from None
    except (NoCredentialsError, PartialCredentialsError):
        raise Lost(f"{where}: there are no credentials for Amazon; {_WHO}") from None
    except (ProfileNotFound, NoRegionError) as error:
        raise Lost(f"{where}: {error}") from None
    except (BotoCoreError, OSError, TimeoutError) as error:
        raise Lost(f"{where}: {error or type(error).__name__}") from None


def code_of(error: ClientError) -> str:
    """The code of an error that Amazon answered with."""
    return str(error.response.get("Error", {}).get("Code", ""))


def micros(at: datetime) -> int:
    """A time as Amazon's client gives it, in microseconds since the epoch."""
    since = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def answered_at(answer: Mapping[str, Any]) -> int:
    """When Amazon gave an answer, by its own clock, by which records are stamped too; now, where it does not say.

    Microseconds since the epoch, rounded down to a whole second.
    """
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return round(parsedate_to_datetime(headers.get("date", "")).timestamp()) * 1_000_000
    except ValueError:
        return now()


async def who_we_are(region: str, endpoint_url: str | None = None) -> str:
    """The account and role that the credentials stand for; where nobody tells, why.

    The service that tells it may be out of reach where the queue is not, as from a network with an endpoint for queues alone;
    what is wrong with credentials every service says.
    """
    try:
        async with amazon("sts", region, endpoint_url) as client:
            with clear_errors("sts"):
                return str((await client.get_caller_identity())["Arn"])
    except Lost as why:
        return f"nobody knows whom ({why})"
