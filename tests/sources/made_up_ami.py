"""Sessions of Asterisk's manager interface by hand and by chance, with what their maker knows of them.

Seconds count from START.  A message is a record as the reader makes it: when it was received, and its fields.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from queuewatch_streams.sources.asterisk.ami.messages import GREETING, Message
from sources.heard import SECOND, START, Live, Stay, at

AGENTS = {"Anna": "PJSIP/101", "Bert Brown": "PJSIP/102", "Zoë": "Local/103@agents/n", "Dan": "PJSIP/104"}


def message(second: float, event: str, *, stamped: bool = True, **fields: Any) -> Message:
    """An event, received a millisecond after it happened."""
    told = {"Event": event, "Privilege": "agent,all"}
    if stamped:
        told["Timestamp"] = f"{START + int(second)}.{round((second % 1) * SECOND):06d}"
    return at(second) + 1000, told | {key: str(value) for key, value in fields.items()}


def caller(call: str, number: str = "<unknown>", place: tuple[str, str, int] = ("callers", "in", 7)) -> dict[str, Any]:
    """The fields of the caller's channel."""
    return {
        "Channel": f"PJSIP/trunk-{call}",
        "CallerIDNum": number,
        "CallerIDName": "<unknown>",
        "Context": place[0],
        "Exten": place[1],
        "Priority": str(place[2]),
        "Uniqueid": call,
        "Linkedid": call,
    }


def agent(name: str, queue: str, leg: str = "") -> dict[str, Any]:
    """The fields of an agent who is offered, or on, a call."""
    told = {"Queue": queue, "Interface": AGENTS.get(name, f"PJSIP/{name}"), "MemberName": name}
    return told | ({"DestUniqueid": leg} if leg else {})


def join(second: float, call: str = "c1", queue: str = "sales", **more: Any) -> Message:
    return message(second, "QueueCallerJoin", **caller(call, **more), Queue=queue, Position=1, Count=1)


def leave(second: float, call: str = "c1", queue: str = "sales", **more: Any) -> Message:
    return message(second, "QueueCallerLeave", **caller(call, **more), Queue=queue, Position=1, Count=0)


def abandon(second: float, call: str = "c1", queue: str = "sales", **more: Any) -> Message:
    fields: dict[str, Any] = {"Position": 1, "OriginalPosition": 1, "HoldTime": 1}
    return message(second, "QueueCallerAbandon", **caller(call, **more), Queue=queue, **fields)


def status(second: float, value: str, call: str = "c1", **more: Any) -> Message:
    return message(second, "VarSet", **caller(call, **more), Variable="QUEUESTATUS", Value=value)


def called(second: float, name: str = "Anna", call: str = "c1", queue: str = "sales") -> Message:
    return message(second, "AgentCalled", **caller(call), **agent(name, queue))


def no_answer(second: float, milliseconds: int, name: str = "Anna", call: str = "c1", queue: str = "sales") -> Message:
    return message(second, "AgentRingNoAnswer", **caller(call), **agent(name, queue), RingTime=milliseconds)


def connect(
    second: float, name: str = "Anna", call: str = "c1", queue: str = "sales", leg: str = "leg1", hold: int = 1
) -> Message:
    return message(second, "AgentConnect", **caller(call), **agent(name, queue, leg), HoldTime=hold, RingTime=1)


def complete(
    second: float,
    reason: str = "agent",
    name: str = "Anna",
    call: str | None = "c1",
    queue: str = "sales",
    leg: str = "leg1",
    talk: int = 1,
    hold: int = 1,
    **more: Any,
) -> Message:
    """The end of a talk; call None: without the caller's fields; leg "": without the agent's channel."""
    fields = {} if call is None else caller(call, **more)
    told: dict[str, Any] = {"HoldTime": hold, "TalkTime": talk, "Reason": reason}
    return message(second, "AgentComplete", **fields, **agent(name, queue, leg), **told)


def member(
    second: float,
    event: str = "QueueMemberStatus",
    name: str = "Anna",
    queue: str = "sales",
    *,
    status: int = 1,
    paused: int = 0,
    reason: str = "",
    in_call: int = 0,
    wrap: int = 0,
    last: int = 0,
) -> Message:
    return message(
        second,
        event,
        **agent(name, queue),
        Status=status,
        Paused=paused,
        PausedReason=reason,
        InCall=in_call,
        Wrapuptime=wrap,
        LastCall=START + last if last else 0,
    )


