"""A whole small site, everything real: broker, worker, simulated calls, Prometheus, Alertmanager, and who hears the alerts.

Rules are built with all durations divided by `FASTER`, so that a collapse, its alerts and its end take seconds; nothing else
differs from what is deployed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import yaml
from aiokafka import AIOKafkaProducer

from integration.worker_process import ROOT, Site, WorkerProcess, command, environment, until
from queuewatch_dashboards.alerts import rule_files
from queuewatch_dashboards.configuration import Configuration
from queuewatch_streams.brokers import free_port
from support.events import SECOND, call, heartbeat

FASTER = 60
SICK = 'a|b "(EU)" \\ 🚑'
"""The queue that collapses."""
NAMES = (SICK, "a|b", '"', "\\", "(EU)", "🚑")
"""Names of queues that are easily mistaken for syntax."""
CONFIGURATION = Configuration(alerting=Configuration().alerting.scaled(1 / FASTER))


def settings() -> str:
    """The workers' TOML: short waits count, few calls are enough."""
    limits = "limits = { longest_wait_seconds = 2, calls_waiting = 5, window_minimum_calls = 10 }"
    queues = "\n".join(
        f'[queues.{json.dumps(name, ensure_ascii=False)}]\nname = "Queue {number}"\nsite = "Rome"\ngroup = "odd"\n'
        f'calendar = "always"\nshort_abandon_seconds = 1\ndefinitions = ["default", "gold"]\n{limits}'
        for number, name in enumerate(NAMES)
    )
    return f"""[timing]
grace_seconds = 7200
[definitions.default]
threshold_seconds = 1
[definitions.gold]
threshold_seconds = 2
target = 0.9
[calendars.always]
[defaults]
site = "Turin"
{queues}
"""


