"""A whole conversation with the real engine and a real server, by the keyboard alone; and sudden ends of the engine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton, QRadioButton, QToolButton, QWidget
from pytestqt.qtbot import QtBot

from app import main, theme
from app.controller import Controller
from app.vault import HistoryKey
from app.views.main_window import MainWindow
from fhe_client.history import Message, MessageState
from tests.tiny_world import ROOT, ServerProcess, server_process

ENGINE = shlex.join([sys.executable, "-m", "fhe_client.engine"])
PATIENCE_MS = 240_000
SHORT, ENDLESS = 5, 900
CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
MOST_TABS = 120


@dataclass
class Typist:
    """Someone without a mouse."""

    qtbot: QtBot
    controller: Controller
    window: MainWindow

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    def focus(self) -> QWidget:
        return QApplication.focusWidget() or self.window

    def press(
        self, key: Qt.Key, held: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
    ) -> None:
        self.qtbot.keyClick(self.focus(), key, held)

    def type(self, text: str) -> None:
        self.qtbot.keyClicks(self.focus(), text)

    def tab_to(self, there: Callable[[QWidget], bool]) -> QWidget:
        """Press Tab until the keyboard is where it should be."""
        passed = []
        for _ in range(MOST_TABS):
            QApplication.processEvents()  # what was just made is shown before a person could press
            at = self.focus()
            if there(at):
                return at
            passed.append(f"{type(at).__name__} {at.accessibleName()}")
            self.press(Qt.Key.Key_Tab)
        raise AssertionError(f"the keyboard does not get there, but to {passed[-25:]}")

    def tab_to_button(self, name: str) -> None:
        """Go to the button of this name and press it."""
        self.tab_to(lambda w: isinstance(w, QToolButton) and w.accessibleName() == name)
        self.press(Qt.Key.Key_Space)

    def choose(self, radio: QRadioButton) -> None:
        """Go to a group of choices, and to one of them with the arrows."""
        group = radio.group()
        self.tab_to(lambda w: isinstance(w, QRadioButton) and w.group() is group)
        for _ in group.buttons():
            if radio.isChecked():
                return
            self.press(Qt.Key.Key_Down)
        assert radio.isChecked()

    def messages(self) -> list[Message]:
        return self.controller.library.messages()

    def reply_ends(self) -> Message:
        self.until(lambda: not self.controller.busy and self.controller.waiting == 0)
        return self.messages()[-1]

    def reply_has_begun(self) -> None:
        words = self.window.page.meter.status.words
        self.until(lambda: words.text().startswith("Writing · token"))


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process() as running:
        yield running


@pytest.fixture
def typist(
    qtbot: QtBot, qapp: QApplication, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Typist]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    controller, window = main.build(qapp, ENGINE, lambda _passphrase: HistoryKey(None, None))
    controller.settings.max_tokens = SHORT
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    controller.start()
    yield Typist(qtbot, controller, window)
    window.close()
    controller.quit()
    window.deleteLater()
    theme.apply(qapp, "light", 100)
    assert engines() == []


def engines() -> list[int]:
    """Engines that run for this process."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "fhe_client.engine" in child.cmdline()]


