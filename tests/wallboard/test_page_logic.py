"""The page's pure modules, by property: figures as text, the server's clock, what stands where, when to try again.

They run in a real browser, as the page has them; Hypothesis makes the cases here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from wallboard.support.boards import VERSION
from wallboard.support.stand_in import StandIn

Run = Callable[[str, str, Any], Any]
EXAMPLES = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def run(browser: Browser) -> Iterator[Run]:
    """Runs `(module, given) => …` of one of the page's modules."""
    service = StandIn()
    page = browser.new_page()
    page.goto(service.address)

    def ran(module: str, work: str, given_: Any) -> Any:
        script = f"async given => ({work})(await import('{service.address}page/{VERSION}/{module}'), given)"
        return page.evaluate(script, given_)

    yield ran
    page.close()
    service.stop()


# -------------------------------------------------------------------------------------------------------- figures as text


@EXAMPLES
@given(seconds=st.lists(st.floats(0, 2e6), min_size=1, max_size=30))
def test_a_wait_reads_as_its_whole_seconds(run: Run, seconds: list[float]) -> None:
    texts = run("format.js", "(m, all) => { const f = new m.Format('en'); return all.map(s => f.wait(s)); }", seconds)
    for text, wait in zip(texts, seconds, strict=True):
        parts = [int(part) for part in text.split(":")]
        assert sum(part * 60**power for power, part in enumerate(reversed(parts))) == math.floor(wait)
        assert all(part < 60 for part in parts[1:])


@EXAMPLES
@given(counts=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), min_size=1, max_size=30))
def test_a_share_is_never_told_better_than_it_is(run: Run, counts: list[tuple[int, int]]) -> None:
    ratios = [min(met, of) / of for met, of in counts]
    texts = run("format.js", "(m, all) => { const f = new m.Format('en'); return all.map(r => f.share(r)); }", ratios)
    for text, ratio, (met, of) in zip(texts, ratios, counts, strict=True):
        percent = int(text.split("\u202f")[0])
        assert percent == 100 * min(met, of) // of, ratio


@pytest.mark.parametrize("nothing", ["null", "undefined", "NaN", "Infinity"])
def test_what_is_no_number_is_a_dash(run: Run, nothing: str) -> None:
    work = (
        f"m => {{ const f = new m.Format('en'); return [f.count({nothing}), f.wait({nothing}), f.share({nothing}),"
        f" f.goal({nothing}), f.clock({nothing}), f.since({nothing}, null, 1), f.minute({nothing})]; }}"
    )
    assert run("format.js", work, None) == ["–"] * 7


def test_a_time_is_told_in_the_queue_s_zone_and_one_that_is_unknown_to_the_browser_in_utc(run: Run) -> None:
    work = (
        "(m, at) => { const f = new m.Format('en'); return ['Asia/Shanghai', 'America/New_York', 'Mars/Olympus']"
        ".map(zone => f.clock(at, zone)).concat(f.minuteOfDay(at, 'Asia/Shanghai')); }"
    )
    told = run("format.js", work, datetime(2026, 3, 10, 16, 4, 5, tzinfo=UTC).timestamp() * 1000)
    assert told == ["00:04:05", "12:04:05", "16:04:05 UTC", 4]


