"""What may be set about the telephony systems that are listened to: one table `[sources.NAME]` each.

`kind` says which system it is and so which further settings there are; each kind has a class here, and stands in `Source`.
A secret is never a setting: a setting names the file that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, cast, get_args

from pydantic import AfterValidator, Field

from queuewatch_schemas.events import AgentState
from queuewatch_schemas.names import MAXIMUM_NAME
from queuewatch_schemas.settings import FilePath, Port, Positive, QueueName, Settings, TimeZone, token


def _source_name(text: str) -> str:
    return token(text, 40, "a source's name")


SourceName = Annotated[str, AfterValidator(_source_name)]
"""It stands before every call, and before every queue and agent that has no name in `map`."""
AgentName = Annotated[str, Field(min_length=1, max_length=MAXIMUM_NAME)]


Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s/]+$")]
Account = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s:]+$")]


class Names(Settings):
    """Stable names for what the vendor calls otherwise; what is not named here is called `SOURCE/vendor's id`."""

    queues: Mapping[str, QueueName] = Field(default_factory=dict)
    """The vendor's id of a queue, and its name here; several may have one name."""
    agents: Mapping[str, AgentName] = Field(default_factory=dict)
    """The vendor's id of an agent, and the name here; several may have one name."""
    reasons: Mapping[str, AgentState] = Field(default_factory=dict)
    """A reason for a pause as agents or the vendor give it, and the state that it means; without case."""


class Ignored(Settings):
    """What is left out, and counted as left out: tests and their callers."""

    queues: tuple[str, ...] = ()
    """The vendor's ids of queues of which nothing is sent."""
    agents: tuple[str, ...] = ()
    """The vendor's ids of agents whose states and refusals are not sent; the calls that they answer are."""
    callers: tuple[str, ...] = ()
    """Callers' numbers as the vendor writes them; of their calls nothing is sent."""


class SourceSettings(Settings):
    """What every source has."""

    map: Names = Names()
    """Stable names of queues and agents."""
    ignore: Ignored = Ignored()
    """What is left out."""
    customer_key_file: FilePath | None = None
    """A file with a secret of at least 16 bytes: `customer` is the caller's number hashed with it; left out: no customer."""
    state_folder: FilePath = cast(Path, "queuewatch-state")  # the text is checked and made a path like any other
    """Where the position and the unfinished calls are kept, in a file named for the source."""
    heartbeat_seconds: Annotated[float, Field(ge=1, le=300)] = 10
    """How often the source tells every partition that it lives, and whether its system does."""
    metrics_port: Port = 9466
    """The port of /healthz and /metrics, on the host of [serve]; 0: any that is free."""


class AsteriskQueueLog(SourceSettings):
    """Asterisk's queue_log as a file that grows and is rotated."""

    kind: Literal["asterisk-queue-log"]
    file: FilePath
    """The file that Asterisk writes; its rotated ones lie beside it."""
    poll_seconds: Positive = 1
    """How often the file is looked at, where the operating system does not tell of changes at once."""
    quiet_after_seconds: Positive = 60
    """After so long without a new line nobody knows whether Asterisk lives: the heartbeats say `unknown`."""


class AsteriskQueueLogTable(SourceSettings):
    """Asterisk's queue_log as a table of its realtime database."""

    kind: Literal["asterisk-queue-log-table"]
    url_file: FilePath
    """A file that holds the database's address and password, as in postgresql+psycopg://reader:secret@host/asterisk."""
    table: Annotated[str, Field(min_length=1, max_length=128)] = "queue_log"
    """The table; with its schema, if need be, as in telephony.queue_log."""
    time_zone: TimeZone = "UTC"
    """The zone of the times in the table, where they carry none: that of the server which Asterisk runs on."""
    poll_seconds: Positive = 1
    """How often the table is asked for new rows."""


class _Connected(SourceSettings):
    """A system that is listened to over a connection."""

    host: Host
    """The host that the system listens on."""
    secret_file: FilePath | None = None
    """A file that holds the account's secret; left out: it is in the environment as QUEUEWATCH_SOURCE_SECRET."""
    status_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """How often the system is asked who waits and what agents do."""


class AsteriskAmi(_Connected):
    """Asterisk's manager interface."""

    kind: Literal["asterisk-ami"]
    port: Port = 5038
    """The port of the manager interface; with `tls` it is 5039 as a rule."""
    username: Account
    """The account's name in manager.conf."""
    tls: bool = False
    """Whether the connection is encrypted; where it is not, the secret is not sent over it, but all else is plain to read."""
    ca_file: FilePath | None = None
    """The certificates that vouch for Asterisk's; left out: those of the operating system."""
    tls_name: Host | None = None
    """The name in Asterisk's certificate, where it is not `host`."""


class Freeswitch(_Connected):
    """FreeSWITCH's mod_callcenter over the event socket."""

    kind: Literal["freeswitch"]
    port: Port = 8021
    """The port of the event socket."""
    username: Account | None = None
    """A user of the directory, as in `monitor@example.org`; left out: the event socket's own password is used."""


class _Listening(SourceSettings):
    """A system that calls us over HTTP.  TLS is a proxy's business: what listens here speaks plain HTTP."""

    listen_host: Host = "127.0.0.1"
    """The address that is listened on; anything but loopback lets others read along, so put a proxy with TLS before it."""
    port: Port = 9480
    """The port that is listened on; 0: any that is free."""
    most_bytes: Annotated[int, Field(ge=1024, le=4 * 1024 * 1024)] = 1024 * 1024
    """The largest request that is read."""
    answer_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """So long a request waits for the brokers' acknowledgement before it is told to come again."""


class Http(_Listening):
    """Events as the contract has them, sent by anything that can speak HTTP."""

    kind: Literal["http"]
    tokens_file: FilePath
    """A TOML file of who may send: of each sender the SHA-256 of its token, its sources, its queues."""
    most_events: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Events in one batch."""
    events_per_second: Annotated[float, Field(gt=0, le=100_000)] = 1000
    """How many events of one sender are taken in the long run; a batch of `most_events` always may come at once."""
    quiet_after_seconds: Positive = 60
    """After so long without a request nobody knows whether senders live: the heartbeats say `unknown`."""


Source = Annotated[
    AsteriskQueueLog | AsteriskQueueLogTable | AsteriskAmi | Freeswitch | Http, Field(discriminator="kind")
]
"""Any source; a new kind of one is a class above and a word here."""
KINDS: Final[Mapping[str, type[SourceSettings]]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(Source)[0])
}
"""The settings of each kind, by the word that `kind` names it with."""
