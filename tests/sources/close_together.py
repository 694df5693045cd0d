"""Records of a few calls in any order, doubled, as close together as one likes, and what may be said of them.

A vendor's kinds of records are drawn without any regard for what is likely: an agent who answers after the caller hung up, an
end before its beginning, lists of who is long gone.  Seconds count from START.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import orjson
from hypothesis import strategies as st

from queuewatch_schemas.times import instant
from queuewatch_streams.sources.freeswitch.records import GONE
from queuewatch_streams.sources.shape import Message, Out, Translator
from sources import made_up_ami as ami
from sources import made_up_connect as connect
from sources import made_up_freeswitch as fs
from sources import made_up_genesys as genesys
from sources import made_up_twilio as twilio
from sources.heard import START, at
from support.sources import ALL, assert_sound

IGNORED_CALL, IGNORED_QUEUE, IGNORED_AGENT = "c3", "test", "Dan"
CALLS = ("c1", "c2", IGNORED_CALL)
NUMBERS = {"c1": "<unknown>", "c2": "+390612345", IGNORED_CALL: "0800"}
QUEUES = ("sales", "support", IGNORED_QUEUE)
AGENTS = ("Anna", IGNORED_AGENT)
IGNORE = {"queues": [IGNORED_QUEUE], "callers": [NUMBERS[IGNORED_CALL]], "agents": [IGNORED_AGENT]}


class Step(NamedTuple):
    """Something that is told."""

    kind: str
    call: str
    queue: str
    agent: str
    pause: float
    """Since the one before."""
    late: float
    """Since it happened."""
    which: int
    """Whatever else there is to choose."""
    twice: bool


class Vendor(NamedTuple):
    """Who tells it."""

    make: Callable[[Any], Translator[Any]]
    records: Callable[[Step, float], Iterable[Any]]
    """What a step is told as at a second."""
    kinds: tuple[str, ...]
    may_change: frozenset[str] = frozenset()
    """Outcomes after which an answer may still be told of the same visit, as its page says."""
    corrects: bool = False
    """It tells calls anew with each record, and may correct what it said; which outcome holds then is the core's to say."""


def steps_of(vendor: Vendor) -> st.SearchStrategy[list[Step]]:
    """What is told, one after the other; half of it of one call in one queue."""
    kinds = st.sampled_from(("advance", *vendor.kinds))
    step = st.builds(
        Step,
        kinds,
        st.sampled_from((*CALLS[:1] * 3, *CALLS)),
        st.sampled_from((*QUEUES[:1] * 3, *QUEUES)),
        st.sampled_from((*AGENTS[:1] * 2, *AGENTS)),
        st.sampled_from((0.0, 0.0, 0.01, 0.01, 0.25, 1.0, 1.0, 2.5, 11.0, 90.0)),
        st.sampled_from((0.0, 0.0, 0.0, 0.01, 0.25, 1.0)),
        st.integers(0, 11),
        st.sampled_from((False, False, False, True)),
    )
    return st.lists(step, min_size=10, max_size=30)


def told(vendor: Vendor, steps: Iterable[Step]) -> list[Any]:
    """The records of steps; a number instead of one: nothing older comes any more."""
    second, found = 100.0, list[Any]()
    for step in steps:
        second = round(second + step.pause, 6)
        if step.kind == "advance":
            found.append(at(second - vendor.corrects * 1.001))  # what is late may still come
            continue
        records = list(vendor.records(step, second))
        found += records * (2 if step.twice else 1)
    return found


def say(translator: Translator[Any], records: Iterable[Any], out: Out) -> Out:
    """What is said of `told`."""
    for record in records:
        if type(record) is int:
            translator.advance(record, out)
        else:
            translator.translate(record, out)
    return out


