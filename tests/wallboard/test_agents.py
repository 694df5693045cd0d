"""Which agents a queue has."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.events import AgentState
from queuewatch_wallboard.agents import AgentStates

SECOND = 1_000_000
BUSY = {"ringing", "talking", "held", "wrap_up", "busy"}
events = st.tuples(
    st.sampled_from(["anna", "bert", "cleo"]),
    st.integers(0, 20),
    st.sampled_from(get_args(AgentState)),
    st.sets(st.sampled_from(["sales", "support"])),
)


def told(state: str, queues: set[str]) -> dict[str, Any]:
    """The data of an agent.state event."""
    return {"state": state, "queues": [{"queue": queue, "level": 1} for queue in sorted(queues)]}


@given(st.lists(events, unique_by=lambda event: event[:2]), st.randoms(use_true_random=False))
def test_the_newest_event_of_each_agent_counts_in_any_order(
    given_events: list[tuple[str, int, str, set[str]]], chance: Any
) -> None:
    """Against a count by hand: available, busy, paused, and in none who has gone or was unheard of for long."""
    now, unknown_after = 20 * SECOND, 10.0
    agents = AgentStates()
    shuffled = list(given_events)
    chance.shuffle(shuffled)
    for name, second, state, queues in shuffled:
        agents.take(name, second * SECOND, told(state, queues))
    newest = {name: max(event for event in given_events if event[0] == name) for name, *_ in given_events}
    known = [event for event in newest.values() if event[1] >= 10]
    by_queue = agents.by_queue(now, unknown_after)
    for queue in ("sales", "support"):
        serving = [state for _, _, state, queues in known if queue in queues]
        if not serving:
            assert queue not in by_queue
            continue
        counted = by_queue[queue]
        assert counted.available == serving.count("available")
        assert counted.busy == sum(state in BUSY for state in serving)
        assert counted.available + counted.busy + counted.paused == sum(state != "offline" for state in serving)


def test_of_two_events_at_one_time_the_one_that_came_later_counts() -> None:
    """The log's order decides."""
    agents = AgentStates()
    agents.take("anna", SECOND, told("available", {"sales"}))
    agents.take("anna", SECOND, told("talking", {"sales"}))
    counted = agents.by_queue(SECOND, 60)["sales"]
    assert (counted.available, counted.busy) == (0, 1)


def test_a_queue_whose_agents_have_all_gone_has_none_and_one_without_known_agents_is_unknown() -> None:
    """0 and null differ."""
    agents = AgentStates()
    agents.take("anna", SECOND, told("offline", {"sales"}))
    found = agents.by_queue(SECOND, 60)
    assert (found["sales"].available, found["sales"].busy, found["sales"].paused) == (0, 0, 0)
    assert "support" not in found


def test_agents_of_long_ago_are_let_go() -> None:
    """Memory stays flat over days."""
    agents = AgentStates()
    agents.take("anna", SECOND, told("available", {"sales"}))
    agents.take("bert", 5 * SECOND, told("available", {"sales"}))
    agents.drop_older(5 * SECOND)
    assert agents.by_queue(5 * SECOND, 60)["sales"].available == 1
