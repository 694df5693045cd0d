"""Logs of queue_log by hand and by chance, with what their maker knows of them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

START = 1_795_305_000
"""Second 0 of the logs here; they are long past."""
QUEUES = ("sales", "support", "vip")
AGENTS = ("Anna", "Bert Brown", "Grant, George", "Zoë")


def log(*lines: str) -> list[bytes]:
    """Lines whose times count from START."""
    found = []
    for line in lines:
        second, _, rest = line.partition("|")
        found.append(f"{START + int(second)}|{rest}".encode())
    return found


def made_up_day(
    seed: int, calls: int, *, spacing: float = 4.0, start: int = START
) -> tuple[list[bytes], dict[str, Any]]:
    """A log of so many calls, in order of time, and its truth by queue in the core's words."""
    dice = random.Random(seed)
    rows: list[tuple[int, int, str]] = []
    truth: dict[str, Any] = defaultdict(lambda: {**Counter(), "diverted_by": Counter()})
    for number in range(calls):
        _call(f"{start}.{number}", start + int(number * spacing) + dice.randrange(5), dice, rows, truth)
    rows.sort(key=lambda row: (row[0], row[1]))
    told = {}
    for queue, figures in truth.items():
        keys = (
            "offered",
            "answered",
            "abandoned",
            "diverted",
            "refused",
            "answer_wait_sum",
            "talk_sum",
            "handled",
            "waiting",
        )
        told[queue] = {key: figures.get(key, 0) for key in keys} | {"diverted_by": dict(figures["diverted_by"])}
    return [f"{at}|{rest}".encode() for at, _, rest in rows], told


def _call(call: str, at: int, dice: random.Random, rows: list[tuple[int, int, str]], truth: dict[str, Any]) -> None:
    def add(when: int, text: str) -> None:
        rows.append((when, len(rows), text))

    def count(queue: str, key: str, by: int = 1) -> None:
        truth[queue][key] = truth[queue].get(key, 0) + by

    for _ in range(4):  # at most so many stays
        queue = dice.choice(QUEUES)
        if dice.random() < 0.05:
            add(at, f"{call}|{queue}|NONE|{dice.choice(('JOINEMPTY', 'FULL'))}|")
            count(queue, "refused")
            at += 2
            continue
        place = dice.randrange(1, 9)
        add(at, f"{call}|{queue}|NONE|ENTERQUEUE||{dice.randrange(10**9)}|{place}")
        count(queue, "offered")
        wait = dice.randrange(1, 40)
        if wait > 8 and dice.random() < 0.3:
            add(at + 6, f"{call}|{queue}|{dice.choice(AGENTS)}|RINGNOANSWER|{dice.choice((0, 5000))}")
        at += wait
        what = dice.random()
        if what < 0.6:
            agent, talk = dice.choice(AGENTS), dice.randrange(1, 90)
            add(at, f"{call}|{queue}|{agent}|CONNECT|{wait}|{call}9|{min(wait, 3)}")
            count(queue, "answered")
            count(queue, "answer_wait_sum", wait)
            at += talk
            count(queue, "talk_sum", talk)
            count(queue, "handled")
            if dice.random() < 0.25:
                kind = dice.choice(("BLINDTRANSFER|700|xfer", "ATTENDEDTRANSFER|BRIDGE|4aea51c5"))
                add(at, f"{call}|{queue}|{agent}|{kind}|{wait}|{talk}|{place}")
                continue
            add(at, f"{call}|{queue}|{agent}|{dice.choice(('COMPLETEAGENT', 'COMPLETECALLER'))}|{wait}|{talk}|{place}")
            return
        if what < 0.8:
            add(at, f"{call}|{queue}|NONE|ABANDON|1|{place}|{wait}")
            count(queue, "abandoned")
            return
        event, reason = dice.choice(
            (("EXITWITHTIMEOUT", "timeout"), ("EXITEMPTY", "no_agents"), ("EXITWITHKEY|1", "key"))
        )
        add(at, f"{call}|{queue}|NONE|{event}|1|{place}|{wait}")
        count(queue, "diverted")
        truth[queue]["diverted_by"][reason] += 1
        at += dice.randrange(1, 3)
