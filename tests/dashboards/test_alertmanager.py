"""Alertmanager's configuration: it is taken, its names exist, receivers are filled in, messages go where they belong."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_dashboards.alerts import groups
from queuewatch_dashboards.alerts.inhibition import explanations_first
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.rules import Alert

GROUPS = groups(Configuration())
ALERTS = [alert for group in GROUPS for alert in group.alerts]
SETTINGS = {
    "QUEUEWATCH_WEBHOOK_URL": "https://example.org/hook?a=1&b=%7B2%7D",
    "QUEUEWATCH_WEBHOOK_TOKEN_PATH": "/run/secrets/token",
    "QUEUEWATCH_SMTP_HOST": "mail.example.org:587",
    "QUEUEWATCH_SMTP_FROM": "queuewatch@example.org",
    "QUEUEWATCH_SMTP_TO": "floor@example.org, other@example.org",
    "QUEUEWATCH_SMTP_USER": "queue:watch # 1",
    "QUEUEWATCH_SMTP_PASSWORD_PATH": "/run/secrets/smtp",
    "QUEUEWATCH_SLACK_URL_PATH": "/run/secrets/slack",
    "QUEUEWATCH_SLACK_CHANNEL": "#floor",
    "QUEUEWATCH_WECOM_CORP": 'corp"\\',
    "QUEUEWATCH_WECOM_AGENT": "1000002",
    "QUEUEWATCH_WECOM_SECRET": "${QUEUEWATCH_WECOM_CORP} & \\1 'x'",
    "QUEUEWATCH_WECOM_TO": "@all",
}
DEPLOYED = Path(__file__).resolve().parents[2] / "deploy/alertmanager"
KINDS = ("webhook", "webhook-token", "email", "slack", "wecom")


@pytest.fixture
def folder(deploy: Path) -> Path:
    """Where Alertmanager's files are."""
    return deploy / "alertmanager"


