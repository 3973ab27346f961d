"""A block of code in a reply: coloured, copied by a button, growing at a cost that stays the same."""

from __future__ import annotations

from functools import cache

from PySide6.QtGui import QColor, QFont, QGuiApplication, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from app import highlighting, theme
from app.highlighting import Look, Run
from app.views import parts
from app.views.safe_browser import SafeBrowser

OPEN_LINES = 30  # lines at the end that are coloured again when the code grows
GIVE_UP_LINES = 10 * OPEN_LINES  # from here on they are settled even inside a string or comment


class CodeBlock(QFrame):
    """Code with its language and a copy button; long lines scroll sideways."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("codeBlock")
        self._code = ""
        self._language = ""
        self._settled = 0  # characters whose colours will not change any more
        self._position = 0  # where they end in the document, which counts in UTF-16
        self._name = parts.label("", "muted")
        self._copy = parts.tool("copy", self.tr("Copy code"), self.copy)
        self._view = SafeBrowser(self, wrap=False)
        self._view.setAccessibleName(self.tr("Code"))
        layout = QVBoxLayout(self)
        layout.setSpacing(2)
        parts.margins(layout, theme.NORMAL, theme.TIGHT)
        layout.addLayout(parts.row(self._name, 1, self._copy))
        layout.addWidget(self._view)
        layout.addSpacing(theme.TIGHT)

    @property
    def code(self) -> str:
        """The code as the model wrote it."""
        return self._code

    @property
    def open_length(self) -> int:
        """Characters that are drawn again when the code grows."""
        return len(self._code) - self._settled

    def show_code(self, code: str, language: str) -> None:
        """Show code, coloured if its language is known; if it only grew, only its end is drawn."""
        if (code, language) == (self._code, self._language):
            return
        settled = self._code[: self._settled]
        grew = bool(self._code) and language == self._language and code.startswith(settled)
        self._code, self._language = code, language
        if grew:
            self._draw_open_part()
        else:
            self.redraw()

    def redraw(self) -> None:
        """Draw everything with the present palette and font."""
        self._name.setText(self._language or self.tr("code"))
        self._view.setFont(theme.mono())
        self._settled = self._position = 0
        self._draw_open_part()

    def _draw_open_part(self) -> None:
        rest = self._code[self._settled :]
        found = highlighting.runs(rest, self._language, dark=theme.colours().dark)
        cursor = QTextCursor(self._view.document())
        cursor.beginEditBlock()
        cursor.setPosition(self._position)
        cursor.movePosition(cursor.MoveOperation.End, cursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        for text, look in found:
            cursor.insertText(text, _format(look))
        cursor.endEditBlock()
        self._view.fit()
        self._settle(rest, found)

    def _settle(self, rest: str, found: list[Run]) -> None:
        """Settle all but the last lines, at a place where colours do not depend on what is before."""
        lines = rest.count("\n")
        if lines < 2 * OPEN_LINES:
            return
        cut = len(rest)
        for _ in range(OPEN_LINES):
            cut = rest.rindex("\n", 0, cut)
        cut += 1
        alone = highlighting.runs(rest[cut:], self._language, dark=theme.colours().dark)
        if alone == highlighting.after(found, cut) or lines > GIVE_UP_LINES:
            self._settled += cut
            self._position += len(rest[:cut].encode("utf-16-le")) // 2

    def copy(self) -> None:
        """Put the code on the clipboard."""
        QGuiApplication.clipboard().setText(self._code)


@cache
def _format(look: Look) -> QTextCharFormat:
    made = QTextCharFormat()
    if look.colour:
        made.setForeground(QColor(look.colour))
    if look.bold:
        made.setFontWeight(QFont.Weight.Bold)
    made.setFontItalic(look.italic)
    return made
