"""Each alert through Prometheus' own rule tester: fires, waits, stays silent, ends, survives moves and gaps.

Every world has two queues (one with a name full of syntax), two definitions, five windows and two workers.  What promtool
evaluates without error here has no many-to-many join.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dashboards.rehearsal import CALL, MINUTE, SICK, STEP, WELL, WORKERS, Change, Expected, World, run
from queuewatch_dashboards.alerts import alerts
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.promql import quoted
from queuewatch_dashboards.rules import Alert

BEGIN, MOVE, END = 20 * MINUTE, 75 * MINUTE, 90 * MINUTE
"""When trouble begins, when the worker moves while it lasts, when it ends."""
OF = {"queue": SICK}
LEVEL = {**OF, "definition": "default"}
DAY_MET = ("service_level_met_calls", {**LEVEL, "window": "day"})
FEW = (("window_minimum_calls", OF, 5000.0),)
"""Far fewer calls than the queue's least number: no ratio may raise an alert."""


def lasting(at: float) -> bool:
    return BEGIN <= at < END


def ever(at: float) -> bool:
    return at >= BEGIN


def moved(at: float) -> str | None:
    """The first worker shows everything, then for a minute nobody, then the second."""
    return WORKERS[0] if at < MOVE else WORKERS[1] if at >= MOVE + MINUTE else None


def overlapping(worker: str, at: float) -> bool:
    """Right before the move both show it for one scrape."""
    return worker == WORKERS[1] and at == MOVE - STEP


def gone(at: float) -> str | None:
    """Nobody shows anything for half an hour, in which trouble ends."""
    return WORKERS[0] if at < MOVE else WORKERS[1] if at >= MOVE + 30 * MINUTE else None


def told_late(at: float) -> float:
    """What the day's met calls rise by: none during trouble, and corrected soon after."""
    return 0 if lasting(at) else 40 if at >= END else 3.8


def lost_partition(name: str, labels: Mapping[str, str], at: float) -> bool:
    return labels.get("partition") == "0" and lasting(at)


def lost_queue(name: str, labels: Mapping[str, str], at: float) -> bool:
    return labels.get("queue") == SICK and lasting(at)


def cannot_tell(name: str, labels: Mapping[str, str], at: float) -> bool:
    """A source that is a quiet log says that nobody knows whether its system is up."""
    return name == "queue_source_up"


def lost_definition(name: str, labels: Mapping[str, str], at: float) -> bool:
    there = name == "service_level_definition_info" and labels["instance"] == WORKERS[1]
    return there and labels["definition"] == "gold" and lasting(at)


@dataclass(frozen=True)
class Scenario:
    """What makes an alert fire, what must not, and how long it takes to end."""

    name: str
    severity: str
    where: dict[str, str]
    """The labels of the one that fires."""
    trouble: tuple[Change, ...] = ()
    few: tuple[Change, ...] = ()
    """What makes the same trouble too small to tell."""
    mild: tuple[Change, ...] = ()
    """Another trouble that must not fire."""
    always: tuple[Change, ...] = ()
    ends_within: float = 25 * MINUTE
    """Seconds after the trouble until it is over for certain: the longest range, and `keep_firing_for`."""
    moves: bool = True
    """Whether what it is said of moves between workers."""
    hidden: Callable[[str, Mapping[str, str], float], bool] = lambda name, labels, at: False
    also: Callable[[str, float], bool] = lambda worker, at: False
    answers: Callable[[str, float], bool] = lambda worker, at: True

    @property
    def id(self) -> str:
        return f"{self.name}-{self.severity}"

    @property
    def alert(self) -> Alert:
        [found] = [a for a in alerts(Configuration()) if (a.name, a.severity) == (self.name, self.severity)]
        return found

    def world(self, minutes: float, bad: Callable[[float], bool] = lasting) -> World:
        return World(
            minutes, bad, self.trouble, self.always, hidden=self.hidden, also=self.also, answers=self.answers
        )  # fmt: skip

    def series(self, state: str = "", where: dict[str, str] | None = None) -> str:
        labels = {"alertname": self.name, "severity": self.severity, **({"alertstate": state} if state else {})}
        labels |= self.where if where is None else where
        return "ALERTS{" + ", ".join(f"{label}={quoted(value)}" for label, value in labels.items()) + "}"