def configured(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `configure` writes in this environment."""
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run([str(folder / "configure")], env=environment, capture_output=True, text=True, check=False)


def checked(amtool: str, path: Path) -> None:
    """`amtool check-config` accepts it."""
    done = subprocess.run([amtool, "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_takes_the_file_as_it_lies_there(folder: Path, amtool: str) -> None:
    """And without settings `configure` writes just that."""
    checked(amtool, folder / "alertmanager.yml")
    assert configured(folder).stdout == (folder / "alertmanager.yml").read_text(encoding="utf-8")


def test_every_receiver_can_be_filled_in_alone_and_with_others(folder: Path, amtool: str, tmp_path: Path) -> None:
    """Alertmanager takes each, and reads every setting as it was given, whatever is in it."""
    assert {each.stem for each in (folder / "receivers").glob("*.yml")} == set(KINDS)
    for named in (*KINDS, "webhook email slack wecom"):
        done = configured(folder, **SETTINGS, QUEUEWATCH_SUPERVISORS=named, QUEUEWATCH_OPERATORS="email")
        assert done.returncode == 0, done.stderr
        path = tmp_path / "alertmanager.yml"
        path.write_text(done.stdout, encoding="utf-8")
        checked(amtool, path)
        [receiver] = [each for each in yaml.safe_load(done.stdout)["receivers"] if each["name"] == "supervisors"]
        told = [text for name in named.split() for text in _filled_in(folder, name)]
        assert told
        values = set(_texts(receiver))
        assert {SETTINGS[text] for text in told} <= values
        assert all(each["send_resolved"] for kind, many in receiver.items() if kind != "name" for each in many)


def _filled_in(folder: Path, name: str) -> list[str]:
    return re.findall(r"\$\{(\w+)\}", (folder / f"receivers/{name}.yml").read_text(encoding="utf-8"))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [str(value)]


def test_a_secret_may_stand_in_a_file(folder: Path, tmp_path: Path) -> None:
    """NAME_FILE names it; the line's end is not part of it."""
    (tmp_path / "url").write_text("https://example.org/secret\n")
    done = configured(folder, QUEUEWATCH_WATCHDOG="webhook", QUEUEWATCH_WEBHOOK_URL_FILE=str(tmp_path / "url"))
    watchdog = yaml.safe_load(done.stdout)["receivers"][2]
    assert watchdog["webhook_configs"][0]["url"] == "https://example.org/secret"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"QUEUEWATCH_SUPERVISORS": "webhook"}, "QUEUEWATCH_WEBHOOK_URL is not set"),
        ({"QUEUEWATCH_SUPERVISORS": "pager"}, 'there is no receiver "pager"'),
        ({"QUEUEWATCH_SUPERVISORS": "../x"}, "is no name of a receiver"),
        ({"QUEUEWATCH_SUPERVISORS": "webhook webhook-token", **SETTINGS}, "two receivers of one kind"),
        ({"QUEUEWATCH_SUPERVISORS": "webhook", "QUEUEWATCH_WEBHOOK_URL_FILE": "/nowhere/url"}, "cannot be read"),
        ({"QUEUEWATCH_SUPERVISORS": "webhook", "QUEUEWATCH_WEBHOOK_URL": "a\nb"}, "control character"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_half_is_used(
    settings: dict[str, str], said: str, folder: Path
) -> None:
    """On standard error, with exit status 2."""
    done = configured(folder, **settings)
    assert done.returncode == 2
    assert said in done.stderr


def test_routes_and_inhibition_name_alerts_that_exist(folder: Path) -> None:
    """And labels that they have."""
    text = (folder / "alertmanager.yml").read_text(encoding="utf-8")
    named = {name for found in re.findall(r'alertname=~?"([^"]+)"', text) for name in found.split("|")}
    assert named <= {each.name for each in ALERTS}
    labels = {label for each in ALERTS for label in each.by} | {"alertname", "severity", "audience"}
    for rule in yaml.safe_load(text)["inhibit_rules"]:
        assert set(rule.get("equal", ())) <= labels


def matches(alert: Alert, matchers: list[str]) -> bool:
    """Whether all of Alertmanager's matchers hold of what an alert always says of itself."""
    said = {"alertname": alert.name, "severity": alert.severity, "audience": alert.audience}
    for matcher in matchers:
        [(label, how, value)] = re.findall(r'^(\w+)(=~?)"([^"]*)"$', matcher)
        if not (re.fullmatch(value, said[label]) if how == "=~" else said[label] == value):
            return False
    return True


def muting(folder: Path) -> set[tuple[Alert, Alert]]:
    """Which alert may mute which, by the rules of inhibition as they are deployed."""
    found = set()
    for rule in yaml.safe_load((folder / "alertmanager.yml").read_text(encoding="utf-8"))["inhibit_rules"]:
        for one in ALERTS:
            for other in ALERTS:
                same_name = "alertname" not in rule.get("equal", ()) or one.name == other.name
                if one != other and same_name and matches(one, rule["source_matchers"]):
                    found |= {(one, other)} if matches(other, rule["target_matchers"]) else set()
    return found


def test_what_mutes_an_alert_stands_before_it_in_their_group(folder: Path) -> None:
    """Else both may begin at one evaluation, and the one that is to be muted be told first."""
    pairs = muting(folder)
    assert len(pairs) > len(ALERTS)
    places = {alert: (group.name, place) for group in GROUPS for place, alert in enumerate(group.alerts)}
    for one, other in pairs:
        assert places[one][0] == places[other][0], f"{one.name} and {other.name} are evaluated at different times"
        assert places[one] < places[other], f"{one.name} ({one.severity}) stands behind {other.name} ({other.severity})"


def test_the_first_message_waits_until_explanations_are_known(folder: Path, deploy: Path) -> None:
    """For two evaluations at least: what explains an alert may need one more than the alert itself."""
    route = yaml.safe_load((folder / "alertmanager.yml").read_text(encoding="utf-8"))["route"]
    every = yaml.safe_load((deploy / "prometheus/prometheus.yml").read_text(encoding="utf-8"))["global"]
    waits, evaluates = (int(text.removesuffix("s")) for text in (route["group_wait"], every["evaluation_interval"]))
    assert waits >= 2 * evaluates


def test_alerts_that_mute_each_other_in_a_circle_are_refused() -> None:
    """No order would do for them."""
    floor = next(alert for alert in ALERTS if alert.name == "QueueNotShown")
    both = [replace(floor, audience="floor", by=(label,)) for label in ("queue", "site")]
    with pytest.raises(ValueError, match="mute each other: QueueNotShown, QueueNotShown"):
        explanations_first(both)


@settings(max_examples=20, deadline=None)
@given(st.permutations(ALERTS))
def test_any_order_of_alerts_is_brought_into_one_that_explains_first(alerts: list[Alert]) -> None:
    """All of them, each once."""
    ordered = explanations_first(alerts)
    assert sorted(map(repr, ordered)) == sorted(map(repr, alerts))
    places = {alert: place for place, alert in enumerate(ordered)}
    assert all(places[one] < places[other] for one, other in muting(DEPLOYED))


def test_what_tells_two_alerts_of_one_name_apart_tells_critical_from_warning(folder: Path) -> None:
    """The critical one mutes the warning of the very same thing, not of another."""
    [rule] = [
        each
        for each in yaml.safe_load((folder / "alertmanager.yml").read_text(encoding="utf-8"))["inhibit_rules"]
        if each["source_matchers"] == ['severity="critical"']
    ]
    for each in ALERTS:
        assert set(each.by) - {"name", "group"} <= set(rule["equal"]), each.name


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=QueueLongestWait", "audience=floor", "severity=warning"), "supervisors"),
        (("alertname=QueuewatchDown", "audience=pipeline", "severity=critical"), "operators"),
        (("alertname=Watchdog", "audience=pipeline", "severity=none"), "watchdog"),
    ],
)
def test_each_alert_goes_to_those_whom_it_concerns(
    labels: tuple[str, ...], receiver: str, folder: Path, amtool: str
) -> None:
    """By `amtool config routes test`."""
    path = folder / "alertmanager.yml"
    done = subprocess.run(
        [amtool, "config", "routes", "test", f"--config.file={path}", *labels],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == receiver, done.stderr


def test_no_secret_is_in_the_repository(folder: Path) -> None:
    """What is filled in has no default, and no address of a service stands in the files."""
    for path in folder.rglob("*.yml"):
        assert "://" not in path.read_text(encoding="utf-8"), path