# ---------------------------------------------------------------------------------------------------------------- clock

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@EXAMPLES
@given(moments=st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2900, 1, 1), timezones=OFFSETS), max_size=20))
def test_times_are_read_to_the_millisecond(run: Run, moments: list[datetime]) -> None:
    read = run("clock.js", "(m, all) => all.map(m.instant)", [moment.isoformat() for moment in moments])
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert read == [(moment - epoch) // timedelta(milliseconds=1) for moment in moments]


@pytest.mark.parametrize("text", ["", "now", "2026-03-10", "2026-03-10T10:00:00", "10:00", "2026-13-10T10:00:00Z"])
def test_what_is_no_time_is_none(run: Run, text: str) -> None:
    assert run("clock.js", "(m, text) => isNaN(m.instant(text)) && isNaN(m.instant(null))", text)


@EXAMPLES
@given(
    messages=st.lists(st.tuples(st.integers(1, 6000), st.integers(0, 900)), min_size=1, max_size=60),
    ahead=st.integers(-(10**12), 10**12),
)
def test_the_clock_is_as_right_as_the_fastest_message(run: Run, messages: list[tuple[int, int]], ahead: int) -> None:
    heard, at = [], 0
    for gap, latency in messages:
        at += gap
        heard.append([ahead + at, at + latency])
    heard.sort(key=lambda pair: pair[1])
    work = (
        "(m, all) => { const c = new m.ServerClock(); return all.map(([server, mono]) => {"
        " c.hear(server, mono); return [c.now(mono), c.age(mono), c.staleSince(mono)]; }); }"
    )
    for (_, monotonic), (now, age, stale) in zip(heard, run("clock.js", work, heard), strict=True):
        truth = ahead + monotonic
        assert truth - 900 <= now <= truth
        assert 0 <= age <= 6000 + 900
        assert stale is None


@EXAMPLES
@given(silence=st.integers(0, 100_000), latency=st.integers(0, 60_000))
def test_news_is_stale_fifteen_seconds_after_it_was_written(run: Run, silence: int, latency: int) -> None:
    work = (
        "(m, [silence, latency]) => { const c = new m.ServerClock(); c.hear(1000, 1000);"
        " c.hear(2000, 2000 + latency); return c.staleSince(2000 + latency + silence); }"
    )
    old = latency + silence > 15_000
    assert run("clock.js", work, [silence, latency]) == (2000 if old else None)


def test_a_server_s_clock_that_was_set_back_is_believed_after_a_while(run: Run) -> None:
    work = (
        "m => { const c = new m.ServerClock(); let at = 0;"
        " for (; at < 100000; at += 5000) c.hear(10000000 + at, at);"
        " const told = []; for (; at < 300000; at += 5000) { c.hear(6400000 + at, at); told.push(c.staleSince(at) === null); }"
        " return told; }"
    )
    told = run("clock.js", work, None)
    assert not told[0]
    assert all(told[-12:])


# --------------------------------------------------------------------------------------------------- what stands where

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=6)
GROUPS = st.dictionaries(NAMES, st.integers(1, 60), min_size=1, max_size=12)
SCREENS = st.tuples(st.integers(280, 4000), st.integers(300, 2200))


@EXAMPLES
@given(
    groups=GROUPS,
    screen=SCREENS,
    layout=st.sampled_from([None, "one", "grid", "list"]),
    rotate=st.sampled_from([None, 0, 20]),
)
def test_every_queue_stands_on_exactly_one_page_in_its_order(
    run: Run, groups: dict[str, int], screen: tuple[int, int], layout: str | None, rotate: int | None
) -> None:
    sections = [
        {"group": name, "queues": [f"{name}/{number}" for number in range(count)]} for name, count in groups.items()
    ]
    work = "(m, [sections, layout, rotate, [w, h]]) => m.plan(sections, layout, rotate, w, h)"
    plan = run("order.js", work, [sections, layout, rotate, screen])
    shown = [queue for page in plan["pages"] for section in page for queue in section["queues"]]
    assert shown == [queue for section in sections for queue in section["queues"]]
    assert plan["unit"] > 0
    assert plan["paged"] or len(plan["pages"]) == 1
    for page in plan["pages"]:
        assert len({section["group"] for section in page}) == len(page)  # a group has one row of sums on a page
        assert all(section["span"] <= plan["columns"] for section in page)


