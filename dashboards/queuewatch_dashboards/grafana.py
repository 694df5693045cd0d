"""Grafana's side of boards: panels and variables in queuewatch's own words, and the JSON that today's Grafana reads.

grafanalib makes the panels; its output is of Grafana 8 and partly older.  `modern` brings it to schema version 42 (Grafana 10
to 13 import it without migrating anything), so that nothing outside this module knows of either.  What holds for every board is
held here once: a stable uid and no id, a place for each panel, everything pointing at the `datasource` variable, no nulls.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from queuewatch_dashboards.queries import EXPOSED
from queuewatch_dashboards.texts import Text

Json = dict[str, Any]

SCHEMA_VERSION: Final = 42
"""Of the JSON, as Grafana 12 writes it."""
PLUGIN_VERSION: Final = "12.0.0"
"""Of the panels: without one Grafana takes them for ones of version 6 and migrates them."""
DATA_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
TAG: Final = "queuewatch"
"""Every board has it; boards link to each other by it."""
COLUMNS: Final = 24
"""The width of Grafana's grid."""
ALL: Final = ".*"
"""What "All" means in a variable that offers it; so that its list is never written into a query."""

_LABELS: Final = sorted({"Time", *(label for metric in EXPOSED for label in metric.labels)})
"""The fields that the answers of a table may have besides their values."""

Unit = Literal["short", "none", "s", "percentunit", "dateTimeAsLocal", "cps", "Bps"]


class Query(NamedTuple):
    """A question and how its answers are named; `{{label}}` in the legend stands for a label's value."""

    expression: str
    legend: str = ""


class Step(NamedTuple):
    """From this value on (None: from the lowest), this colour."""

    value: float | None
    color: str


class Word(NamedTuple):
    """What is shown instead of a value."""

    value: str
    text: str
    color: str


class Column(NamedTuple):
    """A column of a table: a question, or (without one) a label of the questions' answers."""

    heading: str
    expression: str = ""
    label: str = ""
    unit: Unit = "short"
    decimals: int | None = None
    steps: Sequence[Step] = ()
    words: Sequence[Word] = ()
    link: tuple[str, str] | None = None
    """(text, address): where a click leads."""
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel and the room that it takes, in Grafana's grid of 24 columns."""

    made: core.Panel
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a heading, from left to right and then down."""

    heading: str
    panels: Sequence[Panel]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses: one of the values of a label, or of a fixed list."""

    name: str
    label: str
    series: str = ""
    """Of what the label's values are taken."""
    of: str = ""
    """The label; the variable's own name if left out."""
    choices: Sequence[str] = ()
    default: str = ""
    several: bool = False
    """Several may be chosen, and "All"."""


@dataclass(frozen=True, slots=True)
class Board:
    """A whole board."""

    uid: str
    text: Text
    sections: Sequence[Section]
    variables: Sequence[Variable] = ()
    since: str = "now-6h"
    refresh: str = "30s"


class _Heatmap(core.Panel):  # type: ignore[misc]
    """grafanalib's own heatmap is of Grafana 7; `extraJson` holds what is beside the targets."""

    def to_json_data(self) -> Json:
        made: Json = self.panel_json({"type": "heatmap"})
        return made


# -------------------------------------------------------------------------------------------------------------- panels


def lines(
    text: Text,
    *queries: Query,
    unit: Unit,
    width: int = 12,
    height: int = 8,
    bars: Literal["", "before", "after"] = "",
    stacked: bool = False,
    steps: bool = False,
    lowest: int | None = 0,
    highest: int | None = None,
    decimals: int | None = None,
    interval: str | None = None,
    targets: Sequence[str] = (),
) -> Panel:
    """Values over time.

    `bars` says on which side of its time a bar stands: before it where it tells of what ended then, after it where it tells of
    what began then.  `targets` are legends that are drawn as dashed lines: limits and goals, not measurements.
    """
    dashed = [
        _override(
            legend,
            {
                "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
                "custom.fillOpacity": 0,
                "custom.drawStyle": "line",
                "custom.stacking": {"mode": "none", "group": "A"},
                "color": {"mode": "fixed", "fixedColor": "text"},
            },
        )
        for legend in targets
    ]
    made = core.TimeSeries(
        title=text.title,
        description=text.description,
        targets=_targets(queries),
        unit=unit,
        drawStyle="bars" if bars else "line",
        barAlignment={"before": -1, "": 0, "after": 1}[bars],
        lineInterpolation="stepAfter" if steps else "linear",
        fillOpacity=70 if bars else 30 if stacked else 8,
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        showPoints="auto",
        tooltipMode="multi",
        tooltipSort="desc",
        valueMin=lowest,
        valueMax=highest,
        valueDecimals=decimals,
        overrides=dashed,
        interval=interval,
        maxDataPoints=None if interval is None else 4000,
    )
    return Panel(made, width, height)


