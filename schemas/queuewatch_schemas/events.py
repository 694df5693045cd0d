"""What a call event is, and why one is refused.

Events are CloudEvents 1.0 in JSON structured mode.  `parse` reads one from bytes into an `Event`;
whatever it cannot read it refuses with a `Rejected` that carries a short reason (a metric label) and a sentence for people.
Unknown extra fields are allowed: in `data` they are kept, in the envelope dropped.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema, with_config
from typing_extensions import TypedDict

from queuewatch_schemas import plain
from queuewatch_schemas.names import MAXIMUM_NAME, MAXIMUM_QUEUE_BYTES, queue_name
from queuewatch_schemas.plain import MAXIMUM_EVENT_BYTES, Event, Kind
from queuewatch_schemas.times import TIME_PATTERN, instant

TYPE_PREFIX: Final = "queuewatch."


class Reason(StrEnum):
    """Why an event is not counted; the `reason` label of `rejected_events_total` and of the dead letter."""

    NO_VALUE = "no_value"
    NO_KEY = "no_key"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    UNREADABLE_JSON = "unreadable_json"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    WRONG_FIELD = "wrong_field"
    BAD_QUEUE_NAME = "bad_queue_name"
    TOO_MANY_QUEUES = "too_many_queues"
    AHEAD = "ahead"
    LATE = "late"
    FOREIGN_EVICTION = "foreign_eviction"
    WRONG_TOPIC = "wrong_topic"
    MISPLACED = "misplaced"


class Rejected(ValueError):
    """An event that is not counted: `reason` is one of `Reason`, `detail` says what is wrong and where."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def _moment(text: str) -> str:
    instant(text)
    return text


_STRICT = ConfigDict(strict=True)
_OPEN = ConfigDict(strict=True, extra="allow")
_DATE_TIME = {"type": "string", "format": "date-time", "pattern": TIME_PATTERN}

Moment = Annotated[str, Field(pattern=TIME_PATTERN), AfterValidator(_moment), WithJsonSchema(_DATE_TIME)]
"""An RFC 3339 time with its offset, checked but kept as the text it came as."""
QueueName = Annotated[
    str,
    AfterValidator(queue_name),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAXIMUM_QUEUE_BYTES,
            "description": "The queue: NFC, trimmed, at most 200 bytes of UTF-8, without control characters.",
        }
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=MAXIMUM_NAME)]
Opaque = Annotated[str, Field(max_length=MAXIMUM_NAME, description="Opaque; never a telephone number.")]
VisitNumber = Annotated[
    int, Field(ge=1, le=plain.MAXIMUM_VISIT, description="The n-th stay of this call in this queue; 1 if absent.")
]
Channel = Annotated[
    str,
    Field(
        min_length=1,
        max_length=plain.MAXIMUM_CHANNEL,
        pattern=plain.CHANNEL_PATTERN,
        description='"voice" if absent; "callback" waits only from `due`.',
    ),
]

Via = Literal["direct", "transfer", "overflow", "callback", "requeue", "api"]
RefusedReason = Literal["closed", "full", "no_agents", "other"]
DeclinedReason = Literal["no_answer", "rejected", "busy", "unavailable"]
DivertedReason = Literal[
    "timeout", "overflow", "transfer", "voicemail", "callback", "key", "no_agents", "withdrawn", "elsewhere"
]
EvictedReason = Literal["too_long", "overtaken", "absent"]
EndedBy = Literal["agent", "caller", "transfer", "system"]
AgentState = Literal[
    "available",
    "ringing",
    "talking",
    "held",
    "wrap_up",
    "busy",
    "break",
    "meal",
    "training",
    "meeting",
    "other",
    "offline",
]
Upstream = Literal["ok", "down", "unknown"]
Question = Literal["nps", "csat", "ces", "resolved"]


@with_config(_OPEN)
class _VisitData(TypedDict):
    queue: QueueName
    visit: NotRequired[VisitNumber]


@with_config(_OPEN)
class QueuedData(_VisitData):
    """A caller entered the queue."""

    channel: NotRequired[Channel]
    priority: NotRequired[int]
    skills: NotRequired[list[Name]]
    customer: NotRequired[Opaque]
    via: NotRequired[Via]
    from_queue: NotRequired[str]
    entered: NotRequired[Annotated[Moment, Field(description="When the call first entered any queue.")]]
    due: NotRequired[Annotated[Moment, Field(description="A callback waits only from then on.")]]


