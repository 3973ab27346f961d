"""The text of one reply: prose and code blocks, growing at a constant cost per token."""

from __future__ import annotations

import time

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app import markdown, theme
from app.markdown import Block, ListItem
from app.views import parts
from app.views.code_block import CodeBlock
from app.views.safe_browser import SafeBrowser

FLUSH_MS = 60
SLOWEST_FLUSH_MS = 1_000
SHARE = 10  # a flush that took n ms is followed by a pause of at least SHARE * n
MIN_WIDTH = 400
PROSE_LIMIT = 2_500  # HTML characters in one text view; a longer one would slow streaming down


class MessageBody(QWidget):
    """Shows a whole text at once, or one that grows: only its last block is drawn again."""

    grew = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QVBoxLayout(self)
        self._layout.setSpacing(theme.SMALL)
        parts.margins(self._layout, 0)
        self._settled_text: list[str] = []  # source of the blocks that will not change any more
        self._tail = ""  # source from there on
        self._prose_html = ""  # settled HTML of the last, still open, prose view
        self._live: list[QWidget] = []  # widgets from the open prose view on
        self._goes_on: ListItem | None = None  # where the tail begins, if within a list
        self._pause = FLUSH_MS
        self._timer = QTimer(self, interval=FLUSH_MS, singleShot=True)
        self._timer.timeout.connect(self.flush)

    @property
    def text(self) -> str:
        """The source shown (or about to be)."""
        return "".join(self._settled_text) + self._tail

    def set_text(self, text: str) -> None:
        """Show a text from the start."""
        self._reset()
        self._tail = _one_newline(text)
        self.flush()

    def add(self, piece: str) -> None:
        """Append a piece; drawn soon (``FLUSH_MS``) together with what comes meanwhile.

        One huge paragraph or table is dear to draw again. The dearer, the longer the pause, so
        that the share of the time that drawing takes does not grow with the text.
        """
        self._tail += _one_newline(piece)
        if not self._timer.isActive():
            self._timer.start(self._pause)

    def redraw(self) -> None:
        """Draw everything with the present palette and font."""
        self.set_text(self.text)

    def code_blocks(self) -> list[CodeBlock]:
        """The code blocks, in order."""
        return [widget for widget in self._widgets() if isinstance(widget, CodeBlock)]

    def _widgets(self) -> list[QWidget]:
        items = (self._layout.itemAt(index) for index in range(self._layout.count()))
        return [widget for item in items if item and (widget := item.widget()) is not None]

    def _reset(self) -> None:
        self._timer.stop()
        parts.clear(self._layout)
        self._settled_text, self._tail = [], ""
        self._prose_html, self._live = "", []
        self._goes_on, self._pause = None, FLUSH_MS

    def flush(self) -> None:
        """Draw what was added."""
        self._timer.stop()
        began = time.perf_counter()
        found = markdown.blocks(self._tail, self._goes_on)
        self._show_live(found)
        if len(found) > 1:
            self._settle(found)
        took = round(1_000 * (time.perf_counter() - began))
        self._pause = min(max(FLUSH_MS, SHARE * took), SLOWEST_FLUSH_MS)
        self.grew.emit()

    def _show_live(self, found: list[Block]) -> None:
        """Draw the open blocks into the live widgets, making and dropping widgets as needed."""
        wanted = self._merged(found)
        for index, block in enumerate(wanted):
            self._draw(self._live_widget(index, block.kind), block)
        for widget in self._live[len(wanted) :]:
            self._layout.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        del self._live[len(wanted) :]

    def _merged(self, found: list[Block]) -> list[Block]:
        """Blocks as widgets will show them: neighbouring prose shares one view, up to a limit."""
        merged: list[Block] = [Block("prose", self._prose_html)] if self._prose_html else []
        for block in found:
            last = merged[-1] if merged else None
            if last and last.kind == block.kind == "prose" and len(last.content) < PROSE_LIMIT:
                merged[-1] = Block("prose", markdown.joined(last.content, block), end=block.end)
            else:
                merged.append(block)
        return merged

    def _live_widget(self, index: int, kind: str) -> QWidget:
        if index < len(self._live):
            if isinstance(self._live[index], CodeBlock) == (kind == "code"):
                return self._live[index]
            self._drop_live_from(index)
        widget: QWidget = CodeBlock(self) if kind == "code" else self._new_prose()
        self._live.append(widget)
        self._layout.addWidget(widget)
        return widget

    def _drop_live_from(self, index: int) -> None:
        for widget in self._live[index:]:
            self._layout.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        del self._live[index:]

    def _new_prose(self) -> SafeBrowser:
        view = SafeBrowser(self)
        # Near its final width at once: text first broken at Qt's default width would jump.
        view.resize(max(self.width(), MIN_WIDTH), 1)
        view.setAccessibleName(self.tr("Reply"))
        return view

    def _draw(self, widget: QWidget, block: Block) -> None:
        if isinstance(widget, CodeBlock):
            widget.show_code(block.content, block.language)
        elif isinstance(widget, SafeBrowser):
            widget.show_html(block.content)

    def _settle(self, found: list[Block]) -> None:
        """Every block but the last is final: its source leaves the tail, its widget the live ones."""
        cut = found[-2].end
        self._settled_text.append(self._tail[:cut])
        self._tail = self._tail[cut:]
        place = found[-1].item
        self._goes_on = place if place is not None and not place.first else None
        merged = self._merged(found[:-1])
        last = merged[-1]
        shares_view = last.kind == "prose" and found[-1].kind == "prose"
        if shares_view and len(last.content) < PROSE_LIMIT:
            self._prose_html = last.content
            del self._live[: len(merged) - 1]
        else:
            self._prose_html = ""
            del self._live[: len(merged)]


def _one_newline(text: str) -> str:
    """Line ends as ``app.markdown`` counts them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
