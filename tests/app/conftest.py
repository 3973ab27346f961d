"""Fixtures of the window tests: offscreen Qt, a profile of its own, no unexpected Qt log line."""

from __future__ import annotations

import os

if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import main, theme
from app.controller import Controller
from app.settings import LOCAL
from app.vault import HistoryKey
from app.views.main_window import MainWindow
from tests.app.helpers import Desk, fake_command

# What the offscreen platform says about things that it cannot do and that do not matter here.
EXPECTED = ("This plugin does not support",)


@pytest.fixture(autouse=True)
def qt_log() -> Iterator[list[str]]:
    """Fails a test in which Qt warns about anything."""
    lines: list[str] = []

    def take(kind: QtMsgType, _context: QMessageLogContext, text: str) -> None:
        if kind != QtMsgType.QtDebugMsg and not text.startswith(EXPECTED):
            lines.append(f"{kind.name}: {text}")

    before = qInstallMessageHandler(take)
    yield lines
    qInstallMessageHandler(before)
    assert lines == []


@pytest.fixture(autouse=True)
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of the test's own, and a fake engine without special wishes."""
    home = tmp_path / "tacita-home"
    monkeypatch.setenv("TACITA_HOME", str(home))
    (home / "config").mkdir(parents=True)
    (home / "config" / "window.json").write_text('{"language": "en"}', encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("FAKE_ENGINE_")]:
        monkeypatch.delenv(name)
    return home


@pytest.fixture
def command_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command that the window sends, one JSON object a line."""
    path = tmp_path / "commands.jsonl"
    monkeypatch.setenv("FAKE_ENGINE_LOG", str(path))
    return path


@pytest.fixture
def history_key(profile: Path) -> HistoryKey:
    """The key of a history on disk."""
    return HistoryKey(bytes(range(32)), profile / "data" / "history.db")


@pytest.fixture
def desk(
    qtbot: QtBot, qapp: QApplication, command_log: Path, history_key: HistoryKey
) -> Iterator[Desk]:
    """Makes windows over fake engines and takes them down again."""
    made: list[tuple[Controller, MainWindow]] = []

    def build(*, first_run: bool = False, key: HistoryKey | None = None) -> MainWindow:
        controller, window = main.build(qapp, fake_command(), lambda _p: key or history_key)
        if not first_run:
            controller.settings.server = controller.settings.server or LOCAL
            window._choose_page()
        made.append((controller, window))
        window.show()
        controller.start()
        return window

    yield Desk(qtbot, build, command_log)
    for controller, window in made:
        window.close()
        controller.quit()
        window.deleteLater()
    theme.apply(qapp, "light", 100)