def greeting(second: float) -> Message:
    return at(second), {GREETING: "Asterisk Call Manager/11.0.0"}


def booted(second: float, uptime: int) -> Message:
    return at(second), {"Event": "FullyBooted", "Uptime": str(uptime), "LastReload": str(uptime)}


def listed(second: float, queues: dict[str, Any], members: dict[str, dict[str, Any]] | None = None) -> list[Message]:
    """The answer to QueueStatus.

    :param queues: by queue: who waits, as {call: the second of the entry}.
    :param members: by name: fields that differ from an idle member's; in the queue `queue`, else in all.
    """
    rows: list[Message] = []

    def add(event: str, **fields: Any) -> None:
        rows.append((at(second), {"Event": event, **{k: str(v) for k, v in fields.items()}, "ActionID": "q-1"}))

    for queue, waiting in queues.items():
        add("QueueParams", Queue=queue, Calls=len(waiting), Completed=0, Abandoned=0)
        for name, told in (members or {}).items():
            if told.get("queue", queue) == queue:
                row = {"Status": 1, "Paused": 0, "PausedReason": "", "InCall": 0, "LastCall": 0, "Wrapuptime": 0}
                row |= {key: value for key, value in told.items() if key != "queue"}
                add("QueueMember", Queue=queue, Name=name, Location=AGENTS.get(name, f"PJSIP/{name}"), **row)
        for call, since in waiting.items():
            wait = (START * SECOND + round(second * SECOND)) // SECOND - int(START + since)
            add("QueueEntry", Queue=queue, Uniqueid=call, Position=1, CallerIDNum="unknown", Wait=wait, Priority=0)
    add("QueueStatusComplete", EventList="Complete", ListItems=len(rows))
    return rows


# ----------------------------------------------------------------------------------------------------- days by chance

QUEUES = ("sales", "support", "vip")
REASONS = {"TIMEOUT": "timeout", "LEAVEEMPTY": "no_agents", "WITHDRAW": "withdrawn"}


class Visit:
    """One stay as its maker knows it; times in seconds."""

    def __init__(self, call: str, queue: str, joined: float) -> None:
        self.call = call
        self.queue = queue
        self.joined = joined
        self.done = 0.0
        self.how = ""
        self.agent = ""
        self.ended = 0.0
        self.by = ""
        self.named = True
        """Whether the end of its talk names the call."""


def made_up_session(
    seed: int, calls: int, *, spacing: float = 3.0, pace: float = 1.0
) -> tuple[list[Message], list[Visit]]:
    """So many calls' messages in order of time, with a list every 30 s; and what happened.

    :param pace: makes waits and talks longer or shorter.
    """
    dice = random.Random(seed)
    messages: list[Message] = []
    visits: list[Visit] = []
    free_at = dict.fromkeys(AGENTS, 0.0)
    for number in range(calls):
        messages += _one_call(f"{START}.{number}", 5 + number * spacing + dice.random(), dice, visits, free_at, pace)
    end = max((visit.ended or visit.done for visit in visits), default=0.0) + 10
    second = 1.0
    while second < end:
        messages += list(list_of(second, visits))
        second += 30.0
    order = {id(each): place for place, each in enumerate(messages)}
    messages.sort(key=lambda each: (each[0], order[id(each)]))
    return [greeting(0), *messages], visits


def list_of(second: float, visits: list[Visit]) -> Iterator[Message]:
    """What QueueStatus answers at a second."""
    waiting: dict[str, Any] = {queue: {} for queue in QUEUES}
    members: dict[str, dict[str, Any]] = {name: {} for name in AGENTS}
    for visit in visits:
        if visit.joined <= second < visit.done:
            waiting[visit.queue][visit.call] = visit.joined
        if visit.agent and visit.done <= second < visit.ended:
            members[visit.agent] = {"Status": 2, "InCall": 1}
        elif visit.agent and visit.ended <= second:
            last = max(START + int(visit.ended), members[visit.agent].get("LastCall", 0))
            members[visit.agent] |= {"LastCall": last}
    yield from listed(second, waiting, members)


