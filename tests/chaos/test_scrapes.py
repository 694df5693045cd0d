"""What the looks at /metrics prove and what they do not: the harness must neither miss a fault nor invent one."""

from array import array

from chaos.scrapes import Look, Scraper


def look(
    worker: str, sent: float, received: float, *, value: float = 1.0, queues: tuple[str, ...] = ("sales",)
) -> Look:
    """One answer with one counter."""
    return Look(worker, 1, sent, received, array("d", [value]), frozenset(queues), ())


def faults(*looks: Look) -> tuple[str, ...]:
    """What is found in these looks."""
    scraper = Scraper([])
    scraper._names.append("queuewatch_calls_offered_total")
    scraper.looks += looks
    return scraper.judge().faults


def test_a_counter_that_goes_down_is_found_across_workers() -> None:
    """The earlier look was answered before the later one was sent."""
    assert len(faults(look("one", 0.0, 0.1, value=5), look("two", 9.0, 9.1, value=4))) == 1


def test_looks_that_overlap_have_no_order() -> None:
    """A worker that was frozen in the midst of an answer tells of an instant that nobody knows."""
    assert not faults(look("one", 0.0, 20.0, value=4), look("two", 9.0, 9.1, value=5))


def test_a_queue_that_two_workers_show_in_one_instant_is_found() -> None:
    """Both looks together took less time than a hand-over."""
    assert len(faults(look("one", 1.0, 1.05), look("two", 1.01, 1.06))) == 1


def test_a_hand_over_is_no_fault() -> None:
    """Shown by one, then by the other; and at the same instant, but other queues."""
    assert not faults(look("one", 1.0, 1.05), look("two", 2.0, 2.05))
    assert not faults(look("one", 1.0, 1.05), look("two", 1.0, 1.05, queues=("claims",)))
    assert not faults(look("one", 1.0, 1.05), look("two", 1.0, 8.0))
