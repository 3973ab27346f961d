"""Asks for the passphrase that opens keys and chats."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QLineEdit, QVBoxLayout, QWidget

from app import theme
from app.controller import Controller
from app.events import Failure
from app.opening import NEEDS_PASSPHRASE
from app.views import parts


class PassphraseDialog(QDialog):
    """Gives the passphrase to the controller and stays open while it is wrong."""

    def __init__(
        self, controller: Controller, failure: Failure, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self.setWindowTitle(self.tr("Unlock your chats"))
        self.setMinimumWidth(420)
        self.field = QLineEdit()
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setAccessibleName(self.tr("Passphrase"))
        self.problem = parts.label("", "danger", wrap=True)
        if failure.code in NEEDS_PASSPHRASE - {"passphrase_needed"}:
            self.problem.setText(failure.message)
        self.unlock_button = parts.button(self.tr("Unlock"), self._unlock, "primary", "unlock")
        self.unlock_button.setEnabled(False)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, theme.WIDE)
        layout.addWidget(
            parts.label(
                self.tr("Your key is sealed with a passphrase. Enter it to go on."), wrap=True
            )
        )
        layout.addWidget(self.field)
        layout.addWidget(self.problem)
        cancel = parts.button(self.tr("Not now"), self.reject)
        layout.addLayout(parts.row(1, cancel, self.unlock_button))
        self.field.textChanged.connect(lambda text: self.unlock_button.setEnabled(bool(text)))
        self.field.returnPressed.connect(self._unlock)

    def _unlock(self) -> None:
        if not self.field.text():
            return
        self.unlock_button.setEnabled(False)
        self.problem.clear()
        self._controller.use_keys("passphrase", self.field.text(), self._failed, self.accept)

    def _failed(self, failure: Failure) -> None:
        self.problem.setText(f"{failure.message} {failure.next_step}".strip())
        self.field.selectAll()
        self.field.setFocus()