def level(ratio: float) -> tuple[Change, ...]:
    return (("service_level_ratio", {**LEVEL, "window": "15m"}, ratio), (*DAY_MET, 1.0))


def abandons(ratio: float) -> tuple[Change, ...]:
    at = {**OF, "window": "15m"}
    return (("abandon_ratio", at, ratio), ("calls_abandoned_total", OF, 1.0), ("calls_answered_total", OF, 3.0))


def one(metric: str, value: float, **labels: str) -> tuple[Change, ...]:
    return ((metric, {**OF, **labels}, value),)


def slow(*rates: float) -> tuple[Change, ...]:
    """The histogram of event delays of one partition filling so fast: up to 0.5, 30, 60 seconds, above."""
    edges = zip(("0.5", "30.0", "60.0", "+Inf"), rates, strict=True)
    buckets = (("event_delay_seconds_bucket", {"partition": "0", "le": edge}, rate) for edge, rate in edges)
    return (*buckets, ("event_delay_seconds_count", {"partition": "0"}, rates[-1]))


SILENT = (("events_total", {"type": CALL}, 0.0),)
DOWN: tuple[Change, ...] = (("queue_source_up", {}, 0.0),)
AT_0 = {"partition": "0"}
UNREADABLE = {**AT_0, "reason": "unreadable_json"}
AT_WORK = {"instance": WORKERS[0]}

