"""Settings, *Model*: which model and scheme, how replies are made, the system prompt and presets."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtGui import QHideEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QPlainTextEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.controller import Controller
from app.settings import DRAFT_TOKENS
from app.views import parts
from app.views.model_choice import ModelChoice
from app.views.prompt_presets import PromptPresets

SAVE_AFTER_MS = 400
_SAMPLING = ("max_tokens", "temperature", "top_p", "seed", "draft")


def form_layout() -> QFormLayout:
    """Labels at the left, fields as wide as there is room."""
    form = QFormLayout()
    form.setHorizontalSpacing(theme.WIDE)
    form.setVerticalSpacing(theme.NORMAL)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


class ModelPage(QWidget):
    """The model, the system prompt and sampling."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.choice = ModelChoice(controller)
        self.prompt = QPlainTextEdit()
        self.prompt.setAccessibleName(self.tr("System prompt"))
        self.prompt.setPlaceholderText(self.tr("for example: Answer in short sentences."))
        self.prompt.setFixedHeight(110)
        self.prompt.setTabChangesFocus(True)
        self.presets = PromptPresets(controller, self.prompt)
        self.temperature = self._decimal(0.0, 2.0, self.tr("Temperature"))
        self.top_p = self._decimal(0.05, 1.0, self.tr("Top-p"))
        self.max_tokens = QSpinBox()
        self.max_tokens.setRange(1, 8192)
        self.max_tokens.setAccessibleName(self.tr("Longest reply"))
        self.max_tokens.setSuffix(self.tr(" tokens"))
        self.seed = QLineEdit()
        self.seed.setPlaceholderText(self.tr("another reply each time"))
        self.seed.setAccessibleName(self.tr("Seed"))
        self.draft = self._drafting()
        self._saving = QTimer(self, interval=SAVE_AFTER_MS, singleShot=True)
        self._lay_out()
        self.fill()
        self._wire()

    def _decimal(self, low: float, high: float, name: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setRange(low, high)
        box.setSingleStep(0.05)
        box.setAccessibleName(name)
        return box

    def _drafting(self) -> QComboBox:
        box = QComboBox()
        box.setAccessibleName(self.tr("Several tokens per pass"))
        box.addItem(self.tr("Off: one token at a time"), "off")
        box.addItem(self.tr("Automatic: where the connection is slow"), "auto")
        for number in DRAFT_TOKENS:
            box.addItem(self.tr("{0} tokens").format(number), number)
        return box

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0)
        layout.addWidget(self.choice)
        layout.addWidget(self._prompt_card())
        layout.addWidget(self._sampling_card())
        layout.addLayout(parts.row(1, parts.button(self.tr("Reset this page"), self.reset)))

    def _prompt_card(self) -> QWidget:
        frame, inside = parts.card()
        inside.addWidget(parts.label(self.tr("System prompt"), "strong"))
        inside.addWidget(self.presets)
        inside.addWidget(self.prompt)
        text = self.tr("System prompt and presets are kept encrypted with your chats.")
        inside.addWidget(parts.label(text, "muted", wrap=True))
        return frame

    def _sampling_card(self) -> QWidget:
        frame, inside = parts.card()
        inside.addWidget(parts.label(self.tr("How replies are made"), "strong"))
        form = form_layout()
        form.addRow(self.tr("&Temperature"), self.temperature)
        form.addRow(self.tr("T&op-p"), self.top_p)
        form.addRow(self.tr("&Longest reply"), self.max_tokens)
        form.addRow(self.tr("&Seed"), self.seed)
        form.addRow(self.tr("Tokens per &pass"), self.draft)
        inside.addLayout(form)
        text = self.tr(
            "Temperature 0 always takes the likeliest word. Several tokens per pass are guessed "
            "from the conversation: faster on a slow connection, but from the number of passes the "
            "server learns how much the reply repeats the conversation. With “Automatic” a server "
            "can switch this on by answering slowly."
        )
        inside.addWidget(parts.label(text, "muted", wrap=True))
        return frame

    def _wire(self) -> None:
        self._saving.timeout.connect(self.save)
        for signal in (
            self.prompt.textChanged,
            self.temperature.valueChanged,
            self.top_p.valueChanged,
            self.max_tokens.valueChanged,
            self.seed.textChanged,
            self.draft.activated,
        ):
            signal.connect(lambda *_: self._saving.start())

    def fill(self) -> None:
        """Show the present settings."""
        chosen = self._controller.settings
        self.prompt.setPlainText(self._controller.system_prompt())
        self.temperature.setValue(chosen.temperature)
        self.top_p.setValue(chosen.top_p)
        self.max_tokens.setValue(chosen.max_tokens)
        self.seed.setText("" if chosen.seed is None else str(chosen.seed))
        self.draft.setCurrentIndex(max(self.draft.findData(chosen.draft), 0))

    def save(self) -> None:
        """Keep what is shown."""
        self._saving.stop()
        chosen = self._controller.settings
        chosen.temperature = self.temperature.value()
        chosen.top_p = self.top_p.value()
        chosen.max_tokens = self.max_tokens.value()
        chosen.draft = self.draft.currentData()
        text = self.seed.text().strip()
        chosen.seed = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
        self._controller.set_system_prompt(self.prompt.toPlainText())
        self._controller.save_settings()

    def reset(self) -> None:
        """Back to the defaults; presets stay."""
        self._controller.settings.reset(*_SAMPLING)
        self._controller.set_system_prompt("")
        self.choice.reset()
        self.fill()
        self.save()

    def hideEvent(self, event: QHideEvent) -> None:
        """Leaving the page never loses a change."""
        self.save_now()
        super().hideEvent(event)

    def save_now(self) -> None:
        """Save a change that is still waiting to be saved."""
        if self._saving.isActive():
            self.save()
