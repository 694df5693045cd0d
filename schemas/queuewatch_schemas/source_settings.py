"""What may be set about the telephony systems that are listened to: one table `[sources.NAME]` each.

`kind` says which system it is and so which further settings there are; each kind has a class here, and stands in `Source`.
A secret is never a setting: a setting names the file that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, cast, get_args

from pydantic import AfterValidator, Field, model_validator

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
WebAddress = Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s/@]+(/\S*)?$")]
AmazonRegion = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")]
AmazonName = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\s]+$")]


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


class Connected(SourceSettings):
    """A system that is listened to over a connection."""

    host: Host
    """The host that the system listens on."""
    port: Port
    """The port that it listens on."""
    secret_file: FilePath | None = None
    """A file that holds the account's secret; left out: it is in the environment as QUEUEWATCH_SOURCE_SECRET."""
    status_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """How often the system is asked who waits and what agents do."""


class AsteriskAmi(Connected):
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


class Freeswitch(Connected):
    """FreeSWITCH's mod_callcenter over the event socket."""

    kind: Literal["freeswitch"]
    port: Port = 8021
    """The port of the event socket."""
    username: Account | None = None
    """A user of the directory, as in `monitor@example.org`; left out: the event socket's own password is used."""


class Listening(SourceSettings):
    """A system that calls us over HTTP.  TLS is a proxy's business: what listens here speaks plain HTTP."""

    listen_host: Host = "127.0.0.1"
    """The address that is listened on; anything but loopback lets others read along, so put a proxy with TLS before it."""
    port: Port = 9480
    """The port that is listened on; 0: any that is free."""
    most_bytes: Annotated[int, Field(ge=1024, le=4 * 1024 * 1024)] = 1024 * 1024
    """The largest request that is read."""
    answer_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """So long a request waits for the brokers' acknowledgement before it is told to come again."""


class Http(Listening):
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


class GenesysCloud(SourceSettings):
    """Genesys Cloud, by Amazon EventBridge and a queue of SQS, or by its notification service."""

    kind: Literal["genesys-cloud"]
    transport: Literal["sqs", "notifications"] = "sqs"
    """How it is listened to: by a queue that EventBridge fills, which outlasts a pause of ours, or by WebSocket."""
    late_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """By so much a record may come later than others; what follows from one that is missing is told only then."""
    queue_url: WebAddress | None = None
    """For `sqs`: the address of the queue."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    """For `sqs`: the region of Amazon that the queue is in."""
    endpoint_url: WebAddress | None = None
    """For `sqs`: another address of the service, as that of a VPC endpoint."""
    visibility_seconds: Annotated[int, Field(ge=2, le=3600)] = 60
    """For `sqs`: so long a message that was received is hidden, before it comes again where we have ended meanwhile."""
    domain: Host | None = None
    """The domain of Genesys' region, as in mypurecloud.de; for `notifications`, and for --compare."""
    client_id: Account | None = None
    """The OAuth client (client credentials); for `notifications`, and for --compare."""
    secret_file: FilePath | None = None
    """A file that holds the client's secret; left out: it is in the environment as QUEUEWATCH_SOURCE_SECRET."""
    api_url: WebAddress | None = None
    """Another address for the API than https://api.DOMAIN, as that of a proxy."""
    login_url: WebAddress | None = None
    """Another address for the login than https://login.DOMAIN."""
    queues: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    """For `notifications`: ids of the queues to listen to; left out: all that the client may see."""
    agents: bool = True
    """For `notifications`: whether the states of the queues' agents are listened to."""
    status_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """For `notifications`: how often it is asked who waits."""

    @model_validator(mode="after")
    def _complete(self) -> GenesysCloud:
        needed = ("queue_url", "region") if self.transport == "sqs" else ("domain", "client_id")
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"transport {self.transport!r} needs {' and '.join(missing)}")
        return self


class AmazonConnect(SourceSettings):
    """Amazon Connect: contact events over SQS, contact records and agent events over Kinesis.

    Credentials are no settings: they are found as all of Amazon's programs find them.
    """

    kind: Literal["amazon-connect"]
    region: AmazonRegion
    """Amazon's region of the instance, its queue and its streams, as in eu-central-1."""
    queue_url: WebAddress
    """The SQS queue that EventBridge puts the contact events into."""
    streams: tuple[AmazonName, ...] = ()
    """Kinesis streams of contact records and of agent events, which may be one; none: only the queue is read."""
    instance_arn: AmazonName | None = None
    """The instance's resource name, for --compare."""
    sure_seconds: Annotated[float, Field(ge=1, le=600)] = 20
    """So long after a contact left its queue unanswered a following one may become known; then it was abandoned."""
    agent_queues: bool = False
    """Whether agents' own queues, which direct transfers wait in, count as queues."""
    visibility_seconds: Annotated[int, Field(ge=2, le=3600)] = 60
    """So long a message is hidden from others while it is worked on; after a crash they come again only then."""
    endpoint_url: WebAddress | None = None
    """Another address of all of Amazon's services, as of a stand-in; left out: Amazon's own in the region."""


class TwilioTaskRouter(Listening):
    """Twilio's TaskRouter: its webhook or Event Streams, and its list of events for what they missed."""

    kind: Literal["twilio-taskrouter"]
    public_url: Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
    """The address that Twilio calls, as it is set there, without a query: the signature is over it."""
    auth_token_file: FilePath
    """A file with the account's auth token, which webhooks are signed with."""
    account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-f]{32}$")]
    """The account."""
    workspace_sid: Annotated[str, Field(pattern=r"^WS[0-9a-f]{32}$")]
    """The TaskRouter workspace; events of others are left out."""
    api_key_sid: Annotated[str, Field(pattern=r"^SK[0-9a-f]{32}$")] | None = None
    """A restricted API key that may read the workspace; left out: the auth token is used for that too."""
    api_key_secret_file: FilePath | None = None
    """A file with that key's secret."""
    api_url: Annotated[str, Field(max_length=200, pattern=r"^https?://[^\s/?#@]+$")] = "https://taskrouter.twilio.com"
    """Where the REST interface is; another one for a region, or a proxy."""
    answer_seconds: Annotated[float, Field(gt=0, le=60)] = 4
    """So long a request waits for the brokers' acknowledgement: Event Streams gives up after 5 seconds, a webhook after 15."""
    reconcile_seconds: Annotated[float, Field(ge=1, le=600)] = 60
    """How often the list of events is read for what did not arrive; what is sure only with it is told so much later."""


Source = Annotated[
    AsteriskQueueLog
    | AsteriskQueueLogTable
    | AsteriskAmi
    | Freeswitch
    | Http
    | TwilioTaskRouter
    | GenesysCloud
    | AmazonConnect,
    Field(discriminator="kind"),
]
"""Any source; a new kind of one is a class above and a word here."""
KINDS: Final[Mapping[str, type[SourceSettings]]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(Source)[0])
}
"""The settings of each kind, by the word that `kind` names it with."""