@EXAMPLES
@given(
    groups=GROUPS,
    screen=st.tuples(st.integers(1000, 4000), st.integers(560, 2200)),
    layout=st.sampled_from(["grid", "list"]),
)
def test_no_page_of_a_wall_is_higher_than_the_wall(
    run: Run, groups: dict[str, int], screen: tuple[int, int], layout: str
) -> None:
    sections = [
        {"group": name, "queues": [f"{name}/{number}" for number in range(count)]} for name, count in groups.items()
    ]
    work = "(m, [sections, layout, [w, h]]) => [m.plan(sections, layout, 20, w, h), m.CARD, m.ROW]"
    plan, card, row = run("order.js", work, [sections, layout, screen])
    unit = plan["unit"]
    for page in plan["pages"]:
        if layout == "list":
            height = row["head"] * unit
            height += sum(len(part["queues"]) * plan["row"] + part["band"] * row["band"] * unit for part in page)
        else:
            height, used = 0.0, math.inf
            for part in page:
                rows = math.ceil(len(part["queues"]) / part["span"])
                if used + part["span"] > plan["columns"]:  # it begins another shelf
                    height += rows * (plan["row"] + card["gap"] * unit) + part["band"] * card["band"] * unit
                    used = 0
                used += part["span"]
        assert height <= screen[1] + 1


@EXAMPLES
@given(data=st.data())
def test_pinned_queues_stand_before_the_others_of_their_group(run: Run, data: st.DataObject) -> None:
    rows: list[dict[str, Any]] = [
        {
            "queue": str(number),
            "name": "",
            "group": data.draw(st.sampled_from("abc")),
            "pinned": data.draw(st.booleans()),
            "waiting": data.draw(st.none() | st.integers(0, 9)),
            "longest_wait_seconds": data.draw(st.none() | st.integers(0, 999)),
            "state": data.draw(st.sampled_from(["ok", "idle", "closed", "unknown", "warning", "critical", "new"])),
            "levels": [],
        }
        for number in range(data.draw(st.integers(0, 20)))
    ]
    board = {"groups": [{"group": name} for name in "abc"], "queues": rows}
    pins = data.draw(st.lists(st.integers(0, 19).map(str), max_size=3, unique=True))
    sort = data.draw(st.sampled_from([None, "name", "waiting", "wait", "level", "state"]))
    found = run("order.js", "(m, [board, sort, pins]) => m.sections(board, sort, pins)", [board, sort, pins])
    by_name = {row["queue"]: row for row in rows}
    assert sorted(queue for section in found for queue in section["queues"]) == sorted(by_name)
    for section in found:
        held = [queue in pins or by_name[queue]["pinned"] for queue in section["queues"]]
        assert held == sorted(held, reverse=True)
        if sort == "waiting":
            free = [by_name[queue]["waiting"] for queue, pin in zip(section["queues"], held, strict=True) if not pin]
            known = [-1 if waiting is None else waiting for waiting in free]
            assert known == sorted(known, reverse=True)


# ---------------------------------------------------------------------------------------------------------- connection

