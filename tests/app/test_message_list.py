"""Only a part of a long chat is drawn; which part, nobody should notice."""

from __future__ import annotations

import pytest

from app.vault import HistoryKey
from app.views.main_window import MainWindow
from app.views.message_list import MOST_SHOWN, PAGE, MessageList
from fhe_client.history import History, MessageState, Role
from tests.app.helpers import Desk

COUNT = 260


@pytest.fixture
def window(desk: Desk, history_key: HistoryKey) -> MainWindow:
    """A window that shows a long chat."""
    history = History(history_key.path, history_key.key)
    chat = history.new_chat("Long")
    parent = None
    with history.transaction():
        for index in range(COUNT):
            role = Role.USER if index % 2 == 0 else Role.ASSISTANT
            parent = history.add_message(chat.id, role, f"message {index}.", parent=parent).id
    history.close()
    window = desk.ready()
    window.controller.library.open_chat(chat.id)
    return window


def numbers(messages: MessageList) -> list[int]:
    return [int(view.message.text.removeprefix("message ")[:-1]) for view in messages.views()]


def at_rest(desk: Desk, messages: MessageList) -> None:
    # Some messages a turn, hundreds in all: slow on a busy machine.
    desk.qtbot.waitUntil(lambda: not messages._filling.isActive(), timeout=120_000)


def test_a_chat_opens_at_its_end(desk: Desk, window: MainWindow) -> None:
    messages = window.page.messages
    assert len(messages.views()) >= PAGE
    assert numbers(messages) == list(range(messages._first, COUNT))
    bar = messages.verticalScrollBar()
    at_rest(desk, messages)
    assert bar.value() == bar.maximum() > messages.viewport().height()
    assert not messages._later.isVisible()
    assert messages._more.isVisible()


def test_scrolling_to_the_top_and_back_shows_every_message_once(
    desk: Desk, window: MainWindow
) -> None:
    messages = window.page.messages
    bar = messages.verticalScrollBar()
    seen: set[int] = set()
    while messages._first > 0:
        bar.setValue(0)
        at_rest(desk, messages)
        shown = numbers(messages)
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        assert len(shown) <= MOST_SHOWN
        seen.update(shown)
    assert seen == set(range(COUNT))
    assert messages._later.isVisible()
    while messages._last < COUNT:
        bar.setValue(bar.maximum())
        at_rest(desk, messages)
        shown = numbers(messages)
        assert shown == list(range(shown[0], shown[0] + len(shown)))
    assert shown[-1] == COUNT - 1


def test_what_is_in_sight_stays_while_more_is_drawn_above(desk: Desk, window: MainWindow) -> None:
    messages = window.page.messages
    at_rest(desk, messages)
    bar = messages.verticalScrollBar()
    bar.setValue(5)
    in_sight = messages.views()[0]
    top = messages._top_of(in_sight)
    before = messages._first
    at_rest(desk, messages)
    assert messages._first < before
    desk.until(lambda: messages._top_of(in_sight) == top)


def test_finding_jumps_without_drawing_what_lies_between(desk: Desk, window: MainWindow) -> None:
    messages = window.page.messages
    window.page.open_find()
    window.page.find_bar.field.setText("message 7.")
    found = messages.view_of(messages._messages[7].id)
    assert found is not None
    assert len(messages.views()) <= PAGE
    assert 7 in numbers(messages)
    desk.until(lambda: 0 <= messages._top_of(found) < messages.viewport().height())
    window.page.find_bar.close_bar()
    messages.follow()
    assert numbers(messages)[-1] == COUNT - 1


def test_a_reply_that_is_not_drawn_keeps_growing(
    desk: Desk, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = window.page.messages
    desk.write(window, "forever")
    desk.until(lambda: window.page.meter.status.words.text().startswith("Writing · token"))
    window.page.open_find()
    window.page.find_bar.field.setText("message 7.")
    reply = messages._messages[-1]
    assert reply.state is MessageState.STREAMING
    assert messages.view_of(reply.id) is None
    length = len(reply.text)
    desk.until(lambda: len(messages._messages[-1].text) > length)
    window.page.escape()
    messages.follow()
    window.controller.stop()
    desk.until(lambda: not window.controller.busy)
    view = messages.view_of(reply.id)
    assert view is not None
    assert view.body is not None
    assert view.body.text == window.controller.library.messages()[-1].text
