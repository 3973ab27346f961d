from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from app.engine_process import EngineProcess, engine_command
from app.events import Failure, Json
from tests.app.helpers import fake_command

WAIT_MS = 20_000


@pytest.fixture
def engine(qtbot: QtBot) -> EngineProcess:
    return EngineProcess(engine_command(fake_command()))


def test_the_command_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TACITA_ENGINE_COMMAND", raising=False)
    assert engine_command() == [sys.executable, "-m", "fhe_client.engine"]
    monkeypatch.setenv("TACITA_ENGINE_COMMAND", "prog 'one argument'")
    assert engine_command() == ["prog", "one argument"]
    assert engine_command("other") == ["other"]


def test_quit_leaves_no_child(qtbot: QtBot, engine: EngineProcess) -> None:
    died: list[Failure] = []
    engine.died.connect(died.append)
    with qtbot.waitSignal(engine.started, timeout=WAIT_MS):
        engine.start()
    pid = engine.pid
    assert psutil.pid_exists(pid)
    engine.quit()
    assert not engine.running
    assert not psutil.pid_exists(pid)
    assert died == []


def test_an_engine_that_ignores_shutdown_is_ended(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine_process.GRACE_MS", 200)
    script = tmp_path / "deaf.py"
    script.write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        'print(\'{"event": "status", "state": "deaf"}\', flush=True)\n'
        "while True: time.sleep(1)\n",
        encoding="utf-8",
    )
    engine = EngineProcess([sys.executable, str(script)])
    with qtbot.waitSignal(engine.status, timeout=WAIT_MS):
        engine.start()
    pid = engine.pid
    engine.quit()
    assert not psutil.pid_exists(pid)


def test_stray_lines_are_ignored(qtbot: QtBot, tmp_path: Path) -> None:
    script = tmp_path / "noisy.py"
    script.write_text(
        "import sys\n"
        "print('loading weights')\nprint('[1]')\nprint('{')\nprint('{\"event\": \"odd\"}')\n"
        'print(\'{"event": "piece", "id": 1, "text": 3}\')\n'
        'print(\'{"event": "status", "state": "ready"}\', flush=True)\n'
        "sys.stdin.read()\n",
        encoding="utf-8",
    )
    engine = EngineProcess([sys.executable, str(script)])
    with qtbot.waitSignal(engine.status, timeout=WAIT_MS) as caught:
        engine.start()
    assert caught.args is not None
    assert caught.args[0].state == "ready"
    engine.quit()


def test_every_waiting_command_fails_when_the_engine_dies(
    qtbot: QtBot, engine: EngineProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE_CONNECT_GATE", str(tmp_path / "never"))
    results: list[Json] = []
    failures: list[Failure] = []
    engine.start()
    with qtbot.waitSignal(engine.status, timeout=WAIT_MS):
        engine.request("connect", {"local": True}, results.append, failures.append)
    engine.request("estimate", {"messages": []}, results.append, failures.append)
    with qtbot.waitSignal(engine.died, timeout=WAIT_MS) as caught:
        engine.kill()
    assert caught.args is not None
    assert caught.args[0].code == "engine_died"
    assert [failure.code for failure in failures] == ["engine_died", "engine_died"]
    assert results == []
    engine.request("hello", None, results.append, failures.append)
    qtbot.waitUntil(lambda: len(failures) == 3, timeout=WAIT_MS)
    assert failures[-1].code == "engine_not_running"


def test_details_name_places_but_quote_no_exception(qtbot: QtBot, tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text("raise ValueError('the user said CANARY')\n", encoding="utf-8")
    engine = EngineProcess([sys.executable, str(script)])
    with qtbot.waitSignal(engine.died, timeout=WAIT_MS) as caught:
        engine.start()
    assert caught.args is not None
    report = caught.args[0].report()
    assert "crash.py" in report
    assert "exit status 1" in report
    assert "CANARY" not in report


def test_a_child_ends_with_its_parent() -> None:
    """The pipe closes with the window, however the window ends; the engine then leaves."""
    read, write = os.pipe()
    process = psutil.Popen([*engine_command(fake_command())], stdin=read, stdout=subprocess.DEVNULL)
    os.close(read)
    os.close(write)
    assert process.wait(timeout=30) == 0
