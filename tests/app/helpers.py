"""What the window tests share."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytestqt.qtbot import QtBot

from app.views.main_window import MainWindow

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
WAIT_MS = 20_000


def fake_command() -> str:
    """The command line of the fake engine."""
    return shlex.join([sys.executable, str(FAKE_ENGINE)])


@dataclass
class Desk:
    """Opens windows and does what a person would."""

    qtbot: QtBot
    build: Callable[..., MainWindow]
    command_log: Path

    def until(self, condition: Callable[[], bool]) -> None:
        """Work until something is true."""
        self.qtbot.waitUntil(condition, timeout=WAIT_MS)

    def ready(self) -> MainWindow:
        """A window that is connected."""
        window = self.build()
        self.until(lambda: window.controller.ready)
        return window

    def write(self, window: MainWindow, text: str) -> None:
        """Type a message and press Enter."""
        from PySide6.QtCore import Qt

        window.page.composer.draft.setPlainText(text)
        self.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_Return)

    def ask(self, window: MainWindow, text: str) -> None:
        """Send a message and wait for the end of its reply."""
        with self.qtbot.waitSignal(window.controller.message_finished, timeout=WAIT_MS):
            self.write(window, text)
        self.until(lambda: not window.controller.busy)

    def commands(self, name: str = "") -> list[dict[str, Any]]:
        """The commands sent so far, all or of one name."""
        if not self.command_log.exists():
            return []
        lines = self.command_log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [value for value in found if not name or value["cmd"] == name]
