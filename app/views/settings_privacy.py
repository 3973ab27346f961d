"""Settings, *Privacy & security*: where the key is, and everything this app sends."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app import sentences, theme
from app.controller import Controller
from app.events import Failure, KeysStatus
from app.views import parts
from app.views.key_choice import KeyChoice
from app.views.padding_choice import PaddingChoice
from app.views.sent_dialog import SentDialog
from app.views.settings_keys import KeyTools


class PrivacyPage(QWidget):
    """The state of the keys and how to change it."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.state = parts.label("", "strong", wrap=True, name="keysState")
        self.detail = parts.label("", "muted", wrap=True)
        self.choice = KeyChoice()
        self.apply_button = parts.button(
            self.tr("Keep the key this way"), self._apply, "primary", "applyKeys"
        )
        self.result = parts.label("", wrap=True, name="keysResult")
        self.result.hide()
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0)
        frame, inside = parts.card()
        for widget in (self.state, self.detail, self.choice):
            inside.addWidget(widget)
        inside.addLayout(parts.row(1, self.apply_button))
        inside.addWidget(self.result)
        layout.addWidget(frame)
        self.tools = KeyTools(controller)
        layout.addWidget(self.tools)
        self.padding = PaddingChoice(controller)
        layout.addWidget(self.padding)
        layout.addWidget(self._everything_sent())
        layout.addLayout(parts.row(1, parts.button(self.tr("Reset this page"), self.reset)))
        controller.keys_changed.connect(self._show)
        self.choice.changed.connect(self._changed)
        self._show(controller.keys)
        controller.refresh_keys()

    def _everything_sent(self) -> QWidget:
        frame, layout = parts.card()
        layout.addWidget(parts.label(self.tr("Everything this app sends"), "strong"))
        text = self.tr(
            "Only encrypted numbers and technical requests, to the server you chose and to nobody "
            "else: no telemetry, no update check, no crash report."
        )
        layout.addWidget(parts.label(text, wrap=True))
        more = parts.button(self.tr("Show each kind with its bytes…"), self.show_sent, name="sent")
        layout.addLayout(parts.row(more, 1))
        return frame

    def show_sent(self) -> SentDialog:
        """Every kind of thing that leaves this computer, with the bytes of this session."""
        dialog = SentDialog(self._controller, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()
        return dialog

    def reset(self) -> None:
        """Back to the defaults. The key stays where it is."""
        self.padding.reset()

    def _show(self, keys: KeysStatus) -> None:
        self.state.setText(sentences.keys_words(keys))
        backend = self.tr("Keyring: {0}").format(keys.backend) if keys.backend else ""
        parts.say(self.detail, keys.detail or backend)
        self.choice.show_keys(keys)
        self._changed()

    def _changed(self) -> None:
        same = self.choice.mode == self._controller.keys.state
        self.apply_button.setEnabled(self.choice.valid and not same)

    def _apply(self) -> None:
        parts.say(self.result, "")
        self.apply_button.setEnabled(False)
        self._controller.use_keys(self.choice.mode, self.choice.secret, self._failed, self._applied)

    def _applied(self) -> None:
        self.choice.clear()
        parts.say(self.result, self.tr("Done."))

    def _failed(self, failure: Failure) -> None:
        parts.say(self.result, f"{failure.message} {failure.next_step}".strip())
        self._changed()
