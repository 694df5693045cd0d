"""One queue by several definitions, and several queues by one; never several queues by several definitions.

Which definition is compared is always a choice of exactly one: no variable here offers "All".
"""

from __future__ import annotations

from queuewatch_dashboards.boards.kit import BELOW_ZERO, FIGURE, QUEUE, WINDOW, Kit
from queuewatch_dashboards.grafana import Board, Panel, Query, Section, lines, note, stat, table
from queuewatch_dashboards.promql import Labels, by, chosen, not_chosen

FIRST = chosen("definition")
SECOND = chosen("reference")
OF_ALL: Labels = {"channel": chosen("channel"), "window": chosen("window"), "definition": FIRST}
"""Every queue, by the chosen definition."""


def comparison(kit: Kit) -> Board:
    """The chosen queue, channel, window and two of the queue's definitions."""
    words = kit.texts.word
    return kit.board(
        "comparison",
        kit.configuration.uids.comparison,
        [
            Section(words("comparison.row.queue"), [note(kit.texts["comparison.warning"]), *_definitions(kit)]),
            Section(words("comparison.row.why"), _why(kit)),
            Section(words("comparison.row.queues"), _queues(kit)),
        ],
        [
            kit.queue(),
            kit.channel(),
            kit.definition(where=QUEUE),
            kit.definition("reference", where={**QUEUE, "definition": not_chosen("definition")}),
            kit.window(),
        ],
        "now-24h",
    )


def _definitions(kit: Kit) -> list[Panel]:
    queries, text = kit.queries, kit.texts
    keep = ("queue", "channel", "definition")
    told = ("preset", "threshold", "short", "attribution", "clock", "diverts")
    target = f"{queries.level_target(FIGURE)} * on (definition) group_left ({', '.join(told)}) {queries.definition()}"
    return [
        table(
            text["comparison.definitions"],
            kit.label("definition"),
            kit.label("preset", words=kit.formula_words(), width=420),
            *(kit.label(each) for each in told[1:]),
            kit.value("met", by(keep, queries.met(WINDOW))),
            kit.value("counted", by(keep, queries.counted(WINDOW))),
            kit.value("left_out", queries.left_out(WINDOW)),
            kit.value("level", by(keep, queries.level(WINDOW)), unit="percentunit", decimals=1),
            kit.value("target", target, unit="percentunit"),
            kit.value("gap", by(keep, queries.level_gap(WINDOW)), unit="percentunit", decimals=1, steps=BELOW_ZERO),
            height=6,
            unknown=kit.unknown,
        ),
        lines(
            text["comparison.levels"],
            kit.line(queries.level(WINDOW), "comparison.line.definition"),
            unit="percentunit",
            highest=1,
        ),
        lines(
            text["comparison.parts"],
            kit.line(queries.outcomes(WINDOW), "comparison.line.outcome"),
            unit="short",
            decimals=0,
            stacked=True,
        ),
    ]


def _why(kit: Kit) -> list[Panel]:
    queries, text, unknown = kit.queries, kit.texts, kit.unknown
    difference = queries.difference(FIRST, SECOND, WINDOW)
    by_met = queries.difference_by_met(FIRST, SECOND, WINDOW)
    by_counted = queries.difference_by_counted(FIRST, SECOND, WINDOW)
    asked = {
        "first": queries.level({**WINDOW, "definition": FIRST}),
        "second": queries.level({**WINDOW, "definition": SECOND}),
        "difference": difference,
        "by_met": by_met,
        "by_counted": by_counted,
    }
    widths = {"first": 4, "second": 4, "difference": 4, "by_met": 6, "by_counted": 6}
    return [
        *(
            stat(
                text[f"comparison.{key}"],
                Query(expression),
                unit="percentunit",
                decimals=1,
                width=widths[key],
                unknown=unknown,
            )
            for key, expression in asked.items()
        ),
        lines(
            text["comparison.why"],
            kit.line(by_met, "comparison.line.met"),
            kit.line(by_counted, "comparison.line.counted"),
            kit.line(difference, "comparison.line.difference"),
            unit="percentunit",
            width=24,
            lowest=None,
            stacked=True,
            targets=[text.word("comparison.line.difference")],
        ),
    ]


def _queues(kit: Kit) -> list[Panel]:
    queries, text = kit.queries, kit.texts
    keep = ("queue", "channel")
    places = ("site", "group")
    target: Labels = {"channel": chosen("channel"), "definition": FIRST}
    return [
        table(
            text["comparison.queues"],
            kit.data(by(keep, queries.counted(OF_ALL))),
            kit.queue_link(),
            kit.label("channel"),
            kit.value("met", by(keep, queries.met(OF_ALL))),
            kit.value("counted", by(keep, queries.counted(OF_ALL))),
            kit.value("level", by(keep, queries.level(OF_ALL)), unit="percentunit", decimals=1),
            kit.value("target", by(keep, queries.level_target(target)), unit="percentunit"),
            kit.value("gap", by(keep, queries.level_gap(OF_ALL)), unit="percentunit", decimals=1, steps=BELOW_ZERO),
            width=14,
            unknown=kit.unknown,
            sort=text.word("column.gap"),
        ),
        table(
            text["comparison.sites"],
            kit.label("site"),
            kit.label("group"),
            kit.value("met", queries.by_place(queries.met, places, OF_ALL)),
            kit.value("counted", queries.by_place(queries.counted, places, OF_ALL)),
            kit.value("level", queries.level_by_place(places, OF_ALL), unit="percentunit", decimals=1),
            width=10,
            unknown=kit.unknown,
        ),
        lines(
            text["comparison.queue_levels"],
            kit.line(queries.level(OF_ALL), "comparison.line.queue"),
            unit="percentunit",
            width=24,
            highest=1,
        ),
    ]
