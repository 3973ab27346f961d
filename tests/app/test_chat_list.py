"""The side bar: folders, moving, deleting with undo, search with the words marked."""

from __future__ import annotations

from PySide6.QtCore import QMimeData, QPointF, Qt
from PySide6.QtGui import QDropEvent, QKeySequence
from PySide6.QtWidgets import QInputDialog, QMenu

from app.views.chat_list import ChatList
from app.views.chat_rows import CHAT, FOLDER, MARKS, title_marks
from app.views.main_window import MainWindow
from fhe_client.history import Role
from tests.app.helpers import Desk


def rows(chats: ChatList) -> list[str]:
    """The texts of the list; chats in a folder are indented."""
    found = []
    for row in range(chats.list.count()):
        item = chats.list.item(row)
        inside = item.data(CHAT) is not None and item.data(FOLDER) is not None
        found.append("  " * inside + item.text())
    return found


def filled(desk: Desk) -> tuple[MainWindow, dict[str, int]]:
    """A window with three chats and a folder."""
    window = desk.ready()
    library = window.controller.library
    made = {name: library.history.new_chat(name).id for name in ("one", "two", "three")}
    library.history.add_message(made["two"], Role.USER, "the river Seine", parent=None)
    library.new_folder("Letters")
    return window, made


def folder_named(window: MainWindow, name: str) -> int:
    folders = window.controller.library.history.folders()
    return next(folder.id for folder in folders if folder.name == name)


def choose(menu: QMenu, text: str) -> None:
    next(action for action in menu.actions() if action.text() == text).trigger()


def test_a_chat_is_moved_by_the_menu(desk: Desk) -> None:
    window, made = filled(desk)
    chats = window.chats
    menu = chats.chat_menu(made["one"])
    moves = menu.findChild(QMenu)
    assert isinstance(moves, QMenu)
    assert not next(a for a in moves.actions() if a.text() == "No folder").isEnabled()
    choose(moves, "Letters")
    assert rows(chats)[:2] == ["Letters  (1)", "  one"]
    menu.deleteLater()


def test_a_chat_is_moved_into_a_new_folder_and_pinned_ones_stay_on_top(desk: Desk) -> None:
    window, made = filled(desk)
    chats = window.chats
    chats.ask_folder([made["three"]])
    (dialog,) = chats.findChildren(QInputDialog)
    dialog.setTextValue("Travel & more")
    dialog.accept()
    window.controller.library.pin(made["two"], True)
    assert rows(chats) == ["two", "Letters  (0)", "Travel & more  (1)", "  three", "one"]


def drop(window: MainWindow, dragged: int, target: int) -> None:
    """What Qt sends when the dragged row is let go over another."""
    listed = window.chats.list
    listed.setCurrentRow(dragged)
    where = QPointF(listed.visualItemRect(listed.item(target)).center())
    event = QDropEvent(
        where,
        Qt.DropAction.CopyAction,
        QMimeData(),
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    event.source = lambda: listed  # type: ignore[method-assign]
    listed.dropEvent(event)


def test_a_chat_is_moved_by_dragging(desk: Desk) -> None:
    window, made = filled(desk)
    library, listed = window.controller.library, window.chats.list
    letters = folder_named(window, "Letters")
    drop(window, listed.row_of(CHAT, made["one"]), listed.row_of(FOLDER, letters))
    desk.until(lambda: library.history.chat(made["one"]).folder == letters)
    drop(window, listed.row_of(CHAT, made["one"]), listed.row_of(CHAT, made["two"]))
    desk.until(lambda: library.history.chat(made["one"]).folder is None)


def test_a_folder_opens_and_closes_with_the_keyboard(desk: Desk) -> None:
    window, made = filled(desk)
    letters = folder_named(window, "Letters")
    window.controller.library.move(made["one"], letters)
    listed = window.chats.list
    listed.setCurrentRow(listed.row_of(FOLDER, letters))
    desk.qtbot.keyClick(listed, Qt.Key.Key_Left)
    assert listed.row_of(CHAT, made["one"]) == -1
    desk.qtbot.keyClick(listed, Qt.Key.Key_Left)  # closed already: nothing happens
    assert listed.row_of(CHAT, made["one"]) == -1
    desk.qtbot.keyClick(listed, Qt.Key.Key_Right)
    assert listed.row_of(CHAT, made["one"]) >= 0
    item = listed.currentItem()
    assert item.data(FOLDER) == letters
    assert item.data(Qt.ItemDataRole.AccessibleTextRole) == "Folder Letters, open, chats: 1"


def test_a_folder_is_renamed_and_deleted_with_undo(desk: Desk) -> None:
    window, made = filled(desk)
    library, chats = window.controller.library, window.chats
    library.move(made["one"], folder_named(window, "Letters"))
    chats.list.setCurrentRow(0)
    chats.rename()
    (dialog,) = chats.findChildren(QInputDialog)
    dialog.setTextValue("Post")
    dialog.accept()
    assert rows(chats)[0] == "Post  (1)"
    chats.list.setCurrentRow(0)
    chats.delete()
    assert rows(chats) == ["two", "three", "one"]
    assert chats.undo_text.text() == "Folder deleted"
    chats.undo()
    assert rows(chats)[:2] == ["Post  (1)", "  one"]
    assert not chats.undo_bar.isVisible()


def test_deleting_a_chat_in_a_folder_is_undone_with_its_folder(desk: Desk) -> None:
    window, made = filled(desk)
    chats, letters = window.chats, folder_named(window, "Letters")
    window.controller.library.move(made["one"], letters)
    chats.list.setCurrentRow(chats.list.row_of(CHAT, made["one"]))
    chats.delete()
    assert rows(chats)[0] == "Letters  (0)"
    chats.undo()
    assert rows(chats)[:2] == ["Letters  (1)", "  one"]


def test_search_marks_the_words(desk: Desk) -> None:
    window, _made = filled(desk)
    chats = window.chats
    desk.qtbot.keySequence(window, QKeySequence("Ctrl+K"))
    chats.search.setText("sei")
    desk.until(lambda: chats.list.count() == 1)
    title, heading, excerpt, marks = chats.list.item(0).data(MARKS)
    assert (title, heading) == ("two", ())
    assert [excerpt[first:last] for first, last in marks] == ["Seine"]
    chats.search.setText("thr")
    desk.until(lambda: chats.list.item(0).data(MARKS)[0] == "three")
    assert chats.list.item(0).data(MARKS)[1] == ((0, 3),)
    assert not chats.grab().isNull()  # the marked rows are drawn without a complaint
    chats.search.setText("nowhere")
    desk.until(lambda: chats.list.count() == 0)
    assert chats.empty.text() == "No chat has these words."


def test_places_of_words_in_a_title() -> None:
    assert title_marks("A trip to Paris", ["paris", "TRIP", "x"]) == [(2, 6), (10, 15)]
    assert title_marks("Straße ẞ", ["s"]) == []