def _one_call(
    call: str, second: float, dice: random.Random, visits: list[Visit], free_at: dict[str, float], pace: float
) -> list[Message]:
    messages: list[Message] = []
    number = dice.choice(("<unknown>", f"+3906{dice.randrange(10**6)}", "anonymous"))
    place = ("callers", "in", 5)
    for _ in range(3):
        queue = dice.choice(QUEUES)
        visit = Visit(call, queue, second)
        if dice.random() < 0.08:
            visit.how = dice.choice(("JOINEMPTY", "FULL"))
            visits.append(visit)
            visit.done = visit.joined
            if dice.random() < 0.7:
                messages.append(
                    message(second, "Newexten", **caller(call), Application="Queue", AppData=f"{queue},t,,,30")
                )
            else:
                visit.queue = "unknown"
            messages.append(status(second + 0.001, visit.how, call, number=number, place=place))
            second += 1 + dice.random()
            continue
        visits.append(visit)
        place = (*place[:2], place[2] + 2)  # the next Queue() stands further down in the dialplan
        messages.append(join(second, call, queue, number=number, place=place))
        wait = 0.01 + pace * dice.choice((dice.random() * 3, dice.random() * 50))
        second += wait
        visit.done = second
        free = [name for name, until in free_at.items() if until < visit.joined]
        what = dice.random()
        if what < 0.6 and free:
            name = dice.choice(free)
            leg, talk = f"{call}-{len(visits)}", 1 + pace * dice.random() * 60
            visit.agent, visit.ended, visit.how = name, second + talk, "answered"
            free_at[name] = visit.ended + 1
            if wait > 1:
                messages.append(called(second - wait / 2, name, call, queue))
            messages.append(leave(second, call, queue, number=number, place=place))
            messages.append(connect(second + 0.0001, name, call, queue, leg, int(wait)))
            second = visit.ended
            visit.by = dice.choice(("agent", "caller", "transfer"))
            shown = None if dice.random() < 0.1 else call
            visit.named = shown is not None
            talked, held = round(talk), round(wait)
            messages.append(
                complete(second, visit.by, name, shown, queue, leg, talked, held, **({} if shown is None else {"place": place}))
            )  # fmt: skip
            if visit.by != "transfer":
                break
            place = ("xfer", str(dice.randrange(700, 703)), 1)
            second += 0.5
            continue
        visit.how = dice.choice(("abandoned", "abandoned", "TIMEOUT", "LEAVEEMPTY", "WITHDRAW", "key", "transfer"))
        if visit.how == "key":
            place = ("queue-exit", str(dice.randrange(1, 9)), 0)
            messages.append(leave(second, call, queue, number=number, place=place))
        else:
            messages.append(abandon(second - 0.0005, call, queue, number=number, place=place))
            if visit.how == "transfer":
                place = ("xfer", "720", 1)
            messages.append(leave(second, call, queue, number=number, place=place))
            if visit.how in REASONS:
                messages.append(status(second + 0.0002, visit.how, call, number=number, place=place))
        if visit.how == "abandoned":
            break
        second += 0.6 + dice.random()
    return messages


def truth_of(visits: list[Visit]) -> dict[str, dict[str, Any]]:
    """What the visits come to by queue, in the core's words."""
    told: dict[str, dict[str, Any]] = {}
    for visit in visits:
        row = told.setdefault(
            visit.queue, {"offered": 0, "answered": 0, "abandoned": 0, "refused": 0, "diverted_by": Counter()}
        )
        if visit.how in ("JOINEMPTY", "FULL"):
            row["refused"] += 1
            continue
        row["offered"] += 1
        if visit.how in ("answered", "abandoned"):
            row[visit.how] += 1
        else:
            row["diverted_by"][REASONS.get(visit.how, visit.how)] += 1
    return {queue: row | {"diverted_by": dict(row["diverted_by"])} for queue, row in told.items()}


def live(seed: int, calls: int, *, spacing: float = 3.0, pace: float = 1.0) -> Live:
    """The same as it comes, and its lists whenever they are asked for."""
    messages, visits = made_up_session(seed, calls, spacing=spacing, pace=pace)
    records = [
        ((each[0] - at(0)) / SECOND, each) for each in messages if "Event" in each[1] and "ActionID" not in each[1]
    ]
    stays = [
        Stay(
            each.call,
            each.queue,
            each.joined,
            each.how if each.how in ("answered", "abandoned") else "diverted",
            each.done,
            (each.ended or each.done) + 0.01,
            each.how == "answered",
        )
        for each in visits
        if each.how not in ("JOINEMPTY", "FULL")
    ]
    return Live(records, lambda second: list(list_of(second, visits)), greeting, stays)
