"""Where the master key goes: the keyring, a passphrase, or nowhere."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QLineEdit, QRadioButton, QVBoxLayout, QWidget

from app import theme
from app.events import KeysStatus
from app.views import parts

MIN_PASSPHRASE = 8


class KeyChoice(QWidget):
    """Three ways; those that cannot work here are not offered."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.keyring = QRadioButton(self.tr("In the system &keyring (recommended)"))
        self.passphrase = QRadioButton(self.tr("Sealed with a &passphrase, asked at each start"))
        self.session = QRadioButton(self.tr("For this &session only: nothing is kept"))
        self._group = QButtonGroup(self)
        self.first = self._secret_field(self.tr("Passphrase"))
        self.second = self._secret_field(self.tr("Passphrase again"))
        self.note = parts.label("", "muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, 0)
        for radio in (self.keyring, self.passphrase, self.session):
            self._group.addButton(radio)
            layout.addWidget(radio)
            if radio is self.passphrase:
                layout.addWidget(self.first)
                layout.addWidget(self.second)
        layout.addWidget(self.note)
        self._group.buttonToggled.connect(self._changed)
        self.keyring.setChecked(True)

    def _secret_field(self, name: str) -> QLineEdit:
        field = QLineEdit()
        field.setEchoMode(QLineEdit.EchoMode.Password)
        field.setPlaceholderText(name)
        field.setAccessibleName(name)
        field.textChanged.connect(self._changed)
        return field

    @property
    def mode(self) -> str:
        """keyring, passphrase or session."""
        if self.passphrase.isChecked():
            return "passphrase"
        return "session" if self.session.isChecked() else "keyring"

    @property
    def secret(self) -> str | None:
        """The passphrase, when that is the mode."""
        return self.first.text() if self.mode == "passphrase" else None

    @property
    def valid(self) -> bool:
        """Whether the choice can be carried out."""
        if self.mode != "passphrase":
            return True
        same = self.first.text() == self.second.text()
        return same and len(self.first.text()) >= MIN_PASSPHRASE

    def show_keys(self, keys: KeysStatus) -> None:
        """Offer what is possible with the keyring as it is."""
        possible = keys.state != "unavailable"
        self.keyring.setEnabled(possible)
        if not possible and self.keyring.isChecked():
            self.session.setChecked(True)
        if keys.state in ("passphrase", "session"):
            (self.passphrase if keys.state == "passphrase" else self.session).setChecked(True)
        self._changed()

    def _changed(self) -> None:
        asked = self.mode == "passphrase"
        self.first.setVisible(asked)
        self.second.setVisible(asked)
        self.note.setText(self._note())
        self.note.setVisible(bool(self.note.text()))
        self.changed.emit()

    def _note(self) -> str:
        if self.mode == "session":
            return self.tr("Chats stay in memory and are forgotten when you quit.")
        if self.mode == "passphrase" and not self.valid:
            return self.tr("At least {0} characters, the same in both fields.").format(
                MIN_PASSPHRASE
            )
        if not self.keyring.isEnabled():
            return self.tr("The system keyring cannot be reached.")
        return ""

    def clear(self) -> None:
        """Forget what was typed."""
        self.first.clear()
        self.second.clear()
