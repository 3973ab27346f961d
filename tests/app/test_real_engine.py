"""The window over the real engine, which starts the real embedded server with a tiny model: nothing is faked."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import main, theme
from app.controller import Controller
from app.events import Meter
from app.views.main_window import MainWindow
from fhe_client.history import Message, MessageState
from tests.tiny_world import MODEL, ROOT, install_tiny

REAL_ENGINE = shlex.join([sys.executable, "-m", "fhe_client.engine"])
PATIENCE_MS = 240_000
SHORT, ENDLESS = 6, 900


@dataclass
class Person:
    """Someone at the keyboard, who waits as long as a loaded machine needs."""

    qtbot: QtBot
    controller: Controller
    window: MainWindow

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    def begin(self) -> None:
        """The first run: keys for this session only, the server on this computer."""
        self.until(lambda: self.controller.keys.state != "")
        page = self.window.first_run
        page.keys.session.setChecked(True)
        self.qtbot.mouseClick(page.start_button, Qt.MouseButton.LeftButton)
        self.until(lambda: not self.controller.settings.first_run)

    def write(self, text: str) -> None:
        draft = self.window.page.composer.draft
        self.qtbot.keyClicks(draft, text)
        self.qtbot.keyClick(draft, Qt.Key.Key_Return)

    def messages(self) -> list[Message]:
        return self.controller.library.messages()


@pytest.fixture
def person(
    qtbot: QtBot, qapp: QApplication, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    install_tiny(profile)
    controller, window = main.build(qapp, REAL_ENGINE)
    controller.settings.local_model = MODEL
    controller.settings.max_tokens = SHORT
    window.show()
    controller.start()
    yield Person(qtbot, controller, window)
    engine = controller.engine.pid
    window.close()
    controller.quit()
    window.deleteLater()
    theme.apply(qapp, "light", 100)
    assert not psutil.pid_exists(engine)


def test_from_the_first_run_to_a_stopped_reply(person: Person) -> None:
    controller, window = person.controller, person.window
    meters: list[Meter] = []
    controller.meter_changed.connect(meters.append)
    person.begin()
    person.write("the cat sat on the mat")  # typed before anything is ready
    assert [message.text for message in person.messages()] == ["the cat sat on the mat"]
    person.until(lambda: len(person.messages()) == 2 and not controller.busy)

    reply = person.messages()[-1]
    assert reply.state is MessageState.COMPLETE
    assert 1 <= reply.stats["reply_tokens"] <= SHORT
    view = window.page.messages.views()[-1]
    assert view.body is not None
    assert view.body.text == reply.text
    assert "MB up" in view._foot.text()
    assert controller.connection is not None
    assert controller.connection.model == MODEL
    assert 0 < reply.stats["bytes_up"] <= meters[-1].bytes_up
    assert 0 < reply.stats["bytes_down"] <= meters[-1].bytes_down
    assert window.page.meter.up.text().endswith("MB up")
    assert window.page.meter.status.words.text() == "Ready"

    controller.settings.max_tokens = ENDLESS
    window.show_server_view(True)
    person.write("the house that jack built")
    person.until(lambda: window.server_panel.group.text() != "")  # real bytes have left
    person.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_Escape)
    person.until(lambda: not controller.busy)
    stopped = person.messages()[-1]
    assert stopped.state is MessageState.STOPPED
    assert stopped.stats["reply_tokens"] < ENDLESS
    assert not window.server_panel.empty.isVisible()
