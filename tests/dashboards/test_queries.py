"""The named questions: what they may ask, and what Prometheus itself answers to them."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.promql import Answer, Asked, Series, prove
from queuewatch_dashboards.configuration import Configuration, Selectors
from queuewatch_dashboards.promql import UnknownName, chosen, duration, quoted
from queuewatch_dashboards.queries import Queries, recorded_name
from queuewatch_schemas.metrics import CATALOGUE, METRICS, Kind
from queuewatch_schemas.names import queue_name
from support.grafana import filled

QUERIES = Queries(Configuration())
MINUTE, HOUR, DAY, WEEK = 60, 3600, 86_400, 604_800
NASTY = (
    "a|b", "a", "b", '"', "\\", "(EU)", "🚑 emergency", "a.b", "axb", "^$", "[x]", "{x}", "*", "+", "?", "x\\|y", "'", "a/b",
    "a,b", "$queue", "${queue}", "Zürich – Süd", "销售", "%", "#", "&", "a b",
)  # fmt: skip
"""Names of queues that mean something in PromQL, in regular expressions, in addresses or to Grafana."""

# --------------------------------------------------------------------------------------------------------- what is allowed


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UnknownName, match="calls_lost"):
        QUERIES.metric("calls_lost")


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no label 'definition'.*channel, instance, job, queue"):
        QUERIES.waiting({"definition": "gold"})


def test_a_part_that_a_metric_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownName, match="no part 'bucket'"):
        QUERIES.rate("talk_seconds", (), part="bucket")
    with pytest.raises(UnknownName, match="no part ''"):
        QUERIES.rate("answer_wait_seconds", ())


def test_a_gauge_has_no_rate_and_a_counter_is_no_figure() -> None:
    with pytest.raises(UnknownName, match="gauge"):
        QUERIES.rate("calls_waiting", ())
    with pytest.raises(UnknownName, match="no gauge"):
        QUERIES.figure("calls_offered_total")


def test_every_counter_of_a_queue_or_partition_is_recorded_once_and_no_gauge_is() -> None:
    recorded = [each.name for each in QUERIES.recordings()]
    assert len(recorded) == len(set(recorded))
    for metric in METRICS:
        parts = [name for name in recorded if name.split(":")[1] in metric.series]
        moves = metric.kind is not Kind.GAUGE and {"queue", "partition"} & set(metric.labels)
        assert len(parts) == (len(metric.series) if moves else 0), metric.name


def test_what_each_process_counts_for_itself_is_not_recorded_and_summed_after_its_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its maximum over processes would mean nothing."""
    one = replace(CATALOGUE["late_events_total"], name="pages_total", labels=("page",))
    monkeypatch.setattr("queuewatch_dashboards.queries._BY_NAME", {"pages_total": one})
    assert QUERIES.rate("pages_total", ("page",)) == "sum by (page) (rate(queuewatch_pages_total[$__rate_interval]))"
    with pytest.raises(UnknownName, match="by each process for itself"):
        recorded_name("pages_total")


def test_extra_matchers_stand_in_every_raw_series_and_in_no_recorded_one() -> None:
    queries = Queries(Configuration(selectors=Selectors(matchers={"cluster": 'ro"me'})))
    assert '{cluster="ro\\"me", queue="a"}' in queries.waiting({"queue": "a"})
    assert all('cluster="ro\\"me"' in each.expression for each in queries.recordings() if ":max" in each.name)
    assert "cluster" not in queries.rate("calls_offered_total", ())