def assert_it_goes_on_from_its_memory(vendor: Vendor, records: Sequence[Any], cut: int) -> Out:
    """Saved there and begun again it says the same, byte for byte; what it says."""
    one = vendor.make(None)
    whole = say(one, records[:cut], Out())
    kept = one.memory()
    saved, before = orjson.dumps(kept), len(whole.messages)
    say(one, [*records[cut:], ALL], whole)
    other = vendor.make(orjson.loads(saved))
    again = say(other, [*records[cut:], ALL], Out())
    assert again.messages == whole.messages[before:]
    assert orjson.dumps(other.memory()) == orjson.dumps(one.memory())
    return whole


def assert_it_may_be(
    messages: Sequence[Message], source: str, may_change: frozenset[str] = frozenset(), *, corrects: bool = False
) -> None:
    """Every event is one of the contract, no visit has two outcomes, and nothing is said of what is ignored.

    :param may_change: outcomes that an answer may follow.
    :param corrects: see Vendor; how visits end is not looked at.
    """
    assert_sound(messages)
    visits: dict[tuple[str, str, int], dict[str, int]] = defaultdict(dict)
    for role, key, value in messages:
        event = orjson.loads(value)
        kind, subject, data = (
            event["type"].removeprefix("queuewatch.").removesuffix(".v1"),
            event["subject"],
            event["data"],
        )
        assert f'"{source}/{IGNORED_QUEUE}"'.encode() not in value
        assert f'"{source}-{IGNORED_CALL}'.encode() not in value
        assert key != f"{source}/{IGNORED_QUEUE}"
        if role == "agents":
            assert subject != f"{source}/{IGNORED_AGENT}"
        elif kind == "queue.snapshot":
            for each in data["waiting"]:
                visit = visits.get((each["call"], subject, each["visit"]), {})
                over = visit.keys() & {
                    "answered",
                    "abandoned",
                    "diverted",
                }
                assert over <= may_change, (each, over)
        else:
            kind = kind.removeprefix("call.")
            assert kind != "declined" or data["agent"] != f"{source}/{IGNORED_AGENT}"
            visit = visits[subject, data["queue"], data.get("visit", 1)]
            if kind not in ("ringing", "declined", "held", "resumed"):
                assert corrects or kind not in visit, (kind, event)
                visit[kind] = instant(event["time"])
            assert corrects or "queued" in visit or "refused" in visit, event
    for name, visit in () if corrects else visits.items():
        outcomes = visit.keys() & {"answered", "abandoned", "diverted", "refused"}
        assert len(outcomes - (may_change if "answered" in outcomes else set())) <= 1, (name, visit)
        assert ("queued" in visit) != ("refused" in visit), (name, visit)
        if "ended" in visit:
            assert visit["queued"] <= visit["answered"] <= visit["ended"], (name, visit)
        assert "wrapped" not in visit or "ended" in visit, (name, visit)


# ------------------------------------------------------------------------------------------------- what vendors tell