SCENARIOS = (
    Scenario("QueueServiceLevelLow", "warning", LEVEL, level(0.55), FEW, level(0.7)),
    Scenario("QueueServiceLevelLow", "critical", LEVEL, level(0.3), FEW, level(0.55)),
    Scenario("QueueDayBudgetAtRisk", "warning", LEVEL, few=FEW, always=((*DAY_MET, told_late),)),
    Scenario(
        "QueueLongestWait", "warning", OF, one("longest_wait_seconds", 130), mild=one("longest_wait_seconds", 120)
    ),
    Scenario(
        "QueueLongestWait", "critical", OF, one("longest_wait_seconds", 250), mild=one("longest_wait_seconds", 130)
    ),
    Scenario("QueueCallersWaiting", "warning", OF, one("calls_waiting", 25), mild=one("calls_waiting", 20)),
    Scenario("QueueCallersWaiting", "critical", OF, one("calls_waiting", 45), mild=one("calls_waiting", 25)),
    Scenario("QueueAbandonRateHigh", "warning", OF, abandons(0.15), FEW, abandons(0.09)),
    Scenario("QueueAbandonRateHigh", "critical", OF, abandons(0.25), FEW, abandons(0.15)),
    Scenario("QueueNobodyAnswers", "warning", OF, one("calls_answered_total", 0), one("calls_waiting", 0)),
    Scenario(
        "QueueNobodyAnswers",
        "critical",
        OF,
        (*one("calls_answered_total", 0), *one("calls_talking", 0)),
        one("calls_waiting", 0),
        one("calls_answered_total", 0),
    ),
    Scenario(
        "QueueRefusesCalls",
        "warning",
        OF,
        one("calls_refused_total", 2, reason="full"),
        one("calls_refused_total", 0.2, reason="full"),
        one("calls_refused_total", 9, reason="closed"),
    ),
    Scenario(
        "QueueEvictionsHigh",
        "warning",
        OF,
        one("calls_evicted_total", 1, reason="too_long"),
        one("calls_evicted_total", 0.05, reason="too_long"),
        ends_within=70 * MINUTE,
    ),
    Scenario("QueueAgentsDecline", "warning", OF, one("calls_declined_total", 3, reason="no_answer"), FEW),
    Scenario("QueueOrphansRising", "warning", OF, one("orphaned_visits_total", 1), one("orphaned_visits_total", 0.2)),
    Scenario("QueueBalanceBroken", "critical", OF, one("balance_residual", -2)),
    Scenario(
        "QueuewatchSourceDown",
        "critical",
        {"source": "urn:pbx:1", "site": "Rome"},
        DOWN,
        mild=one("queue_source_up", 0),
    ),
    Scenario(
        "QueuewatchCallsToldTwice",
        "warning",
        {"source": "urn:pbx:1"},
        (("source_doubled_calls", {"source": "urn:pbx:1"}, 3.0),),
        moves=False,
    ),
    Scenario("QueuewatchNoEvents", "critical", {}, SILENT, mild=(*SILENT, *DOWN)),
    Scenario("QueuewatchNoEvents", "critical", {}, SILENT, hidden=cannot_tell),
    Scenario(
        "QueueNotShown",
        "warning",
        {**OF, "site": "Rome"},
        hidden=lost_queue,
        moves=False,
        few=(("window_offered_calls", {**OF, "window": "day"}, 0.0),),
    ),
    Scenario(
        "QueueOnTwoWorkers",
        "critical",
        OF,
        also=lambda worker, at: worker == WORKERS[1] and lasting(at),
        moves=False,
        hidden=lambda name, labels, at: labels.get("queue") == WELL and labels["instance"] == WORKERS[1],
    ),
    Scenario("QueuewatchPartitionWithoutOwner", "critical", AT_0, hidden=lost_partition, moves=False),
    Scenario(
        "QueuewatchPartitionSilent",
        "critical",
        AT_0,
        (("last_event_timestamp_seconds", AT_0, float(BEGIN)),),
        mild=(("last_event_timestamp_seconds", {}, float(BEGIN)),),
    ),
    Scenario(
        "QueuewatchConsumerLag",
        "warning",
        AT_0,
        (("consumer_lag_records", AT_0, 20_000.0),),
        mild=(("consumer_lag_records", AT_0, 9_000.0),),
    ),
    Scenario("QueuewatchEventDelay", "warning", AT_0, slow(0, 4, 40, 40), slow(0, 0.1, 1, 1), slow(30, 40, 40, 40)),
    Scenario("QueuewatchRecordsLost", "critical", AT_0, (("lost_records_total", AT_0, 5.0),), ends_within=70 * MINUTE),
    Scenario(
        "QueuewatchDown",
        "critical",
        {"instance": WORKERS[1]},
        answers=lambda worker, at: worker == WORKERS[0] or not lasting(at),
        moves=False,
    ),
    Scenario("QueuewatchNotReady", "critical", AT_WORK, (("ready", AT_WORK, 0.0),), moves=False),
    Scenario(
        "QueuewatchCheckpointsOld",
        "warning",
        AT_WORK,
        (("checkpoint_age_seconds", AT_WORK, 400.0),),
        mild=(("checkpoint_age_seconds", AT_WORK, 200.0),),
        moves=False,
    ),
    Scenario(
        "QueuewatchReloadFailed",
        "warning",
        {"definition": "gold"},
        hidden=lost_definition,
        moves=False,
    ),
    Scenario(
        "QueuewatchEventsRejected",
        "warning",
        {"reason": "unreadable_json"},
        (("rejected_events_total", UNREADABLE, 5.0),),
        (("rejected_events_total", UNREADABLE, 0.5),),
    ),
    Scenario(
        "QueuewatchEventsRekeyed",
        "warning",
        {},
        (("rekeyed_events_total", AT_0, 5.0),),
        (("rekeyed_events_total", AT_0, 0.5),),
    ),
)
ALL = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.id)
MOVING = pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.moves], ids=lambda each: each.id)


def count(series: str, minutes: float) -> str:
    """How many evaluations of the last minutes had it, all together."""
    return f"sum(count_over_time({series}[{minutes * MINUTE - STEP / 2:.0f}s]))"


def test_every_alert_has_its_scenario() -> None:
    """The Watchdog, and the one that looks back a week, have tests of their own below."""
    alone = {("Watchdog", "none"), ("QueueNothingOffered", "warning")}
    assert {(each.name, each.severity) for each in SCENARIOS} == {
        (each.name, each.severity) for each in alerts(Configuration())
    } - alone


