"""The rule files: Prometheus takes them, every name in them exists, every alert has its words and its heading."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from queuewatch_dashboards.alerts import alerts, groups, rule_files
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.queries import EXPOSED, OF_PROMETHEUS, SCRAPED
from queuewatch_schemas.config import WINDOWS
from queuewatch_schemas.metrics import Kind

ALERTS = alerts(Configuration())
RECORDED = {each.name: each.expression for group in groups(Configuration()) for each in group.recordings}
KNOWN = {
    series: {*metric.labels, *(("le",) if series.endswith("_bucket") else ()), *SCRAPED}
    for metric in EXPOSED
    for series in metric.series
} | {name: set(SCRAPED) for name in OF_PROMETHEUS}
OWN = {"ALERTS": {"alertname", "severity", "alertstate"}}
"""Prometheus' own series of alerts, by which what was firing is held."""


def selectors(node: Any) -> Iterator[promql.VectorSelector]:
    """Every selector of a parsed expression."""
    if isinstance(node, promql.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
        below = getattr(node, name, None)
        if below is not None and not isinstance(below, str):
            yield from selectors(below)
    for each in getattr(node, "args", None) or ():
        yield from selectors(each)


def expressions() -> list[tuple[str, str]]:
    return [*RECORDED.items(), *((f"{each.name} {each.severity}", each.expression) for each in ALERTS)]


@pytest.mark.parametrize(("name", "expression"), expressions(), ids=lambda each: str(each)[:60])
def test_rules_name_only_what_exists(name: str, expression: str) -> None:
    """Metrics of the catalogue with labels of their own, recorded series, and Prometheus' own."""
    found = list(selectors(promql.parse(expression)))
    assert found or expression == "vector(1)"
    for selector in found:
        assert selector.name in KNOWN | RECORDED | OWN, selector.name
        known = KNOWN.get(selector.name) or OWN.get(selector.name)
        for matcher in selector.matchers.matchers:
            assert known is None or matcher.name in known, (selector.name, matcher.name)


def test_every_recorded_series_of_the_alerts_is_used() -> None:
    """By an alert or by another recording; what nobody reads is not recorded."""
    texts = "\n".join(text for _, text in expressions())
    own = [each.name for each in groups(Configuration())[1].recordings]
    assert [name for name in own if len(re.findall(re.escape(name) + r"(?![:\w])", texts)) < 1] == []


def test_no_alert_of_a_queue_or_partition_tells_the_worker() -> None:
    """`instance` is in the labels only where the alert is about a worker."""
    told = {each.name for each in ALERTS if "instance" in each.by or "job" in each.by}
    assert told == {"QueuewatchDown", "QueuewatchNotReady", "QueuewatchCheckpointsOld"}


def test_every_alert_but_the_watchdog_waits_and_outlasts_a_move() -> None:
    """`keep_firing_for` is longer than a worker's move may take."""
    alerting = Configuration().alerting
    for each in ALERTS:
        if each.name != "Watchdog":
            assert each.lasts > 0
            assert each.keeps > alerting.move


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: f"{each.name}-{each.severity}")
def test_every_alert_has_its_words_and_links(alert: Any) -> None:
    """Severity, audience, summary, description, runbook and board; those of queues name theirs."""
    rule = alert.rule()
    assert rule["labels"]["severity"] in {"critical", "warning", "info", "none"}
    assert rule["labels"]["audience"] in {"floor", "pipeline"}
    assert all(rule["annotations"][each] for each in ("summary", "description", "runbook_url", "dashboard_url"))
    if alert.audience == "floor":
        assert {"queue", "channel", "site", "group", "source"} <= set(alert.by)
        assert "$labels.queue" in alert.summary
        assert "$labels.queue | urlquery" in alert.board
    if "definition" in alert.by and alert.audience == "floor":
        assert "service_level_definition_info" in alert.description


def test_every_alert_has_its_heading_in_the_runbook_and_every_heading_its_alert(deploy: Path) -> None:
    """With what it means, what to look at first, what to do, and when it is false."""
    parts = re.split(r"^## ", (deploy / "runbook.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    headings = {part.splitlines()[0]: part for part in parts}
    assert set(headings) == {each.name for each in ALERTS}
    for name, text in headings.items():
        for what in ("Means", "Look first", "Do", "False when"):
            assert text.count(f"- **{what}**") == 1, (name, what)


def test_prometheus_takes_the_deployed_rules_and_configuration(promtool: str, deploy: Path, tmp_path: Path) -> None:
    """`promtool check` of what lies in deploy/, and of what is generated now."""
    for name, text in rule_files(Configuration()).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    rules = [*sorted((deploy / "prometheus/rules").glob("*.yml")), *sorted(tmp_path.glob("*.yml"))]
    assert len(rules) == 4
    for command in (["rules", *map(str, rules)], ["config", str(deploy / "prometheus/prometheus.yml")]):
        done = subprocess.run([promtool, "check", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_scrape_job_is_the_one_that_rules_look_for(deploy: Path) -> None:
    """Else QueuewatchDown would never fire."""
    document = yaml.safe_load((deploy / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    assert Configuration().selectors.job in {each["job_name"] for each in document["scrape_configs"]}
    assert document["global"]["scrape_interval"] == document["global"]["evaluation_interval"]
    every = int(document["global"]["evaluation_interval"].removesuffix("s"))
    assert Configuration().alerting.moment >= 3 * every, "longer than two scrapes and a slow one"


def test_other_windows_and_matchers_give_rules_that_prometheus_takes(promtool: str, tmp_path: Path) -> None:
    """Whatever of the configuration is set otherwise."""
    content = {"selectors": {"job": 'q"w', "matchers": {"cluster": 'r|"\\'}}, "windows": {"rolling": "5m"}}
    for name, text in rule_files(Configuration.model_validate(content)).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    paths = [str(each) for each in tmp_path.glob("*.yml")]
    done = subprocess.run([promtool, "check", "rules", *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_windows_and_kinds_are_those_of_the_catalogue() -> None:
    """No window that does not exist is asked for, and nothing but counters and distributions is recorded by the queries."""
    asked = {
        matcher.value
        for _, text in expressions()
        for selector in selectors(promql.parse(text))
        for matcher in selector.matchers.matchers
        if matcher.name == "window"
    }
    assert asked <= set(WINDOWS)
    gauges = {metric.full for metric in EXPOSED if metric.kind is Kind.GAUGE}
    counters = {name.split(":")[1] for name in RECORDED if name.endswith(":max")}
    assert not counters & gauges
