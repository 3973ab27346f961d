"""The window as a person uses it, over the fake engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QGuiApplication, QInputMethodEvent, QTextDocument
from PySide6.QtWidgets import QApplication, QMessageBox

from app.vault import HistoryKey
from app.views.main_window import MainWindow
from fhe_client.history import MessageState
from tests.app.helpers import WAIT_MS, Desk


def texts(window: MainWindow) -> list[str]:
    return [message.text for message in window.controller.library.messages()]


def last_state(window: MainWindow) -> MessageState:
    return window.controller.library.messages()[-1].state


def test_a_reply_is_streamed_and_its_figures_are_kept(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "Hello there")
    question, reply = window.page.messages.views()
    assert question.plain is not None
    assert question.plain.toPlainText() == "Hello there"
    assert reply.body is not None
    assert reply.body.text.startswith("The server computed")
    assert reply._foot.text() == "2.70 MB up · 3.60 MB down · 0.25 s per token · 9 tokens"
    assert "2.70 MB up" in window.page.meter.up.text()
    assert "1,015 tokens left" in window.page.meter.left.text()
    assert window.page.meter.status.words.text() == "Ready"
    assert len(window.page.meter.sparkline.values) == 9


def test_the_totals_of_a_chat_count_every_branch_and_no_other_chat(desk: Desk) -> None:
    window = desk.ready()
    assert window.totals.isHidden()
    desk.ask(window, "Hello there")
    one = "This chat: 2.70 MB up · 3.60 MB down · 9 tokens"
    assert window.totals.isVisible()
    assert window.totals.text() == one
    first = window.controller.library.current
    assert first is not None
    reply = window.page.messages.views()[-1].message.id
    with desk.qtbot.waitSignal(window.controller.message_finished, timeout=WAIT_MS):
        window.page.messages.regenerate_asked.emit(reply)
    desk.until(lambda: not window.controller.busy)
    two = "This chat: 5.40 MB up · 7.20 MB down · 18 tokens"
    assert window.totals.text() == two
    window.controller.library.new_chat()
    assert window.totals.isHidden()
    desk.ask(window, "Another chat")
    assert window.totals.text() == one
    window.controller.library.open_chat(first)
    assert window.totals.text() == two


def test_what_is_sent_to_the_engine(desk: Desk) -> None:
    window = desk.ready()
    window.controller.set_system_prompt("Be brief.")
    desk.ask(window, "One")
    desk.ask(window, "Two")
    first, second = desk.commands("ask")
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][-1]["content"] == "Two"
    assert first["options"] == {
        "max_tokens": 256,
        "temperature": 0.2,
        "top_p": 0.9,
        "seed": None,
        "draft": 0,
        "pad": False,
    }
    assert "continue" not in first
    (connected,) = desk.commands("connect")
    assert (connected["scheme"], connected["local"]) == ("hint", True)


def test_a_message_typed_before_ready_is_kept_and_sent_when_ready(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv("FAKE_ENGINE_CONNECT_GATE", str(gate))
    window = desk.build()
    desk.write(window, "Early bird")
    assert texts(window) == ["Early bird"]
    assert "as soon as" in window.page.composer.note.text()
    assert not window.controller.busy
    desk.write(window, "and one more thing")
    gate.touch()
    desk.until(lambda: len(texts(window)) == 3 and not window.controller.busy)
    (asked,) = desk.commands("ask")
    assert asked["messages"][0]["content"] == "Early bird\n\nand one more thing"
    assert window.page.composer.note.text() == ""
    assert window.controller.library.history.persistent


@pytest.mark.parametrize("by_key", [True, False])
def test_stop_keeps_the_partial_text(desk: Desk, by_key: bool) -> None:
    window = desk.ready()
    desk.write(window, "forever")
    desk.until(lambda: window.page.meter.status.words.text().startswith("Writing · token"))
    assert window.page.composer.stop_button.isVisible()
    if by_key:
        desk.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_Escape)
    else:
        desk.qtbot.mouseClick(window.page.composer.stop_button, Qt.MouseButton.LeftButton)
    desk.until(lambda: not window.controller.busy)
    assert last_state(window) is MessageState.STOPPED
    assert texts(window)[-1].startswith("again ")
    assert window.page.messages.views()[-1]._state.text().startswith("Stopped")
    assert not window.page.composer.stop_button.isVisible()
    assert len(desk.commands("stop")) == 1


def test_shift_enter_breaks_the_line_and_an_empty_message_is_not_sent(desk: Desk) -> None:
    window = desk.ready()
    draft = window.page.composer.draft
    desk.qtbot.keyClick(draft, Qt.Key.Key_Return)
    desk.qtbot.keyClicks(draft, "a")
    desk.qtbot.keyClick(draft, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    desk.qtbot.keyClicks(draft, "b")
    assert draft.toPlainText() == "a\nb"
    assert texts(window) == []


def test_enter_belongs_to_an_input_method_that_is_composing(desk: Desk) -> None:
    window = desk.ready()
    draft = window.page.composer.draft
    QApplication.sendEvent(draft, QInputMethodEvent("にほ", []))
    desk.qtbot.keyClick(draft, Qt.Key.Key_Return)
    assert texts(window) == []
    done = QInputMethodEvent("", [])
    done.setCommitString("日本")
    QApplication.sendEvent(draft, done)
    assert texts(window) == []
    desk.qtbot.keyClick(draft, Qt.Key.Key_Return)
    assert texts(window)[0] == "日本"


def test_an_engine_crash_keeps_the_partial_reply_and_can_be_restarted(desk: Desk) -> None:
    window = desk.ready()
    desk.write(window, "crash please")
    desk.until(lambda: window.page.error.isVisible())
    assert window.page.error.message.text() == "The engine stopped unexpectedly."
    assert last_state(window) is MessageState.INTERRUPTED
    assert texts(window)[-1] == "The server computed "
    assert window.page.meter.status.words.text() == "Offline"
    assert window.page.error.restart.isVisible()
    desk.qtbot.mouseClick(window.page.error.restart, Qt.MouseButton.LeftButton)
    desk.until(lambda: window.controller.ready)
    assert not window.page.error.isVisible()
    desk.ask(window, "Again")
    assert last_state(window) is MessageState.COMPLETE


def test_an_engine_that_cannot_be_started_says_so(desk: Desk) -> None:
    window = desk.ready()
    window.controller.engine.quit()
    window.controller.engine._command = [os.fspath(desk.command_log.parent / "no-such-program")]
    window.controller.restart_engine()
    desk.until(lambda: window.page.error.isVisible())
    assert "could not be started" in window.page.error.message.text()


def test_a_failed_reply_offers_details_and_another_try(desk: Desk) -> None:
    window = desk.ready()
    desk.write(window, "fail with CANARY-5512")
    desk.until(lambda: window.page.error.isVisible())
    error = window.page.error
    assert "closed the connection" in error.message.text()
    assert "send the message again" in error.next_step.text()
    desk.qtbot.mouseClick(error.details, Qt.MouseButton.LeftButton)
    copied = QGuiApplication.clipboard().text()
    assert "[server_gone]" in copied
    assert "round 12 of 121" in copied
    assert "CANARY" not in copied
    before = len(desk.commands("ask"))
    desk.qtbot.mouseClick(error.retry, Qt.MouseButton.LeftButton)
    desk.until(lambda: len(desk.commands("ask")) == before + 1)


def test_regenerate_makes_a_branch_and_the_arrows_go_back(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "long 3")
    first = window.page.messages.views()[-1].message.id
    with desk.qtbot.waitSignal(window.controller.message_finished, timeout=20_000):
        window.page.messages.regenerate_asked.emit(first)
    reply = window.page.messages.views()[-1]
    assert reply.message.id != first
    assert (reply._position, reply._count) == (2, 2)
    window.page.messages.branch_asked.emit(reply.message.id, -1)
    assert window.page.messages.views()[-1].message.id == first
    assert len(texts(window)) == 2


def test_edit_and_resend_keeps_the_old_branch(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "first wording")
    question = window.page.messages.views()[0].message.id
    window.page.messages.edit_asked.emit(question)
    assert window.page.banner.isVisible()
    assert window.page.composer.text == "first wording"
    desk.ask(window, "second wording")
    assert texts(window)[0] == "second wording"
    assert not window.page.banner.isVisible()
    edited = window.page.messages.views()[0].message.id
    window.page.messages.branch_asked.emit(edited, -1)
    assert texts(window)[0] == "first wording"


def test_escape_leaves_editing_before_it_stops_anything(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "first wording")
    window.page.start_edit(window.page.messages.views()[0].message.id)
    desk.qtbot.keyClick(window.page.composer.draft, Qt.Key.Key_Escape)
    assert not window.page.banner.isVisible()
    assert window.page.composer.text == ""
    assert desk.commands("stop") == []


def test_chats_survive_a_restart_of_the_window(desk: Desk, history_key: HistoryKey) -> None:
    window = desk.ready()
    desk.ask(window, "Remember me")
    window.close()
    window.controller.quit()
    again = desk.ready()
    assert again.chats.list.count() == 1
    again.chats.list.itemClicked.emit(again.chats.list.item(0))
    assert texts(again)[0] == "Remember me"
    assert again.title.text() == "Remember me"


def test_a_temporary_chat_is_never_written(desk: Desk, history_key: HistoryKey) -> None:
    window = desk.ready()
    window.controller.library.new_chat(temporary=True)
    desk.ask(window, "Off the record")
    assert texts(window)[0] == "Off the record"
    assert window.chats.list.count() == 0
    window.controller.library.new_chat()
    assert texts(window) == []
    assert window.controller.library.history.search("record") == []


def test_a_reply_goes_on_while_another_chat_is_shown(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv("FAKE_ENGINE_PIECE_GATE", str(gate))
    window = desk.ready()
    with desk.qtbot.waitSignal(window.controller.piece_added, timeout=20_000):
        desk.write(window, "tell me")
    chat = window.controller.library.current
    assert chat is not None
    window.controller.library.new_chat()
    assert window.page.messages.views() == []
    window.controller.library.open_chat(chat)
    shown = window.page.messages.views()[-1].body
    assert shown is not None
    assert shown.text == "The "
    gate.touch()
    desk.until(lambda: not window.controller.busy)
    assert shown.text.endswith("seeing it. ")
    assert texts(window)[-1] == shown.text


def test_delete_and_undo(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "Keep this")
    window.chats.delete()
    assert window.chats.list.count() == 0
    assert window.chats.undo_bar.isVisible()
    assert texts(window) == []
    window.chats.undo()
    assert window.chats.list.count() == 1
    assert texts(window)[0] == "Keep this"


def test_search_in_all_chats_and_find_in_one(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "About zebras")
    window.controller.library.new_chat()
    desk.ask(window, "About yaks")
    window.chats.search.setText("zebras")
    desk.until(lambda: window.chats.list.count() == 1)
    assert "zebras" in window.chats.list.item(0).text()
    window.chats.search.setText("")
    desk.until(lambda: window.chats.list.count() == 2)
    window.page.open_find()
    window.page.find_bar.field.setText("sentence")
    assert window.page.find_bar.count.text() == "1 of 1"
    window.page.find_bar.field.setText("unicorn")
    assert window.page.find_bar.count.text() == "No match"
    desk.qtbot.keyClick(window.page.find_bar.field, Qt.Key.Key_Escape)
    assert not window.page.find_bar.isVisible()


def test_copying_a_message_and_a_code_block(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "markdown")
    reply = window.page.messages.views()[-1]
    reply.copy()
    assert QGuiApplication.clipboard().text() == texts(window)[-1]
    assert reply.body is not None
    (block,) = reply.body.code_blocks()
    block.copy()
    assert QGuiApplication.clipboard().text().startswith("def greet(name: str)")


def test_the_server_view_shows_the_real_bytes(desk: Desk) -> None:
    window = desk.ready()
    window.show_server_view(True)
    desk.ask(window, "What do you see?")
    panel = window.server_panel
    assert panel.words.text() == "What do you see?"
    view = panel._shown
    assert view is not None
    assert panel.place.text() == "Layer group 121 of 121"
    assert panel.group.text().replace("\u200b", "") == view.group
    assert panel.bytes.text().split()[:3] == [f"{byte:02x}" for byte in view.head[:3]]
    colour = panel.picture.image.pixelColor(1, 0)
    assert (colour.red(), colour.green(), colour.blue()) == tuple(view.head[3:6])
    assert set(panel._views) == set(range(0, 121, 4))
    panel.slider.setFocus()
    desk.qtbot.keyClick(panel.slider, Qt.Key.Key_Home)
    assert not panel.follow.isChecked()
    assert panel.group.text().replace("\u200b", "") == panel._views[0].group
    before = panel._views[0].head
    desk.ask(window, "And now?")
    assert panel.words.text() == "And now?"
    assert panel.slider.value() == 0  # the layer that was chosen, with the bytes of today
    assert panel._shown is panel._views[0]
    assert panel._shown.head != before
    window.show_server_view(False)
    desk.until(lambda: [c["on"] for c in desk.commands("watch_layers")] == [True, False])


def test_links_are_shown_before_they_open_and_nothing_is_loaded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        "app.views.safe_browser.QDesktopServices.openUrl", lambda url: opened.append(url.toString())
    )
    window = desk.ready()
    desk.ask(window, "markdown")
    body = window.page.messages.views()[-1].body
    assert body is not None
    browser = body._widgets()[0]
    browser.anchorClicked.emit(QUrl("https://example.org/page"))
    box = next(w for w in QApplication.topLevelWidgets() if w.objectName() == "openLink")
    assert isinstance(box, QMessageBox)
    assert "https://example.org/page" in box.informativeText()
    assert opened == []
    box.button(QMessageBox.StandardButton.Open).click()
    assert opened == ["https://example.org/page"]
    browser.anchorClicked.emit(QUrl("file:///etc/passwd"))
    browser.anchorClicked.emit(QUrl("smb://server/share"))
    assert opened == ["https://example.org/page"]
    kind = QTextDocument.ResourceType.ImageResource.value
    assert browser.loadResource(kind, QUrl("file:///etc/passwd")).isEmpty()


def test_a_long_draft_gets_an_estimate(desk: Desk) -> None:
    window = desk.ready()
    window.page.composer.draft.setPlainText("word " * 100)
    desk.until(lambda: window.page.composer.note.text() != "")
    assert window.page.composer.note.text().startswith("Reading this prompt takes about 10 s")
    window.page.composer.draft.clear()
    assert window.page.composer.note.text() == ""
    window.controller.settings.pad = True
    window.page.composer.draft.setPlainText("word " * 90)
    desk.until(lambda: window.page.composer.note.text().endswith("padding included."))
    assert [asked["options"]["pad"] for asked in desk.commands("estimate")] == [False, True]


def test_no_prompt_reaches_the_window_title_or_a_file(desk: Desk, profile: Path) -> None:
    window = desk.ready()
    desk.ask(window, "heliotrope-canary")
    assert "heliotrope" not in window.windowTitle()
    for path in profile.rglob("*"):
        if path.is_file():
            assert b"heliotrope" not in path.read_bytes(), path


def test_session_only_keys_keep_nothing_and_say_so(desk: Desk, profile: Path) -> None:
    window = desk.build(key=HistoryKey(None, None))
    desk.until(lambda: window.controller.ready)
    desk.ask(window, "gone tomorrow")
    assert not window.controller.library.history.persistent
    window.open_settings()
    assert window._settings_dialog is not None
    assert "in memory only" in window._settings_dialog.data.where.text()
    window._settings_dialog.accept()
    assert not (profile / "data" / "history.db").exists()


def test_scrolling_up_is_not_yanked_back(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "long 400")
    messages, bar = window.page.messages, window.page.messages.verticalScrollBar()
    desk.until(lambda: bar.maximum() > 100 and bar.value() == bar.maximum())
    bar.setValue(10)
    reply = messages.views()[-1]
    assert reply.body is not None
    with desk.qtbot.waitSignal(reply.body.grew, timeout=20_000):
        reply.add("\n\nmore\n\n" * 30)
    content = messages.widget()
    desk.until(lambda: content.height() == content.sizeHint().height())
    assert bar.value() == 10
    assert messages._jump.isVisible()
    desk.qtbot.mouseClick(messages._jump, Qt.MouseButton.LeftButton)
    desk.until(lambda: bar.value() == bar.maximum())