PLAY = """(m, [moves, seed]) => {
  let state = seed;
  const random = () => (state = (state * 16807) % 2147483647) / 2147483647;
  const connection = new m.Connection(random);
  let now = 0, streams = 0, polls = 0, most = 0, mostPolls = 0;
  const told = [];
  const act = todo => todo.forEach(what => {
    if (what === 'open') streams += 1;
    if (what === 'close') streams -= 1;
    if (what === 'poll') polls += 1;
    most = Math.max(most, streams);
    mostPolls = Math.max(mostPolls, polls);
  });
  moves.forEach(([move, passed]) => {
    now += passed;
    if (move === 'message' && streams) connection.streamed(now);
    if (move === 'closed' && streams) { streams -= 1; connection.closed(now); }
    if (move === 'polled' && polls) { polls -= 1; connection.polled(now); }
    if (move === 'failed' && polls) { polls -= 1; connection.pollFailed(now, 0); }
    if (move === 'refused' && (polls || streams)) { polls = 0; streams = 0; connection.refuse(now, 401); }
    if (move === 'doubt') act(connection.doubt(now));
    act(connection.tick(now));
  });
  // From here on everything works: every poll is answered, every stream brings something at once.
  let live = null;
  for (const end = now + 120000; now < end; now += 250) {
    if (polls) { polls -= 1; connection.polled(now); }
    if (streams) connection.streamed(now);
    act(connection.tick(now));
    if (live === null && connection.mode === 'live') live = now;
  }
  return {most, mostPolls, mode: connection.mode, streams, polls};
}"""
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["tick", "message", "closed", "polled", "failed", "refused", "doubt"]), st.integers(0, 20_000)
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(moves=MOVES, seed=st.integers(1, 2**31 - 2))
def test_whatever_happened_there_is_one_stream_at_most_and_the_way_back_is_found(
    run: Run, moves: list[tuple[str, int]], seed: int
) -> None:
    end = run("connection.js", PLAY, [moves, seed])
    assert end["most"] <= 1
    assert end["mostPolls"] <= 1
    assert (end["mode"], end["streams"], end["polls"]) == ("live", 1, 0)


def test_screens_that_lose_the_service_together_do_not_come_back_together(run: Run) -> None:
    work = """m => { const at = []; for (let screen = 0; screen < 200; screen += 1) {
      const connection = new m.Connection(Math.random);
      connection.tick(0); connection.streamed(100); connection.closed(1000);
      let now = 1000; while (!connection.open) { now += 50; connection.tick(now); }
      at.push(now); } return at; }"""
    tries = run("connection.js", work, None)
    assert max(tries) - min(tries) > 500
    assert max(tries.count(moment) for moment in tries) < 60


# ------------------------------------------------------------------------------------------------- reload, sound, options


def test_the_page_reloads_once_a_night_at_a_quiet_hour_when_it_is_not_young(run: Run) -> None:
    work = """m => {
      const reload = new m.Reload('1', null, Math.random);
      const hour = 3600000;
      const due = [];
      for (let minute = 0; minute < 1440; minute += 1) due.push(reload.due(7 * hour, minute));
      return [due, reload.due(hour, 200)];
    }"""
    due, young = run("reload.js", work, None)
    nights = [minute for minute, why in enumerate(due) if why == "night"]
    assert len(nights) == 1
    assert 180 <= nights[0] < 240
    assert young is None


def test_a_version_that_was_tried_already_has_to_wait(run: Run) -> None:
    work = """m => { const reload = new m.Reload('1', '2', Math.random); reload.hear('2', 1000);
      return [reload.due(60000, 0), reload.due(16 * 60000, 0), (reload.hear('1', 17 * 60000), reload.due(99 * 60000, 0))]; }"""
    assert run("reload.js", work, None) == [None, "2", None]


def test_only_a_change_for_the_worse_is_heard(run: Run) -> None:
    boards = [["ok", "ok"], ["warning", "ok"], ["warning", "critical"], ["ok", "closed"], ["ok", "ok", "critical"]]
    work = """(m, boards) => {
      let before = null;
      return boards.map(states => {
        const found = m.worsened(before, {queues: states.map((state, at) => ({queue: String(at), state}))});
        before = found.ranks;
        return found.worst;
      });
    }"""
    assert run("sound.js", work, boards) == [0, 2, 3, 0, 0]


@EXAMPLES
@given(search=st.text(max_size=40), hash_=st.text(max_size=40))
def test_an_address_whatever_it_says_gives_a_board(run: Run, search: str, hash_: str) -> None:
    options = run("options.js", "(m, [s, h]) => m.readOptions('?' + s, '#' + h, ['en'])", [search, hash_])
    assert options["theme"] in ("dark", "light")
    assert options["layout"] in (None, "one", "grid", "list")
    assert options["rotate"] is None or options["rotate"] == 0 or options["rotate"] >= 5