@given(st.integers(-(10**10), 10**10))
def test_a_length_of_time_is_written_exactly(milliseconds: int) -> None:
    """In one unit, and read back as the same."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    found = re.fullmatch(r"(-?\d+)(ms|s|m|h|d)", duration(milliseconds / 1000))
    assert found
    assert int(found[1]) * units[found[2]] == milliseconds


# ---------------------------------------------------------------------------------------------------------- names as data


def of_names(names: tuple[str, ...]) -> list[Series]:
    return [
        Series("queuewatch_calls_waiting", {"queue": name, "channel": "voice", "instance": "w1"}, [number, number])
        for number, name in enumerate(names, 1)
    ]


def answers(names: tuple[str, ...], among: tuple[str, ...]) -> list[Answer]:
    return [({"queue": name, "channel": "voice"}, among.index(name) + 1) for name in names]


def test_any_queue_can_be_asked_for_by_its_name(promtool: str, tmp_path: Path) -> None:
    """One with a backquote too; on a board only "All" shows that one."""
    names = (*NASTY, "a`b", "`")
    asked = [Asked(QUERIES.waiting({"queue": name}), 60, answers((name,), names)) for name in names]
    everything = Asked(filled(QUERIES.waiting({"queue": chosen("queue")}), {"queue": ".*"}), 60, answers(names, names))
    prove(promtool, tmp_path, of_names(names), [*asked, everything])


@pytest.mark.parametrize("slash", [True, False], ids=["slash escaped", "slash as it is"])
def test_any_queue_can_be_chosen_on_a_board(slash: bool, promtool: str, tmp_path: Path) -> None:
    """One, two that would match more if they were not escaped, and all."""
    query = QUERIES.waiting({"queue": chosen("queue")})
    one = [Asked(filled(query, {"queue": name}, slash=slash), 60, answers((name,), NASTY)) for name in NASTY]
    pair = ("a|b", "a.b")
    two = Asked(filled(query, {"queue": pair}, slash=slash), 60, answers(pair, NASTY))
    everything = Asked(filled(query, {"queue": ".*"}), 60, answers(NASTY, NASTY))
    prove(promtool, tmp_path, of_names(NASTY), [*one, two, everything])


def _is_a_name(text: str) -> bool:
    try:
        return "`" not in text and queue_name(text) == text
    except ValueError:
        return False


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=12).filter(
            _is_a_name
        ),
        min_size=2,
        max_size=12,
        unique=True,
    ).map(tuple)
)
def test_whatever_name_is_allowed_can_be_asked_for_and_chosen(
    promtool: str, tmp_path: Path, names: tuple[str, ...]
) -> None:
    query = QUERIES.waiting({"queue": chosen("queue")})
    asked = [
        each
        for name in names
        for each in (
            Asked(QUERIES.waiting({"queue": name}), 60, answers((name,), names)),
            Asked(filled(query, {"queue": name}), 60, answers((name,), names)),
        )
    ]
    prove(promtool, tmp_path, of_names(names), asked)


# ------------------------------------------------------------------------------------------------------ a worker's move


def test_a_rate_counts_all_across_a_workers_move(promtool: str, tmp_path: Path) -> None:
    """Two calls a minute; at 10 minutes the queue moves, and while nobody shows it for two minutes 20 calls more come.

    By instance, which is usual elsewhere, those are lost.
    """
    before = [2.0 * minute for minute in range(10)]
    after = [2.0 * minute + 20 for minute in range(12, 31)]
    labels = {"queue": "sales", "channel": "voice"}
    name = "queuewatch_calls_offered_total"
    moved = [
        Series(name, {**labels, "instance": "w1"}, [*before, *([None] * 21)]),
        Series(name, {**labels, "instance": "w2"}, [*([None] * 12), *after]),
    ]
    ours = QUERIES.increase("calls_offered_total", ("queue",), over="15m")
    usual = f"sum by (queue) (increase({name}[15m]))"
    prove(
        promtool,
        tmp_path,
        moved,
        [
            Asked(f"round({ours}, 0.001)", 15 * MINUTE, [({"queue": "sales"}, 50)]),
            Asked(f"{usual} < bool 35", 15 * MINUTE, [({"queue": "sales"}, 1)]),
        ],
        recordings=[each for each in QUERIES.recordings() if each.name == recorded_name("calls_offered_total")],
    )


def test_two_workers_that_show_a_queue_at_once_double_nothing(promtool: str, tmp_path: Path) -> None:
    both = [
        Series("queuewatch_calls_waiting", {"queue": "sales", "channel": "voice", "instance": worker}, [7, 7])
        for worker in ("w1", "w2")
    ]
    prove(
        promtool,
        tmp_path,
        both,
        [
            Asked(QUERIES.waiting(), 60, [({"queue": "sales", "channel": "voice"}, 7)]),
            Asked(f"0 * {QUERIES.waiting()}", 60, [({"queue": "sales", "channel": "voice"}, 0)]),
        ],
    )


# ------------------------------------------------------------------------------------------------- what the answers mean


def test_the_state_of_data_tells_live_silent_stale_and_gone_apart(promtool: str, tmp_path: Path) -> None:
    def info(queue: str, values: list[float | None]) -> Series:
        labels = {"queue": queue, "name": queue, "group": "", "site": "Rome", "timezone": "UTC", "instance": "w1"}
        return Series("queuewatch_queue_info", labels, values)

    def up(queue: str, source: str, value: float) -> Series:
        return Series("queuewatch_queue_source_up", {"queue": queue, "source": source, "instance": "w1"}, [value] * 30)

    always: list[float | None] = [1.0] * 30
    series = [
        *(info(queue, always) for queue in ("live", "quiet", "stale", "half")),
        info("gone", [*([1.0] * 10), *([None] * 20)]),
        up("live", "a", 1),
        up("stale", "a", 0),
        up("half", "a", 1),
        up("half", "b", 0),
    ]
    states = {"live": 3, "quiet": 2, "stale": 1, "half": 1, "gone": 0}
    expected: list[Answer] = [({"queue": queue}, state) for queue, state in states.items()]
    prove(
        promtool,
        tmp_path,
        series,
        [
            Asked(QUERIES.data_state({"site": "Rome"}), 29 * MINUTE, expected),
            Asked(QUERIES.data_state({"site": "Turin"}), 29 * MINUTE, []),
            Asked(QUERIES.how_many(QUERIES.data_state(), "< 2"), 29 * MINUTE, [({}, 3)]),
            Asked(QUERIES.how_many(QUERIES.data_state(), "> 5"), 29 * MINUTE, [({}, 0)]),
            Asked(QUERIES.how_many(QUERIES.waiting(), "> 5"), 29 * MINUTE, []),
        ],
    )


def level_series(queue: str, definition: str, met: float, counted: float, target: float = 0.8) -> list[Series]:
    labels = {"queue": queue, "channel": "voice", "definition": definition, "instance": "w1"}
    window = {**labels, "window": "day"}
    ratio = [Series("queuewatch_service_level_ratio", window, [met / counted] * 2)] if counted else []
    return [
        *ratio,
        Series("queuewatch_service_level_met_calls", window, [met] * 2),
        Series("queuewatch_service_level_counted_calls", window, [counted] * 2),
        Series("queuewatch_service_level_target_ratio", labels, [target] * 2),
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_two_parts_of_a_difference_are_the_difference(promtool: str, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever two definitions count of the same queue."""
    counted = [data.draw(st.integers(1, 400)) for _ in "ab"]
    met = [data.draw(st.integers(0, base)) for base in counted]
    series = [
        each
        for name, m, c in zip(("gold", "plain"), met, counted, strict=True)
        for each in level_series("sales", name, m, c)
    ]
    day = {"window": "day"}
    whole, by_met, by_counted = (
        each("gold", "plain", day)
        for each in (QUERIES.difference, QUERIES.difference_by_met, QUERIES.difference_by_counted)
    )
    labels = {"queue": "sales", "channel": "voice"}
    wrong = f"abs(({whole}) - (({by_met}) + ({by_counted}))) > 1e-12"
    by_hand = f"round({by_met}, 0.000001)"
    prove(
        promtool,
        tmp_path,
        series,
        [
            Asked(wrong, 60, []),
            Asked(f"({whole}) < bool 2", 60, [(labels, 1)]),
            Asked(f"abs({by_hand} - {(met[0] - met[1]) / counted[0]!r}) < bool 0.000002", 60, [(labels, 1)]),
        ],
    )


