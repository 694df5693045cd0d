"""Every board against the rules that Grafana's own linter has, and against Grafana's own types."""

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from click.testing import CliRunner

from dashboards.promql import Asked, Series, prove
from queuewatch_dashboards.boards import BOARDS, boards
from queuewatch_dashboards.boards.kit import Kit
from queuewatch_dashboards.command import BANNER, documents
from queuewatch_dashboards.configuration import Configuration, Thresholds, Uids, read
from queuewatch_dashboards.grafana import board as as_json
from queuewatch_dashboards.queries import EXPOSED, Queries
from queuewatch_dashboards.texts import LANGUAGES
from queuewatch_schemas.metrics import METRICS, Family
from queuewatch_schemas.metrics import metric as of_catalogue
from queuewatch_streams.cli import main
from support.grafana import Question, asked_by, filled, panels, percent_encoded, questions, variables

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says which of its models it likes better
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

Json = dict[str, Any]
KIT = Kit(Configuration())
MADE: dict[str, Json] = {name: as_json(made, BANNER) for name, made in boards(KIT).items()}
QUESTIONS = [question for made in MADE.values() for question in questions(made)]
CHOSEN = {
    "queue": "sales", "channel": "voice", "definition": "default", "reference": "gold", "window": "15m", "site": ".*",
    "group": ".*",
}  # fmt: skip
LABELS = {metric.full: metric.labels for metric in EXPOSED}
UNITS = {"short", "none", "s", "percentunit", "dateTimeAsLocal", "cps", "Bps"}
"""Grafana's own names of units, those that its linter knows."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

each_board = pytest.mark.parametrize("made", MADE.values(), ids=MADE.keys())


def shown(made: Json) -> Iterator[Json]:
    """The panels that show something."""
    return (panel for panel in panels(made) if panel["type"] != "row")


# ------------------------------------------------------------------------------------------------ the rules of the linter
#
# Its job and instance rules (template-job, template-instance, target-job, target-instance) are left out on purpose: a queue
# moves between workers, so a board by instance would show a part of it; and names begin with queuewatch_, so no job is needed
# to find them.  Who scrapes several applications sets `selectors.matchers`.


@each_board
def test_the_data_source_is_chosen_once_for_everything(made: Json) -> None:
    chosen = variables(made)["datasource"]
    assert (chosen["type"], chosen["query"], chosen["label"]) == ("datasource", "prometheus", "Data source")
    for panel in shown(made):
        assert panel["datasource"] == SOURCE, panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel.get("targets", ())), panel["title"]
    for name, variable in variables(made).items():
        assert name == "datasource" or variable["datasource"] == SOURCE
    assert made["annotations"] == {"list": []}


@each_board
def test_variables_ask_anew_when_the_time_changes(made: Json) -> None:
    asking = [each for each in variables(made).values() if each["type"] == "query"]
    assert all(each["refresh"] == 2 for each in asking)
    assert all(each["label"] and each["definition"] == each["query"]["query"] for each in asking)


@each_board
def test_variables_ask_what_prometheus_understands(made: Json) -> None:
    for variable in variables(made).values():
        if variable["type"] == "query":
            series, label = asked_by(variable)
            selector = promql_parser.parse(filled(series, CHOSEN))
            assert isinstance(selector, promql_parser.VectorSelector) and selector.name
            assert label in of_catalogue(selector.name).labels


@each_board
def test_every_panel_has_a_title_a_description_and_a_unit(made: Json) -> None:
    for panel in shown(made):
        assert panel["title"] and panel["description"], panel
        if panel["type"] != "text":
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
            overrides = [
                each["value"]
                for override in panel["fieldConfig"]["overrides"]
                for each in override["properties"]
                if each["id"] == "unit"
            ]
            assert set(overrides) <= UNITS, panel["title"]


@each_board
def test_every_panel_asks_something(made: Json) -> None:
    for panel in shown(made):
        assert panel["type"] == "text" or panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(letters) == len(set(letters))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"{question.board}: {question.panel}")
def test_every_query_is_promql(question: Question) -> None:
    """With the variables filled in; promql-parser checks the types too."""
    promql_parser.parse(filled(question.expression, CHOSEN))


def test_rates_take_grafanas_interval_and_counters_are_only_asked_for_their_rates() -> None:
    """Also increases, so that no bar is shorter than four scrapes."""
    for question in QUESTIONS:
        text = question.expression
        ranges = re.findall(r"\b(?:rate|irate|increase)\([^\[\]]*\[([^\]]+)\]", text)
        assert set(ranges) <= {"$__rate_interval"}, question
        counters = re.findall(r"[\w:]+(?:_total|_bucket|_sum|_count):max\b", text)
        assert len(re.findall(r"\b(?:rate|increase)\((?:queue|partition):", text)) == len(counters), question
        raw = re.findall(
            r"\b(queuewatch_\w+_total|queuewatch_\w+(?=_bucket))", re.sub(r"(?:queue|partition):[\w:]+", "", text)
        )
        assert not [name for name in raw if {"queue", "partition"} & set(LABELS[name])], question


@each_board
def test_no_board_can_be_edited_where_it_is_shown(made: Json) -> None:
    assert made["editable"] is False
    assert BANNER in made["description"]


# ------------------------------------------------------------------------------------------------ what a clean import needs


@each_board
def test_a_board_imports_cleanly(made: Json) -> None:
    assert made["schemaVersion"] == 42
    assert made["id"] is None
    assert not {"__inputs", "rows", "style", "hideControls", "sharedCrosshair"} & made.keys()
    numbers = [panel["id"] for panel in panels(made)]
    assert len(numbers) == len(set(numbers))
    for panel in shown(made):
        assert panel["pluginVersion"], panel["title"]
        assert not {"span", "minSpan", "columns", "fontSize", "height", "editable"} & panel.keys(), panel["title"]


def test_boards_have_stable_uids_of_their_own() -> None:
    uids = {name: made["uid"] for name, made in MADE.items()}
    assert uids == Uids().model_dump()
    assert uids["floor"] == "queuewatch-floor"


@each_board
def test_panels_lie_beside_each_other(made: Json) -> None:
    """Within the grid, and no two on the same place."""
    taken: dict[tuple[int, int], str] = {}
    for panel in panels(made):
        place = panel["gridPos"]
        assert 0 < place["w"] <= 24 - place["x"], panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                assert other == panel["title"], f"{other} and {panel['title']}"


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _nulls(each, f"{path}/{key}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _nulls(each, f"{path}/{index}")
    elif value is None:
        yield path


@each_board
def test_nothing_is_null_but_the_id_and_the_lowest_of_steps(made: Json) -> None:
    assert all(path == "/id" or path.endswith("/steps/0/value") for path in _nulls(made))


def _lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What the other side does not have, or has otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                yield f"{path}/{key}: lost"
            else:
                yield from _lost(value, theirs[key], f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(one, other, f"{path}/{index}")
    elif ours != theirs:
        yield f"{path}: {ours!r} became {theirs!r}"


@each_board
def test_grafanas_own_types_read_a_board_and_lose_nothing(made: Json) -> None:
    """The foundation SDK is generated from Grafana's schemas; options and custom fields are read by the panel's own type."""
    register_default_plugins()
    back = json.loads(json.dumps(Dashboard.from_json(json.loads(json.dumps(made))), cls=JSONEncoder))
    assert list(_lost(made, back)) == ["/id: lost"]
    options = [getattr(panel, "options", None) for panel in Dashboard.from_json(made).panels or ()]
    assert any(options) and not any(isinstance(each, dict) for each in options)


# --------------------------------------------------------------------------------------------------------- boards are honest


def test_levels_of_several_queues_are_shown_within_one_definition() -> None:
    """On the board that compares: each question about levels names one queue, or one definition."""
    comparison = MADE["comparison"]
    for name in ("definition", "reference", "queue"):
        assert not variables(comparison)[name]["multi"] and not variables(comparison)[name]["includeAll"]
    for question in questions(comparison):
        for selector in _selectors(promql_parser.parse(filled(question.expression, CHOSEN))):
            metric = of_catalogue(selector.name)
            if metric.family is Family.LEVEL and "queue" in metric.labels:
                one = {matcher.name for matcher in selector.matchers.matchers} & {"queue", "definition"}
                assert one, question


def test_a_definition_is_never_compared_with_itself() -> None:
    """What is compared with is another definition of the same queue."""
    series, label = asked_by(variables(MADE["comparison"])["reference"])
    assert label == "definition"
    asked = filled(series, {"queue": "sales", "definition": "gold"})
    assert set(re.findall(r"\w+[!=]~`[^`]*`", asked)) == {"definition!~`gold`", "queue=~`sales`"}


def test_a_definition_is_always_exactly_one() -> None:
    """On no board can levels of several definitions be chosen into one line."""
    for made in MADE.values():
        for name in ("definition", "reference"):
            assert name not in variables(made) or not variables(made)[name]["multi"]


@each_board
def test_what_is_unknown_is_called_so(made: Json) -> None:
    for panel in shown(made):
        if panel["type"] in ("stat", "table"):
            assert panel["fieldConfig"]["defaults"]["noValue"] == "unknown", panel["title"]
    assert all("or vector(0)" not in question.expression for question in questions(made))


def test_panels_about_history_say_where_corrections_are() -> None:
    texts = " ".join(panel["description"] for panel in shown(MADE["capacity"]))
    assert "queuewatch.intervals" in texts
    notes = [panel["options"]["content"] for panel in shown(MADE["capacity"]) if panel["type"] == "text"]
    assert any("queuewatch.intervals" in note for note in notes)


def test_a_table_names_a_field_for_each_of_its_questions() -> None:
    """Grafana calls the answers of question B `Value #B`, and of an only one `Value`."""
    for made in MADE.values():
        for panel in shown(made):
            if panel["type"] == "table":
                letters = [target["refId"] for target in panel["targets"]]
                fields = {"Value"} if len(letters) == 1 else {f"Value #{letter}" for letter in letters}
                named = panel["transformations"][1]["options"]["renameByName"]
                assert {field for field in named if field.startswith("Value")} == fields, panel["title"]


def test_a_table_shows_its_columns_and_no_other_label() -> None:
    """What is not hidden is named: Grafana shows every other label of an answer as a column."""
    for made in MADE.values():
        for panel in shown(made):
            if panel["type"] == "table":
                options = panel["transformations"][1]["options"]
                kept = {field for field in options["renameByName"] if not field.startswith("Value")}
                hidden = options["excludeByName"].keys()
                assert not kept & hidden, panel["title"]
                assert kept | hidden >= {label for metric in METRICS for label in metric.labels}, panel["title"]
                assert options["indexByName"].keys() == options["renameByName"].keys()


def test_rows_of_a_table_are_put_together_by_the_same_labels(promtool: str, tmp_path: Path) -> None:
    """Grafana merges rows by the labels that all answers share: two rows of one queue must not fall together.

    Each question of a table is asked over a small world; all must answer by the labels that the table shows, or more.
    """
    world = list(_world())
    asked = []
    for made in MADE.values():
        for panel in shown(made):
            if panel["type"] != "table":
                continue
            columns = panel["transformations"][1]["options"]["renameByName"]
            keys = [name for name in ("queue", "channel", "definition", "source", "site", "group") if name in columns]
            for target in panel["targets"]:
                query = filled(target["expr"], CHOSEN)
                of = [key for key in keys if key not in ("site", "group") or "queue" not in keys]
                asked.append(Asked(f"count by ({', '.join(of)}) ({query}) > 1", 600, []))
    prove(promtool, tmp_path, world, asked, recordings=Queries(Configuration()).recordings())


def _world() -> Iterator[Series]:
    """Two queues, the first under two definitions, on one worker; every gauge of the catalogue that has a queue."""
    for queue, definitions in (("sales", ("default", "gold")), ("support", ("default",))):
        own = {"queue": queue, "name": queue, "site": "Rome", "group": "", "timezone": "UTC", "instance": "w1"}
        yield Series("queuewatch_queue_info", own, [1] * 12)
        for definition in definitions:
            level = {"queue": queue, "channel": "voice", "definition": definition, "instance": "w1"}
            yield Series("queuewatch_service_level_target_ratio", level, [0.8] * 12)
            for window in ("15m", "last_interval"):
                for name, value in (("ratio", 0.5), ("met_calls", 1.0), ("counted_calls", 2.0)):
                    yield Series(f"queuewatch_service_level_{name}", {**level, "window": window}, [value] * 12)
        figure = {"queue": queue, "channel": "voice", "instance": "w1"}
        for name in ("calls_waiting", "longest_wait_seconds"):
            yield Series(f"queuewatch_{name}", figure, [3] * 12)
        for window in ("15m", "last_interval"):
            for name in ("window_offered_calls", "abandon_ratio", "answer_wait_mean_seconds"):
                yield Series(f"queuewatch_{name}", {**figure, "window": window}, [4] * 12)
    for definition in ("default", "gold"):
        told = {
            "definition": definition,
            "preset": "negative",
            "threshold": "20",
            "short": "",
            "attribution": "arrival",
        }
        labels = {**told, "clock": "queue", "diverts": "none", "instance": "w1"}
        yield Series("queuewatch_service_level_definition_info", labels, [1] * 12)


def _selectors(expression: Any) -> Iterator[Any]:
    """Every selector in an expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        inner = getattr(expression, name, None)
        if inner is not None:
            yield from _selectors(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from _selectors(inner)


# ---------------------------------------------------------------------------------------------------------- words and links


def test_every_language_has_every_word_and_no_word_is_dead() -> None:
    kit = Kit(Configuration())
    for made in boards(kit).values():
        as_json(made, BANNER)
    for language, texts in LANGUAGES.items():
        assert texts.keys() == kit.texts.used, language


@each_board
def test_links_percent_encode_the_names_they_carry(made: Json) -> None:
    addresses = [
        link["url"]
        for panel in shown(made)
        for override in panel.get("fieldConfig", {}).get("overrides", ())
        for each in override["properties"]
        if each["id"] == "links"
        for link in each["value"]
    ]
    uids = set(Uids().model_dump().values())
    for address in addresses:
        assert re.match(r"/d/([\w-]+)\?", address)[1] in uids  # type: ignore[index]
        carried = re.findall(r"\$\{(?!__url_time_range)[^}]*\}", address)
        assert carried and all(each.endswith(":percentencode}") for each in carried), address


def test_a_name_survives_the_address_of_a_board() -> None:
    """What Grafana puts into the address is one parameter, and reads back as the name."""
    from urllib.parse import parse_qs, urlsplit

    address = Kit.address("queuewatch-queue").replace("${__url_time_range}", "from=now-1h&to=now")
    for name in ("a|b", '"', "\\", "(EU)", "🚑 emergency", "a&b=c#d", "100 %", "+", "a/b?c"):
        link = address.replace("${__value.raw:percentencode}", percent_encoded(name))
        assert parse_qs(urlsplit(link).query)["var-queue"] == [name]


# ----------------------------------------------------------------------------------------------------------- the command


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["boards", *arguments])
    return done.exit_code, done.output