def stat(
    text: Text,
    *queries: Query,
    unit: Unit,
    width: int = 4,
    height: int = 4,
    decimals: int | None = None,
    steps: Sequence[Step] = (),
    steps_of: Mapping[str, Sequence[Step]] = MappingProxyType({}),
    words: Sequence[Word] = (),
    unknown: str,
) -> Panel:
    """The newest value, large.  `unknown` is shown where there is none: never 0.  `steps_of` colours values by their legend."""
    made = core.Stat(
        title=text.title,
        description=text.description,
        targets=_targets(queries, instant=True),
        format=unit,
        decimals=decimals,
        thresholds=_steps(steps),
        color={
            "mode": "thresholds" if steps or words else "fixed",
            **({} if steps or words else {"fixedColor": "text"}),
        },
        mappings=_mappings(words),
        overrides=[
            _override(
                legend,
                {"thresholds": {"mode": "absolute", "steps": _steps(own)}, "color": {"mode": "thresholds"}},
            )
            for legend, own in steps_of.items()
        ],
        noValue=unknown,
        reduceCalc="lastNotNull",
        graphMode="none",
        colorMode="value",
        textMode="auto",
    )
    return Panel(made, width, height)


def table(
    text: Text,
    *columns: Column,
    width: int = COLUMNS,
    height: int = 10,
    unknown: str,
    sort: str = "",
    descending: bool = False,
) -> Panel:
    """The newest values, a row for each set of labels, sortable by a click on a heading.

    All questions must give the same labels, except for labels that are columns themselves: rows are put together by them.
    Labels that are no column are not shown.
    """
    asked = [column for column in columns if column.expression]
    fields = {
        id(column): (f"Value #{ascii_uppercase[asked.index(column)]}" if len(asked) > 1 else "Value")
        if column.expression
        else column.label
        for column in columns
    }
    overrides = []
    for column in columns:
        properties: Json = {}
        if column.expression:
            properties["unit"] = column.unit
        if column.decimals is not None:
            properties["decimals"] = column.decimals
        if column.steps or column.words:
            properties["thresholds"] = {"mode": "absolute", "steps": _steps(column.steps)}
            properties["color"] = {"mode": "thresholds"}
            properties["custom.cellOptions"] = {"type": "color-text"}
        if column.words:
            properties["mappings"] = _mappings(column.words)
        if column.link:
            properties["links"] = [{"title": column.link[0], "url": column.link[1]}]
        if column.width:
            properties["custom.width"] = column.width
        if properties:
            overrides.append(_override(column.heading, properties))
    arranged = {
        "id": "organize",
        "options": {
            "indexByName": {fields[id(column)]: place for place, column in enumerate(columns)},
            "renameByName": {fields[id(column)]: column.heading for column in columns},
            "excludeByName": {name: True for name in _LABELS if name not in fields.values()},
        },
    }
    made = core.Table(
        title=text.title,
        description=text.description,
        targets=_targets([Query(column.expression) for column in asked], instant=True, form="table"),
        unit="short",
        filterable=True,
        overrides=overrides,
        transformations=[{"id": "merge", "options": {}}, arranged],
        extraJson={
            "options": {
                "sortBy": [{"displayName": sort, "desc": descending}] if sort else [],
                "cellHeight": "sm",
                "footer": {"show": False, "reducer": [], "countRows": False, "fields": ""},
            },
            "fieldConfig": {"defaults": {"noValue": unknown, "custom": {"inspect": False}}},
        },
    )
    return Panel(made, width, height)