@with_config(_OPEN)
class RefusedData(_VisitData):
    """A caller was never let in."""

    reason: RefusedReason


@with_config(_OPEN)
class RingingData(_VisitData):
    """The call rings at an agent."""

    agent: Name


@with_config(_OPEN)
class DeclinedData(_VisitData):
    """An agent did not take the call; the visit goes on."""

    agent: Name
    reason: DeclinedReason


@with_config(_OPEN)
class AnsweredData(_VisitData):
    """Connected; another agent later on the same visit is a further leg."""

    agent: Name


@with_config(_OPEN)
class HeldData(_VisitData):
    """Put on hold, or taken off it; a consultation counts as hold."""

    agent: NotRequired[Name]


@with_config(_OPEN)
class AbandonedData(_VisitData):
    """The caller hung up while waiting."""


@with_config(_OPEN)
class DivertedData(_VisitData):
    """The caller left unanswered, not by hanging up."""

    reason: DivertedReason
    to_queue: NotRequired[str]


@with_config(_OPEN)
class EvictedData(_VisitData):
    """The monitor gave the visit up as a ghost."""

    reason: EvictedReason


@with_config(_OPEN)
class EndedData(_VisitData):
    """The talk is over."""

    agent: NotRequired[Name]
    by: NotRequired[EndedBy]
    to_queue: NotRequired[str]


@with_config(_OPEN)
class WrappedData(_VisitData):
    """After-call work is over."""

    agent: NotRequired[Name]


@with_config(_OPEN)
class AgentQueue(TypedDict):
    """A queue that an agent serves."""

    queue: QueueName
    level: NotRequired[int | float]


@with_config(_OPEN)
class AgentContact(TypedDict):
    """A contact that an agent is on."""

    channel: Channel
    state: Name
    queue: NotRequired[QueueName]


@with_config(_OPEN)
class AgentStateData(TypedDict):
    """What an agent does from now on; `busy` is on a contact of no queue."""

    state: AgentState
    queues: list[AgentQueue]
    contacts: NotRequired[list[AgentContact]]
    reason: NotRequired[str]


@with_config(_OPEN)
class QueueHoursData(TypedDict):
    """The source opened or closed the queue that is the subject."""

    reason: NotRequired[str]


@with_config(_OPEN)
class WaitingCall(TypedDict):
    """A caller on the source's own list."""

    call: Name
    visit: NotRequired[VisitNumber]
    since: Moment


@with_config(_OPEN)
class SnapshotData(TypedDict):
    """The source's own list of who waits in the queue that is the subject."""

    complete: Literal[True]
    waiting: list[WaitingCall]


@with_config(_OPEN)
class SurveyData(TypedDict):
    """A caller's answer to a survey about the call that is the subject."""

    queue: QueueName
    agent: NotRequired[Name]
    customer: NotRequired[str]
    question: Question
    score: int | float


@with_config(_OPEN)
class HeartbeatData(TypedDict):
    """The connector lives; `ok` only after a real look at its source."""

    interval_s: Annotated[int | float, Field(gt=0)]
    upstream: Upstream
    queues: NotRequired[list[QueueName]]


@with_config(_STRICT)
class Envelope(TypedDict):
    """The CloudEvents attributes that every event carries."""

    specversion: Literal["1.0"]
    id: Annotated[Name, Field(description="Unique within `source`.")]
    source: Annotated[Name, Field(description="The connector that sent it, e.g. urn:pbx:1.")]
    time: Annotated[
        str,
        Field(pattern=TIME_PATTERN),
        WithJsonSchema(_DATE_TIME | {"description": "When it happened, RFC 3339 with offset."}),
    ]
    datacontenttype: NotRequired[Literal["application/json"]]


@with_config(_STRICT)
class _AboutCall(Envelope):
    subject: Annotated[Name, Field(description="The call; unique over all sources.")]


@with_config(_STRICT)
class _AboutQueue(Envelope):
    subject: Annotated[QueueName, Field(description="The queue.")]


@with_config(_STRICT)
class CallQueued(_AboutCall):
    type: Literal["queuewatch.call.queued.v1"]
    data: QueuedData


@with_config(_STRICT)
class CallRefused(_AboutCall):
    type: Literal["queuewatch.call.refused.v1"]
    data: RefusedData


