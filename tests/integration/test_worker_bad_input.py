"""Bad input of every kind reaches the dead-letter topic with its reason, and the worker goes on counting."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord

from integration.worker_process import Message, Scrape, Site, message
from queuewatch_schemas.events import Reason
from queuewatch_schemas.records import LETTER_BYTES, DeadLetter
from queuewatch_streams.brokers import Broker
from support.events import HOUR, MINUTE, SECOND, call, cloud_event, line

ROOM = 12
"""How many queues a partition may have here."""
SETTINGS = f"""
[timing]
maximum_queues_per_partition = {ROOM}
"""
QUEUE = "sales"
OTHER = "urn:someone:else"


def broken(event: dict[str, Any], *without: str, **changed: Any) -> Message:
    """An event with fields taken out or put in."""
    made = {name: value for name, value in (event | changed).items() if name not in without}
    return Message(QUEUE.encode(), json.dumps(made).encode())


def bad_messages(now: int, topic_partition: int) -> list[tuple[Reason, Message]]:
    """One bad record or more of each kind, with the reason it is refused for."""
    good = call("queued", now, "bad-1", QUEUE)
    key = QUEUE.encode()

    def raw(value: bytes | None, key: bytes | None = key) -> Message:
        return Message(key, value, topic_partition)

    def named(queue: Any) -> Message:
        return raw(json.dumps(call("queued", now, "bad-2", QUEUE) | {"data": {"queue": queue}}).encode())

    return [
        (Reason.UNREADABLE_JSON, raw(line(good)[:-20])),
        (Reason.UNREADABLE_JSON, raw(b"CONFIGRELOAD|1795305007|NONE")),
        (Reason.UNREADABLE_JSON, raw(b"")),
        (Reason.WRONG_FIELD, raw(b"[1, 2]")),
        (Reason.WRONG_FIELD, broken(good, time="yesterday")),
        (Reason.WRONG_FIELD, broken(good, subject=7)),
        (Reason.WRONG_FIELD, broken(good, specversion="0.3")),
        (Reason.WRONG_FIELD, broken(good, data=[])),
        (Reason.WRONG_FIELD, raw(line(call("queued", now, "bad-3", QUEUE, visit="2")))),
        (Reason.UNKNOWN_TYPE, broken(good, type="queuewatch.call.teleported.v1")),
        (Reason.MISSING_FIELD, broken(good, "type")),
        (Reason.MISSING_FIELD, broken(good, "subject")),
        (Reason.MISSING_FIELD, broken(good, data={})),
        (Reason.BAD_QUEUE_NAME, named("")),
        (Reason.BAD_QUEUE_NAME, named(" sales")),
        (Reason.BAD_QUEUE_NAME, named("sa\x00les")),
        (Reason.BAD_QUEUE_NAME, named("cafe\u0301")),
        (Reason.BAD_QUEUE_NAME, named("q" * 201)),
        (Reason.AHEAD, raw(line(call("queued", now + HOUR, "bad-4", QUEUE)))),
        (Reason.LATE, raw(line(call("queued", now - HOUR, "bad-5", QUEUE)))),
        (Reason.TOO_LARGE, raw(line(call("queued", now, "bad-6", QUEUE, note="x" * 10_000_000)))),
        (Reason.NOT_UTF8, raw(b"\xff\xfe" + line(good))),
        (Reason.NOT_UTF8, raw(line(good).replace(b"bad-1", b"bad-\xe9"))),
        (Reason.NO_KEY, raw(line(good), None)),
        (Reason.NO_VALUE, raw(None)),
        (Reason.WRONG_TOPIC, raw(line(cloud_event("agent.state", now, "ann", {"state": "offline", "queues": []})))),
        (Reason.FOREIGN_EVICTION, raw(line(call("evicted", now, "good-0", QUEUE, source=OTHER)))),
    ]


@dataclass(frozen=True)
class Refusals:
    """What was sent, what stands on /metrics, and what came to the dead-letter topic."""

    site: Site
    sent: list[tuple[Reason, Message]]
    good: int
    surplus: dict[int, int]
    scrape: Scrape
    letters: list[ConsumerRecord]
    told: list[DeadLetter]

    def letter(self, value: bytes) -> DeadLetter:
        """The letter about this payload."""
        digest = hashlib.sha256(value).hexdigest()
        return next(letter for letter in self.told if letter.sha256 == digest)


@pytest.fixture(scope="module")
def refusals(broker: Broker, tmp_path_factory: pytest.TempPathFactory, now: int) -> Iterator[Refusals]:
    """A worker that was sent good events with every kind of bad ones between them."""
    folder = tmp_path_factory.mktemp("bad")
    site = Site(broker, f"test-{uuid4().hex[:12]}", folder, settings=SETTINGS).create_topics()
    try:
        worker = site.worker()
        bad = bad_messages(now, site.partition(QUEUE))
        messages: list[Message] = []
        for number, (_, each) in enumerate(bad):
            messages += [message(call("queued", now - MINUTE + number * SECOND, f"good-{number}", QUEUE)), each]
        site.send(messages)
        # Odd, but names all the same; then more queues than there is room for, in the order of the log.
        odd = ['say "hi"', "back\\slash", "a/b", "{curly}", "客服", "😀", "percent %41", "line's end,", "0"]
        many = [f"queue {number}" for number in range(50)]
        site.send([message(call("queued", now, f"odd-{queue}", queue)) for queue in [*odd, *many]])
        admitted = Counter(site.partition(queue) for queue in [QUEUE, *odd, *many])
        surplus = {number: max(0, amount - ROOM) for number, amount in admitted.items()}
        good, letters = len(bad) + len(odd) + len(many) - sum(surplus.values()), len(bad) + sum(surplus.values())
        scrape = worker.until_read(good + letters)
        found = site.until_read("dead_letter", f"{letters} dead letters", lambda records: len(records) >= letters)
        yield Refusals(
            site, bad, good, surplus, scrape, found, [DeadLetter.from_headers(each.headers) for each in found]
        )
        assert worker.stop() == 0, worker.said()
    finally:
        site.close()


@pytest.fixture(scope="module")
def now() -> int:
    """About the present, to the second; the same for all tests here."""
    return int(time.time()) * SECOND


def test_each_is_counted_under_its_reason(refusals: Refusals) -> None:
    """In rejected_events_total, the late ones in late_events_total too."""
    expected = Counter(reason.value for reason, _ in refusals.sent)
    expected[Reason.TOO_MANY_QUEUES.value] = sum(refusals.surplus.values())
    assert refusals.scrape.nonzero("rejected_events_total", "reason") == expected
    assert set(expected) == {reason.value for reason in Reason} - {Reason.MISPLACED.value}, "every reason occurs"
    assert refusals.scrape.sum("late_events_total") == expected["late"]
    by_partition = refusals.scrape.nonzero("rejected_events_total", "partition", reason="too_many_queues")
    assert by_partition == {str(number): amount for number, amount in refusals.surplus.items() if amount}


def test_good_events_between_bad_ones_are_counted(refusals: Refusals) -> None:
    """The worker goes on: nothing of them is lost."""
    assert refusals.scrape.sum("events_total") == refusals.good
    assert refusals.scrape.sum("calls_offered_total", queue=QUEUE) == len(refusals.sent)
    assert refusals.scrape.sum("calls_evicted_total") == 0
    assert set(refusals.scrape.values("balance_residual")) == {0}


def test_odd_names_of_queues_are_labels_like_others(refusals: Refusals) -> None:
    """Quotes, backslashes and other scripts survive the exposition format."""
    assert {'say "hi"', "back\\slash", "a/b", "{curly}", "客服", "😀"} <= refusals.scrape.queues
    assert all(refusals.scrape.sum("calls_offered_total", queue=queue) > 0 for queue in refusals.scrape.queues)


def test_each_reaches_the_dead_letter_topic_with_its_reason(refusals: Refusals) -> None:
    """One letter for each, whose headers say where it lay, why it was refused, and how large it was."""
    expected = Counter(reason for reason, _ in refusals.sent)
    expected[Reason.TOO_MANY_QUEUES] = sum(refusals.surplus.values())
    assert Counter(letter.reason for letter in refusals.told) == expected
    assert len({letter.key() for letter in refusals.told}) == len(refusals.told)
    for record, letter in zip(refusals.letters, refusals.told, strict=True):
        assert record.key == letter.key()
        assert letter.topic == refusals.site.topic("events")
        assert letter.detail
    for reason, sent in refusals.sent:
        if sent.value is not None:
            letter = refusals.letter(sent.value)
            assert letter.partition == refusals.site.partition(QUEUE)
            if letter.reason is not reason:  # the same payload twice, once without a key
                assert {letter.reason, reason} <= {Reason.NO_KEY, Reason.NOT_UTF8}


def test_a_letter_lies_where_its_record_lay(refusals: Refusals) -> None:
    """Topic, partition and offset of the letter find the very record."""
    log = {(record.partition, record.offset): record.value for record in refusals.site.read("events")}
    for letter, record in zip(refusals.told, refusals.letters, strict=True):
        original = log[letter.partition, letter.offset]
        assert (letter.size, record.value) == (
            None if original is None else len(original),
            original if original is None else original[:LETTER_BYTES],
        )


def test_a_message_of_ten_megabytes_is_cut_to_its_first_64_kib(refusals: Refusals) -> None:
    """With the size and the digest of the whole."""
    [large] = [sent.value for reason, sent in refusals.sent if reason is Reason.TOO_LARGE]
    assert large is not None
    letter = refusals.letter(large)
    assert (letter.reason, letter.size, letter.truncated) == (Reason.TOO_LARGE, len(large), True)
    [value] = [record.value for record in refusals.letters if record.key == letter.key()]
    assert value == large[:LETTER_BYTES]
    assert not any(each.truncated for each in refusals.told if each is not letter)
