"""Everything real, from the broker to the webhook: what is asked is answered, and a collapse reaches the right people."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from dashboards.live import CONFIGURATION, NAMES, SICK, Live, live, settings
from integration.worker_process import Site
from queuewatch_dashboards.alerts import alerts, groups
from queuewatch_dashboards.alerts.queues import JUDGED
from queuewatch_dashboards.command import documents
from queuewatch_streams.brokers import Broker

EMPTY = {
    r"offset ([1-9]\d*[hdw]|\d{4,}m)|\[\d+[dw]|last_week": "it looks back for hours or weeks, and this run is short",
    r"\[\d+m:30m\]": "it sums closed intervals, and none has closed in this run",
    r"queuewatch_(source_(?!heartbeat)|wallboard_)": "it shows connectors and wallboards, and none runs here",
    r"queuewatch_balance_residual\)\) != 0$": "it shows queues whose books do not balance: there must be none",
}
"""Queries that may answer nothing here, and why."""

Queried = tuple[str, str]
"""Where a query stands, and the query."""


@pytest.fixture(scope="module")
def running(
    kafka_of_module: Broker, tmp_path_factory: pytest.TempPathFactory, prometheus: str, alertmanager: str
) -> Iterator[Live]:
    """The site, running."""
    site = Site(kafka_of_module, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("live"), settings=settings())
    with live(site, prometheus, alertmanager) as found:
        yield found


def boards() -> dict[str, dict[str, Any]]:
    """Each generated board, by its file."""
    return {name: json.loads(text) for name, text in documents(CONFIGURATION).items() if name.endswith(".json")}


def as_grafana(text: str) -> str:
    """A value as `${name:regex}` puts it."""
    return re.sub(r"[\\^$.*+?()\[\]{}|]", r"\\\g<0>", text)


def filled(expression: str, **chosen: str) -> str:
    """A panel's query as Grafana sends it, for these choices of its variables."""
    chosen = {"site": ".*", "group": ".*", "channel": "voice", "window": "15m"} | {
        name: as_grafana(value) for name, value in {"definition": "default", "reference": "gold", **chosen}.items()
    }
    text = expression.replace("$__rate_interval", "8s").replace("$__range", "60s")
    return re.sub(r"\$\{(\w+):regex\}", lambda found: chosen[found[1]], text)


def panels(board: dict[str, Any]) -> Iterator[Queried]:
    """Every query of every panel, rows' own panels too."""
    for panel in board["panels"]:
        for each in (panel, *panel.get("panels", ())):
            for target in each.get("targets", ()):
                yield f"{board['uid']}: {each['title']} {target['refId']}", target["expr"]


def may_be_empty(expression: str) -> bool:
    """Whether there is a reason why a query may answer nothing here."""
    return any(re.search(pattern, expression) for pattern in EMPTY)


def ago(expression: str) -> float:
    """When to ask: figures of closed intervals are drawn at their intervals' start, from what was known an hour after."""
    found = re.search(r"offset -(\d+)m", expression)
    return int(found[1]) * 60 if found else 0


