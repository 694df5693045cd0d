"""What planners read, from closed intervals."""

from __future__ import annotations

from queuewatch_dashboards.boards.kit import BELOW_ZERO, FIGURE, QUEUE, Kit
from queuewatch_dashboards.grafana import Board, Column, Panel, Query, Section, Unit, lines, note, table
from queuewatch_dashboards.promql import Labels, by, chosen
from queuewatch_dashboards.queries import WEEKS, Figure
from queuewatch_dashboards.texts import fill

BY_DEFINITION: Labels = {**FIGURE, "definition": chosen("definition")}
EVERY_QUEUE: Labels = {"channel": chosen("channel")}


def capacity(kit: Kit) -> Board:
    """The chosen queue and channel; levels by the chosen definition."""
    words = kit.texts.word
    return kit.board(
        "capacity",
        kit.configuration.uids.capacity,
        [
            Section(words("capacity.row.last"), [note(kit.texts["capacity.note"], height=4), _last(kit)]),
            Section(words("capacity.row.intervals"), _intervals(kit)),
            Section(words("capacity.row.weekday"), _weekday(kit)),
            Section(words("capacity.row.days"), _days(kit)),
        ],
        [kit.queue(), kit.channel(), kit.definition(where=QUEUE)],
        "now-7d",
    )


def _last(kit: Kit) -> Panel:
    queries, keep = kit.queries, ("queue", "channel")
    closed: Labels = {**EVERY_QUEUE, "window": kit.configuration.windows.closed}
    level: Labels = {**closed, "definition": chosen("definition")}
    start = by(("queue",), queries.interval_start({"window": kit.configuration.windows.closed}))
    offered = by(keep, queries.offered(closed))

    def outcome(which: str) -> str:
        return by(keep, queries.outcomes({**closed, "outcome": which}))

    return table(
        kit.texts["capacity.last"],
        kit.data(offered),
        kit.queue_link(),
        kit.label("channel"),
        Column(
            kit.texts.word("column.start"),
            f"0 * {offered} + on (queue) group_left () (1000 * {start})",
            unit="dateTimeAsLocal",
        ),
        kit.value("offered", offered),
        kit.value("answered", outcome("answered")),
        kit.value("abandoned", outcome("abandoned")),
        kit.value("handled", by(keep, queries.handled(closed))),
        kit.value("asa", by(keep, queries.answer_wait_mean(closed)), unit="s"),
        kit.value("aht", by(keep, queries.handle_time_mean(closed)), unit="s"),
        kit.value("erlangs", queries.erlangs_offered(EVERY_QUEUE), decimals=1),
        kit.value("level", by(keep, queries.level(level)), unit="percentunit", decimals=1),
        kit.value("gap", by(keep, queries.level_gap(level)), unit="percentunit", decimals=1, steps=BELOW_ZERO),
        unknown=kit.unknown,
    )


def _intervals(kit: Kit) -> list[Panel]:
    queries, line = kit.queries, kit.line
    target = line(queries.level_target(BY_DEFINITION), "capacity.line.target")

    def at(figure: Figure, key: str, where: Labels = FIGURE) -> Query:
        return line(queries.at_interval(figure, where), f"capacity.line.{key}")

    def panel(key: str, *shown: Query, unit: Unit, stacked: bool = False, goals: tuple[Query, ...] = ()) -> Panel:
        return lines(
            kit.texts[f"capacity.{key}"],
            *shown,
            *goals,
            unit=unit,
            width=8 if unit == "s" or key == "abandon" else 12,
            bars="after" if stacked else "",
            stacked=stacked,
            steps=not stacked,
            highest=1 if unit == "percentunit" else None,
            interval=_step(kit),
            targets=[each.legend for each in goals],
        )

    return [
        panel("volume", at(queries.offered, "offered"), at(queries.handled, "handled"), unit="short"),
        panel("outcomes", at(queries.outcomes, "outcome"), unit="short", stacked=True),
        panel("erlangs", at(queries.erlangs_offered, "erlangs"), unit="short"),
        panel("level", at(queries.level, "level", BY_DEFINITION), unit="percentunit", goals=(target,)),
        panel("aht", at(queries.handle_time_mean, "aht"), unit="s"),
        panel("asa", at(queries.answer_wait_mean, "asa"), unit="s"),
        panel("abandon", at(queries.abandon_ratio, "abandon"), unit="percentunit"),
    ]


def _weekday(kit: Kit) -> list[Panel]:
    queries = kit.queries

    def panel(key: str, figure: Figure, unit: Unit, where: Labels = FIGURE, *, mean: bool = False) -> Panel:
        before = kit.texts.word("capacity.line.before")
        weeks = [Query(queries.weeks_before(week, figure, where), fill(before, {"week": str(week)})) for week in WEEKS]
        average = kit.line(queries.weeks_mean(figure, where), "capacity.line.mean")
        return lines(
            kit.texts[f"capacity.{key}"],
            kit.line(queries.at_interval(figure, where), "capacity.line.today"),
            *((average,) if mean else weeks),
            unit=unit,
            steps=True,
            highest=1 if unit == "percentunit" else None,
            interval=_step(kit),
            targets=[average.legend] if mean else [],
        )

    return [
        panel("week_offered", queries.offered, "short"),
        panel("week_erlangs", queries.erlangs_offered, "short", mean=True),
        panel("week_aht", queries.handle_time_mean, "s"),
        panel("week_level", queries.level, "percentunit", BY_DEFINITION),
    ]


def _days(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    target = line(queries.level_target(BY_DEFINITION), "capacity.line.target")
    days = text.word("capacity.line.days")

    def total(figure: Figure, where: Labels = FIGURE) -> str:
        return by(("queue", "channel"), queries.over_days(figure, 1, where))

    answered: Labels = {**FIGURE, "outcome": "answered"}
    abandoned: Labels = {**FIGURE, "outcome": "abandoned"}
    return [
        lines(
            text["capacity.day_level"],
            line(queries.level_over_days(1, BY_DEFINITION), "capacity.line.level"),
            target,
            unit="percentunit",
            highest=1,
            bars="before",
            interval="1d",
            targets=[target.legend],
        ),
        lines(
            text["capacity.week_rolling"],
            *(Query(queries.level_over_days(each, BY_DEFINITION), fill(days, {"days": str(each)})) for each in (7, 28)),
            target,
            unit="percentunit",
            highest=1,
            interval="6h",
            targets=[target.legend],
        ),
        lines(
            text["capacity.day_volume"],
            line(total(queries.offered), "capacity.line.offered"),
            line(total(queries.handled), "capacity.line.handled"),
            line(total(queries.outcomes, abandoned), "capacity.line.abandoned"),
            unit="short",
            bars="before",
            interval="1d",
        ),
        lines(
            text["capacity.day_times"],
            line(f"{total(queries.answer_wait_sum)} / ({total(queries.outcomes, answered)} > 0)", "capacity.line.asa"),
            line(f"{total(queries.handle_sum)} / ({total(queries.handled)} > 0)", "capacity.line.aht"),
            unit="s",
            bars="before",
            interval="1d",
        ),
    ]


def _step(kit: Kit) -> str:
    return f"{kit.configuration.interval_minutes}m"
