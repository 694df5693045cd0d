"""What every translator is held to however close together records come, doubled, late and in whatever order."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_schemas.source_settings import (
    AmazonConnect,
    AsteriskAmi,
    AsteriskQueueLog,
    Freeswitch,
    GenesysCloud,
    TwilioTaskRouter,
)
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.amazon_connect.translator import AmazonConnect as Connect
from queuewatch_streams.sources.asterisk.ami.translator import Ami
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.translator import Callcenter
from queuewatch_streams.sources.genesys.translator import Genesys
from queuewatch_streams.sources.shape import Message, Out
from queuewatch_streams.sources.twilio.translator import TaskRouter
from sources.close_together import (
    AMI_KINDS,
    CONNECT_KINDS,
    FREESWITCH_KINDS,
    GENESYS_KINDS,
    IGNORE,
    IGNORED_CALL,
    IGNORED_QUEUE,
    QUEUE_LOG_KINDS,
    TWILIO_KINDS,
    Step,
    Vendor,
    assert_it_goes_on_from_its_memory,
    assert_it_may_be,
    of_ami,
    of_connect,
    of_freeswitch,
    of_genesys,
    of_queue_log,
    of_twilio,
    say,
    steps_of,
    told,
)
from sources.made_up_twilio import ACCOUNT, WORKSPACE
from support.sources import ALL


def ami(memory: Any) -> Ami:
    told = {"kind": "asterisk-ami", "host": "pbx", "username": "queuewatch", "ignore": IGNORE}
    return Ami(Composer("pbx", AsteriskAmi.model_validate(told)), memory)


def freeswitch(memory: Any) -> Callcenter:
    told = {"kind": "freeswitch", "host": "pbx", "ignore": IGNORE}
    return Callcenter(Composer("pbx", Freeswitch.model_validate(told)), memory)


def queue_log(memory: Any) -> QueueLog:
    told = {"kind": "asterisk-queue-log", "file": "queue_log", "ignore": IGNORE}
    return QueueLog(Composer("pbx", AsteriskQueueLog.model_validate(told)), memory)


def twilio(memory: Any) -> TaskRouter:
    told = {
        "kind": "twilio-taskrouter",
        "public_url": "https://pbx.example/twilio",
        "auth_token_file": "token",
        "account_sid": ACCOUNT,
        "workspace_sid": WORKSPACE,
    }
    read = TwilioTaskRouter.model_validate(told | {"ignore": IGNORE})
    return TaskRouter(Composer("pbx", read), memory, read)


def genesys(memory: Any) -> Genesys:
    told = {"kind": "genesys-cloud", "queue_url": "https://sqs.example/1/calls", "region": "eu-central-1"}
    read = GenesysCloud.model_validate(told | {"ignore": IGNORE})
    return Genesys(Composer("pbx", read), memory, read)


def connect(memory: Any) -> Connect:
    told = {"kind": "amazon-connect", "region": "eu-central-1", "queue_url": "https://sqs.example/1/calls"}
    read = AmazonConnect.model_validate(told | {"ignore": IGNORE})
    return Connect(Composer("pbx", read), memory, read)


AMI = Vendor(ami, of_ami, AMI_KINDS)
FREESWITCH = Vendor(freeswitch, of_freeswitch, FREESWITCH_KINDS, frozenset({"diverted"}))
QUEUE_LOG = Vendor(queue_log, of_queue_log, QUEUE_LOG_KINDS)
TWILIO = Vendor(twilio, of_twilio, TWILIO_KINDS, frozenset({"diverted"}), corrects=True)
GENESYS = Vendor(genesys, of_genesys, GENESYS_KINDS, corrects=True)
CONNECT = Vendor(connect, of_connect, CONNECT_KINDS, corrects=True)


often = settings(max_examples=int(os.environ.get("QUEUEWATCH_EXAMPLES", "300")))


def check(vendor: Vendor, steps: list[Step], cut: int) -> None:
    records = told(vendor, steps)
    out = assert_it_goes_on_from_its_memory(vendor, records, cut % (len(records) + 1))
    assert_it_may_be(out.messages, "pbx", vendor.may_change, corrects=vendor.corrects)


@often
@given(steps=steps_of(AMI), cut=st.integers(0, 60))
def test_whatever_amis_events_and_lists_say_a_visit_has_one_outcome(steps: list[Step], cut: int) -> None:
    check(AMI, steps, cut)


@often
@given(steps=steps_of(FREESWITCH), cut=st.integers(0, 60))
def test_whatever_freeswitchs_events_and_lists_say_a_visit_has_one_outcome(steps: list[Step], cut: int) -> None:
    check(FREESWITCH, steps, cut)


@often
@given(steps=steps_of(QUEUE_LOG), cut=st.integers(0, 60))
def test_whatever_lines_queue_log_has_a_visit_has_one_outcome(steps: list[Step], cut: int) -> None:
    """Only ENTERQUEUE tells the caller's number, so nobody knows before it that a call is to be ignored."""
    known = False
    kept = []
    for step in steps:
        known = known or (step.kind == "ENTERQUEUE" and step.call == IGNORED_CALL and step.queue != IGNORED_QUEUE)
        if known or step.call != IGNORED_CALL:
            kept.append(step)
    check(QUEUE_LOG, kept, cut)


