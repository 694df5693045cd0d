"""Where an event goes, what moving its times changes, and which lines are left out: no broker needed."""

import gzip
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Configuration, KafkaSettings
from queuewatch_schemas.configuration_file import ConfigurationError
from queuewatch_schemas.times import instant
from queuewatch_streams import publish as publishing
from queuewatch_streams.kafka import client_settings, password, producer_settings
from queuewatch_streams.publish import Published, Unaddressed, UnreadableFile, address, publish, shifted, shifted_time


def event(kind: str = "call.queued", subject: str = "call-1", **data: Any) -> dict[str, Any]:
    """An event of the contract at a fixed time."""
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:pbx:1",
        "type": f"queuewatch.{kind}.v1",
        "time": "2026-11-21T09:15:02.250+08:00",
        "subject": subject,
        "data": data,
    }


times = st.builds(
    "{:%Y-%m-%dT%H:%M:%S}{}{}".format,
    st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2990, 1, 1)),
    st.sampled_from(["", ".5", ".250", ".123456", ".000000"]),
    st.sampled_from(["Z", "+08:00", "-03:30", "+00:00"]),
)


START = instant("2026-11-20T08:00:00Z")


class TestAddress:
    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            (event(queue="sales"), ("events", "sales", False)),
            (event("survey.answered", queue="sales"), ("events", "sales", False)),
            (event("queue.snapshot", "sales", complete=True, waiting=[]), ("events", "sales", False)),
            (event("queue.opened", "sales"), ("events", "sales", False)),
            (event("agent.state", "ann", state="available", queues=[]), ("agents", "ann", False)),
            (event("source.heartbeat", "urn:pbx:1", interval_s=5), ("events", "urn:pbx:1", True)),
            (event("no.such.thing", queue="sales"), ("events", "sales", False)),
        ],
        ids=lambda value: value["type"] if isinstance(value, dict) else "",
    )
    def test_each_kind_has_its_topic_and_key(self, given_: dict[str, Any], expected: tuple[str, str, bool]) -> None:
        """An unknown kind with a queue is the worker's to reject, with the reason in the dead-letter topic."""
        assert address(given_) == expected

    @pytest.mark.parametrize(
        ("given_", "why"),
        [
            ([], "not one"),
            (None, "not one"),
            (event(), r"data\.queue: is missing"),
            (event(queue=""), r"data\.queue: is missing"),
            (event(queue=7), r"data\.queue: is missing"),
            ({"type": 3, "data": None}, r"data\.queue: is missing"),
            (event("queue.opened", ""), "subject: is missing"),
        ],
    )
    def test_what_has_no_key_is_refused_with_the_reason(self, given_: object, why: str) -> None:
        """Never sent with no key: it would lie on any partition."""
        with pytest.raises(Unaddressed, match=why):
            address(given_)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["type", "subject", "data", "queue", "time", "waiting"]), inner)
            ),
        )
    )
    def test_any_json_is_addressed_or_refused(self, given_: object) -> None:
        """Nothing else is raised, whatever the line holds; moving its times likewise."""
        try:
            role, key, _ = address(given_)
            assert role in ("events", "agents")
            assert key
            assert isinstance(given_, dict)
            shifted(given_, timedelta(seconds=60))
        except Unaddressed as why:
            assert str(why)  # noqa: PT017 - both ends are right


