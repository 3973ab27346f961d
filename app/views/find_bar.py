"""Ctrl+F: find words in the chat that is shown."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QTextDocument
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QWidget

from app import theme
from app.library import Library
from app.views import parts
from app.views.message_list import MessageList
from app.views.safe_browser import SafeBrowser


class FindBar(QFrame):
    """Goes through the matches, newest first, and marks them."""

    def __init__(
        self, messages: MessageList, library: Library, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._messages = messages
        self._library = library
        self._hits: list[int] = []
        self._at = 0
        self.field = QLineEdit()
        self.field.setPlaceholderText(self.tr("Find in this chat"))
        self.field.setAccessibleName(self.tr("Find in this chat"))
        self.field.setClearButtonEnabled(True)
        self.count = parts.label("", "muted", name="findCount")
        older = parts.tool("left", self.tr("Earlier match"), lambda: self.step(1))
        newer = parts.tool("right", self.tr("Later match"), lambda: self.step(-1))
        layout = QHBoxLayout(self)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, theme.WIDE, theme.SMALL)
        layout.addWidget(self.field, 1)
        for widget in (self.count, older, newer):
            layout.addWidget(widget)
        self.field.textChanged.connect(self._search)
        self.field.returnPressed.connect(lambda: self.step(1))
        self.hide()

    def open_bar(self) -> None:
        """Show the bar with the keyboard in it."""
        self.show()
        self.field.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.field.selectAll()

    def close_bar(self) -> None:
        """Hide the bar and the marks."""
        self._clear_marks()
        self._hits = []
        self.hide()

    def _search(self, text: str) -> None:
        wanted = text.strip().casefold()
        found = self._library.messages() if wanted else []
        self._hits = [m.id for m in reversed(found) if wanted in m.text.casefold()]
        self._at = 0
        self._show()

    def step(self, by: int) -> None:
        """Go to another match."""
        if self._hits:
            self._at = (self._at + by) % len(self._hits)
            self._show()

    def _show(self) -> None:
        self._clear_marks()
        if not self._hits:
            self.count.setText(self.tr("No match") if self.field.text().strip() else "")
            return
        self.count.setText(self.tr("{0} of {1}").format(self._at + 1, len(self._hits)))
        view = self._messages.reveal(self._hits[self._at])
        if view is None:
            return
        for browser in view.findChildren(SafeBrowser):
            browser.moveCursor(browser.textCursor().MoveOperation.Start)
            if browser.find(self.field.text().strip(), QTextDocument.FindFlag(0)):
                self._messages.show_within(browser)
                break

    def _clear_marks(self) -> None:
        for view in self._messages.views():
            for browser in view.findChildren(SafeBrowser):
                cursor = browser.textCursor()
                if cursor.hasSelection():
                    cursor.clearSelection()
                    browser.setTextCursor(cursor)