@often
@given(steps=steps_of(TWILIO), cut=st.integers(0, 60))
def test_whatever_taskrouter_says_nothing_is_told_of_what_is_ignored(steps: list[Step], cut: int) -> None:
    check(TWILIO, steps, cut)


@often
@given(steps=steps_of(GENESYS), cut=st.integers(0, 60))
def test_whatever_genesys_says_nothing_is_told_of_what_is_ignored(steps: list[Step], cut: int) -> None:
    check(GENESYS, steps, cut)


def counted(messages: list[Message]) -> dict[str, Any]:
    """What the core makes of it, by queue and channel; long after, since of who waits it depends on when it is asked."""
    replay = Replay(Question(now=datetime(2099, 1, 1, tzinfo=UTC)))
    for role, _, value in messages:
        if role == "events":
            replay.fold(value)
    report: dict[str, Any] = replay.report()["queues"]
    return report


def assert_one_outcome(messages: list[Message]) -> None:
    """No visit has two, but for an answer that is told after the contact that follows."""
    ends: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, queue, value in messages:
        event = orjson.loads(value)
        kind = event["type"].removeprefix("queuewatch.call.").removesuffix(".v1")
        if kind in ("answered", "abandoned", "diverted"):
            ends[event["subject"], queue].add(kind)
    assert all(len(kinds) == 1 or kinds == {"answered", "diverted"} for kinds in ends.values())


@often
@given(steps=steps_of(CONNECT), cut=st.integers(0, 60))
def test_whatever_connect_says_nothing_is_told_of_what_is_ignored(steps: list[Step], cut: int) -> None:
    check(CONNECT, steps, cut)


@often
@given(steps=steps_of(CONNECT), cut=st.integers(0, 60), dice=st.randoms())
def test_in_whatever_order_connect_says_it_the_core_counts_the_same(steps: list[Step], cut: int, dice: Any) -> None:
    """Restarted in between; nobody says that nothing older comes, until all has come."""
    records = [each for each in told(CONNECT, steps) if type(each) is not int]
    good = say(connect(None), [*records, ALL], Out())
    shuffled = dice.sample(records, len(records))
    one = connect(None)
    out = say(one, shuffled[: cut % (len(shuffled) + 1)], Out())
    say(connect(orjson.loads(orjson.dumps(one.memory()))), [*shuffled[cut % (len(shuffled) + 1) :], ALL], out)
    assert (good.refused, out.refused) == ([], [])
    for found in (good, out):
        assert_one_outcome(found.messages)
    assert counted(out.messages) == counted(good.messages)
