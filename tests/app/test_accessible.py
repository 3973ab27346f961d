"""Every control of every window and dialog has a name that a screen reader can say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QGroupBox,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QScrollBar,
    QTextEdit,
    QWidget,
)

from app.events import Failure
from app.views.main_window import MainWindow
from tests.app.helpers import Desk

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)
PARTS_OF = (QComboBox, QAbstractSpinBox, QLineEdit, QAbstractItemView)


def controls(root: QWidget) -> Iterator[QWidget]:
    """What a person can use under a widget; not the inner parts of a control."""
    for widget in root.findChildren(QWidget):
        inside = widget.parentWidget()
        while inside is not None and not isinstance(inside, PARTS_OF):
            inside = inside.parentWidget()
        ours = not widget.objectName().startswith("qt_")
        control = isinstance(widget, CONTROLS) and not isinstance(widget, QScrollBar)
        if control and ours and inside is None:
            yield widget


def unnamed(root: QWidget) -> list[str]:
    """Controls without a name or a text."""
    found = []
    for widget in controls(root):
        text = widget.text() if isinstance(widget, QAbstractButton | QGroupBox) else ""
        if not widget.accessibleName().strip() and not text.strip():
            path, part = [], widget
            while part is not None:
                path.append(type(part).__name__)
                part = part.parentWidget()
            found.append(" < ".join(path[:4]))
    return found


def every_screen(desk: Desk, window: MainWindow, folder: Path) -> Iterator[tuple[str, QWidget]]:
    """The window in its states, and each dialog opened once."""
    yield "first run", window.first_run
    desk.ask(window, "Please show me some markdown")
    chat = window.controller.library.current
    assert chat is not None
    window.show_server_view(True)
    window.page.open_find()
    window.page.show_failure(Failure("internal", "It broke.", "Try again."))
    window.controller.library.new_folder("A folder", [chat])
    yield "window", window
    menu = window.chats.chat_menu(chat)
    assert all(action.text() or action.isSeparator() for action in menu.actions())
    menu.deleteLater()
    window.open_settings()
    dialog = window._settings_dialog
    assert dialog is not None
    for row in range(dialog.pages.count()):
        dialog.pages.setCurrentRow(row)
    yield "settings", dialog
    tools = dialog.privacy.tools
    yield "what is sent", dialog.privacy.show_sent()
    yield "licences", dialog.about.show_licences()
    yield "change the key", tools.ask_rotate()
    yield "recovery file", tools.ask_export(folder / "new.txt")
    yield "use a recovery file", tools.ask_import(folder / "new.txt")
    yield "erase", tools.ask_erase(everything=False)
    yield "factory reset", dialog.data.ask_reset()
    dialog.model.prompt.setPlainText("Be short.")
    dialog.model.presets.ask_save()
    window.open_shortcuts()
    window.chats.list.setCurrentRow(1)
    window.chats.rename()
    window.data.export(chat)
    window.controller.passphrase_needed.emit(Failure("passphrase_needed", "Locked."))


def test_every_control_of_every_screen_has_a_name(desk: Desk, tmp_path: Path) -> None:
    window = desk.ready()
    for name, root in every_screen(desk, window, tmp_path):
        assert unnamed(root) == [], name
        assert any(True for _ in controls(root)), name
    kinds = set()
    for top in QApplication.topLevelWidgets():
        if isinstance(top, QDialog) and top.isVisible():
            kinds.add(type(top).__name__)
            assert unnamed(top) == [], type(top).__name__
            assert top.windowTitle() or isinstance(top, QMessageBox), type(top).__name__
    assert {"ShortcutsDialog", "QInputDialog", "QMessageBox", "PassphraseDialog"} <= kinds
    for top in QApplication.topLevelWidgets():
        if isinstance(top, QDialog):
            top.reject()