@ALL
def test_an_alert_waits_fires_and_ends(scenario: Scenario, promtool: str, tmp_path: Path) -> None:
    """Silent before, pending for exactly as long as it says, firing until trouble is over and a while longer, then ended;
    and nothing but the one thing that trouble befell is told of."""
    alert = scenario.alert
    minutes = (END + scenario.ends_within) / MINUTE
    fires, waits, all_ = (scenario.series(state) for state in ("firing", "pending", ""))
    other = f"{scenario.series(where={})} unless {all_}"
    expected = [
        Expected(all_, BEGIN - STEP, None, "silent while all is well"),
        Expected(f"count({fires})", END - STEP, 1, "fires while trouble lasts"),
        Expected(f"count({fires})", END + alert.keeps - 2 * STEP, 1, "fires on for keep_firing_for"),
        Expected(count(waits, minutes), minutes * MINUTE, alert.lasts / STEP, "pending for exactly `for`, once"),
        Expected(all_, minutes * MINUTE, None, "ended"),
        *(Expected(f"count({other})", at, None, "nothing else") for at in range(0, END + STEP, 5 * MINUTE)),
    ]
    run(promtool, tmp_path, [(scenario.world(minutes), expected)], alert)


@ALL
def test_what_is_small_or_mild_raises_no_alert(scenario: Scenario, promtool: str, tmp_path: Path) -> None:
    """Fewer calls than the queue's least number, values at their very limit, refusals of a closed queue."""
    minutes = 80.0
    nothing = [Expected(count(scenario.series(where={}), minutes), minutes * MINUTE, None, "never")]
    worlds = []
    if scenario.few:
        few = scenario.few
        same = {name for name, _, _ in few} & {name for name, _, _ in scenario.trouble}
        big = tuple(each for each in scenario.trouble if each[0] not in same)
        worlds.append((replace(scenario, trouble=big, always=(*scenario.always, *few)).world(minutes), nothing))
    if scenario.mild:
        worlds.append((replace(scenario, trouble=scenario.mild).world(minutes), nothing))
    healthy = Scenario(scenario.name, scenario.severity, scenario.where)
    worlds.append((healthy.world(minutes), nothing))
    run(promtool, tmp_path, worlds, scenario.alert)


@MOVING
def test_a_workers_move_neither_ends_nor_repeats_an_alert(scenario: Scenario, promtool: str, tmp_path: Path) -> None:
    """Both workers show it for a moment, then nobody for a minute, then the other: it fires all along, as the same alert."""
    minutes = 89.0
    after = minutes - MOVE / MINUTE
    world = replace(scenario.world(minutes, ever), shown_by=moved, also=overlapping)
    fires, waits = scenario.series("firing"), scenario.series("pending")
    run(
        promtool,
        tmp_path,
        [
            (
                world,
                [
                    Expected(count(fires, after), minutes * MINUTE, after * MINUTE / STEP, "fires at each evaluation"),
                    Expected(
                        count(waits, minutes), minutes * MINUTE, scenario.alert.lasts / STEP, "began to wait once"
                    ),
                    Expected(f"count({fires})", minutes * MINUTE, 1, "one alert"),
                ],
            )
        ],
        scenario.alert,
    )


@MOVING
def test_missing_data_are_no_recovery(scenario: Scenario, promtool: str, tmp_path: Path) -> None:
    """For half an hour nobody shows anything, while trouble ends: it fires on, and ends only when data say so."""
    gap = 30
    back = MOVE / MINUTE + gap
    minutes = back + scenario.ends_within / MINUTE
    world = replace(scenario.world(minutes, lambda at: BEGIN <= at < MOVE + MINUTE), shown_by=gone)
    fires = scenario.series("firing")
    run(
        promtool,
        tmp_path,
        [
            (
                world,
                [
                    Expected(count(fires, gap), back * MINUTE - STEP, gap * MINUTE / STEP, "held all through the gap"),
                    Expected(scenario.series(), minutes * MINUTE, None, "ended by data"),
                ],
            )
        ],
        scenario.alert,
    )


def of(name: str, severity: str = "warning") -> Scenario:
    [found] = [each for each in SCENARIOS if (each.name, each.severity) == (name, severity)]
    return found


