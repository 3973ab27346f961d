"""Keyboard shortcuts, defined once: what they do, and the list that shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QGridLayout, QVBoxLayout, QWidget

from app import theme
from app.i18n import translate
from app.views import parts

if TYPE_CHECKING:
    from app.views.main_window import MainWindow


def descriptions() -> list[tuple[str, str]]:
    """Each shortcut and what it does, for the list."""
    return [
        ("Enter", translate("shortcuts", "Send the message")),
        ("Shift+Enter", translate("shortcuts", "New line")),
        ("Esc", translate("shortcuts", "Stop the reply, or leave search and editing")),
        ("Ctrl+N", translate("shortcuts", "New chat")),
        ("Ctrl+Shift+N", translate("shortcuts", "Temporary chat")),
        ("Ctrl+K", translate("shortcuts", "Search all chats")),
        ("Ctrl+F", translate("shortcuts", "Find in this chat")),
        ("Ctrl+R", translate("shortcuts", "Make another reply")),
        ("Ctrl+Shift+R", translate("shortcuts", "Continue the reply")),
        ("Ctrl+Shift+C", translate("shortcuts", "Copy the last reply")),
        ("Ctrl+B", translate("shortcuts", "Show or hide the chats")),
        ("Ctrl+E", translate("shortcuts", "What the server sees")),
        ("Ctrl+L", translate("shortcuts", "Write a message")),
        ("Ctrl++  Ctrl+-  Ctrl+0", translate("shortcuts", "Larger, smaller, normal text")),
        ("F2  Del", translate("shortcuts", "Rename or delete the chosen chat")),
        ("Left  Right", translate("shortcuts", "Close or open the chosen folder")),
        ("Menu", translate("shortcuts", "What can be done to the chosen chat or folder")),
        ("Ctrl+,", translate("shortcuts", "Settings")),
        ("F1", translate("shortcuts", "This list")),
        ("Ctrl+Q", translate("shortcuts", "Quit")),
    ]


def add_shortcuts(window: MainWindow) -> None:
    """Give the window its shortcuts."""
    library, page = window.controller.library, window.page
    actions: dict[str, Callable[[], object]] = {
        "Esc": page.escape,
        "Ctrl+N": library.new_chat,
        "Ctrl+Shift+N": lambda: library.new_chat(temporary=True),
        "Ctrl+K": window.search_chats,
        "Ctrl+F": page.open_find,
        "Ctrl+R": page.regenerate_last,
        "Ctrl+Shift+R": page.continue_last,
        "Ctrl+Shift+C": page.copy_last_reply,
        "Ctrl+B": window.toggle_sidebar,
        "Ctrl+E": lambda: window.show_server_view(not window.eye.isChecked()),
        "Ctrl+L": page.composer.draft.setFocus,
        "Ctrl++": lambda: window.zoom(1),
        "Ctrl+=": lambda: window.zoom(1),
        "Ctrl+-": lambda: window.zoom(-1),
        "Ctrl+0": lambda: window.zoom(0),
        "Ctrl+,": window.open_settings,
        "F1": window.open_shortcuts,
        "Ctrl+Q": window.close,
    }
    for keys, action in actions.items():
        shortcut = QShortcut(QKeySequence(keys), window)
        shortcut.activated.connect(action)


class ShortcutsDialog(QDialog):
    """The list of shortcuts."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Keyboard shortcuts"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.WIDE)
        grid.setVerticalSpacing(theme.SMALL)
        for index, (keys, what) in enumerate(descriptions()):
            grid.addWidget(parts.label(keys, "strong"), index, 0)
            grid.addWidget(parts.label(what), index, 1)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.WIDE)
        parts.margins(layout, theme.WIDE)
        layout.addLayout(grid)
        layout.addLayout(parts.row(1, parts.button(self.tr("Close"), self.accept)))