def test_a_conversation_by_the_keyboard_alone(typist: Typist, server: ServerProcess) -> None:
    controller, window = typist.controller, typist.window
    typist.until(lambda: controller.keys.state != "")
    first = window.first_run
    typist.choose(first.remote)
    typist.tab_to(lambda w: w is first.form.url_field)
    typist.type(server.url)
    typist.choose(first.keys.session)
    typist.tab_to(lambda w: isinstance(w, QPushButton) and w is first.start_button)
    typist.press(Qt.Key.Key_Space)
    typist.until(lambda: window.page.composer.draft.hasFocus())

    # Type at once, send, and stop: the partial text stays.
    controller.settings.max_tokens = ENDLESS
    typist.type("the cat sat on the mat")
    typist.press(Qt.Key.Key_Return)
    typist.reply_has_begun()
    typist.press(Qt.Key.Key_Escape)
    stopped = typist.reply_ends()
    assert stopped.state is MessageState.STOPPED

    # Continue: the same message, longer, and its figures are those of both goes.
    controller.settings.max_tokens = SHORT
    typist.press(Qt.Key.Key_R, CONTROL | SHIFT)
    continued = typist.reply_ends()
    assert continued.id == stopped.id
    assert continued.state is MessageState.COMPLETE
    assert continued.text.startswith(stopped.text)
    assert continued.stats["reply_tokens"] > stopped.stats["reply_tokens"]
    assert continued.stats["bytes_up"] > stopped.stats["bytes_up"]

    # Another reply beside it, and back with the arrow.
    typist.press(Qt.Key.Key_R, CONTROL)
    typist.until(lambda: typist.messages()[-1].id != continued.id)
    other = typist.reply_ends()
    typist.tab_to_button("Previous branch")
    typist.until(lambda: typist.messages()[-1].id == continued.id)
    assert other.id != continued.id
    typist.tab_to(lambda w: w.accessibleName() == "Next branch")
    assert isinstance(typist.focus(), QToolButton)

    # Edit the question and send it again: a branch of its own.
    typist.press(Qt.Key.Key_L, CONTROL)
    typist.tab_to_button("Edit and send again")
    assert window.page.composer.draft.hasFocus()
    typist.type(" again")
    typist.press(Qt.Key.Key_Return)
    typist.until(lambda: typist.messages()[0].text == "the cat sat on the mat again")
    answer = typist.reply_ends()
    assert len(typist.messages()) == 2

    # Copy the reply, find a word, search all chats.
    typist.press(Qt.Key.Key_C, CONTROL | SHIFT)
    assert QGuiApplication.clipboard().text() == answer.text
    typist.press(Qt.Key.Key_F, CONTROL)
    typist.type("again")
    assert window.page.find_bar.count.text().startswith("1 of ")
    typist.press(Qt.Key.Key_Escape)
    assert window.page.composer.draft.hasFocus()
    typist.press(Qt.Key.Key_K, CONTROL)
    typist.type("mat")
    typist.until(lambda: not window.chats._searching.isActive())
    assert len(controller.library.search("mat")) == 1


def connect(typist: Typist, server: ServerProcess) -> None:
    """Keys for this session and this server, without the first run."""
    typist.until(lambda: typist.controller.keys.state != "")
    typist.controller.finish_first_run(
        server.url, "session", None, lambda failure: None, typist.window._choose_page
    )
    typist.until(lambda: typist.controller.ready)


def test_an_engine_killed_in_mid_reply_leaves_a_reply_that_goes_on(
    typist: Typist, server: ServerProcess
) -> None:
    connect(typist, server)
    controller, page = typist.controller, typist.window.page
    controller.settings.max_tokens = ENDLESS
    page.composer.draft.setFocus()
    typist.type("the dog ran")
    typist.press(Qt.Key.Key_Return)
    typist.reply_has_begun()
    typist.until(lambda: typist.window.page.messages.views()[-1].body.text != "")  # type: ignore[union-attr]
    psutil.Process(controller.engine.pid).kill()
    typist.until(lambda: page.error.isVisible() and not controller.busy)
    broken = typist.messages()[-1]
    assert broken.state is MessageState.INTERRUPTED
    assert broken.text != ""
    assert page.meter.status.words.text() == "Offline"
    assert engines() == []
    typist.tab_to(lambda w: w is page.error.restart)
    controller.settings.max_tokens = SHORT
    typist.press(Qt.Key.Key_Space)
    typist.until(lambda: controller.ready)
    typist.press(Qt.Key.Key_L, CONTROL)
    typist.press(Qt.Key.Key_R, CONTROL | SHIFT)
    typist.until(lambda: controller.busy)
    ended = typist.reply_ends()
    assert ended.id == broken.id
    assert ended.text.startswith(broken.text)
    assert ended.state is MessageState.COMPLETE
    assert ended.stats["reply_tokens"] > SHORT

    # Quitting in mid-reply: see the fixture, which looks for what is left.
    controller.settings.max_tokens = ENDLESS
    page.composer.draft.setFocus()
    typist.type("the house")
    typist.press(Qt.Key.Key_Return)
    typist.reply_has_begun()
    assert engines() != []