def of_ami(step: Step, now: float) -> Iterable[Any]:
    """Events of Asterisk's manager interface, and the answer to QueueStatus."""
    second, n = round(now - step.late, 6), step.which
    more: dict[str, Any] = {"call": step.call, "queue": step.queue}
    leg = f"leg{n % 2}"
    since = now - (0, 1, 3, 30)[n % 4]
    waiting: dict[str, dict[str, float]] = {queue: {} for queue in QUEUES}
    waiting[step.queue] = {call: since for place, call in enumerate(CALLS) if n >> place & 1}
    members = {name: {"InCall": n & 1, "LastCall": START + int(since), "Wrapuptime": n} for name in AGENTS if n > 1}
    status = (1, 2, 6, 5)[n % 4]
    legs: dict[str, Any] = {"Result": "Success", "TransfereeUniqueid": step.call, "TransfererUniqueid": leg}
    kinds: dict[str, Callable[[], list[Any]]] = {
        "join": lambda: [ami.join(second, **more)],
        "leave": lambda: [ami.leave(second, **more)],
        "leave elsewhere": lambda: [ami.leave(second, **more, place=("menu", "1", n % 2))],
        "abandon": lambda: [ami.abandon(second, **more)],
        "status": lambda: [
            ami.status(second, ("TIMEOUT", "LEAVEEMPTY", "WITHDRAW", "FULL", "CONTINUE")[n % 5], step.call)
        ],
        "dial": lambda: [
            ami.message(second, "Newexten", **ami.caller(step.call), Application="Queue", AppData=step.queue)
        ],
        "called": lambda: [ami.called(second, step.agent, **more)],
        "no answer": lambda: [ami.no_answer(second, n % 2 * 5000, step.agent, **more)],
        "connect": lambda: [ami.connect(second, step.agent, **more, leg=leg, hold=n)],
        "complete": lambda: [
            ami.complete(second, ("agent", "caller", "transfer")[n % 3], step.agent, **more, leg=leg, talk=n)
        ],
        "complete of nobody": lambda: [ami.complete(second, "agent", step.agent, None, step.queue, leg, n)],
        "transfer": lambda: [ami.message(second, ("BlindTransfer", "AttendedTransfer")[n % 2], **legs)],
        "hold": lambda: [ami.message(second, ("Hold", "Unhold")[n % 2], Uniqueid=leg)],
        "member": lambda: [
            ami.member(second, name=step.agent, queue=step.queue, status=status, paused=n % 2, wrap=n % 3)
        ],
        "member gone": lambda: [ami.member(second, "QueueMemberRemoved", step.agent, step.queue)],
        "greeting": lambda: [ami.greeting(now)],
        "booted": lambda: [ami.booted(now, n * n)],
        "list": lambda: ami.listed(now, waiting, members),
        "list cut off": lambda: ami.listed(now, waiting, members)[: n + 1],
    }
    for _, fields in kinds[step.kind]():
        told = dict(fields)
        if "Uniqueid" in told and "CallerIDNum" in told:
            told["CallerIDNum"] = NUMBERS[told["Uniqueid"]]
        yield at(now) + 1000, told


AMI_KINDS = (
    *(
        "join",
        "join",
        "leave",
        "leave",
        "leave elsewhere",
        "abandon",
        "abandon",
        "status",
        "dial",
        "called",
        "no answer",
    ),
    *("connect", "connect", "complete", "complete of nobody", "transfer", "hold", "member", "member gone", "greeting"),
    *("booted", "list", "list", "list cut off"),
)