def test_a_move_while_an_alert_waits_does_not_begin_its_wait_anew(promtool: str, tmp_path: Path) -> None:
    """Five minutes of a bad level are five minutes, though nobody showed the queue in one of them."""
    scenario = of("QueueServiceLevelLow")
    leaves = BEGIN + 3 * MINUTE

    def shown_by(at: float) -> str | None:
        return WORKERS[0] if at < leaves else WORKERS[1] if at >= leaves + MINUTE else None

    world = replace(scenario.world(40, ever), shown_by=shown_by)
    waits, fires = scenario.series("pending"), scenario.series("firing")
    expected = [
        Expected(f"count({waits})", leaves - STEP, 1, "waits before the move"),
        Expected(f"count({waits})", leaves + STEP, 1, "waits in the gap"),
        Expected(count(waits, 40), 40 * MINUTE, scenario.alert.lasts / STEP, "waits for so long altogether"),
        Expected(f"count({fires})", 40 * MINUTE, 1, "fires"),
    ]
    run(promtool, tmp_path, [(world, expected)], scenario.alert)


def test_what_waits_is_not_held_for_longer_than_a_move(promtool: str, tmp_path: Path) -> None:
    """Without data nothing begins to fire."""
    scenario = of("QueueServiceLevelLow")
    world = replace(scenario.world(60, ever), shown_by=lambda at: WORKERS[0] if at < BEGIN + 2 * MINUTE else None)
    run(
        promtool,
        tmp_path,
        [(world, [Expected(count(scenario.series("firing"), 60), 3600, None, "never")])],
        scenario.alert,
    )


def test_alerts_of_a_queue_hold_while_it_is_open_or_callers_wait(promtool: str, tmp_path: Path) -> None:
    """Closed and empty it is left alone; closed with callers in it, or of unknown hours, it is watched."""
    scenario = of("QueueServiceLevelLow")
    closed, empty = one("queue_open", 0), one("calls_waiting", 0)
    world = scenario.world(60, ever)
    fires = count(scenario.series("firing"), 60)

    def unknown(name: str, labels: Mapping[str, str], at: float) -> bool:
        return name == "queue_open"

    run(
        promtool,
        tmp_path,
        [
            (replace(world, always=(*closed, *empty)), [Expected(fires, 3600, None, "closed and empty")]),
            (replace(world, always=closed), [Expected(f"count({fires})", 3600, 1, "callers wait")]),
            (replace(world, always=empty), [Expected(f"count({fires})", 3600, 1, "open")]),
            (replace(world, always=empty, hidden=unknown), [Expected(f"count({fires})", 3600, 1, "nobody says")]),
        ],
        scenario.alert,
    )


def test_a_small_queue_is_judged_by_a_longer_window(promtool: str, tmp_path: Path) -> None:
    """Five calls in fifteen minutes are too few, forty in half an hour are not; and where only the day has enough, the day."""
    scenario = of("QueueServiceLevelLow")

    def only(window: str) -> World:
        bad = (("service_level_ratio", {**LEVEL, "window": window}, 0.5), (*DAY_MET, 1.0))
        few = tuple(
            ("service_level_counted_calls", {**LEVEL, "window": each}, 5.0)
            for each in ("15m", "30m")
            if each == "15m" or window == "day"
        )
        return replace(scenario.world(60, ever), trouble=bad, always=few)

    fires = f"count({scenario.series('firing')})"
    worlds = [(only(window), [Expected(fires, 3600, 1, f"judged by {window}")]) for window in ("30m", "day")]
    run(promtool, tmp_path, worlds, scenario.alert)


def test_a_level_that_has_recovered_in_the_last_minutes_is_no_longer_told(promtool: str, tmp_path: Path) -> None:
    """The window of fifteen minutes is still bad, but what the day gained in five minutes meets the target."""
    scenario = of("QueueServiceLevelLow")
    bad, gained = scenario.trouble
    world = replace(
        scenario.world(60), trouble=(gained,), always=((*bad[:2], lambda at: 0.5 if at >= BEGIN else 0.95),),
        bad=lambda at: BEGIN <= at < BEGIN + 10 * MINUTE,
    )  # fmt: skip
    fires = scenario.series("firing")
    expected = [
        Expected(f"count({fires})", BEGIN + 9 * MINUTE, 1, "fires"),
        Expected(fires, BEGIN + 21 * MINUTE, None, "five minutes, and keep_firing_for"),
    ]
    run(promtool, tmp_path, [(world, expected)], scenario.alert)


