"""One queue in depth."""

from __future__ import annotations

from queuewatch_dashboards.boards.kit import BELOW_ZERO, FIGURE, LEVEL, PLAIN, QUEUE, WINDOW, Kit
from queuewatch_dashboards.grafana import Board, Panel, Query, Section, heatmap, lines, stat, table
from queuewatch_dashboards.promql import Labels, chosen

BY_DEFINITION: Labels = {**FIGURE, "definition": chosen("definition")}
QUARTER = "15m"
"""The step of what is drawn by fifteen minutes."""


def queue(kit: Kit) -> Board:
    """The chosen queue, channel and definition."""
    words = kit.texts.word
    return kit.board(
        "queue",
        kit.configuration.uids.queue,
        [
            Section(words("queue.row.now"), _now(kit)),
            Section(words("queue.row.level"), _level(kit)),
            Section(words("queue.row.waits"), _waits(kit)),
            Section(words("queue.row.volume"), _volume(kit)),
            Section(words("queue.row.handling"), _handling(kit)),
        ],
        [kit.queue(), kit.channel(), kit.definition(where=QUEUE), kit.window()],
        "now-12h",
    )


def _now(kit: Kit) -> list[Panel]:
    queries, text, unknown = kit.queries, kit.texts, kit.unknown
    return [
        stat(
            text["queue.data"],
            Query(queries.data_state(QUEUE)),
            unit="none",
            width=3,
            words=kit.data_words(),
            unknown=unknown,
        ),
        stat(
            text["queue.open"],
            Query(queries.is_open(QUEUE)),
            unit="none",
            width=3,
            words=kit.words("open", bad=PLAIN),
            unknown=unknown,
        ),
        stat(text["queue.waiting"], Query(queries.waiting(FIGURE)), unit="short", width=3, decimals=0, unknown=unknown),
        stat(text["queue.longest"], Query(queries.longest_wait(FIGURE)), unit="s", width=3, unknown=unknown),
        stat(text["queue.talking"], Query(queries.talking(FIGURE)), unit="short", width=3, decimals=0, unknown=unknown),
        stat(
            text["queue.wrapping"], Query(queries.wrapping(FIGURE)), unit="short", width=3, decimals=0, unknown=unknown
        ),
        stat(
            text["queue.callbacks"],
            Query(queries.callbacks_waiting(QUEUE)),
            unit="short",
            width=3,
            decimals=0,
            unknown=unknown,
        ),
        stat(text["queue.oldest_callback"], Query(queries.oldest_callback(QUEUE)), unit="s", width=3, unknown=unknown),
    ]