@with_config(_STRICT)
class CallRinging(_AboutCall):
    type: Literal["queuewatch.call.ringing.v1"]
    data: RingingData


@with_config(_STRICT)
class CallDeclined(_AboutCall):
    type: Literal["queuewatch.call.declined.v1"]
    data: DeclinedData


@with_config(_STRICT)
class CallAnswered(_AboutCall):
    type: Literal["queuewatch.call.answered.v1"]
    data: AnsweredData


@with_config(_STRICT)
class CallHeld(_AboutCall):
    type: Literal["queuewatch.call.held.v1"]
    data: HeldData


@with_config(_STRICT)
class CallResumed(_AboutCall):
    type: Literal["queuewatch.call.resumed.v1"]
    data: HeldData


@with_config(_STRICT)
class CallAbandoned(_AboutCall):
    type: Literal["queuewatch.call.abandoned.v1"]
    data: AbandonedData


@with_config(_STRICT)
class CallDiverted(_AboutCall):
    type: Literal["queuewatch.call.diverted.v1"]
    data: DivertedData


@with_config(_STRICT)
class CallEvicted(_AboutCall):
    type: Literal["queuewatch.call.evicted.v1"]
    data: EvictedData


@with_config(_STRICT)
class CallEnded(_AboutCall):
    type: Literal["queuewatch.call.ended.v1"]
    data: EndedData


@with_config(_STRICT)
class CallWrapped(_AboutCall):
    type: Literal["queuewatch.call.wrapped.v1"]
    data: WrappedData


@with_config(_STRICT)
class AgentStateChanged(Envelope):
    type: Literal["queuewatch.agent.state.v1"]
    subject: Annotated[Name, Field(description="The agent.")]
    data: AgentStateData


@with_config(_STRICT)
class QueueOpened(_AboutQueue):
    type: Literal["queuewatch.queue.opened.v1"]
    data: QueueHoursData


@with_config(_STRICT)
class QueueClosed(_AboutQueue):
    type: Literal["queuewatch.queue.closed.v1"]
    data: QueueHoursData


@with_config(_STRICT)
class QueueSnapshot(_AboutQueue):
    type: Literal["queuewatch.queue.snapshot.v1"]
    data: SnapshotData


@with_config(_STRICT)
class SurveyAnswered(_AboutCall):
    type: Literal["queuewatch.survey.answered.v1"]
    data: SurveyData


@with_config(_STRICT)
class SourceHeartbeat(Envelope):
    type: Literal["queuewatch.source.heartbeat.v1"]
    subject: Annotated[Name, Field(description="The source.")]
    data: HeartbeatData


AnyEvent = Annotated[
    CallQueued
    | CallRefused
    | CallRinging
    | CallDeclined
    | CallAnswered
    | CallHeld
    | CallResumed
    | CallAbandoned
    | CallDiverted
    | CallEvicted
    | CallEnded
    | CallWrapped
    | AgentStateChanged
    | QueueOpened
    | QueueClosed
    | QueueSnapshot
    | SurveyAnswered
    | SourceHeartbeat,
    Field(discriminator="type"),
]
EVENT: Final[TypeAdapter[Any]] = TypeAdapter(AnyEvent)
EVENT_TYPES: Final[dict[str, type]] = {
    get_args(get_type_hints(model)["type"])[0]: model for model in get_args(get_args(AnyEvent)[0])
}
"""Every event type's full name and its model."""

_validate = EVENT.validator.validate_json  # the adapter's own method would only pass this on
KINDS: Final = {name: Kind(number, name) for number, name in enumerate(EVENT_TYPES)}
"""Every event type by its name."""

_PlainName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_NAME)]
_PLAIN: Final = (
    (QueueName, str),  # the name itself is judged by `plain`, and so are channels and moments
    (Channel, str),
    (Moment, str),
    (str, str),
    (Name, _PlainName),
    (list[Name], list[_PlainName]),
    (Opaque, Annotated[str, msgspec.Meta(max_length=MAXIMUM_NAME)]),
    (int, Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]),
    (VisitNumber, Annotated[int, msgspec.Meta(ge=1, le=plain.MAXIMUM_VISIT)]),
)
"""How msgspec calls what the schema allows."""