class TestShift:
    @given(times, st.integers(min_value=-50_000_000, max_value=50_000_000))
    def test_a_time_moves_by_just_so_many_seconds_and_keeps_its_form(self, text: str, seconds: int) -> None:
        """Offset and fraction are as they were written, so nothing is rounded."""
        by = timedelta(seconds=seconds)
        try:
            moved = shifted_time(text, by)
        except OverflowError:
            return
        assert instant(moved) - instant(text) == seconds * 1_000_000
        assert moved[19:] == text[19:]
        assert shifted_time(moved, -by) == text

    def test_all_times_of_an_event_move_alike(self) -> None:
        """And nothing else changes."""
        by = timedelta(days=1, seconds=1)
        queued = event(queue="sales", entered="2026-11-21T09:15:00+08:00", due="2026-11-21T02:00:00Z", via="callback")
        assert shifted(dict(queued, data=dict(queued["data"])), by) == {
            **queued,
            "time": "2026-11-22T09:15:03.250+08:00",
            "data": {
                "queue": "sales",
                "entered": "2026-11-22T09:15:01+08:00",
                "due": "2026-11-22T02:00:01Z",
                "via": "callback",
            },
        }
        waiting = [{"call": "a", "since": "2026-11-21T09:15:00+08:00"}, {"call": "b", "since": "2026-11-21T09:16:00Z"}]
        snapshot = shifted(event("queue.snapshot", "sales", complete=True, waiting=waiting), by)
        assert [caller["since"] for caller in snapshot["data"]["waiting"]] == [
            "2026-11-22T09:15:01+08:00",
            "2026-11-22T09:16:01Z",
        ]

    @pytest.mark.parametrize(
        ("data", "place"),
        [
            ({"due": "soon"}, "due"),
            ({"entered": 3}, "entered"),
            ({"waiting": [{}]}, "waiting"),
            ({"waiting": 1}, "waiting"),
        ],
    )
    def test_a_time_that_is_none_cannot_be_moved(self, data: dict[str, Any], place: str) -> None:
        """Said with its place; half-moved events would be worse than none."""
        with pytest.raises(Unaddressed, match=f"^{place}: cannot be moved"):
            shifted(event(queue="sales", **data), timedelta(seconds=1))

    def test_the_newest_and_oldest_are_found_past_bad_lines(self, tmp_path: Path) -> None:
        """A line that will be left out has no say in the shift."""
        lines = [
            orjson.dumps({**event(queue="sales"), "time": "2026-11-21T10:00:00Z"}),
            b"{broken",
            orjson.dumps({**event(), "time": "2036-11-21T10:00:00Z"}),
            orjson.dumps({**event(queue="sales"), "time": "2026-11-21T09:00:00Z"}),
            orjson.dumps({**event(queue="sales"), "time": "yesterday"}),
        ]
        path = tmp_path / "events.ndjson"
        path.write_bytes(b"\n".join(lines))
        with path.open("rb") as source:
            assert publishing._span(str(path), source) == (
                instant("2026-11-21T09:00:00Z"),
                instant("2026-11-21T10:00:00Z"),
            )


class TestPace:
    @pytest.mark.parametrize("first", [None, START], ids=["of the file", "known"])
    def test_an_event_is_due_as_long_after_the_first_as_it_happened_over_the_speed(self, first: int | None) -> None:
        """By a clock of its own; one of an earlier time is overdue."""
        clock = [100.0]
        pace = publishing._Pace(10, first, lambda: clock[0])
        assert pace.until(START) == 0
        assert pace.until(START + 20_000_000) == pytest.approx(2)
        clock[0] += 0.5
        assert pace.until(START + 20_000_000) == pytest.approx(1.5)
        assert pace.until(START - 1_000_000) < 0


