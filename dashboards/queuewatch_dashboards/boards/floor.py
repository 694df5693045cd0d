"""All queues at a glance."""

from __future__ import annotations

from queuewatch_dashboards.boards.kit import BELOW_ZERO, MUST_BE_ZERO, OF_LIMIT, PLAIN, WARN, Kit
from queuewatch_dashboards.grafana import Board, Column, Panel, Query, Section, Step, stat, table
from queuewatch_dashboards.promql import Labels, by, chosen

PLACE: Labels = {"site": chosen("site"), "group": chosen("group")}
CHANNEL: Labels = {"channel": chosen("channel")}
WINDOW: Labels = {**CHANNEL, "window": chosen("window")}


def floor(kit: Kit) -> Board:
    """Of the chosen sites, groups and channels."""
    words = kit.texts.word
    return kit.board(
        "floor",
        kit.configuration.uids.floor,
        [
            Section(words("floor.row.now"), _now(kit)),
            Section(words("floor.row.queues"), [_queues(kit)]),
            Section(words("floor.row.sites"), [_sites(kit)]),
        ],
        [kit.place("site"), kit.place("group"), kit.channel(several=True), kit.window()],
        "now-1h",
    )


def _now(kit: Kit) -> list[Panel]:
    queries, text = kit.queries, kit.texts

    def here(expression: str) -> str:
        return queries.of_queues(expression, PLACE)

    waiting = here(queries.waiting(CHANNEL))
    longest = here(queries.longest_wait(CHANNEL))
    over = f"{queries.longest_wait(CHANNEL)} / on (queue) group_left () {queries.limit('longest_wait_limit_seconds')}"
    below = queries.how_many(here(queries.level_gap(WINDOW)), "< 0")
    stale = queries.how_many(queries.data_state(PLACE), "< 2")
    return [
        stat(text["floor.waiting"], Query(f"sum({waiting})"), unit="short", decimals=0, unknown=kit.unknown),
        stat(text["floor.longest"], Query(f"max({longest})"), unit="s", unknown=kit.unknown),
        stat(
            text["floor.over"],
            Query(queries.how_many(here(over), "> 1")),
            unit="short",
            decimals=0,
            steps=MUST_BE_ZERO,
            unknown=kit.unknown,
        ),
        stat(text["floor.below"], Query(below), unit="short", decimals=0, steps=MUST_BE_ZERO, unknown=kit.unknown),
        stat(text["floor.stale"], Query(stale), unit="short", decimals=0, steps=MUST_BE_ZERO, unknown=kit.unknown),
        stat(
            text["floor.talking"],
            Query(f"sum({here(queries.talking(CHANNEL))})"),
            unit="short",
            decimals=0,
            unknown=kit.unknown,
        ),
    ]


def _queues(kit: Kit) -> Panel:
    """A row for each queue, channel and definition: every question is brought to these three labels."""
    queries, words = kit.queries, kit.texts.word
    keep = ("queue", "channel", "definition")

    def row(expression: str, on: str = "queue, channel") -> str:
        return by(keep, queries.of_queues(queries.by_definition(expression, CHANNEL, on=on), PLACE))

    def windowed(expression: str) -> str:
        return row(by(("queue", "channel"), expression))

    def of_limit(expression: str, limit: str) -> str:
        return row(f"{expression} / on (queue) group_left () {queries.limit(limit)}")

    info = queries.with_info(queries.of_queues(queries.level_target(CHANNEL), PLACE), ("name", "site"))
    labels = ("definition", "preset", "threshold")
    target = f"({info}) * on (definition) group_left (preset, threshold) {by(labels, queries.definition())}"
    level = queries.of_queues(by(keep, queries.level(WINDOW)), PLACE)
    gap = queries.of_queues(by(keep, queries.level_gap(WINDOW)), PLACE)
    abandoned = by(("queue", "channel"), queries.abandon_ratio(WINDOW))
    any_is_much = (Step(None, PLAIN), Step(0.5, WARN))
    return table(
        kit.texts["floor.queues"],
        Column(words("column.data"), _state_by_definition(kit), unit="none", words=kit.data_words()),
        kit.queue_link(),
        kit.label("name"),
        kit.label("site"),
        kit.label("channel"),
        kit.definition_link(),
        kit.label("preset", words=kit.formula_words(), width=220),
        kit.label("threshold"),
        kit.value("level", level, unit="percentunit", decimals=1),
        kit.value("target", target, unit="percentunit"),
        kit.value("gap", gap, unit="percentunit", decimals=1, steps=BELOW_ZERO),
        kit.value("offered", windowed(queries.offered(WINDOW))),
        kit.value("waiting", row(queries.waiting(CHANNEL))),
        kit.value(
            "waiting_limit",
            of_limit(queries.waiting(CHANNEL), "calls_waiting_limit"),
            unit="percentunit",
            steps=OF_LIMIT,
        ),
        kit.value("longest", row(queries.longest_wait(CHANNEL)), unit="s"),
        kit.value(
            "longest_limit",
            of_limit(queries.longest_wait(CHANNEL), "longest_wait_limit_seconds"),
            unit="percentunit",
            steps=OF_LIMIT,
        ),
        kit.value("abandon_ratio", row(abandoned), unit="percentunit", decimals=1),
        kit.value("abandon_limit", of_limit(abandoned, "abandon_limit_ratio"), unit="percentunit", steps=OF_LIMIT),
        kit.value("refused", row(queries.recent("calls_refused_total", CHANNEL)), steps=any_is_much),
        kit.value("evicted", row(queries.recent("calls_evicted_total", CHANNEL)), steps=any_is_much),
        Column(words("column.open"), row(queries.is_open(), "queue"), unit="none", words=kit.words("open", bad=PLAIN)),
        height=16,
        unknown=kit.unknown,
        sort=words("column.gap"),
    )


def _state_by_definition(kit: Kit) -> str:
    """The state of the data for each row, also of queues that no worker shows any more."""
    queries = kit.queries
    target = queries.metric("service_level_target_ratio", CHANNEL)
    lately = by(("queue", "channel", "definition"), f"last_over_time({target}[{kit.configuration.times.vanished}])")
    return f"({queries.data_state(PLACE)}) * on (queue) group_right () ({lately} > bool 0)"


def _sites(kit: Kit) -> Panel:
    queries, places = kit.queries, ("site", "group")
    return table(
        kit.texts["floor.levels"],
        *(kit.label(each) for each in (*places, "definition")),
        kit.value("level", queries.level_by_place(places, WINDOW, PLACE), unit="percentunit", decimals=1),
        kit.value("counted", queries.by_place(queries.counted, places, WINDOW, PLACE)),
        height=7,
        unknown=kit.unknown,
    )