def of_freeswitch(step: Step, now: float) -> Iterable[Any]:
    """Events of mod_callcenter, and the answers to its lists."""
    second, n = round(now - step.late, 6), step.which
    agent = step.agent
    about = (f"{step.call}-{step.queue}{n // 11}", step.call, step.queue)
    since = int(now) - (0, 1, 3, 30)[n % 4]
    states: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"bridged": since, "agent": agent, "state": "Answered"},
        {"call": "", "left": max(since, 1), "state": "Abandoned"},
    )
    rows = [
        {"member": f"{call}-{step.queue}0", "call": call, "joined": since - n % 3, **states[(n + place) % 4]}
        for place, call in enumerate(CALLS)
        if n >> place & 1
    ]
    status = f"{agent}|{('Available', 'On Break', 'Logged Out')[n % 3]}|{('Waiting', 'In a queue call')[n % 2]}"
    state = ("Waiting", "Receiving", "In a queue call", "Idle")[n % 4]
    found: list[Any] = {
        "start": lambda: [(fs.start, fs.resume)[n % 2](second, *about)],
        "start elsewhere": lambda: [fs.start(second, *about, Core_UUID="core-2")],
        "cancel": lambda: [
            fs.cancel(second, ("BREAK_OUT", "TIMEOUT", "EXIT_WITH_KEY")[n % 3], *about, hung_up=n % 2 == 0)
        ],
        "terminated": lambda: [fs.terminated(second, *about)],
        "offer": lambda: [fs.offer(second, *about, agent=agent)],
        "pick up": lambda: [fs.picked_up(second, *about, agent=agent)],
        "bridge over": lambda: [fs.bridge_over(second, *about, agent=agent, bridged=("true", "true", "false")[n % 3])],
        "failed": lambda: [
            fs.failed(second, ("LOSE_RACE", "USER_BUSY", "NO_ANSWER")[n % 3], *about, agent=agent)
        ],
        "bridge": lambda: [fs.bridge(second, step.call)],
        "agent": lambda: [
            fs.change(second, agent, **({"CC_Agent_State": state} if n % 2 else {"CC_Agent_Status": "Available"}))
        ],
        "connected": lambda: [fs.connected(now, f"core-{1 + n // 9}")],
        "queues": lambda: [fs.queues(now, *QUEUES[: 1 + n % 3], limit=n)],
        "agents": lambda: [fs.agents(now, *([f"{status}|{START + since}"] if n else []), wrap=n % 3)],
        "tiers": lambda: [fs.tiers(now, *(f"{queue}|{agent}" for place, queue in enumerate(QUEUES) if n >> place & 1))],
        "members": lambda: [fs.members(now, *rows, queue=step.queue)],
        "gone": lambda: [fs.answer(now, f"{GONE}{step.call}", "false")],
    }[step.kind]()  # fmt: skip
    for _, fields in found:
        told = dict(fields)
        if told.get("CC-Member-Session-UUID") in NUMBERS:
            told["CC-Member-CID-Number"] = NUMBERS[told["CC-Member-Session-UUID"]]
        if "out" in told:
            told["out"] = told["out"].replace("|c3|5550001|", f"|c3|{NUMBERS[IGNORED_CALL]}|")
        yield at(now) + 1000, told


FREESWITCH_KINDS = (
    *("start", "start", "start elsewhere", "cancel", "cancel", "terminated", "offer", "pick up", "pick up", "failed"),
    *("bridge over", "bridge over", "bridge", "bridge", "agent", "connected", "queues", "agents", "tiers", "members"),
    *("members", "gone"),
)


def of_queue_log(step: Step, now: float) -> Iterable[Any]:
    """Lines of queue_log, to the second as in its file, else to the microsecond as in a table."""
    second, n = now - step.late, step.which
    stamp = str(START + int(second)) if n % 2 else str(at(second))
    call, queue, agent = step.call, step.queue, step.agent
    text = {
        "ENTERQUEUE": f"{call}|{queue}|NONE|ENTERQUEUE||{NUMBERS[call]}|{n % 3}",
        "ABANDON": f"{call}|{queue}|NONE|ABANDON|1|1|{n}",
        "EXIT": f"{call}|{queue}|NONE|{('EXITWITHTIMEOUT', 'EXITEMPTY', 'WITHDRAW')[n % 3]}|1|1|{n}",
        "EXITWITHKEY": f"{call}|{queue}|NONE|EXITWITHKEY|1|1|1|{n}",
        "FULL": f"{call}|{queue}|NONE|FULL|",
        "CONNECT": f"{call}|{queue}|{agent}|CONNECT|{n}|x|1",
        "COMPLETE": f"{call}|{queue}|{agent}|{('COMPLETEAGENT', 'COMPLETECALLER')[n % 2]}|{n}|{n // 2}|1",
        "BLINDTRANSFER": f"{call}|{queue}|{agent}|BLINDTRANSFER|700|xfer|{n}|{n // 2}|1",
        "ATTENDEDTRANSFER": f"{call}|{queue}|{agent}|ATTENDEDTRANSFER|BRIDGE|4aea51c5|{n}|{n // 2}|1",
        "RINGNOANSWER": f"{call}|{queue}|{agent}|RINGNOANSWER|{n % 2 * 5000}",
        "WRAPUPSTART": f"NONE|{queue}|{agent}|WRAPUPSTART|{n}",
        "PAUSE": f"NONE|{queue}|{agent}|{('PAUSE', 'UNPAUSE')[n % 2]}|lunch",
        "PAUSEALL": f"NONE|NONE|{agent}|{('PAUSEALL', 'UNPAUSEALL')[n % 2]}|",
        "LOGIN": f"NONE|NONE|{agent}|{('AGENTLOGIN', 'AGENTLOGOFF')[n % 2]}|x|9",
        "MEMBER": f"MANAGER|{queue}|{agent}|{('ADDMEMBER', 'REMOVEMEMBER')[n % 2]}|",
        "QUEUESTART": "NONE|NONE|NONE|QUEUESTART|",
    }[step.kind]
    yield f"{stamp}|{text}".encode()


