"""The progress line on a terminal and elsewhere."""

from __future__ import annotations

import io
import json

import pytest

from fhe_server import progress
from fhe_server.progress import ProgressLine, ProgressRecords


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_one_line_a_stage() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line("loading", 0, 0)
    for done in range(1, 4):
        line("hints", done, 3)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("hints: done in ")


def test_on_a_terminal_the_line_is_rewritten() -> None:
    stream = Terminal()
    line = ProgressLine(stream)
    line("hints", 1, 4)
    assert stream.getvalue() == "\r\x1b[Khints:  25 %"
    line("hints", 4, 4)
    assert stream.getvalue().endswith("s\n")
    line("loading", 0, 0)
    assert "\n" in stream.getvalue()


def test_a_stage_may_come_twice() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line("checking", 1, 1)
    line("checking", 1, 1)
    assert stream.getvalue().count("checking: done") == 2


def test_silence_is_silent() -> None:
    progress.silent("anything", 1, 1)


def test_records_are_json_lines_with_every_beginning_and_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.01, 0.02, 5.0, 5.01, 5.02])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    record = ProgressRecords(stream)
    record("loading", 0, 0)
    for done in range(5):
        record("hints", done, 4)
    shown = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(r["stage"], r["done"], r["total"]) for r in shown] == [
        ("loading", 0, 0),
        ("hints", 0, 4),
        ("hints", 2, 4),
        ("hints", 4, 4),
    ]
