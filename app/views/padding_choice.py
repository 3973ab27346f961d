"""Padding: lengths are hidden by filler tokens; what that costs is shown beside it."""

from __future__ import annotations

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget
from shiboken6 import isValid

from app import figures
from app.controller import Controller
from app.events import Json, number
from app.views import parts

EXAMPLE = "Hello"  # a short message: what is asked about is the least that padding costs


class PaddingChoice(QWidget):
    """The switch, what it hides, and what a short message costs with it."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.pad = QCheckBox(self.tr("&Hide how long prompts and replies are (padding)"))
        self.cost = parts.label("", "muted", wrap=True, name="paddingCost")
        frame, inside = parts.card()
        inside.addWidget(self.pad)
        text = self.tr(
            "Prompts and replies are filled up to multiples of 32 tokens, so the server sees only "
            "the number of such blocks. Every filler costs as much as a real token. Not possible "
            "with the scheme glwe."
        )
        inside.addWidget(parts.label(text, "muted", wrap=True))
        inside.addWidget(self.cost)
        layout = QVBoxLayout(self)
        parts.margins(layout, 0)
        layout.addWidget(frame)
        self.cost.hide()
        self.pad.clicked.connect(self._save)
        self.fill()

    def fill(self) -> None:
        """Show the present choice."""
        self.pad.setChecked(self._controller.settings.pad)
        self.pad.setEnabled(self._controller.settings.scheme != "glwe" or self.pad.isChecked())

    def _save(self) -> None:
        self._controller.settings.pad = self.pad.isChecked()
        self._controller.save_settings()

    def reset(self) -> None:
        """Back to the default."""
        self._controller.settings.reset("pad")
        self._controller.save_settings()
        self.fill()

    def showEvent(self, event: QShowEvent) -> None:
        """Ask the engine what a short message would cost with padding."""
        super().showEvent(event)
        self.fill()
        controller = self._controller
        if not controller.ready or controller.busy:
            return
        fields = {
            "messages": [{"role": "user", "content": EXAMPLE}],
            "options": {"max_tokens": 1, "pad": True},
        }
        controller.engine.request("estimate", fields, self._show_cost, lambda _failure: None)

    def _show_cost(self, value: Json) -> None:
        if not isValid(self):  # the settings were closed meanwhile
            return
        mb = number(value, "mb") + number(value, "reply_mb")
        seconds = number(value, "seconds") + number(value, "reply_seconds")
        text = self.tr("The shortest question and reply then cost about {0} and {1}.")
        parts.say(self.cost, text.format(figures.seconds(seconds), figures.megabytes(mb * 1e6)))
