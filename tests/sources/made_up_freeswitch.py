"""Sessions of FreeSWITCH's event socket by hand and by chance, with what their maker knows of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from queuewatch_streams.sources.freeswitch.records import AGENTS, CONNECTED, MEMBERS, QUEUES, TIERS, Heard
from sources.heard import SECOND, START, Live, Stay, at


def event(second: float, action: str, member: str = "m1", call: str = "s1", queue: str = "sales", **more: Any) -> Heard:
    """An event about a member, received 10 ms after it happened."""
    fields = {
        "Event-Name": "CUSTOM",
        "Event-Subclass": "callcenter::info",
        "Core-UUID": "core-1",
        "Event-Date-Timestamp": str(at(second)),
        "CC-Action": action,
        "CC-Queue": queue,
        "CC-Member-UUID": member,
        "CC-Member-Session-UUID": call,
        "CC-Member-CID-Number": "+390612345",
    }
    return at(second) + 10_000, fields | {key.replace("_", "-"): value for key, value in more.items()}


def start(second: float, *about: str, **more: Any) -> Heard:
    return event(second, "member-queue-start", *about, **more)


def resume(second: float, *about: str) -> Heard:
    return event(second, "member-queue-resume", *about)


def cancel(second: float, reason: str, *about: str, hung_up: bool = True) -> Heard:
    """An end that is no talk's; `hung_up`: whether the caller's channel is over."""
    channel = {"Answer_State": "hangup", "Hangup_Cause": "NORMAL_CLEARING"} if hung_up else {"Answer_State": "answered"}
    return event(second, "member-queue-end", *about, CC_Cause="Cancel", CC_Cancel_Reason=reason, **channel)


def terminated(second: float, *about: str) -> Heard:
    return event(
        second, "member-queue-end", *about, CC_Cause="Terminated", CC_Hangup_Cause="SUCCESS", Answer_State="hangup"
    )


def offer(second: float, *about: str, agent: str = "anna") -> Heard:
    return event(second, "agent-offering", *about, CC_Agent=agent)


def picked_up(second: float, *about: str, agent: str = "anna") -> Heard:
    return event(second, "bridge-agent-start", *about, CC_Agent=agent, CC_Agent_Answered_Time=str(START + int(second)))


def bridge_over(second: float, *about: str, agent: str = "anna", bridged: str = "true") -> Heard:
    more = {"CC_Agent_Bridged": bridged, "CC_Agent_Answered_Time": str(START + int(second) - 1)}
    return event(second, "bridge-agent-end", *about, CC_Agent=agent, CC_Hangup_Cause="SUCCESS", **more)


def failed(second: float, cause: str, *about: str, agent: str = "anna") -> Heard:
    return event(second, "bridge-agent-fail", *about, CC_Agent=agent, CC_Hangup_Cause=cause)


def bridge(second: float, call: str = "s1") -> Heard:
    fields = {"Event-Name": "CHANNEL_BRIDGE", "Event-Date-Timestamp": str(at(second)), "Core-UUID": "core-1"}
    return at(second) + 10_000, fields | {"Bridge-A-Unique-ID": call, "Bridge-B-Unique-ID": "agent-leg"}


def change(second: float, agent: str = "anna", **what: str) -> Heard:
    return event(second, "agent-state-change", CC_Agent=agent, **what)


def answer(second: float, command: str, out: str) -> Heard:
    return at(second), {"cmd": command, "out": out}


def connected(second: float, core: str = "core-1") -> Heard:
    return at(second), {"cmd": CONNECTED, "out": core}


def queues(second: float, *names: str, limit: int = 0) -> Heard:
    rows = "".join(f"{name}|round-robin|silence_stream://-1|{limit}|0|0\n" for name in names)
    return answer(second, QUEUES, f"name|strategy|moh_sound|max_wait_time|calls_answered|calls_abandoned\n{rows}+OK\n")


def agents(second: float, *rows: str, wrap: int = 0) -> Heard:
    """Rows as `name|status|state` or `name|status|state|last_bridge_end`."""
    lines = ""
    for row in rows:
        name, status, state, *last = row.split("|")
        lines += f"{name}|single_box||callback|user/{name}|pstn|{status}|{state}|{wrap}|{last[0] if last else 0}\n"
    head = "name|instance_id|uuid|type|contact|status|state|wrap_up_time|last_bridge_end\n"
    return answer(second, AGENTS, f"{head}{lines}+OK\n")


def tiers(second: float, *rows: str) -> Heard:
    lines = "".join(f"{row}|Ready|1|1\n" for row in rows)
    return answer(second, TIERS, f"queue|agent|state|level|position\n{lines}+OK\n")


HEAD = (
    "queue|instance_id|uuid|session_uuid|cid_number|cid_name|"
    "joined_epoch|rejoined_epoch|bridge_epoch|abandoned_epoch|serving_agent|state\n"
)


def members(second: float, *rows: dict[str, Any], queue: str = "sales") -> Heard:
    lines = ""
    for row in rows:
        told: dict[str, Any] = {
            "member": "m1",
            "call": "s1",
            "name": "Ann",
            "joined": 0,
            "again": 0,
            "bridged": 0,
            "left": 0,
        }
        told |= {"agent": "", "state": "Waiting"} | row
        times = "|".join(str(START + told[each] if told[each] else 0) for each in ("again", "bridged", "left"))
        lines += f"{queue}|single_box|{told['member']}|{told['call']}|5550001|{told['name']}|{START + told['joined']}|{times}|"
        lines += f"{told['agent']}|{told['state']}\n"
    return answer(second, f"{MEMBERS}{queue}", (HEAD + lines if rows else "") + "+OK\n")


# ----------------------------------------------------------------------------------------------------- days by chance

Pass = dict[str, Any]
"""A pass as its maker knows it: member, call, queue, agent, how, and the seconds `joined`, `done` and, of a talk, `ended`."""


def made_up_session(
    seed: int, calls: int, passes: list[Pass] | None = None, *, spacing: float = 2.0, pace: float = 1.0
) -> tuple[list[Heard], dict[str, Any]]:
    """So many calls' events in order of time, and what they come to by queue; the passes are put into `passes`.

    :param pace: makes waits and talks longer or shorter.
    """
    dice = random.Random(seed)
    passes = [] if passes is None else passes
    records: list[Heard] = [
        queues(0, "sales", "support"),
        agents(0, "anna|Available|Waiting", "bert|Available|Waiting"),
    ]
    truth: dict[str, Any] = {}
    for number in range(calls):
        when, call = 1 + number * spacing + dice.random(), f"s{number}"
        for stay in range(dice.choice((1, 1, 2))):
            queue, member, agent = dice.choice(("sales", "support")), f"m{number}-{stay}", dice.choice(("anna", "bert"))
            about = (member, call, queue)
            row = truth.setdefault(
                queue, {"offered": 0, "answered": 0, "abandoned": 0, "refused": 0, "diverted_by": Counter()}
            )
            row["offered"] += 1
            records.append(dice.choice((start, resume))(when, *about))
            passes.append({"member": member, "call": call, "queue": queue, "agent": agent, "joined": when})
            when += 0.5 + pace * dice.random() * 40
            what = dice.choice(
                ("talk", "talk", "limit", "late", "hang up", "announcement", "TIMEOUT", "EXIT_WITH_KEY", "move")
            )
            passes[-1] |= {"how": what, "done": when + 2 * (what == "announcement")}
            if dice.random() < 0.5:
                records.append(offer(when - 0.4, *about, agent=agent))
            if what in ("talk", "limit", "late"):
                talk = 0.5 + pace * dice.random() * 30
                passes[-1]["ended"] = when + talk
                records.append(picked_up(when, *about, agent=agent))
                row["answered"] += 1
                if dice.random() < 0.7:
                    records.append(bridge(when + 0.001, call))
                if what == "limit":
                    records.append(cancel(when + 0.02, "TIMEOUT", *about, hung_up=False))
                records += [bridge_over(when + talk, *about, agent=agent), terminated(when + talk, *about)]
                if what == "late":
                    records.append(failed(when + talk + 0.01, "ORIGINATOR_CANCEL", *about))
                when += talk
            elif what == "announcement":
                records.append(picked_up(when, *about, agent=agent))
                ends = [
                    bridge_over(when + 2, *about, agent=agent, bridged="false"),
                    cancel(when + 2, "BREAK_OUT", *about),
                ]
                records += ends if dice.random() < 0.5 else ends[::-1]
                row["abandoned"] += 1
                break
            elif what == "hang up":
                records += [cancel(when, "BREAK_OUT", *about), failed(when + 0.1, "ORIGINATOR_CANCEL", *about)]
                row["abandoned"] += 1
                break
            else:
                reason = "BREAK_OUT" if what == "move" else what
                records.append(cancel(when, reason, *about, hung_up=False))
                row["diverted_by"][{"move": "transfer", "TIMEOUT": "timeout", "EXIT_WITH_KEY": "key"}[what]] += 1
            when += 0.2
    order = {id(each): place for place, each in enumerate(records)}
    records.sort(key=lambda each: (each[0], order[id(each)]))
    return records, {queue: row | {"diverted_by": dict(row["diverted_by"])} for queue, row in truth.items()}


def lists_at(now: float, passes: list[Pass]) -> list[Heard]:
    """What FreeSWITCH lists at a moment."""
    rows: dict[str, list[dict[str, Any]]] = {"sales": [], "support": []}
    last: dict[str, float] = {}
    for each in passes:
        row = {"member": each["member"], "call": each["call"], "joined": int(each["joined"])}
        ended = each.get("ended")
        if each["joined"] > now or (ended and ended <= now):
            if ended and ended <= now:
                last[each["agent"]] = max(last.get(each["agent"], 0), ended)
            continue
        if each["done"] > now:
            rows[each["queue"]].append(row)
        elif ended:
            rows[each["queue"]].append(
                row | {"bridged": int(each["done"]), "agent": each["agent"], "state": "Answered"}
            )
        else:
            rows[each["queue"]].append(row | {"call": "", "left": int(each["done"]), "state": "Abandoned"})
    known = [f"{name}|Available|Waiting|{START + int(last[name]) if name in last else 0}" for name in ("anna", "bert")]
    whole = [agents(now, *known), queues(now, "sales", "support")]
    return whole + [members(now, *found, queue=queue) for queue, found in rows.items()]


def live(seed: int, calls: int, *, spacing: float = 2.0, pace: float = 1.0) -> Live:
    """The same as it comes, and its lists whenever they are asked for."""
    passes: list[Pass] = []
    records, _ = made_up_session(seed, calls, passes, spacing=spacing, pace=pace)
    stays = [
        Stay(
            each["call"],
            each["queue"],
            each["joined"],
            "answered"
            if "ended" in each
            else "abandoned"
            if each["how"] in ("hang up", "announcement")
            else "diverted",
            each["done"],
            (each["ended"] if "ended" in each else each["done"]) + 0.2,
            "ended" in each or each["how"] == "announcement",
        )
        for each in passes
    ]
    told = [((each[0] - at(0)) / SECOND, each) for each in records if "cmd" not in each[1]]
    return Live(told, lambda second: lists_at(second, passes), connected, stays)