def test_an_alert_says_where_its_queue_belongs(promtool: str, tmp_path: Path) -> None:
    """Site and group, and the source where it has one alone; not the worker that shows it."""
    scenario = of("QueueLongestWait")
    there = {**OF, "channel": "voice", "site": "Rome", "group": "g", "source": "urn:pbx:1", "instance": "", "job": ""}
    said = Expected(f"count({scenario.series('firing', there)})", 3600, 1, "all its labels")
    run(promtool, tmp_path, [(scenario.world(60, ever), [said])], scenario.alert)


def test_an_alert_goes_on_while_its_queues_source_cannot_tell(promtool: str, tmp_path: Path) -> None:
    """A log that falls quiet: the same alert with the same labels, and none that says that a source is down."""

    def quiet(name: str, labels: Mapping[str, str], at: float) -> bool:
        return name == "queue_source_up" and at >= 30 * MINUTE

    scenario, down = of("QueueLongestWait"), of("QueuewatchSourceDown", "critical")
    same = scenario.series("firing", {**OF, "channel": "voice", "source": "urn:pbx:1"})
    expected = [
        Expected(f"count({same})", 59 * MINUTE, 1, "it fires"),
        Expected(
            f"count(count_over_time({scenario.series('firing', {})}[1h]))", 59 * MINUTE, 1, "never with other labels"
        ),
        Expected(f"{down.series()}", 59 * MINUTE, None, "nothing is down"),
    ]
    run(promtool, tmp_path, [(replace(scenario.world(60, ever), hidden=quiet), expected)], scenario.alert, down.alert)


@pytest.mark.parametrize(
    ("change", "night"),
    [(0, 7), (1, 6), (1, 7), (-1, 6), (-1, 7)],
    ids=["no change", "forward", "forward that day", "back", "back that day"],
)
def test_a_queue_without_calls_is_compared_with_the_same_local_time_a_week_ago(
    change: int, night: int, promtool: str, tmp_path: Path
) -> None:
    """Calls come from ten to eleven local time, but not on the eighth day; clocks change at three, then or the day before."""
    hour, day, week = 3600, 86_400, 7 * 86_400

    def ahead(at: float) -> float:
        return change * hour if at >= night * day + 3 * hour else 0

    def calls(at: float) -> float:
        local = at + ahead(at)
        return 2 if 10 * hour <= local % day < 11 * hour and local < week else 0

    alert = next(each for each in alerts(Configuration()) if each.name == "QueueNothingOffered")
    scenario = Scenario(alert.name, alert.severity, OF)
    ten = week + 10 * hour - change * hour
    names = ("calls_offered_total", "queue_utc_offset_seconds", "queue_info", "queue_open", "calls_waiting")
    world = World(
        (ten + hour) / 60,
        always=(
            ("calls_offered_total", OF, calls),
            ("queue_utc_offset_seconds", {}, ahead),
            ("calls_offered_total", {"queue": WELL}, 2.0),
        ),
        only=frozenset(names),
        step=120,
    )
    closed = replace(world, always=(*world.always, *one("queue_open", 0), *one("calls_waiting", 0)))
    fires = f"count({scenario.series('firing', {})})"
    run(
        promtool,
        tmp_path,
        [
            (
                world,
                [
                    Expected(f"count({scenario.series('firing')})", ten + 40 * MINUTE, 1, "fires"),
                    Expected(fires, ten + 40 * MINUTE, 1, "it alone"),
                    *(Expected(fires, at * day, None, "never before") for at in range(1, 8)),
                    *(Expected(fires, at * day + 10.5 * hour, None, "calls came") for at in range(1, 6)),
                ],
            ),
            (closed, [Expected(fires, ten + 40 * MINUTE, None, "closed")]),
        ],
        alert,
    )


def test_the_watchdog_always_fires(promtool: str, tmp_path: Path) -> None:
    """Also when there is nothing to watch."""
    [alert] = [each for each in alerts(Configuration()) if each.name == "Watchdog"]
    scenario = Scenario(alert.name, alert.severity, {})
    nobody = World(10, answers=lambda worker, at: False)
    fires = f"count({scenario.series('firing')})"
    run(promtool, tmp_path, [(nobody, [Expected(fires, at, 1, "always") for at in (0, 300, 600)])], alert)
