"""Settings pages: *Model*, *Appearance*, *Data*, *About*."""

from __future__ import annotations

from PySide6.QtCore import QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QPlainTextEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app import i18n, theme
from app.controller import Controller
from app.key_actions import KeyActions
from app.views import parts
from app.views.data_dialogs import DataDialogs
from app.views.key_dialogs import KeyDialog
from app.views.settings_keys import ask_erase
from fhe_client.home import Home

SAVE_AFTER_MS = 400
ZOOM_STEPS = (80, 90, 100, 110, 125, 150, 175, 200)
_MODEL_SETTINGS = ("max_tokens", "temperature", "top_p", "seed")
_LOOK_SETTINGS = ("appearance", "zoom", "language", "notify")


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setHorizontalSpacing(theme.WIDE)
    form.setVerticalSpacing(theme.NORMAL)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


class ModelPage(QWidget):
    """System prompt and sampling."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.prompt = QPlainTextEdit()
        self.prompt.setAccessibleName(self.tr("System prompt"))
        self.prompt.setPlaceholderText(self.tr("for example: Answer in short sentences."))
        self.prompt.setFixedHeight(110)
        self.prompt.setTabChangesFocus(True)
        self.temperature = self._decimal(0.0, 2.0, self.tr("Temperature"))
        self.top_p = self._decimal(0.05, 1.0, self.tr("Top-p"))
        self.max_tokens = QSpinBox()
        self.max_tokens.setRange(1, 8192)
        self.max_tokens.setAccessibleName(self.tr("Longest reply"))
        self.max_tokens.setSuffix(self.tr(" tokens"))
        self.seed = QLineEdit()
        self.seed.setPlaceholderText(self.tr("another reply each time"))
        self.seed.setAccessibleName(self.tr("Seed"))
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

    def _lay_out(self) -> None:
        form = _form()
        form.addRow(self.tr("System &prompt"), self.prompt)
        form.addRow(self.tr("&Temperature"), self.temperature)
        form.addRow(self.tr("T&op-p"), self.top_p)
        form.addRow(self.tr("&Longest reply"), self.max_tokens)
        form.addRow(self.tr("&Seed"), self.seed)
        layout = QVBoxLayout(self)
        parts.margins(layout, 0)
        layout.addLayout(form)
        layout.addWidget(
            parts.label(
                self.tr(
                    "The system prompt is kept encrypted with your chats. "
                    "Temperature 0 always takes the likeliest word."
                ),
                "muted",
                wrap=True,
            )
        )
        layout.addLayout(parts.row(1, parts.button(self.tr("Reset this page"), self.reset)))

    def _wire(self) -> None:
        self._saving.timeout.connect(self.save)
        for signal in (
            self.prompt.textChanged,
            self.temperature.valueChanged,
            self.top_p.valueChanged,
            self.max_tokens.valueChanged,
            self.seed.textChanged,
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

    def save(self) -> None:
        """Keep what is shown."""
        chosen = self._controller.settings
        chosen.temperature = self.temperature.value()
        chosen.top_p = self.top_p.value()
        chosen.max_tokens = self.max_tokens.value()
        text = self.seed.text().strip()
        chosen.seed = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
        self._controller.set_system_prompt(self.prompt.toPlainText())
        self._controller.save_settings()

    def reset(self) -> None:
        """Back to the defaults."""
        self._controller.settings.reset(*_MODEL_SETTINGS)
        self._controller.set_system_prompt("")
        self.fill()
        self.save()

    def hideEvent(self, event: object) -> None:
        """Leaving the page never loses a change."""
        if self._saving.isActive():
            self._saving.stop()
            self.save()


class AppearancePage(QWidget):
    """Light or dark, zoom, language, notification."""

    changed = Signal()

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.look = QComboBox()
        self.look.setAccessibleName(self.tr("Look"))
        for value, name in (
            ("system", self.tr("As the system")),
            ("light", self.tr("Light")),
            ("dark", self.tr("Dark")),
        ):
            self.look.addItem(name, value)
        self.zoom = QComboBox()
        self.zoom.setAccessibleName(self.tr("Text size"))
        for step in ZOOM_STEPS:
            self.zoom.addItem(f"{step} %", step)
        self.language = QComboBox()
        self.language.setAccessibleName(self.tr("Language"))
        for code, name in i18n.LANGUAGES.items():
            self.language.addItem(name or self.tr("As the system"), code)
        self.notify = QCheckBox(self.tr("Mark the task bar when an answer is ready"))
        self._lay_out()
        self.fill()
        self.look.activated.connect(self.save)
        self.zoom.activated.connect(self.save)
        self.language.activated.connect(self.save)
        self.notify.clicked.connect(self.save)

    def _lay_out(self) -> None:
        form = _form()
        form.addRow(self.tr("&Look"), self.look)
        form.addRow(self.tr("Text &size"), self.zoom)
        form.addRow(self.tr("La&nguage"), self.language)
        form.addRow(
            "", parts.label(self.tr("A new language is used from the next start."), "muted")
        )
        form.addRow("", self.notify)
        layout = QVBoxLayout(self)
        parts.margins(layout, 0)
        layout.addLayout(form)
        layout.addLayout(parts.row(1, parts.button(self.tr("Reset this page"), self.reset)))

    def fill(self) -> None:
        """Show the present settings."""
        chosen = self._controller.settings
        self.look.setCurrentIndex(max(self.look.findData(chosen.appearance), 0))
        nearest = min(ZOOM_STEPS, key=lambda step: abs(step - chosen.zoom))
        self.zoom.setCurrentIndex(self.zoom.findData(nearest))
        self.language.setCurrentIndex(max(self.language.findData(chosen.language), 0))
        self.notify.setChecked(chosen.notify)

    def save(self) -> None:
        """Keep what is shown, and dress the window anew."""
        chosen = self._controller.settings
        chosen.appearance = str(self.look.currentData())
        chosen.zoom = int(self.zoom.currentData())
        chosen.language = str(self.language.currentData())
        chosen.notify = self.notify.isChecked()
        self._controller.save_settings()
        self.changed.emit()

    def reset(self) -> None:
        """Back to the defaults."""
        self._controller.settings.reset(*_LOOK_SETTINGS)
        self.fill()
        self.save()


class DataPage(QWidget):
    """Export, import, delete."""

    def __init__(
        self, controller: Controller, data: DataDialogs, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        history = controller.library.history
        kept = self.tr("Chats are kept encrypted in {0}.").format(history.path)
        if not history.persistent:
            kept = self.tr("Chats are in memory only and are forgotten when you quit.")
        self.where = parts.label(kept, wrap=True, name="historyPlace")
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0)
        layout.addWidget(self.where)
        export = parts.button(self.tr("Export all chats…"), lambda: data.export(None))
        bring = parts.button(self.tr("Import chats…"), data.ask_import)
        layout.addLayout(parts.row(export, bring, 1))
        layout.addSpacing(theme.WIDE)
        delete = parts.button(
            self.tr("Delete all chats…"), data.ask_delete_everything, "danger", "deleteAll"
        )
        reset = parts.button(self.tr("Factory reset…"), self.ask_reset, "danger", "factoryReset")
        layout.addLayout(parts.row(delete, reset, 1))
        self._work = KeyActions(controller)

    def ask_reset(self) -> KeyDialog:
        """Delete all that this profile ever wrote, the key in the keyring too, after asking."""
        return ask_erase(self._work, self, everything=True)


class AboutPage(QWidget):
    """Versions, licence, the folder of the logs."""

    def __init__(self, controller: Controller, version: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, 0)
        known = controller.versions.get("tacita", version)
        layout.addWidget(parts.label(self.tr("Tacita {0}").format(known), "strong"))
        layout.addWidget(
            parts.label(self.tr("A chat whose language model never hears you."), wrap=True)
        )
        layout.addWidget(
            parts.label(
                self.tr(
                    "Apache License 2.0. Built with Qt (LGPL 3), PyTorch, Transformers and "
                    "others; see the licences in the installation folder."
                ),
                "muted",
                wrap=True,
            )
        )
        versions = "\n".join(f"{name} {found}" for name, found in controller.versions.items())
        layout.addWidget(parts.label(versions, "muted", name="versions"))
        logs = parts.button(self.tr("Open the log folder"), self._open_logs)
        layout.addLayout(parts.row(logs, 1))

    def _open_logs(self) -> None:
        folder = Home.locate().ensure().log
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