def heatmap(text: Text, query: str, *, unit: Unit, width: int = 12, height: int = 8, interval: str) -> Panel:
    """How the buckets of a histogram fill over time."""
    made = _Heatmap(
        title=text.title,
        description=text.description,
        targets=_targets([Query(query, "{{le}}")], form="heatmap"),
        interval=interval,
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "unit": unit,
                    "custom": {"hideFrom": _hidden(), "scaleDistribution": {"type": "linear"}},
                },
                "overrides": [],
            },
            "options": {
                "calculate": False,
                "cellGap": 1,
                "cellValues": {"unit": "short", "decimals": 0},
                "color": {
                    "mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "exponent": 0.5, "steps": 64,
                    "reverse": False, "scale": "exponential",
                },
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "rowsFrame": {"layout": "auto"},
                "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
                "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
            },
        },
    )  # fmt: skip
    return Panel(made, width, height)


def states(text: Text, *queries: Query, words: Sequence[Word], width: int = 12, height: int = 6) -> Panel:
    """Which state each thing was in, over time; a gap is "nobody said"."""
    made = core.StateTimeline(
        title=text.title,
        description=text.description,
        targets=_targets(queries),
        mappings=_mappings(words),
        showValue="auto",
        tooltipMode="single",
        extraJson={"fieldConfig": {"defaults": {"unit": "none", "custom": {"spanNulls": False}}}},
    )
    return Panel(made, width, height)


def note(text: Text, *, width: int = COLUMNS, height: int = 3) -> Panel:
    """A text (Markdown) that stands on the board: the description of what is given."""
    made = core.Text(title=text.title, content=text.description, mode="markdown", description=text.title)
    return Panel(made, width, height)


def _targets(queries: Iterable[Query], *, instant: bool = False, form: str = "time_series") -> list[core.Target]:
    return [
        core.Target(expr=query.expression, legendFormat=query.legend, refId=letter, instant=instant, format=form)
        for letter, query in zip(ascii_uppercase, queries, strict=False)
    ]


