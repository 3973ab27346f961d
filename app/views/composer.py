"""Where the user writes: Enter sends, Shift+Enter breaks the line, an input method keeps its Enter."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QMimeData, QObject, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QVBoxLayout, QWidget

from app import theme
from app.views import parts

MAX_LINES = 9
LONG_PROMPT = 300  # characters from which an estimate is worth a round to the engine
ESTIMATE_AFTER_MS = 500
MAX_CHARACTERS = 200_000


class Draft(QPlainTextEdit):
    """The text field; grows with its text."""

    send_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._composing = False
        self.setTabChangesFocus(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.document().setDocumentMargin(2)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._fit()

    def _fit(self) -> None:
        written = int(self.document().size().height())
        lines = max(1, min(written, MAX_LINES))
        more = written > MAX_LINES
        policy = Qt.ScrollBarPolicy
        self.setVerticalScrollBarPolicy(
            policy.ScrollBarAsNeeded if more else policy.ScrollBarAlwaysOff
        )
        height = lines * self.fontMetrics().lineSpacing() + 2 * theme.SMALL
        self.setFixedHeight(height)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter sends, unless an input method is composing or Shift is held."""
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if enter and not self._composing and held == Qt.KeyboardModifier.NoModifier:
            self.send_asked.emit()
            return
        super().keyPressEvent(event)

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        """Remember whether an input method is in the middle of a word."""
        self._composing = bool(event.preeditString())
        super().inputMethodEvent(event)

    def insertFromMimeData(self, source: QMimeData) -> None:
        """Paste text and nothing else."""
        if source.hasText():
            self.insertPlainText(source.text()[:MAX_CHARACTERS])

    def sizeHint(self) -> QSize:
        """As high as its text."""
        return QSize(super().sizeHint().width(), self.height())


class Composer(QFrame):
    """The draft with *Send*, which is *Stop* while a reply is made."""

    submitted = Signal(str)
    stop_asked = Signal()
    estimate_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("composer")
        self.draft = Draft(self)
        self.draft.setPlaceholderText(self.tr("Write a message"))
        self.draft.setAccessibleName(self.tr("Message"))
        self.send_button = parts.tool("send", self.tr("Send (Enter)"), self.submit)
        self.send_button.setObjectName("send")
        self.send_button.setEnabled(False)
        self.stop_button = parts.tool("stop", self.tr("Stop (Esc)"), self.stop_asked.emit)
        self.stop_button.setObjectName("stop")
        self.stop_button.hide()
        self._busy = False
        self.note = parts.label("", "muted", wrap=True, name="composerNote")
        self.note.hide()
        self._estimating = QTimer(self, interval=ESTIMATE_AFTER_MS, singleShot=True)
        self._lay_out()
        self._wire()
        parts.recolour(self)

    def _lay_out(self) -> None:
        line = parts.row(self.draft, self.stop_button, self.send_button)
        for button in (self.stop_button, self.send_button):
            line.setAlignment(button, Qt.AlignmentFlag.AlignBottom)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.TIGHT)
        parts.margins(layout, theme.SMALL, theme.SMALL - 2)
        layout.addLayout(line)
        layout.addWidget(self.note)

    def _wire(self) -> None:
        self.draft.send_asked.connect(self.submit)
        self.draft.textChanged.connect(self._changed)
        self.draft.installEventFilter(self)
        self._estimating.timeout.connect(lambda: self.estimate_asked.emit(self.text))

    @property
    def text(self) -> str:
        """The draft without blank ends."""
        return self.draft.toPlainText().strip()

    def submit(self) -> None:
        """Hand the draft over and clear it; an empty one is ignored."""
        text = self.text
        if text:
            self.draft.clear()
            self.submitted.emit(text)

    def edit(self, text: str) -> None:
        """Put a text into the draft to be changed."""
        self.draft.setPlainText(text)
        self.draft.moveCursor(self.draft.textCursor().MoveOperation.End)
        self.draft.setFocus(Qt.FocusReason.OtherFocusReason)

    def set_busy(self, busy: bool) -> None:
        """Show *Stop* while a reply is made."""
        self._busy = busy
        self._show_buttons()

    def _show_buttons(self) -> None:
        # While a reply is made and nothing is written, Stop is the only thing to press.
        written = bool(self.text)
        self.stop_button.setVisible(self._busy)
        self.send_button.setVisible(written or not self._busy)
        self.send_button.setEnabled(written)

    def show_note(self, text: str) -> None:
        """A line under the draft: an estimate, or that messages wait."""
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _changed(self) -> None:
        self._show_buttons()
        if len(self.text) >= LONG_PROMPT:
            self._estimating.start()
        else:
            self._estimating.stop()
            self.show_note("")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The frame shows where the keyboard is."""
        if isinstance(event, QFocusEvent) and event.type() in (
            QEvent.Type.FocusIn,
            QEvent.Type.FocusOut,
        ):
            self.setProperty("active", event.gotFocus())
            self.style().unpolish(self)
            self.style().polish(self)
        return super().eventFilter(watched, event)