def _level(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    windows = kit.configuration.windows
    interval: Labels = {**BY_DEFINITION, "window": windows.interval}
    day: Labels = {**BY_DEFINITION, "window": windows.day}
    target = line(queries.level_target(BY_DEFINITION), "queue.line.target")
    dashed = [target.legend]
    return [
        table(
            text["queue.definition"],
            kit.label("definition"),
            kit.label("preset", words=kit.formula_words()),
            *(kit.label(each) for each in ("threshold", "short", "attribution", "clock", "diverts")),
            kit.value("target", _definition(kit), unit="percentunit", decimals=0),
            width=16,
            height=4,
            unknown=kit.unknown,
        ),
        stat(
            text["queue.level_now"],
            Query(queries.level(LEVEL), text.word("column.level")),
            Query(queries.level_gap(LEVEL), text.word("column.gap")),
            unit="percentunit",
            decimals=1,
            steps_of={text.word("column.gap"): BELOW_ZERO},
            unknown=kit.unknown,
        ),
        stat(
            text["queue.counted_now"],
            line(queries.counted(LEVEL), "queue.line.counted"),
            line(queries.limit("window_minimum_calls", QUEUE), "queue.line.minimum"),
            unit="short",
            decimals=0,
            unknown=kit.unknown,
        ),
        lines(
            text["queue.level"],
            line(queries.level(interval), "queue.line.interval"),
            line(queries.level_lower(interval), "queue.line.lower"),
            line(queries.level_upper(interval), "queue.line.upper"),
            line(queries.level(day), "queue.line.day"),
            target,
            unit="percentunit",
            highest=1,
            targets=dashed,
        ),
        lines(
            text["queue.window_level"],
            Query(queries.level(LEVEL), "{{definition}}, {{window}}"),
            target,
            unit="percentunit",
            highest=1,
            targets=dashed,
        ),
    ]


def _definition(kit: Kit) -> str:
    """The target, with everything that says how the definition counts as labels."""
    queries = kit.queries
    told = ("preset", "threshold", "short", "attribution", "clock", "diverts")
    info = queries.definition({"definition": chosen("definition")})
    return f"{queries.level_target(BY_DEFINITION)} * on (definition) group_left ({', '.join(told)}) {info}"


def _waits(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    longest_limit = line(queries.limit("longest_wait_limit_seconds", QUEUE), "queue.line.longest_limit")
    waiting_limit = line(queries.limit("calls_waiting_limit", QUEUE), "queue.line.waiting_limit")
    return [
        heatmap(text["queue.answer_waits"], queries.buckets("answer_wait_seconds", FIGURE), unit="s", interval=QUARTER),
        heatmap(
            text["queue.abandon_waits"], queries.buckets("abandon_wait_seconds", FIGURE), unit="s", interval=QUARTER
        ),
        lines(
            text["queue.waits"],
            line(queries.longest_wait(FIGURE), "queue.line.longest"),
            longest_limit,
            unit="s",
            targets=[longest_limit.legend],
        ),
        lines(
            text["queue.waiting_line"],
            line(queries.waiting(FIGURE), "queue.line.waiting"),
            waiting_limit,
            unit="short",
            decimals=0,
            targets=[waiting_limit.legend],
        ),
        lines(text["queue.asa"], line(queries.answer_wait_mean(WINDOW), "queue.line.asa"), unit="s"),
        lines(
            text["queue.quantiles"],
            line(queries.quantile(0.5, "answer_wait_seconds", (), FIGURE), "queue.line.q50"),
            line(queries.quantile(0.9, "answer_wait_seconds", (), FIGURE), "queue.line.q90"),
            line(queries.quantile(0.95, "answer_wait_seconds", (), FIGURE), "queue.line.q95"),
            unit="s",
            interval=QUARTER,
        ),
    ]


def _volume(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    rolling = kit.configuration.windows.rolling
    limit = line(queries.limit("abandon_limit_ratio", QUEUE), "queue.line.abandon_limit")

    def counted(name: str, *keep: str) -> str:
        return queries.increase(name, keep, FIGURE)

    def by_label(key: str, name: str, label: str, legend: str) -> Panel:
        return lines(
            text[key],
            line(counted(name, label), legend),
            unit="short",
            width=8,
            bars="before",
            stacked=True,
            interval=rolling,
        )

    return [
        lines(
            text["queue.arrivals"],
            line(queries.outcomes({**FIGURE, "window": rolling}), "queue.line.outcome"),
            unit="short",
            decimals=0,
            bars="before",
            stacked=True,
            interval=rolling,
        ),
        lines(
            text["queue.totals"],
            line(counted("calls_offered_total"), "queue.line.offered"),
            line(counted("calls_answered_total"), "queue.line.answered"),
            line(counted("calls_abandoned_total"), "queue.line.abandoned"),
            line(counted("calls_short_abandoned_total"), "queue.line.short"),
            unit="short",
            interval=rolling,
        ),
        lines(
            text["queue.abandon_ratio"],
            line(queries.abandon_ratio(WINDOW), "queue.line.window"),
            limit,
            unit="percentunit",
            highest=1,
            width=8,
            targets=[limit.legend],
        ),
        by_label("queue.diverted", "calls_diverted_total", "reason", "queue.line.reason"),
        by_label("queue.refused", "calls_refused_total", "reason", "queue.line.reason"),
        by_label("queue.evicted", "calls_evicted_total", "reason", "queue.line.reason"),
        by_label("queue.declined", "calls_declined_total", "reason", "queue.line.reason"),
        by_label("queue.transferred", "calls_transferred_in_total", "via", "queue.line.via"),
    ]


def _handling(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    return [
        lines(text["queue.aht"], line(queries.handle_time_mean(WINDOW), "queue.line.aht"), unit="s"),
        lines(
            text["queue.parts"],
            line(queries.handle_part("talk_seconds", FIGURE), "queue.line.talk"),
            line(queries.handle_part("hold_seconds", FIGURE), "queue.line.hold"),
            line(queries.handle_part("wrap_up_seconds", FIGURE), "queue.line.wrap"),
            unit="s",
            stacked=True,
            interval=QUARTER,
        ),
    ]