def test_every_rule_is_evaluated_and_records_something(running: Live) -> None:
    """Without an error, and each recording rule has series."""

    def rules() -> list[dict[str, Any]]:
        groups = running.prometheus.ask("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    running.until("all rules evaluated", lambda: all(each["health"] != "unknown" for each in rules()))
    assert [each for each in rules() if each["health"] != "ok"] == []
    recorded = [each["name"] for each in rules() if each["type"] == "recording"]
    assert len(recorded) == sum(len(group.recordings) for group in groups(CONFIGURATION))
    awaited = [name for name in recorded if not may_be_empty(name)]
    running.until(f"each of {awaited} recorded", lambda: not [name for name in awaited if not running.query(name)])


def test_what_alerts_watch_is_there(running: Live) -> None:
    """The figure that each alert compares: an alert on a series that does not exist would be silent for ever.

    But for what connectors tell of, since none runs here.
    """
    figures = {each.name: each.figure for each in alerts(CONFIGURATION) if each.name != "QueuewatchCallsToldTwice"}

    def missing() -> list[str]:
        return [name for name, figure in figures.items() if not running.query(figure)]

    running.until("the figure of each alert", lambda: not missing())


def test_every_query_of_every_panel_answers(running: Live) -> None:
    """Without error, and not empty unless there is a reason."""
    asked = [(where, filled(text, queue=SICK)) for board in boards().values() for where, text in panels(board)]
    assert sum(not may_be_empty(text) for _, text in asked) > len(asked) * 0.7
    for where, text in asked:
        try:
            running.query(text)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from None

    def empty() -> list[Queried]:
        awaited = [each for each in asked if not may_be_empty(each[1])]
        return [each for each in awaited if not running.query(each[1], ago=ago(each[1]))]

    try:
        running.until("every panel to show something", lambda: not empty())
    except AssertionError:
        told = "\n".join(f"{where}\n    {text[:400]}" for where, text in empty())
        raise AssertionError(f"these panels show nothing:\n{told}") from None


def test_every_variable_offers_something(running: Live) -> None:
    """Each list of choices, and among the queues every odd name."""
    for board in boards().values():
        for variable in board["templating"]["list"]:
            if variable["type"] != "query":
                continue
            text = filled(variable["query"]["query"], queue=SICK)
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
            assert found, text
            offered = {each["metric"].get(found[2], "") for each in running.query(found[1])}
            assert offered, (board["uid"], variable["name"])
            if variable["name"] == "queue":
                assert set(NAMES) <= offered


@pytest.mark.parametrize("name", NAMES)
def test_a_queue_of_any_name_is_chosen_alone(name: str, running: Live) -> None:
    """Neither nothing nor others: what is chosen in the variable is what the panels of one queue show."""
    [board] = [each for each in boards().values() if each["uid"] == CONFIGURATION.uids.queue]
    seen = set()
    for _, text in panels(board):
        for each in running.query(filled(text, queue=name)):
            seen |= {each["metric"]["queue"]} if "queue" in each["metric"] else set()
    assert seen == {name}


def test_a_collapse_reaches_supervisors_and_its_end_too(running: Live) -> None:
    """Agents of one queue are gone: that is told, what it explains is muted, no other queue is told of, and the end is."""
    # As in earnest, where a window of a quarter of an hour takes longer to turn bad than nobody answering takes to be seen.
    long = (
        f'{JUDGED}{{definition="default"}} and on (queue) queuewatch_service_level_counted_calls{{window="15m"}} > 120'
    )
    running.until("half a minute of healthy calls", lambda: len(running.query(long)) >= len(NAMES))
    assert not [each for each in running.told("firing") if each[2] in NAMES]
    running.floor.deserted.set()
    gone = ("QueueNobodyAnswers", "critical", SICK)
    running.until("nobody answers", lambda: gone in running.told("firing"))
    waits = {("QueueLongestWait", "warning", SICK), ("QueueCallersWaiting", "warning", SICK)}
    running.until("callers wait too long", lambda: waits <= running.firing())
    running.until("abandons", lambda: ("QueueAbandonRateHigh", "critical", SICK) in running.told("firing"))
    level = ("QueueServiceLevelLow", "warning", SICK)
    running.until("the level falls", lambda: level in running.firing())
    running.until("and is muted", lambda: level in running.muted())
    assert level not in running.told("firing")
    assert {each[2] for each in running.told("firing")} & set(NAMES) == {SICK}

    [said, *_] = [each for each in running.heard.alerts("supervisors", "firing") if each["labels"]["queue"] == SICK]
    labels, annotations = said["labels"], said["annotations"]
    assert (labels["site"], labels["group"], labels["source"]) == ("Rome", "odd", "urn:test:1")
    assert "Queue 0" in annotations["summary"]
    assert annotations["runbook_url"].endswith("#" + labels["alertname"].lower())
    assert "instance" not in labels
    address = urlsplit(annotations["dashboard_url"])
    assert address.path == f"/d/{CONFIGURATION.uids.queue}"
    assert parse_qs(address.query) == {"var-queue": [SICK]}

    running.floor.deserted.clear()
    running.until("the end of it", lambda: gone in running.told("resolved"))
    spent = ("QueueDayBudgetAtRisk", "warning", SICK)  # the day does not recover so soon
    running.until("all quiet", lambda: not [each for each in running.firing() - {spent} if each[2] == SICK])


def test_the_watchdog_is_heard(running: Live) -> None:
    """By its own receiver alone."""
    running.until("the watchdog", lambda: ("Watchdog", "none", "") in running.told("firing", "watchdog"))
    assert ("Watchdog", "none", "") not in running.told("firing") | running.told("firing", "operators")