def test_a_groups_level_is_a_ratio_of_sums_within_one_definition(promtool: str, tmp_path: Path) -> None:
    """90 of 100 and 1 of 10: 91 of 110, not the mean of 90 % and 10 %."""

    def info(queue: str, site: str) -> Series:
        labels = {"queue": queue, "name": queue, "group": "", "site": site, "timezone": "UTC", "instance": "w1"}
        return Series("queuewatch_queue_info", labels, [1, 1])

    series = [
        *level_series("big", "default", 90, 100),
        *level_series("small", "default", 1, 10),
        *level_series("small", "gold", 5, 10),
        *level_series("idle", "default", 0, 0),
        info("big", "Rome"),
        info("small", "Rome"),
        info("idle", "Turin"),
    ]
    day = {"window": "day"}
    prove(
        promtool,
        tmp_path,
        series,
        [
            Asked(
                QUERIES.level_by_place(("site",), day),
                60,
                [({"site": "Rome", "definition": "default"}, 91 / 110), ({"site": "Rome", "definition": "gold"}, 0.5)],
            ),
            Asked(
                QUERIES.by_place(QUERIES.counted, ("site",), day, {"queue": "small"}),
                60,
                [({"site": "Rome", "definition": "default"}, 10), ({"site": "Rome", "definition": "gold"}, 10)],
            ),
        ],
    )