class Floor:
    """Calls to the oddly named queues, four a second in each, answered at once.

    The sick one's agents can be sent away and fetched back; meanwhile twice as many call it, and hang up after a while.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ended = threading.Event()
        self.deserted = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join(20)

    async def _before(self, producer: AIOKafkaProducer) -> None:
        """A few calls in the last interval that has closed, so that its figures are there."""
        half_hour = 1800 * SECOND
        at = time.time_ns() // 1000 // half_hour * half_hour - 300 * SECOND
        for queue in NAMES:
            for number in range(4):
                for kind in ("queued", "answered", "ended", "wrapped"):
                    event = call(kind, at, f"before-{number}", queue)
                    await self._send(producer, queue, event, self._site.partition(queue))

    async def _run(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._site.broker.address)
        await producer.start()
        await self._before(producer)
        waiting: list[tuple[float, str]] = []
        number = 0
        try:
            while not self._ended.is_set():
                now = time.time_ns() // 1000
                events: list[tuple[str, dict[str, Any]]] = []
                number += 1
                for queue in NAMES:
                    this = f"live-{number}"
                    if queue == SICK and self.deserted.is_set():
                        for each in range(2):
                            events.append((queue, call("queued", now, f"{this}-{each}", queue)))
                            waiting.append((time.monotonic() + 4, f"{this}-{each}"))
                        continue
                    events.append((queue, call("queued", now - SECOND // 2, this, queue)))
                    events.append((queue, call("ringing", now - SECOND // 3, this, queue)))
                    events.append((queue, call("answered", now - SECOND // 4, this, queue)))
                    events.append((queue, call("ended", now, this, queue)))
                    events.append((queue, call("wrapped", now, this, queue)))
                alone = self.deserted.is_set()
                lost = [visit for patience, visit in waiting if patience <= time.monotonic() or not alone]
                waiting = [each for each in waiting if each[1] not in lost]
                events += [(SICK, call("abandoned", now, visit, SICK)) for visit in lost]
                for queue, event in events:
                    await self._send(producer, queue, event, self._site.partition(queue))
                if number % 4 == 1:
                    for partition in range(self._site.partitions):
                        await self._send(producer, "", heartbeat(now, interval_s=5), partition)
                await asyncio.sleep(0.25)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, key: str, event: dict[str, Any], partition: int) -> None:
        await producer.send(
            self._site.topic("events"), json.dumps(event).encode(), key=key.encode() or b"source", partition=partition
        )


@dataclass
class Heard:
    """What the webhook was told: messages as Alertmanager sends them, by receiver."""

    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def alerts(self, receiver: str, status: str) -> list[dict[str, Any]]:
        """The single alerts of all messages so far that had that status (firing, resolved)."""
        return [
            alert
            for to, message in list(self.messages)
            if to == receiver
            for alert in message["alerts"]
            if alert["status"] == status
        ]


@contextlib.contextmanager
def webhook(heard: Heard) -> Iterator[int]:
    """A receiver of alerts on a port of its own; the path says who is meant."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.messages.append((self.path.strip("/"), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Program:
    """A server of Prometheus' family on loopback."""

    def __init__(self, name: str, port: int, log: Path, *arguments: str) -> None:
        self.port = port
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(arguments, cwd=log.parent, stdout=out, stderr=out)
        until(f"{name} to be ready", self._is_ready)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The JSON that it answers; parameters are posted."""
        body = urlencode(parameters).encode() if parameters else None
        with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data=body), timeout=30) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


@dataclass
class Live:
    """The whole."""

    site: Site
    worker: WorkerProcess
    floor: Floor
    prometheus: Program
    alertmanager: Program
    heard: Heard

    def query(self, expression: str, *, ago: float = 0) -> list[dict[str, Any]]:
        """An instant query's vector, asked as of so many seconds ago; a scalar as one element.

        Fails with what Prometheus says.
        """
        try:
            answer = self.prometheus.ask("/api/v1/query", query=expression, time=str(time.time() - ago))
        except OSError as error:
            body = getattr(error, "read", lambda: b"")()
            raise AssertionError(f"{expression}\n{error}\n{body.decode()}") from None
        data = answer["data"]
        assert not answer.get("warnings"), answer["warnings"]
        return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]

    def firing(self) -> set[tuple[str, str, str]]:
        """Name, severity and queue of what fires in Prometheus."""
        alerts = self.prometheus.ask("/api/v1/alerts")["data"]["alerts"]
        return {_named(each["labels"]) for each in alerts if each["state"] == "firing"}

    def muted(self) -> set[tuple[str, str, str]]:
        """What Alertmanager holds back since something else explains it."""
        alerts = self.alertmanager.ask("/api/v2/alerts")
        return {_named(each["labels"]) for each in alerts if each["status"]["inhibitedBy"]}

    def told(self, status: str, receiver: str = "supervisors") -> set[tuple[str, str, str]]:
        """What the webhook heard of."""
        return {_named(each["labels"]) for each in self.heard.alerts(receiver, status)}

    def until(self, what: str, is_so: Callable[[], Any]) -> Any:
        """Wait, and say what was going on where it does not come."""
        try:
            return until(what, is_so, pause=0.3)
        except AssertionError as error:
            state = f"firing {sorted(self.firing())}\nmuted {sorted(self.muted())}\ntold {sorted(self.told('firing'))}"
            raise AssertionError(f"{error}\n{state}\nresolved {sorted(self.told('resolved'))}") from None


def _named(labels: dict[str, str]) -> tuple[str, str, str]:
    return labels["alertname"], labels["severity"], labels.get("queue", "")


def _faster(text: str) -> str:
    """Alertmanager's own waits, shortened.

    The first message waits for two evaluations, as it does where it is deployed; later ones come as soon as they can, which
    leaves an explanation less time to be known before what it explains is told than in earnest.
    """
    later = re.sub(r"(group_interval|repeat_interval): \w+", r"\1: 1s", text)
    return re.sub(r"group_wait: 30s", "group_wait: 2s", later)


@contextlib.contextmanager
def live(site: Site, prometheus: str, alertmanager: str) -> Iterator[Live]:
    """Start everything, the worker caught up and seen by Prometheus; end everything."""
    folder, heard = site.folder, Heard()
    with contextlib.ExitStack() as ending:
        ending.callback(site.close)
        worker = site.create_topics().worker().until_ready()
        port = ending.enter_context(webhook(heard))
        alerts = _alertmanager(folder, alertmanager, port)
        ending.callback(alerts.stop)
        watcher = _prometheus(folder, prometheus, worker.port, alerts.port)
        ending.callback(watcher.stop)
        simulated = ("--seed", "7", "--queues", "3", "--calls-per-hour", "600", "--flat", "--eventful", "--heartbeats")
        simulator = subprocess.Popen(
            command("simulate", "--config", str(site.toml), *simulated, "--real-time", "--kafka"),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=ending.enter_context((folder / "simulator.log").open("wb")),
        )
        ending.callback(simulator.wait, 30)
        ending.callback(simulator.terminate)
        floor = Floor(site)
        floor.start()
        ending.callback(floor.stop)
        found = Live(site, worker, floor, watcher, alerts, heard)
        wanted = {*NAMES, "sales", "support", "billing"}

        def all_there() -> bool:
            assert simulator.poll() is None, (folder / "simulator.log").read_text()[-3000:]
            return wanted <= {each["metric"]["queue"] for each in found.query("queuewatch_queue_info")}

        found.until("all queues in Prometheus", all_there)
        yield found


def _alertmanager(folder: Path, program: str, webhook_port: int) -> Program:
    """With receivers filled in by `configure`, each under a path of its own."""
    text = ""
    for who in ("supervisors", "operators", "watchdog"):
        filled = subprocess.run(
            [str(ROOT / "deploy/alertmanager/configure")],
            env={
                "PATH": os.environ["PATH"],
                f"QUEUEWATCH_{who.upper()}": "webhook",
                "QUEUEWATCH_WEBHOOK_URL": f"http://127.0.0.1:{webhook_port}/{who}",
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        document = yaml.safe_load(filled)
        mine = next(each for each in document["receivers"] if each["name"] == who)
        whole = document if not text else yaml.safe_load(text)
        whole["receivers"] = [mine if each["name"] == who else each for each in whole["receivers"]]
        text = yaml.safe_dump(whole)
    path = folder / "alertmanager.yml"
    path.write_text(_faster(text))
    port = free_port()
    return Program(
        "Alertmanager", port, folder / "alertmanager.log", program, f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=", "--log.level=warn",
    )  # fmt: skip


def _prometheus(folder: Path, program: str, worker_port: int, alertmanager_port: int) -> Program:
    """As deployed, with these targets, looking each second."""
    port = free_port()
    document = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    document["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
    document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]
    for job in document["scrape_configs"]:
        at = worker_port if job["job_name"] == CONFIGURATION.selectors.job else port
        job["static_configs"] = [{"targets": [f"127.0.0.1:{at}"]}]
    (folder / "rules").mkdir()
    for name, text in rule_files(CONFIGURATION).items():
        (folder / "rules" / name).write_text(text)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
    return Program(
        "Prometheus", port, folder / "prometheus.log", program, f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        "--rules.alert.resend-delay=10s",  # what it tells before it has found Alertmanager is lost, and told again
    )  # fmt: skip
