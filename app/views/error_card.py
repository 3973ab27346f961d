"""An error as people need it: what happened, what to do, and details to copy."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMessageBox, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.events import Failure
from app.icons import pixmap
from app.views import parts


class ErrorCard(QFrame):
    """Shows one failure until it is dismissed, retried, or the next one comes."""

    restart_asked = Signal()
    retry_asked = Signal()
    reconnect_asked = Signal()
    accept_model_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("errorCard")
        self.setAccessibleName(self.tr("Error"))
        self.failure: Failure | None = None
        self._icon = parts.label()
        self.message = parts.label("", "strong", wrap=True)
        self.next_step = parts.label("", wrap=True)
        self.restart = self._action(self.tr("Start the engine again"), self.restart_asked.emit)
        self.retry = self._action(self.tr("Try again"), self.retry_asked.emit)
        self.reconnect = self._action(self.tr("Connect again"), self.reconnect_asked.emit)
        self.accept_model = parts.button(self.tr("Trust the new model…"), self.ask_to_accept_model)
        self.details = parts.button(self.tr("Copy details"), self.copy_details)
        self.dismiss = parts.button(self.tr("Dismiss"), self.hide)
        self._lay_out()
        self.hide()

    def _action(self, text: str, asked: Callable[[], object]) -> QPushButton:
        def clicked() -> None:
            self.hide()
            asked()

        return parts.button(text, clicked, "primary")

    def _lay_out(self) -> None:
        texts = parts.column(self.message, self.next_step, spacing=2)
        head = QHBoxLayout()
        head.setSpacing(theme.NORMAL)
        head.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        head.addLayout(texts, 1)
        layout = QVBoxLayout(self)
        parts.margins(layout, theme.NORMAL + 2, theme.NORMAL)
        layout.addLayout(head)
        layout.addLayout(
            parts.row(
                1,
                self.details,
                self.dismiss,
                self.accept_model,
                self.retry,
                self.reconnect,
                self.restart,
            )
        )

    def show_failure(self, failure: Failure, *, ready: bool) -> None:
        """Show a failure with the actions that make sense while the engine is ready or not."""
        self.failure = failure
        self.message.setText(failure.message)
        self.next_step.setText(failure.next_step)
        self.next_step.setVisible(bool(failure.next_step))
        image = pixmap("warning", theme.colours().danger, 24, self.devicePixelRatioF())
        self._icon.setPixmap(image)
        died = failure.code in ("engine_died", "engine_not_running")
        about_chats = failure.code == "settings" or failure.code.startswith("history")
        self.restart.setVisible(died)
        self.retry.setVisible(ready and not died and not about_chats)
        self.reconnect.setVisible(not ready and not died and not about_chats)
        self.accept_model.setVisible(failure.code == "model_changed" and not ready)
        self.show()

    def ask_to_accept_model(self) -> None:
        """Trusting another model needs a second, explicit yes: it is how a lying server would begin."""
        if self.failure is None:
            return
        box = QMessageBox(self.window())
        box.setObjectName("acceptModel")
        box.setIcon(QMessageBox.Icon.Warning)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(self.tr("Trust the model that this server has now?"))
        warning = self.tr(
            "Only do this if whoever runs the server told you that it was changed. "
            "A server that swaps its model could make replies reveal what you write."
        )
        box.setInformativeText(f"{self.failure.message}\n\n{warning}")
        trust = box.addButton(self.tr("Trust it"), QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        trust.clicked.connect(self._model_accepted)
        box.open()

    def _model_accepted(self) -> None:
        self.hide()
        self.accept_model_asked.emit()

    def copy_details(self) -> None:
        """Put the failure, without any prompt, reply or key, on the clipboard."""
        if self.failure is not None:
            QGuiApplication.clipboard().setText(self.failure.report())
