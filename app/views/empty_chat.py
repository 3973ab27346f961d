"""What an empty chat shows: where one is, what is going on, and what is private."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from app import theme
from app.controller import Controller
from app.events import Status
from app.icons import pixmap
from app.views import parts

SCALE = 1_000
TEXT_WIDTH = 460


class EmptyChat(QWidget):
    """A calm page with the progress of connecting."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._picture = parts.label()
        self._title = parts.label("", "display", name="emptyTitle")
        self._text = parts.label("", "", wrap=True)
        self._status = parts.label("", "muted", name="emptyStatus")
        self.progress = QProgressBar()
        self.progress.setAccessibleName(self.tr("Progress"))
        self.progress.setTextVisible(False)
        self.progress.setFixedWidth(320)
        self.progress.setRange(0, SCALE)
        self.progress.hide()
        self.cancel = parts.button(
            self.tr("Stop connecting"), controller.cancel_connecting, name="cancelConnecting"
        )
        self.cancel.hide()
        for widget in (self._picture, self._title, self._text, self._status):
            widget.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        layout.addStretch(1)
        for shown in (self._picture, self._title):
            layout.addWidget(shown, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(parts.centred(self._text, TEXT_WIDTH))
        for below in (self._status, self.progress, self.cancel):
            layout.addWidget(below, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(2)
        self.refresh()

    def refresh(self) -> None:
        """Draw for the kind of chat that is shown, with the present palette."""
        temporary = self._controller.library.temporary
        name = "temporary" if temporary else "app"
        self._picture.setPixmap(pixmap(name, theme.colours().accent, 56, self.devicePixelRatioF()))
        if temporary:
            self._title.setText(self.tr("Temporary chat"))
            self._text.setText(
                self.tr("Nothing of this chat is written down. It is gone when you leave it.")
            )
        else:
            self._title.setText(self.tr("Ask away"))
            self._text.setText(
                self.tr(
                    "Your words are encrypted on this computer. The server calculates with "
                    "numbers it cannot read."
                )
            )

    def show_status(self, words: str, status: Status) -> None:
        """Show what has to be waited for."""
        waiting = status.state not in ("ready", "prompt", "token")
        self._status.setText(words if waiting else "")
        self.cancel.setVisible(waiting and status.state not in ("offline", "starting"))
        self.progress.setVisible(waiting and status.total > 0)
        if status.total > 0:
            self.progress.setValue(SCALE * min(status.done, status.total) // status.total)