QUEUE_LOG_KINDS = (
    *(
        "ENTERQUEUE",
        "ENTERQUEUE",
        "ENTERQUEUE",
        "ABANDON",
        "EXIT",
        "EXITWITHKEY",
        "FULL",
        "CONNECT",
        "CONNECT",
        "COMPLETE",
    ),
    *(
        "COMPLETE",
        "BLINDTRANSFER",
        "ATTENDEDTRANSFER",
        "RINGNOANSWER",
        "WRAPUPSTART",
        "WRAPUPSTART",
        "PAUSE",
        "PAUSEALL",
    ),
    *("LOGIN", "MEMBER", "QUEUESTART"),
)


def of_twilio(step: Step, now: float) -> Iterable[Any]:
    """TaskRouter's events."""
    second, n = now - step.late, step.which
    attributes = orjson.dumps({"from": NUMBERS[step.call]}).decode()
    more: dict[str, Any] = {"task_attributes": attributes, "task_assignment_status": ("wrapping", "assigned")[n % 2]}
    if n % 3:
        more["task_queue_entered_date"] = START + int(second) - n
    if step.kind.startswith("reservation."):
        number = f"{step.call}-{n % 3}"
        yield twilio.event(
            second, step.kind, step.call, step.queue, worker_sid=step.agent, reservation_sid=number, **more
        )
    elif step.kind.startswith("worker."):
        yield twilio.worker(second, ("Available", "Lunch", "Offline")[n % 3], step.agent)
    else:
        yield twilio.event(second, step.kind, step.call, step.queue, **more)


TWILIO_KINDS = (
    *("task-queue.entered", "task-queue.entered", "task-queue.timeout", "task-queue.moved", "task.canceled"),
    *("task.deleted", "task.wrapup", "task.completed", "task.transfer-initiated", "task.transfer-completed"),
    *("reservation.created", "reservation.accepted", "reservation.accepted", "reservation.rejected"),
    *("reservation.timeout", "reservation.canceled", "reservation.wrapup", "reservation.completed"),
    "worker.activity.update",
)


def of_genesys(step: Step, now: float) -> Iterable[Any]:
    """Detail events of conversations, and what agents do."""
    second, n, agent = now - step.late, step.which, step.agent
    about: dict[str, Any] = {"conversation": step.call, "ani": f"tel:{NUMBERS[step.call]}"}
    entry = about | {"session": f"a{n % 2}-{step.queue}", "queueId": step.queue}
    talk = about | {"session": f"s{n % 3}-{agent}", "queueId": step.queue, "userId": agent}
    outcome = ("ANSWERED", "ABANDON", "FLOW_OUT", None)[n % 4]
    how = ("PEER", "TRANSFER", "NO_ANSWER_TRANSFER")[n % 3]
    lasted: dict[str, Any] = {("alertingDurationMs", "interactingDurationMs")[n % 2]: n * 250}
    yield {
        "acd.start": lambda: genesys.acd_start(second, **entry),
        "acd.end": lambda: genesys.acd_end(second, outcome, **entry, answeredUserId=agent, disconnectType=how),
        "user.start": lambda: genesys.user_start(second, **talk),
        "user.end": lambda: genesys.user_end(second, **talk, **lasted, disconnectType=how),
        "acw": lambda: genesys.acw(second, **talk, wrapupDurationMs=n * 250),
        "customer.end": lambda: genesys.customer_end(second, **about),
        "voicemail": lambda: genesys.voicemail(second, **about),
        "status": lambda: genesys.status(second, agent, ("IDLE", "INTERACTING", "OFF_QUEUE")[n % 3]),
    }[step.kind]()


