"""How a replay reads its files and looks on a terminal."""

import gzip
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.report import counting, event_lines, print_report
from support.events import SECOND, call, line, micros

START = micros("2026-11-20T09:00:00+00:00")


def report(*events: dict[str, Any], **question: Any) -> dict[str, Any]:
    """What a replay of these events tells."""
    replay = Replay(Question(**question))
    assert not replay.fold_all(line(event) for event in events)
    return replay.report()


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]) -> str:
    """The tables on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    print_report(told, 20)
    return capsys.readouterr().out


def test_lines_come_from_plain_and_packed_files_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lines, each with its end, the last one also without."""
    content = b"one\ntwo\n\nlast"
    plain, packed = tmp_path / "a.ndjson", tmp_path / "a.ndjson.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with counting([str(plain)]) as progress:
        for file in (str(plain), str(packed), "-"):
            assert list(event_lines(file, progress)) == [b"one\n", b"two\n", b"\n", b"last"], file


def test_no_progress_is_shown_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither on standard output nor on standard error."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"line\n" * 20_000)
    with counting([str(path)]) as progress:
        assert len(list(event_lines(str(path), progress))) == 20_000
    assert capsys.readouterr() == ("", "")


def test_the_table_has_a_row_by_queue_and_names_the_definitions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each level under its own definition; times in seconds."""
    told = report(
        call("queued", START),
        call("answered", START + 8 * SECOND),
        call("ended", START + 68 * SECOND),
        call("queued", START, "c-2"),
        call("abandoned", START + 30 * SECOND, "c-2"),
        call("queued", START, "c-3", "support", channel="chat"),
    )
    out = shown(capsys, monkeypatch, told)
    callers, levels = [row for row in out.splitlines() if " sales " in row]
    assert callers.split() == ["sales", "2", "1", "1", "0", "0", "0"]
    assert levels.split() == [*("sales", "8.0", "s", "60.0", "s"), *("50.0%", "50.0%", "50.0%", "100.0%")]
    assert "support [chat]" in out
    for definition in ("ignore", "negative", "positive", "answered_only"):
        assert definition in out


def test_what_nothing_counts_in_is_a_dash_and_no_percentage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither 0 % nor 100 %."""
    out = shown(capsys, monkeypatch, report(call("refused", START)))
    _, levels = [row for row in out.splitlines() if " sales " in row]
    assert levels.count("–") == 6
    assert "%" not in levels


def test_those_who_waited_at_an_instant_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that nobody did."""
    at = datetime(2026, 11, 20, 9, 0, 5, tzinfo=UTC)
    told = report(call("queued", START), call("answered", START + 8 * SECOND), at=(at, at + timedelta(minutes=1)))
    out = shown(capsys, monkeypatch, told)
    assert "waiting at 2026-11-20T09:00:05+00:00:\n  sales: 1, the longest for 5 s\n" in out
    assert "waiting at 2026-11-20T09:01:05+00:00: nobody\n" in out
