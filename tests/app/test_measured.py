"""The bars of speed as things that can be counted: what is drawn, what is loaded, how costs grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from app.views.message_body import MessageBody
from app.views.message_list import MOST_SHOWN, PAGE
from benchmarks import window as benchmark
from benchmarks import window_probes as probes


def test_the_window_takes_a_message_at_once_and_keeps_it_over_an_error(tmp_path: Path) -> None:
    """The real program with the real engine: typed before the engine has said a word."""
    found = benchmark.start_once(tmp_path)
    assert found["queued"] == ["early"]
    assert found["after_error"] == ["early"]
    assert found["waiting"] == 1
    assert found["heavy"] == []


def test_a_chat_of_2000_messages_costs_what_a_short_one_costs(qtbot: QtBot) -> None:
    short = benchmark.chat(messages=60, steps=1)
    long = benchmark.chat(messages=2_000, steps=150)
    assert short["messages drawn at once"] == long["messages drawn at once"] == PAGE
    assert 2 * PAGE < long["most messages drawn"] <= MOST_SHOWN
    assert long["matches"] == "1 of 1"
    assert long["CPU seconds to open"] < 6 * short["CPU seconds to open"]


@pytest.mark.parametrize("kind", ["paragraphs", "list", "numbered list", "code", "code blocks"])
def test_what_is_drawn_again_stays_small(qtbot: QtBot, kind: str) -> None:
    body = MessageBody()
    qtbot.addWidget(body)
    largest = 0
    for index, piece in enumerate(probes.streams(1_500)[kind]):
        body.add(piece)
        if index % 10 == 0:
            body.flush()
            blocks = body.code_blocks()
            code = blocks[-1].open_length if blocks else 0
            prose = len(body._prose_html) + (0 if kind == "code" else len(body._tail))
            largest = max(largest, code + prose)
    assert 0 < largest < 6_000
    assert len(body.text) > 9_000


def test_the_dearer_a_flush_the_longer_the_pause(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = MessageBody()
    qtbot.addWidget(body)
    now = [0.0]
    step = [0.0]

    def clock() -> float:
        now[0] += step[0]
        return now[0]

    monkeypatch.setattr("app.views.message_body.time.perf_counter", clock)
    pauses = []
    for step[0] in (0.001, 0.020, 7.0):
        body.add("word ")
        body.flush()
        pauses.append(body._pause)
    assert pauses == [60, 200, 1_000]


def test_the_window_stays_quick_while_the_real_engine_makes_a_reply(tmp_path: Path) -> None:
    """Compared with drawing the whole window once, not with a clock: the machine may be slow."""
    code = "import json; from benchmarks.window import reply; print(json.dumps(reply(40, 300)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(benchmark.ROOT)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["heavy modules"] == []
    assert 1 <= found["tokens"] <= 40
    drawing = found["CPU ms of drawing the whole window"]
    assert found["CPU ms of a piece of work, 99 %"] < 3 * drawing
    left = [p for p in psutil.Process().children(recursive=True) if "fhe_" in " ".join(p.cmdline())]
    assert left == []
