"""One message with its actions and, under a reply, the figures of its making."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import figures, theme
from app.replies import can_continue
from app.views import parts
from app.views.message_body import MessageBody
from app.views.safe_browser import SafeBrowser
from fhe_client.history import Message, MessageState, Role


class MessageView(QWidget):
    """Shows a message; what the user wants done with it leaves as a signal with its id."""

    regenerate_asked = Signal(int)
    continue_asked = Signal()
    edit_asked = Signal(int)
    branch_asked = Signal(int, int)
    grew = Signal()

    def __init__(
        self, message: Message, branch: tuple[int, int], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.message = message
        self._position, self._count = branch
        self._foot = parts.label("", "muted", wrap=True, name="figures")
        self._state = parts.label("", "muted", name="state")
        self.go_on = self._make_continue()
        self._is_last = False
        self._arrows: tuple[QToolButton, ...] = ()
        self._actions = QWidget()
        self._layout = QVBoxLayout(self)
        self._layout.setSpacing(theme.TIGHT)
        parts.margins(self._layout, 0, theme.SMALL)
        self.body: MessageBody | None = None
        self.plain: SafeBrowser | None = None
        if message.role is Role.USER:
            self._build_question()
        else:
            self._build_reply()
        self._build_actions()
        self._layout.addWidget(self._actions)
        self.show_message(message)

    # -- building --------------------------------------------------------------------------------

    def _build_question(self) -> None:
        self.setAccessibleName(self.tr("Your message"))
        bubble = self._bubble = QFrame()
        bubble.setObjectName("userBubble")
        inside = QVBoxLayout(bubble)
        parts.margins(inside, theme.NORMAL + 2, theme.NORMAL - 2)
        self.plain = SafeBrowser(bubble)
        self.plain.setAccessibleName(self.tr("Your message"))
        inside.addWidget(self.plain)
        line = QHBoxLayout()
        parts.margins(line, 0)
        line.addSpacing(theme.HUGE * 2)
        line.addStretch(1)
        line.addWidget(bubble, 1000)
        self._layout.addLayout(line)

    def _build_reply(self) -> None:
        self.setAccessibleName(self.tr("Reply"))
        self.body = MessageBody(self)
        self.body.grew.connect(self.grew)
        self._layout.addWidget(self.body)

    def _build_actions(self) -> None:
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight, self._actions)
        self._row.setSpacing(theme.SMALL)
        parts.margins(self._row, 0)
        layout = parts.row(spacing=2)
        self._row.addLayout(layout)
        mine = self.message.role is Role.USER
        if mine:
            layout.addStretch(1)
        self._add_branches(layout)
        layout.addWidget(parts.tool("copy", self.tr("Copy message"), self.copy))
        if mine:
            layout.addWidget(self._asking("edit", self.tr("Edit and send again")))
            return
        layout.addWidget(self._asking("regenerate", self.tr("Make another reply")))
        layout.addWidget(self.go_on)
        layout.addStretch(1)
        figures_line = parts.row(self._state, spacing=2)
        figures_line.addWidget(self._foot, 1)
        self._row.addLayout(figures_line, 1)

    def _make_continue(self) -> QToolButton:
        made = parts.tool("continue", self.tr("Continue this reply"), self.continue_asked.emit)
        made.setText(self.tr("Continue"))
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        made.hide()
        return made

    def _asking(self, icon: str, text: str) -> QToolButton:
        signal = self.edit_asked if icon == "edit" else self.regenerate_asked
        return parts.tool(icon, text, lambda: signal.emit(self.message.id))

    def _add_branches(self, layout: QHBoxLayout) -> None:
        if self._count < 2:
            return
        back = parts.tool("left", self.tr("Previous branch"), lambda: self._step(-1))
        onward = parts.tool("right", self.tr("Next branch"), lambda: self._step(1))
        back.setEnabled(self._position > 1)
        onward.setEnabled(self._position < self._count)
        where = QLabel(f"{self._position}/{self._count}")
        where.setProperty("kind", "muted")
        where.setAccessibleName(self.tr("Branch {0} of {1}").format(self._position, self._count))
        for widget in (back, where, onward):
            layout.addWidget(widget)
        self._arrows = (back, onward)

    def focus_arrow(self, step: int) -> None:
        """Put the keyboard on the arrow that was pressed in the branch before, or on the other."""
        for arrow in self._arrows if step < 0 else reversed(self._arrows):
            if arrow.isEnabled():
                arrow.setFocus(Qt.FocusReason.OtherFocusReason)
                return

    def _step(self, step: int) -> None:
        self.branch_asked.emit(self.message.id, step)

    # -- showing ---------------------------------------------------------------------------------

    def show_message(self, message: Message) -> None:
        """Show the message's present text, state and figures."""
        self.message = message
        if self.plain is not None:
            self._show_question(self.plain)
        elif self.body is not None and self.body.text != message.text:
            self.body.set_text(message.text)
        elif self.body is not None:
            self.body.flush()
        streaming = message.state is MessageState.STREAMING
        self._actions.setVisible(not streaming)
        self._foot.setText(figures.reply_line(message.stats) if message.stats else "")
        words = self._state_words(message.state)
        self._state.setText(f"{words} ·" if words and self._foot.text() else words)
        self._state.setVisible(bool(self._state.text()))
        self._offer_continue()

    def set_last(self, last: bool) -> None:
        """Say whether this is the last message: only that one can be continued."""
        self._is_last = last
        self._offer_continue()

    def _offer_continue(self) -> None:
        self.go_on.setVisible(self._is_last and can_continue(self.message))
        self._arrange()

    def _show_question(self, plain: SafeBrowser) -> None:
        """Show the user's text in a bubble that is no wider than its longest line."""
        plain.document().setTextWidth(-1)
        plain.setPlainText(self.message.text)
        wide = math.ceil(plain.document().idealWidth())
        self._bubble.setMaximumWidth(wide + 2 * (theme.NORMAL + 2) + theme.SMALL)
        plain.fit()

    def _state_words(self, state: MessageState) -> str:
        return {
            MessageState.STOPPED: self.tr("Stopped"),
            MessageState.FAILED: self.tr("Not finished"),
            MessageState.INTERRUPTED: self.tr("Interrupted"),
        }.get(state, "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Figures go below the buttons where a line is too short for both."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        if self.message.role is Role.USER:
            return
        said = self._state.sizeHint().width() if self._state.text() else 0
        figures_width = said + self._foot.fontMetrics().horizontalAdvance(self._foot.text())
        buttons = self._row.itemAt(0).sizeHint().width()  # type: ignore[union-attr]
        fits = buttons + figures_width + 2 * theme.NORMAL <= self.width()
        ways = QBoxLayout.Direction
        self._row.setDirection(ways.LeftToRight if fits else ways.TopToBottom)

    def add(self, piece: str) -> None:
        """Append a piece of a reply."""
        if self.body is not None:
            self.body.add(piece)

    def redraw(self) -> None:
        """Draw with the present palette and font."""
        parts.recolour(self)
        if self.body is not None:
            self.body.redraw()
        elif self.plain is not None:
            self._show_question(self.plain)

    def copy(self) -> None:
        """Put the whole message on the clipboard, as written."""
        text = self.body.text if self.body is not None else self.message.text
        QGuiApplication.clipboard().setText(text)
