"""*Continue*: a reply that ended early goes on in place, over the fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from app.vault import HistoryKey
from app.views.main_window import MainWindow
from app.views.message_view import MessageView
from fhe_client.history import History, Message, MessageState, Role
from tests.app.fake_engine import SENTENCE
from tests.app.helpers import WAIT_MS, Desk

UP, DOWN = 300_000, 400_000  # bytes of one token of the fake engine


def messages(window: MainWindow) -> list[Message]:
    return window.controller.library.messages()


def last_view(window: MainWindow) -> MessageView:
    return window.page.messages.views()[-1]


def stopped_reply(desk: Desk, window: MainWindow) -> Message:
    """A reply without end that the user has stopped."""
    desk.write(window, "forever")
    desk.until(lambda: window.page.meter.status.words.text().startswith("Writing · token"))
    desk.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_Escape)
    desk.until(lambda: not window.controller.busy)
    return messages(window)[-1]


def press_continue(desk: Desk, window: MainWindow) -> None:
    """Press the button, as a person does, and wait until the reply ends."""
    button = last_view(window).go_on
    desk.until(button.isVisible)
    with desk.qtbot.waitSignal(window.controller.message_finished, timeout=WAIT_MS):
        desk.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    desk.until(lambda: not window.controller.busy)


def test_a_stopped_reply_goes_on_as_the_same_message(desk: Desk) -> None:
    window = desk.ready()
    stopped = stopped_reply(desk, window)
    shown = last_view(window)
    assert shown.go_on.text() == "Continue"
    assert shown.go_on.accessibleName() == "Continue this reply"
    press_continue(desk, window)
    ended = messages(window)[-1]
    assert ended.id == stopped.id
    assert ended.state is MessageState.COMPLETE
    assert ended.text.startswith(stopped.text)
    assert len(ended.text) > len(stopped.text)
    assert last_view(window) is shown
    assert shown.body is not None
    assert shown.body.text == ended.text
    assert not shown.go_on.isVisible()
    asked = desk.commands("ask")[-1]
    assert asked["continue"] is True
    assert asked["messages"][-1] == {"role": "assistant", "content": stopped.text}
    assert ended.stats["reply_tokens"] == len(ended.text.split())
    assert ended.stats["bytes_up"] == UP * len(ended.text.split())
    assert f"{ended.stats['reply_tokens']:,} tokens" in shown._foot.text()


def test_continue_has_a_key(desk: Desk) -> None:
    window = desk.ready()
    stopped = stopped_reply(desk, window)
    held = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    with desk.qtbot.waitSignal(window.controller.message_finished, timeout=WAIT_MS):
        desk.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_R, held)
    assert messages(window)[-1].id == stopped.id
    asks = len(desk.commands("ask"))
    desk.until(lambda: not window.controller.busy)
    desk.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_R, held)  # it is complete by now
    assert not window.controller.busy
    assert len(desk.commands("ask")) == asks


def test_after_a_crash_of_the_engine_the_reply_goes_on(desk: Desk) -> None:
    window = desk.ready()
    desk.write(window, "crash please")
    desk.until(lambda: window.page.error.isVisible())
    partial = messages(window)[-1]
    assert (partial.text, partial.state) == ("The server computed ", MessageState.INTERRUPTED)
    assert partial.stats["reply_tokens"] == 3
    desk.qtbot.mouseClick(window.page.error.restart, Qt.MouseButton.LeftButton)
    desk.until(lambda: window.controller.ready)
    press_continue(desk, window)
    ended = messages(window)[-1]
    assert (ended.id, ended.text.strip()) == (partial.id, SENTENCE)
    assert ended.stats["reply_tokens"] == 9


def test_continue_before_the_engine_is_back_waits_for_it(desk: Desk) -> None:
    window = desk.ready()
    desk.write(window, "crash please")
    desk.until(lambda: window.page.error.isVisible())
    desk.qtbot.mouseClick(last_view(window).go_on, Qt.MouseButton.LeftButton)
    assert window.controller.waiting == 1
    assert not window.controller.busy
    with desk.qtbot.waitSignal(window.controller.message_finished, timeout=WAIT_MS):
        desk.qtbot.mouseClick(window.page.error.restart, Qt.MouseButton.LeftButton)
    assert messages(window)[-1].text.strip() == SENTENCE


def test_after_kill_9_of_the_window_the_reply_is_there_and_goes_on(
    desk: Desk, history_key: HistoryKey
) -> None:
    """What such an end leaves behind: a reply in the file that is still being made."""
    history = History(history_key.path, history_key.key)
    chat = history.new_chat("Before")
    asked = history.add_message(chat.id, Role.USER, "tell me", parent=None)
    begun = history.add_message(
        chat.id, Role.ASSISTANT, "", parent=asked.id, state=MessageState.STREAMING
    )
    figures = {"reply_tokens": 2, "bytes_up": 2 * UP, "bytes_down": 2 * DOWN, "rounds": 242}
    history.update_message(
        begun.id, text="The server ", state=MessageState.STREAMING, stats=figures
    )
    history.close()
    window = desk.ready()
    window.controller.library.open_chat(chat.id)
    shown = last_view(window)
    assert shown._state.text().startswith("Interrupted")
    assert "2 tokens" in shown._foot.text()
    press_continue(desk, window)
    ended = messages(window)[-1]
    assert (ended.id, ended.text.strip()) == (begun.id, SENTENCE)
    assert ended.stats["bytes_up"] == 9 * UP
    assert "9 tokens" in shown._foot.text()


def test_only_the_last_reply_can_be_continued(desk: Desk) -> None:
    window = desk.ready()
    stopped_reply(desk, window)
    earlier = last_view(window)
    assert earlier.go_on.isVisible()
    desk.ask(window, "never mind")
    assert not earlier.go_on.isVisible()
    assert not last_view(window).go_on.isVisible()
    assert "continue" not in desk.commands("ask")[-1]


def test_trying_again_after_an_error_fills_the_empty_reply(desk: Desk) -> None:
    window = desk.ready()
    desk.write(window, "fail once")
    desk.until(lambda: window.page.error.isVisible())
    failed = messages(window)[-1]
    assert (failed.text, failed.state) == ("", MessageState.FAILED)
    desk.qtbot.mouseClick(window.page.error.retry, Qt.MouseButton.LeftButton)
    desk.until(lambda: len(desk.commands("ask")) == 2 and not window.controller.busy)
    assert messages(window)[-1].id == failed.id  # no empty branch is left behind
    assert "continue" not in desk.commands("ask")[-1]


def test_a_continued_reply_keeps_its_place_among_the_branches(desk: Desk) -> None:
    window = desk.ready()
    stopped_reply(desk, window)
    first = messages(window)[-1].id
    desk.qtbot.keyClick(
        window.page.composer.draft, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier
    )
    desk.until(lambda: window.controller.busy and messages(window)[-1].text != "")
    QApplication.processEvents()
    desk.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_Escape)
    desk.until(lambda: not window.controller.busy)
    window.page.messages.branch_asked.emit(messages(window)[-1].id, -1)
    assert messages(window)[-1].id == first
    press_continue(desk, window)
    assert messages(window)[-1].id == first
    assert (last_view(window)._position, last_view(window)._count) == (1, 2)


def test_a_message_typed_after_continue_takes_its_place(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = desk.ready()
    desk.write(window, "crash please")
    desk.until(lambda: window.page.error.isVisible())
    desk.qtbot.mouseClick(last_view(window).go_on, Qt.MouseButton.LeftButton)
    desk.write(window, "rather tell me something else")
    assert window.controller.waiting == 1
    with desk.qtbot.waitSignal(window.controller.message_finished, timeout=WAIT_MS):
        desk.qtbot.mouseClick(window.page.error.restart, Qt.MouseButton.LeftButton)
    asked = desk.commands("ask")[-1]
    assert asked["messages"][-1]["content"] == "rather tell me something else"
    assert "continue" not in asked
