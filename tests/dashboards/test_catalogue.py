"""The catalogue and what is asked agree both ways: nothing unknown is asked, nothing exposed is left unseen."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml

from queuewatch_dashboards.command import RULES as RULE_FILES
from queuewatch_dashboards.command import documents
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.queries import EXPOSED, OF_PROMETHEUS
from queuewatch_schemas.metrics import Kind, Metric
from support.grafana import asked_by, filled, questions, variables

UNSEEN: dict[str, str] = {}
"""Exposed metrics that no board shows and no alert watches, each with the reason."""
OWN = {name: frozenset({"job", "instance"}) for name in OF_PROMETHEUS}
ALERTS = "ALERTS"
"""Prometheus' own series of what fires: its labels are those of alerts, not of the catalogue."""
CHOSEN = dict.fromkeys(("queue", "channel", "definition", "reference", "window", "site", "group"), "x")
SERIES: dict[str, Metric] = {name: metric for metric in EXPOSED for name in metric.series}


class Expression(NamedTuple):
    """What is asked, and where."""

    where: str
    text: str


class Rule(NamedTuple):
    """A rule of Prometheus; `record` is "" of an alert."""

    record: str
    expression: Expression


def _boards_and_rules() -> tuple[list[Expression], list[Rule]]:
    shown: list[Expression] = []
    rules: list[Rule] = []
    for name, text in documents(Configuration()).items():
        if name.endswith(".json"):
            board = json.loads(text)
            shown += [Expression(f"{name}: {each.panel}", filled(each.expression, CHOSEN)) for each in questions(board)]
            shown += [
                Expression(f"{name}: ${variable['name']}", filled(asked_by(variable)[0], CHOSEN))
                for variable in variables(board).values()
                if variable["type"] == "query"
            ]
        elif name.startswith(RULE_FILES):
            for group in yaml.safe_load(text)["groups"]:
                for rule in group["rules"]:
                    where = f"{name}: {rule.get('record') or rule['alert']}"
                    rules.append(Rule(rule.get("record", ""), Expression(where, rule["expr"])))
    return shown, rules


BOARDS, RULES = _boards_and_rules()
RECORDED = {rule.record: rule.expression for rule in RULES if rule.record}
EVERYTHING = [*BOARDS, *(rule.expression for rule in RULES)]


def _inner(node: Any) -> Iterator[Any]:
    """The expressions right inside another."""
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield inner
    yield from getattr(node, "args", None) or ()


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for inner in _inner(node):
        yield from _nodes(inner)


def _selectors(node: Any) -> Iterator[Any]:
    return (each for each in _nodes(node) if isinstance(each, promql_parser.VectorSelector))


def _labels(name: str | None) -> frozenset[str] | None:
    """The labels that a series has; None where they are not the catalogue's to say."""
    if name in OWN:
        return OWN[name]
    if name in RECORDED:
        return _given(promql_parser.parse(RECORDED[name].text))
    if name not in SERIES:
        return None
    metric = SERIES[name]
    bucket = {"le"} if metric.kind is Kind.HISTOGRAM and name.endswith("_bucket") else set()
    return frozenset({*metric.labels, *bucket, "job", "instance"})


def _given(node: Any) -> frozenset[str] | None:
    """The labels that an expression's answers may have; None where that is not known."""
    if isinstance(node, promql_parser.VectorSelector):
        return _labels(node.name)
    if isinstance(node, promql_parser.AggregateExpr):
        inner, modifier = _given(node.expr), node.modifier
        if modifier is None:
            return frozenset()
        if modifier.type == promql_parser.AggModifierType.By:
            return frozenset(modifier.labels)
        return None if inner is None else inner - set(modifier.labels)
    if isinstance(node, promql_parser.Call) and node.func.name in ("label_replace", "label_join"):
        inner = _given(node.args[0])
        return None if inner is None else inner | {node.args[1].val}
    parts = [_given(inner) for inner in _inner(node)]
    if isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None:
        parts.append(frozenset(node.modifier.group_labels or ()))
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if len(known) == len(parts) else None


@pytest.mark.parametrize("asked", EVERYTHING, ids=lambda asked: asked.where)
def test_nothing_unknown_is_asked(asked: Expression) -> None:
    """Every series is exposed or recorded, and every label that is matched or kept is one that its series have."""
    parsed = promql_parser.parse(asked.text)
    for selector in _selectors(parsed):
        if selector.name == ALERTS:
            continue
        labels = _labels(selector.name)
        assert labels is not None, f"{selector.name} is neither exposed nor recorded"
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels, f"{selector.name} has no label {matched - labels}"
    for node in _nodes(parsed):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            given = _given(node.expr)
            if given is not None and node.modifier.type == promql_parser.AggModifierType.By:
                assert set(node.modifier.labels) <= given, f"{set(node.modifier.labels) - given} in {node.prettify()}"


def _seen() -> set[str]:
    """The series that boards show and alerts watch, through recording rules."""
    left = [*BOARDS, *(rule.expression for rule in RULES if not rule.record)]
    seen: set[str] = set()
    while left:
        for selector in _selectors(promql_parser.parse(left.pop().text)):
            if selector.name not in seen:
                seen.add(selector.name)
                left += [RECORDED[selector.name]] if selector.name in RECORDED else []
    return seen


def test_nothing_exposed_is_left_unseen() -> None:
    seen = _seen()
    unseen = {metric.name for metric in EXPOSED if not seen & set(metric.series)}
    assert unseen == UNSEEN.keys()


def test_nothing_is_recorded_in_vain() -> None:
    """But for whole counters, whose parts are recorded together."""
    in_vain = RECORDED.keys() - _seen()
    parts = {name for name in in_vain if name.endswith(("_sum:max", "_count:max", "_bucket:max"))}
    assert in_vain == parts


@pytest.mark.parametrize("metric", EXPOSED, ids=lambda metric: metric.name)
def test_labels_with_known_values_are_matched_by_known_values(metric: Metric) -> None:
    for asked in EVERYTHING:
        for selector in _selectors(promql_parser.parse(asked.text)):
            if selector.name not in metric.series:
                continue
            for matcher in selector.matchers.matchers:
                known = metric.values.get(matcher.name)
                if known and matcher.op == promql_parser.MatchOp.Equal:
                    assert matcher.value in known, f"{asked.where}: {matcher.name}={matcher.value!r}"