def _override(name: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _steps(steps: Sequence[Step]) -> list[Json]:
    return [{"value": step.value, "color": step.color} for step in steps or (Step(None, "text"),)]


def _mappings(words: Sequence[Word]) -> list[Json]:
    if not words:
        return []
    options = {
        word.value: {"text": word.text, "index": index, **({"color": word.color} if word.color else {})}
        for index, word in enumerate(words)
    }
    return [{"type": "value", "options": options}]


def _hidden() -> Json:
    return {"legend": False, "tooltip": False, "viz": False}


# --------------------------------------------------------------------------------------------------------------- boards


def board(made: Board, banner: str) -> Json:
    """The board as Grafana's JSON.  `banner` says that it is generated, and from what."""
    numbers = count(1)
    panels: list[Any] = []
    top = 0
    for section in made.sections:
        row = core.RowPanel(
            title=section.heading, id=next(numbers), gridPos=_place(0, top, COLUMNS, 1), collapsed=section.collapsed
        )
        top += 1
        placed, top = _placed(section.panels, top, numbers)
        panels.append(row)
        if section.collapsed:
            row.panels = placed
        else:
            panels += placed
    whole = core.Dashboard(
        title=made.text.title,
        description=f"{made.text.description}\n\n{banner}",
        uid=made.uid,
        tags=[TAG],
        timezone="browser",
        time=core.Time(made.since, "now"),
        refresh=made.refresh,
        editable=False,
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        schemaVersion=SCHEMA_VERSION,
        panels=panels,
        templating=core.Templating(list=[_data_source(), *map(_variable, made.variables)]),
        links=[core.DashboardLink(type="dashboards", tags=[TAG], title=TAG, keepTime=True, includeVars=True)],
    )
    document: Json = json.loads(json.dumps(whole.to_json_data(), cls=DashboardEncoder))
    return modern(document)


def _placed(panels: Sequence[Panel], top: int, numbers: Iterable[int]) -> tuple[list[core.Panel], int]:
    """Panels with ids and places, and the first row below them."""
    numbered = iter(numbers)
    left, height, placed = 0, 0, []
    for panel in panels:
        if left + panel.width > COLUMNS:
            left, top, height = 0, top + height, 0
        panel.made.id = next(numbered)
        panel.made.gridPos = _place(left, top, panel.width, panel.height)
        left, height = left + panel.width, max(height, panel.height)
        placed.append(panel.made)
    return placed, top + height


def _place(x: int, y: int, w: int, h: int) -> core.GridPos:
    return core.GridPos(h=h, w=w, x=x, y=y)


def _data_source() -> Json:
    return {
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "hide": 0,
        "includeAll": False, "multi": False, "options": [], "regex": "",
    }  # fmt: skip


def _variable(variable: Variable) -> Json:
    common: Json = {
        "name": variable.name, "label": variable.label, "hide": 0, "multi": variable.several,
        "includeAll": variable.several, "options": [], "skipUrlSync": False,
    }  # fmt: skip
    if variable.several:
        common |= {"allValue": ALL, "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    elif variable.default:
        common |= {"current": {"selected": True, "text": variable.default, "value": variable.default}}
    if variable.choices:
        options = [{"text": each, "value": each, "selected": each == variable.default} for each in variable.choices]
        return common | {"type": "custom", "query": ",".join(variable.choices), "options": options}
    query = f"label_values({variable.series}, {variable.of or variable.name})"
    return common | {
        "type": "query",
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1},
        "refresh": 2,
        "regex": "",
        "sort": 1,
    }


# --------------------------------------------------------------------------------------------- grafanalib's output, today

_OLD_OF_PANELS: Final = (
    "cacheTimeout", "color", "columns", "editable", "error", "fontSize", "height", "hideTimeOverride", "mappings", "maxPerRow",
    "minSpan", "repeatDirection", "span", "timeShift",
)  # fmt: skip
_OLD_OF_BOARDS: Final = ("__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style", "timePicker")
_OLD_OF_TARGETS: Final = ("intervalFactor", "metric", "query", "step", "target")
_OLD_STEP: Final = "value"


def modern(document: Json) -> Json:
    """A board of grafanalib's as schema version 42: nothing for Grafana to migrate, nothing null but `id`."""
    made = {key: value for key, value in document.items() if key not in _OLD_OF_BOARDS}
    made["panels"] = [_modern_panel(panel) for panel in document["panels"]]
    made["annotations"] = {"list": []}
    made["timepicker"] = {}
    made["version"] = 1
    pruned: Json = _pruned(made)
    return pruned | {"id": None}


def _modern_panel(panel: Json) -> Json:
    made = {key: value for key, value in panel.items() if key not in _OLD_OF_PANELS}
    kind = made["type"]
    if kind == "row":
        inner = [_modern_panel(each) for each in made["panels"]]
        kept = ("id", "title", "type", "gridPos", "collapsed")
        return {key: made[key] for key in kept} | {"panels": inner}
    made["pluginVersion"] = PLUGIN_VERSION
    made["datasource"] = DATA_SOURCE
    made["targets"] = [_modern_target(target) for target in made["targets"]]
    defaults = made["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    if kind == "text":
        for key in ("fieldConfig", "targets", "interval", "maxDataPoints"):
            made.pop(key, None)
        made["options"]["code"] = {"language": "plaintext", "showLineNumbers": False, "showMiniMap": False}
        return made
    if not defaults["thresholds"]["steps"]:
        defaults["thresholds"]["steps"] = _steps(())
    if kind == "table":
        custom["cellOptions"] = {"type": custom.pop("displayMode")}
    if kind in ("timeseries", "state-timeline"):
        custom["hideFrom"] = _hidden()
        legend = made["options"]["legend"]
        legend["showLegend"] = legend["displayMode"] != "hidden"
        legend.setdefault("calcs", [])
    if kind == "timeseries":
        custom["scaleDistribution"] = {"type": "linear"}
        custom["lineStyle"] = {"fill": "solid"}
        custom["insertNulls"] = False
        custom["axisBorderShow"] = False
        custom["axisColorMode"] = "text"
        custom["axisCenteredZero"] = False
    if kind == "state-timeline":
        made["options"]["tooltip"] |= {"sort": "none"}
    if kind == "stat":
        made["options"] |= {"wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard"}
    return made


def _modern_target(target: Json) -> Json:
    made = {key: value for key, value in target.items() if key not in _OLD_OF_TARGETS and value != ""}
    return made | {
        "datasource": DATA_SOURCE,
        "editorMode": "code",
        "range": not target["instant"],
        "legendFormat": target["legendFormat"] or "__auto",
    }


def _pruned(value: Any, inside: str = "") -> Any:
    """Without nulls; but the lowest step of thresholds keeps its own, which says "from the lowest on"."""
    if isinstance(value, dict):
        return {
            key: _pruned(each, key)
            for key, each in value.items()
            if each is not None or (inside == "steps" and key == _OLD_STEP)
        }
    if isinstance(value, list):
        return [_pruned(each, inside) for each in value]
    return value