def test_what_is_committed_is_what_would_be_built(deploy: Path) -> None:
    status, output = run("check", "--into", str(deploy))
    assert status == 0, output


def test_what_was_built_is_as_it_would_be_built(tmp_path: Path) -> None:
    assert run("build", "--into", str(tmp_path))[0] == 0
    assert run("check", "--into", str(tmp_path))[0] == 0
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == documents(Configuration()).keys()
    assert {f"grafana/boards/{name}.json" for name in BOARDS} < written


def test_an_edited_a_missing_and_a_strange_file_are_drift(tmp_path: Path) -> None:
    run("build", "--into", str(tmp_path))
    folder = tmp_path / "grafana" / "boards"
    edited = folder / "floor.json"
    edited.write_text(edited.read_text().replace("Floor: all queues", "Our floor"))
    (folder / "queue.json").unlink()
    (folder / "mine.json").write_text("{}")
    status, output = run("check", "--into", str(tmp_path))
    assert status == 1
    assert "floor.json: line " in output and "Our floor" in output
    assert "queue.json: is missing" in output
    assert "mine.json: is not generated" in output
    assert "queuewatch boards build" in output
    assert run("build", "--into", str(tmp_path))[0] == 0
    assert run("check", "--into", str(tmp_path))[0] == 0