def _structure(name: str, fields: dict[str, Any], **more: Any) -> type[msgspec.Struct]:
    """A structure with these fields, sorted; it has no others."""
    told = [
        (field, hint) if not optional else (field, hint | msgspec.UnsetType, msgspec.UNSET)
        for field, (hint, optional) in sorted(fields.items())
    ]
    return msgspec.defstruct(name, told, kw_only=True, forbid_unknown_fields=True, gc=False, **more)


def _plain_hint(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return hint
    return next(
        ours for each, ours in _PLAIN if each == hint or get_args(hint)[: len(get_args(each))] == get_args(each) != ()
    )


def _plain_data(name: str, data: Any) -> type[msgspec.Struct]:
    fields = {}
    for field, hint in get_type_hints(data, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        fields[field] = (_plain_hint(get_args(hint)[0] if optional else hint), optional)
    return _structure(f"{name}Data", fields)


def _forms() -> plain.Forms:
    """Calls' events as structures."""
    structures: dict[Any, Kind] = {}
    for name, model in EVENT_TYPES.items():
        if KINDS[name].call:
            fields = {
                "specversion": (Literal["1.0"], False),
                "id": (_PlainName, False),
                "source": (_PlainName, False),
                "time": (str, False),
                "subject": (_PlainName, False),
                "datacontenttype": (Literal["application/json"], True),
                "data": (_plain_data(model.__name__, get_type_hints(model)["data"]), False),
            }
            structures[_structure(model.__name__, fields, tag_field="type", tag=name)] = KINDS[name]
    decoder = msgspec.json.Decoder(Union[tuple(structures)])  # noqa: UP007  (of what is not written down)
    return plain.Forms(decoder.decode, structures)


FORMS: Final = _forms()
"""What is plain: read without the schema, see `plain`."""


def parse(value: bytes) -> Event:
    """One event from its bytes.

    Raises Rejected with the reason: too large, not UTF-8, unreadable JSON, unknown type, missing or wrong field, bad name
    of a queue.
    """
    return plain.read_plain(value, FORMS) or judge(value)


def judge(value: bytes) -> Event:
    """The same without the quick way: the schema reads it, or says why not."""
    if len(value) > MAXIMUM_EVENT_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"the event has {len(value)} bytes, {MAXIMUM_EVENT_BYTES} are allowed")
    try:
        event: dict[str, Any] = _validate(value)
    except ValidationError as error:
        raise _rejection(value, error) from None
    try:
        return plain.event_of(KINDS[event["type"]], event["source"], event["subject"], event["time"], event["data"])
    except ValueError as error:
        raise Rejected(Reason.WRONG_FIELD, f"time: {event['time']!r} is no time: {error}") from None


def _rejection(value: bytes, error: ValidationError) -> Rejected:
    """What the first of pydantic's findings means to the person who sends such events."""
    found = error.errors(include_url=False, include_context=False)
    first = found[0]
    kind, given = first["type"], first["input"]
    place = ".".join(str(part) for part in first["loc"] if part not in EVENT_TYPES)
    more = f" (and {len(found) - 1} more faults)" if len(found) > 1 else ""
    if kind == "json_invalid":
        try:
            value.decode()
        except UnicodeDecodeError as fault:
            return Rejected(Reason.NOT_UTF8, f"byte {fault.start} is not UTF-8 ({fault.reason})")
        return Rejected(Reason.UNREADABLE_JSON, first["msg"].removeprefix("Invalid JSON: "))
    if kind == "union_tag_invalid":
        return Rejected(Reason.UNKNOWN_TYPE, f"type: {_shown(given.get('type'))} is no event type of queuewatch")
    if kind == "union_tag_not_found":
        return Rejected(Reason.MISSING_FIELD, "type: is missing")
    if kind == "missing":
        return Rejected(Reason.MISSING_FIELD, f"{place}: is missing{more}")
    if not place:
        return Rejected(Reason.WRONG_FIELD, f"an event is a JSON object, this is {_shown(given)}")
    message = first["msg"].removeprefix("Value error, ")
    if kind == "value_error" and message.startswith("the queue's name"):
        return Rejected(Reason.BAD_QUEUE_NAME, f"{place}: {message}")
    return Rejected(Reason.WRONG_FIELD, f"{place}: {_shown(given)} is not allowed: {message}{more}")


def _shown(given: object) -> str:
    """The given value, cut so that a caller's data cannot fill a log."""
    text = repr(given)
    return text if len(text) <= 80 else text[:77] + "..."
