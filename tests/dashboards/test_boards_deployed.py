"""What makes the boards appear by themselves: provisioning and compose.  No Grafana and no Docker runs here."""

import json
from pathlib import Path
from typing import Any

import yaml

from queuewatch_dashboards.command import BOARDS, RULES
from queuewatch_dashboards.configuration import Configuration


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def mounted(deploy: Path, service: dict[str, Any]) -> dict[str, Path]:
    """The folders and files of the deployment that a service sees, by where it sees them."""
    pairs = [volume.rsplit(":", 2) for volume in service["volumes"] if volume.endswith(":ro")]
    return {inside: deploy / outside.removesuffix("}").rsplit(":-", 1)[-1] for outside, inside, _ in pairs}


def test_everything_that_compose_mounts_is_there(deploy: Path) -> None:
    services = read(deploy / "compose.yaml")["services"]
    for name, service in services.items():
        for inside, outside in mounted(deploy, service).items():
            assert outside.exists(), f"{name} mounts {outside} as {inside}"


def test_grafana_reads_boards_where_compose_puts_them(deploy: Path) -> None:
    grafana = read(deploy / "compose.yaml")["services"]["grafana"]
    places = mounted(deploy, grafana)
    [provider] = read(deploy / "grafana/provisioning/dashboards/queuewatch.yaml")["providers"]
    assert places[provider["options"]["path"]] == deploy / BOARDS
    assert provider["allowUiUpdates"] is False
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads((places[str(home.parent)] / home.name).read_text())["uid"] == Configuration().uids.floor


def test_grafanas_data_source_is_the_prometheus_of_compose(deploy: Path) -> None:
    services = read(deploy / "compose.yaml")["services"]
    [source] = read(deploy / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert services["grafana"]["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == read(deploy / "prometheus/prometheus.yml")["global"]["scrape_interval"]


def test_prometheus_keeps_more_than_a_year_and_reads_the_generated_rules(deploy: Path) -> None:
    prometheus = read(deploy / "compose.yaml")["services"]["prometheus"]
    assert "--storage.tsdb.retention.time=400d" in prometheus["command"]
    settings = read(deploy / "prometheus/prometheus.yml")
    assert mounted(deploy, prometheus)["/etc/prometheus"] / settings["rule_files"][0] == deploy / RULES / "*.yml"
    assert Configuration().selectors.job in [job["job_name"] for job in settings["scrape_configs"]]


def test_the_runbook_is_where_alerts_link_to(deploy: Path) -> None:
    grafana = read(deploy / "compose.yaml")["services"]["grafana"]
    path = Configuration().links.runbook.removeprefix(Configuration().links.grafana + "/")
    assert mounted(deploy, grafana)[f"/usr/share/grafana/{path}"] == deploy / "runbook.md"