def test_settings_change_what_is_built(tmp_path: Path) -> None:
    settings = tmp_path / "boards.toml"
    settings.write_text('interval_minutes = 15\n[selectors.matchers]\ncluster = "rome"\n[uids]\nfloor = "our-floor"\n')
    assert run("build", "--settings", str(settings), "--into", str(tmp_path / "out"))[0] == 0
    floor = json.loads((tmp_path / "out" / "grafana" / "boards" / "floor.json").read_text())
    assert floor["uid"] == "our-floor"
    assert 'queuewatch_calls_waiting{cluster=\\"rome\\"' in json.dumps(floor)
    assert read(settings).interval_minutes == 15
    assert run("check", "--into", str(tmp_path / "out"))[0] == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[thresholds]\nlag = 3\n", "thresholds.lag: Extra inputs are not permitted"),
        ("[uids]\nfloor = 'a b'\n", "uids.floor"),
        ("interval_minutes = 20\n", "interval_minutes"),
        ("[times]\nrefresh = 'often'\n", "is no duration"),
        ("[links]\ngrafana = 'grafana'\n", "is no address"),
        ("[selectors.matchers]\n'a-b' = 'c'\n", "is no name of a label"),
        ("= 3", "is no TOML"),
    ],
)
def test_settings_that_cannot_be_are_told(text: str, problem: str, tmp_path: Path) -> None:
    settings = tmp_path / "boards.toml"
    settings.write_text(text)
    status, output = run("check", "--settings", str(settings))
    assert status == 2
    assert "boards.toml" in output and problem in output
    assert run("check", "--settings", str(tmp_path / "none.toml"))[0] == 2


def test_thresholds_reach_the_boards_that_show_them() -> None:
    kit = Kit(Configuration(thresholds=Thresholds(event_delay_seconds=7, checkpoint_age_seconds=77)))
    text = json.dumps(as_json(boards(kit)["pipeline"], BANNER))
    assert "vector(7.0)" in text and "vector(77.0)" in text