class TestLines:
    @given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))))
    def test_lines_are_whole_however_they_are_cut_into_chunks(self, lines: list[bytes]) -> None:
        """With either line end, with a last line that has none, and with lines longer than a chunk."""
        for end in (b"\n", b"\r\n"):
            for size in (1, 7, 4096):
                source = _Chopped(end.join(lines), size)
                found = [line for chunk in publishing._chunks("-", source) for line in chunk]  # type: ignore[arg-type]
                expected = lines[:-1] if lines and not lines[-1] else lines
                assert found == expected

    def test_a_file_that_is_not_there_is_named(self) -> None:
        """Before any broker is asked for its lines."""
        with pytest.raises(UnreadableFile, match=r"^/no/such/file: cannot be read: No such file"):
            publishing._opened("/no/such/file", again=False)

    @pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"line\n" * 10_000)[:-20]], ids=["other", "cut"])
    def test_a_broken_gzip_file_is_said(self, tmp_path: Path, content: bytes) -> None:
        """What could be read before the break is given out first."""
        path = tmp_path / "events.ndjson.gz"
        path.write_bytes(content)
        with publishing._opened(str(path), again=False) as source, pytest.raises(UnreadableFile, match="to its end"):
            list(publishing._chunks(str(path), source))

    @pytest.mark.asyncio
    @pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
    async def test_a_speed_that_is_none_is_refused(self, speed: float) -> None:
        """At once, with no broker asked."""
        with pytest.raises(ValueError, match="it must be above 0"):
            await publish("-", Configuration(), speed=speed)

    def test_a_result_tells_its_rate(self) -> None:
        """Lines a second; none in no time."""
        assert Published(1000, 0, 0.5).per_second == 2000
        assert Published(0, 0, 0.0).per_second == 0


class TestClientSettings:
    def test_brokers_are_a_list(self) -> None:
        """As aiokafka takes them."""
        settings = client_settings(KafkaSettings(brokers="a:1,b:2"))
        assert settings == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}

    def test_a_password_is_read_from_its_file_without_the_line_end(self, tmp_path: Path) -> None:
        """Blanks within and at its ends are part of it."""
        (tmp_path / "password").write_text(" s3 cret \n")
        settings = client_settings(sasl(tmp_path / "password"))
        assert settings["sasl_plain_password"] == " s3 cret "
        assert settings["sasl_plain_username"] == "monitor"
        assert settings["sasl_mechanism"] == "SCRAM-SHA-512"

    @pytest.mark.parametrize(
        ("content", "why"), [(None, "cannot be read: No such file"), (b"\n", "is empty"), (b"\xff\xfe", "is not UTF-8")]
    )
    def test_a_password_file_that_cannot_be_used_is_named(
        self, tmp_path: Path, content: bytes | None, why: str
    ) -> None:
        """With the setting and what is wrong, never with what it holds."""
        path = tmp_path / "password"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=rf"^kafka\.sasl_password_file: {path} {why}"):
            password(sasl(path))

    @pytest.mark.parametrize("field", ["tls_ca_file", "tls_certificate_file"])
    def test_a_certificate_that_is_none_is_named(self, tmp_path: Path, field: str) -> None:
        """Which of the files it is, and that PEM is meant."""
        path = tmp_path / "broken.pem"
        path.write_text("no certificate")
        files = {field: path} | ({"tls_key_file": path} if field == "tls_certificate_file" else {})
        with pytest.raises(ConfigurationError, match=rf"^kafka\.{field}: {path} .*PEM"):
            client_settings(KafkaSettings.model_validate({"security_protocol": "SSL", **files}))

    def test_tls_checks_host_names(self) -> None:
        """With the system's authorities where none are given."""
        context = client_settings(KafkaSettings(security_protocol="SSL"))["ssl_context"]
        assert context.check_hostname

    def test_a_producer_waits_no_longer_than_the_session(self) -> None:
        """Else a worker that lost its queues could still write."""
        kafka = KafkaSettings(session_timeout_seconds=12, heartbeat_seconds=2, compression="none")
        settings = producer_settings(kafka, idempotent=True)
        assert settings["request_timeout_ms"] == 12_000
        assert settings["enable_idempotence"] is True
        assert settings["compression_type"] is None


def sasl(path: Path) -> KafkaSettings:
    """Settings with a user whose password is in a file."""
    return KafkaSettings(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="monitor",
        sasl_password_file=path,
    )


class _Chopped:
    """A file that gives out its content in pieces of one size."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = content, size

    def read(self, _: int) -> bytes:
        piece, self._content = self._content[: self._size], self._content[self._size :]
        return piece