def test_a_levels_row_stands_for_each_definition_of_the_queue(promtool: str, tmp_path: Path) -> None:
    series = [
        *level_series("sales", "default", 8, 10),
        *level_series("sales", "gold", 5, 10, target=0.9),
        *level_series("idle", "default", 0, 0),
        *of_names(("sales", "idle", "lost")),
    ]
    rows = [({"queue": q, "channel": "voice", "definition": d}) for q, d in (("sales", "default"), ("sales", "gold"))]
    idle = {"queue": "idle", "channel": "voice", "definition": "default"}
    gold = {**rows[1], "window": "day"}
    prove(
        promtool,
        tmp_path,
        series,
        [
            Asked(QUERIES.by_definition(QUERIES.waiting()), 60, [(rows[0], 1), (rows[1], 1), (idle, 2)]),
            Asked(QUERIES.level_gap({"window": "day", "definition": "gold"}), 60, [(gold, 0.5 - 0.9)]),
            Asked(QUERIES.level({"window": "day", "queue": "idle"}), 60, []),
        ],
    )


# --------------------------------------------------------------------------------------------- closed intervals and weeks

STEP = 5 * MINUTE
INTERVAL = 30 * MINUTE


class Planner:
    """Five weeks and more of a queue in a zone, as its worker would have shown them: figures follow the local clock.

    The offered calls of an interval say which local minute of the week it began at, so that an answer tells what was asked.
    """

    def __init__(self, zone: str, begin: datetime, days: int) -> None:
        self.zone = ZoneInfo(zone)
        self.begin = begin
        self.labels = {"queue": "sales", "channel": "voice", "instance": "w1"}
        self.times = [begin + timedelta(seconds=STEP * number) for number in range(days * DAY // STEP)]

    def local(self, at: datetime) -> datetime:
        return at.astimezone(self.zone)

    def at(self, year: int, month: int, day: int, hour: int, minute: int) -> float:
        """Seconds from the first sample to a local time."""
        local = datetime(year, month, day, hour, minute, tzinfo=self.zone)
        return (local.astimezone(UTC) - self.begin).total_seconds()

    def minute(self, seconds: float) -> int:
        """The local minute of the week of a time given in seconds from the first sample."""
        local = self.local(self.begin + timedelta(seconds=seconds))
        return local.weekday() * 1440 + local.hour * 60 + local.minute

    def weeks_before(self, seconds: float, weeks: int) -> list[float]:
        """The same local time so many weeks before: none where the clocks skipped it, the same by UTC where it came twice."""
        here, there = (self.begin + timedelta(seconds=seconds), seconds - weeks * WEEK)
        wanted = self.local(here).replace(tzinfo=None) - timedelta(weeks=weeks)
        near = [there, there + HOUR, there - HOUR]
        same = [at for at in near if self.local(self.begin + timedelta(seconds=at)).replace(tzinfo=None) == wanted]
        return same[:1]

    def closed(self, at: datetime) -> datetime:
        """When the last closed interval began."""
        epoch = at.timestamp()
        return datetime.fromtimestamp(epoch - epoch % INTERVAL - INTERVAL, UTC)

    def ahead(self, at: datetime) -> float:
        """Of UTC, in seconds."""
        offset = self.local(at).utcoffset()
        assert offset is not None
        return offset.total_seconds()

    def day(self, at: datetime) -> datetime:
        return self.local(at).replace(hour=0, minute=0, second=0, microsecond=0)

    def series(self, offered: Callable[[datetime], float]) -> list[Series]:
        """`offered` says how many calls an interval had, by its start."""

        def all_times(value: Callable[[datetime], float]) -> list[float | None]:
            return [value(at) for at in self.times]

        queue = {"queue": "sales", "instance": "w1"}
        start = "queuewatch_interval_start_timestamp_seconds"
        closed = {**self.labels, "window": "last_interval"}
        return [
            Series("queuewatch_queue_utc_offset_seconds", queue, all_times(self.ahead)),
            Series(start, {**queue, "window": "day"}, all_times(lambda at: self.day(at).timestamp())),
            Series(
                start, {**queue, "window": "interval"}, all_times(lambda at: self.closed(at).timestamp() + INTERVAL)
            ),
            Series(start, {**queue, "window": "last_interval"}, all_times(lambda at: self.closed(at).timestamp())),
            Series("queuewatch_window_offered_calls", closed, all_times(lambda at: offered(self.closed(at)))),
            Series("queuewatch_window_handled_calls", closed, all_times(lambda _: 2.0)),
        ]


CLOSED_LABELS = {"queue": "sales", "channel": "voice", "window": "last_interval"}
BEFORE = datetime(2026, 2, 23, tzinfo=UTC)
"""Five weeks before Europe's clocks go forward, on 29 March 2026."""
AUTUMN = datetime(2026, 9, 21, tzinfo=UTC)
"""And before they go back, on 25 October 2026."""
SUMMER_IN_CHILE = datetime(2026, 3, 2, tzinfo=UTC)
"""And before Chile's go back, at midnight between 4 and 5 April 2026: a day begins an hour earlier by the clock."""


@pytest.mark.parametrize(
    ("zone", "begin", "change"),
    [
        ("Europe/Rome", BEFORE, (2026, 3, 29)),
        ("Europe/Rome", AUTUMN, (2026, 10, 25)),
        ("America/Santiago", SUMMER_IN_CHILE, (2026, 4, 5)),
        ("Asia/Shanghai", BEFORE, (2026, 3, 29)),
    ],
    ids=["forward", "back", "back at midnight", "no change"],
)
def test_a_weekday_is_compared_at_the_same_local_time_across_a_clock_change(
    zone: str, begin: datetime, change: tuple[int, int, int], promtool: str, tmp_path: Path
) -> None:
    """Every interval of the day of the change, of the days beside it, and of that weekday one and two weeks later; and some of
    the days between.  An answer says which interval it is of, so that of an hour that comes twice each is told apart."""
    planner = Planner(zone, begin, 51)

    def of(day: date) -> range:
        """The starts of a local day's intervals."""
        ends = [
            datetime(each.year, each.month, each.day, tzinfo=planner.zone) for each in (day, day + timedelta(days=1))
        ]
        first, last = (round((each.astimezone(UTC) - begin).total_seconds()) for each in ends)
        return range(first, last, INTERVAL)

    asked = []
    for days in range(-1, 15):
        step = 1 if days in (-1, 0, 1, 7, 14) else 5
        for at in of(date(*change) + timedelta(days=days))[::step]:
            asked.append(Asked(QUERIES.at_interval(QUERIES.offered), at, [(CLOSED_LABELS, float(at))]))
            weeks = [planner.weeks_before(at, week) for week in (1, 2, 3, 4)]
            asked += [
                Asked(QUERIES.weeks_before(week, QUERIES.offered), at, [(CLOSED_LABELS, float(each)) for each in found])
                for week, found in enumerate(weeks, 1)
            ]
            every = [each for found in weeks for each in found]
            asked.append(Asked(QUERIES.weeks_mean(QUERIES.offered), at, [(CLOSED_LABELS, sum(every) / len(every))]))
    prove(promtool, tmp_path, planner.series(lambda start: (start - begin).total_seconds()), asked, step=STEP)


def test_weeks_without_data_are_left_out_of_the_mean(promtool: str, tmp_path: Path) -> None:
    """After ten days there is one week before; its figure is the mean, and the others are absent, not 0."""
    planner = Planner("Europe/Rome", BEFORE, 12)
    at = planner.at(2026, 3, 5, 10, 0)
    same = [(CLOSED_LABELS, float(planner.minute(at)))]
    prove(
        promtool,
        tmp_path,
        planner.series(lambda start: planner.minute((start - BEFORE).total_seconds())),
        [
            Asked(QUERIES.weeks_mean(QUERIES.offered), at, same),
            Asked(QUERIES.weeks_before(2, QUERIES.offered), at, []),
        ],
        step=STEP,
    )


def test_a_day_sums_each_of_its_intervals_once(promtool: str, tmp_path: Path) -> None:
    """48 intervals, of which the one that began at 9:00 UTC is sampled six times and counts once."""
    planner = Planner("UTC", BEFORE, 4)

    def offered(start: datetime) -> float:
        return 1000.0 if (start.hour, start.minute) == (9, 0) else 1.0

    prove(
        promtool,
        tmp_path,
        planner.series(offered),
        [Asked(QUERIES.over_days(QUERIES.offered, 1), planner.at(2026, 2, 26, 0, 0), [(CLOSED_LABELS, 1047.0)])],
        step=STEP,
    )


def test_erlangs_are_calls_by_handle_time_over_the_intervals_length(promtool: str, tmp_path: Path) -> None:
    """60 calls of 240 s in half an hour keep 8 agents busy; with nothing handled in it the day's mean stands in."""
    planner = Planner("UTC", BEFORE, 2)
    mean = "queuewatch_handle_time_mean_seconds"
    samples = len(planner.times)
    half = samples // 2
    known: list[float | None] = [240.0] * half
    series = [
        *planner.series(lambda _: 60.0),
        Series(mean, {**planner.labels, "window": "last_interval"}, [*known, *([None] * (samples - half))]),
        Series(mean, {**planner.labels, "window": "day"}, [120.0] * samples),
        Series(
            "queuewatch_window_offered_calls", {**planner.labels, "queue": "new", "window": "last_interval"}, [5.0] * 9
        ),
    ]
    labels = {"queue": "sales", "channel": "voice"}
    prove(
        promtool,
        tmp_path,
        series,
        [
            Asked(QUERIES.erlangs_offered(), 600, [(labels, 8.0)]),
            Asked(QUERIES.erlangs_offered(), planner.at(2026, 2, 24, 12, 0), [(labels, 4.0)]),
        ],
        step=STEP,
    )


def test_parts_of_handle_time_sum_to_the_whole(promtool: str, tmp_path: Path) -> None:
    """Ten calls a minute of 100 s talk and 20 s hold, and after-call work of 60 s for every second one."""
    per_minute = {
        "talk_seconds_sum": 1000, "talk_seconds_count": 10, "hold_seconds_sum": 200, "hold_seconds_count": 10,
        "wrap_up_seconds_sum": 300, "wrap_up_seconds_count": 5,
    }  # fmt: skip
    labels = {"queue": "sales", "channel": "voice"}
    series = [
        Series(f"queuewatch_{name}", {**labels, "instance": "w1"}, [float(rise * minute) for minute in range(30)])
        for name, rise in per_minute.items()
    ]
    parts = {"talk_seconds": 100, "hold_seconds": 20, "wrap_up_seconds": 30}
    prove(
        promtool,
        tmp_path,
        series,
        [
            Asked(
                filled(f"round({QUERIES.handle_part(name)}, 0.001)", {}).replace("[1m]", "[5m]"), 1200, [(labels, mean)]
            )
            for name, mean in parts.items()
        ],
        recordings=QUERIES.recordings(),
    )


def test_quoting_escapes_what_promql_would_read() -> None:
    assert quoted('a"b\\c\nd') == '"a\\"b\\\\c\\nd"'


def test_the_catalogue_has_what_the_questions_name() -> None:
    """Each method that takes only matchers can be asked, so none names a metric that was renamed."""
    assert set(CATALOGUE) >= {"calls_waiting"}
    plain = [
        "waiting", "longest_wait", "talking", "wrapping", "callbacks_waiting", "oldest_callback", "is_open", "info", "vanished",
        "data_state", "source_up", "offered", "outcomes", "handled", "answer_wait_sum", "handle_sum", "answer_wait_mean",
        "handle_time_mean", "abandon_ratio", "interval_start", "level", "met", "counted", "level_lower", "level_upper",
        "level_target", "level_gap", "definition", "erlangs_offered", "left_out", "ready", "partition_ready",
        "partitions_owned", "lag", "checkpoint_age", "reload_age", "event_age", "heartbeat_age", "residual", "shown_by",
        "versions",
    ]  # fmt: skip
    assert all("queuewatch_" in getattr(QUERIES, name)() for name in plain)