GENESYS_KINDS = (
    *("acd.start", "acd.start", "acd.end", "acd.end", "user.start", "user.end", "user.end", "acw", "customer.end"),
    *("voicemail", "status"),
)


def of_connect(step: Step, now: float) -> Iterable[Any]:
    """Contact events, contact records and agent events of contacts each of which follows one of another queue, or none."""
    second, n = now - step.late, step.which
    since = second - (0.0, 0.0, 0.01, 0.25, 1.0, 2.5)[n % 6]  # the time it tells may be one before its own
    depth, place = CALLS.index(step.call), QUEUES.index(step.queue)
    chain = [f"d{number}-{QUEUES[place - depth + number]}" for number in range(depth + 1)]
    method = ("INBOUND", ("TRANSFER", "QUEUE_TRANSFER", "CALLBACK")[place], "QUEUE_TRANSFER")[depth]
    contact = connect.Contact(chain[-1], method, begun=since, queue=step.queue, queued=since)
    if depth:
        contact.first, contact.before = chain[0], chain[-2]
    if step.kind in _STATES:
        contact.queued = second - 0.25  # of one state there is one account
    if step.kind in ("CONNECTED_TO_AGENT", "COMPLETED-answered", "RECORD-answered", *_STATES):
        contact.agent, contact.answered = step.agent, second - n % 2 * 0.01
    if step.kind.partition("-")[0] in ("DISCONNECTED", "COMPLETED", "RECORD"):
        contact.ended, contact.wrapped = second, (None, second + 0.25)[n % 2]
        contact.after = (None, f"d{depth + 1}-{QUEUES[place - 2]}")[n % 3 == 0 and depth < 2]
        contact.reason = (None, "CUSTOMER_DISCONNECT", "CONTACT_FLOW_DISCONNECT")[n // 2 % 3]
    if step.kind in _STATES:
        known = contact.told(step.kind, second)
        was = contact.told(("CONNECTED", "CONNECTED_ONHOLD", "ENDED")[n % 3], since)
        kind = ("STATE_CHANGE", "HEART_BEAT")[n // 6]
        lists = ([known], [was]) if step.kind != "GONE" else ([], [was])
        yield connect.agent_event(
            step.agent, kind, second, *(connect.snapshot("Available", each, QUEUES) for each in lists)
        )
    elif step.kind in ("LOGOUT", "Lunch"):
        told = None if step.kind == "LOGOUT" else connect.snapshot("Lunch", [], QUEUES)
        yield connect.agent_event(step.agent, step.kind if told is None else "STATE_CHANGE", second, told)
    elif step.kind.startswith("RECORD"):
        yield contact.record()[1]
    else:
        kind = step.kind.partition("-")[0]
        yield contact.event(kind, second, f"{step.kind}-{contact.name}-{second}-{n}-{step.queue}-{step.agent}")


_STATES = ("CONNECTING", "MISSED", "REJECTED", "CONNECTED", "CONNECTED_ONHOLD", "ENDED", "GONE")
CONNECT_KINDS = (
    *("INITIATED", "QUEUED", "QUEUED", "CONNECTED_TO_AGENT", "CONNECTED_TO_AGENT", "DISCONNECTED", "DISCONNECTED"),
    *("COMPLETED", "COMPLETED-answered", "RECORD", "RECORD-answered", *_STATES, "LOGOUT", "Lunch"),
)
