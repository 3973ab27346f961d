"""Settings pages: *Appearance*, *Data*, *About*."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QCheckBox, QComboBox, QSystemTrayIcon, QVBoxLayout, QWidget

from app import i18n, theme
from app.controller import Controller
from app.key_actions import KeyActions
from app.views import parts
from app.views.data_dialogs import DataDialogs
from app.views.key_dialogs import KeyDialog
from app.views.licences import LicencesDialog
from app.views.settings_keys import ask_erase
from app.views.settings_model import form_layout
from fhe_client.home import Home

ZOOM_STEPS = (80, 90, 100, 110, 125, 150, 175, 200)
_LOOK_SETTINGS = ("appearance", "zoom", "language", "notify", "tray")


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
        self.notify = QCheckBox(self.tr("Tell me when an answer is ready, without a word of it"))
        self.tray = QCheckBox(self.tr("Show an icon in the system tray"))
        self.tray.setEnabled(QSystemTrayIcon.isSystemTrayAvailable())
        if not self.tray.isEnabled():
            self.tray.setToolTip(self.tr("This desktop has no system tray."))
        self._lay_out()
        self.fill()
        self.look.activated.connect(self.save)
        self.zoom.activated.connect(self.save)
        self.language.activated.connect(self.save)
        self.notify.clicked.connect(self.save)
        self.tray.clicked.connect(self.save)

    def _lay_out(self) -> None:
        form = form_layout()
        form.addRow(self.tr("&Look"), self.look)
        form.addRow(self.tr("Text &size"), self.zoom)
        form.addRow(self.tr("La&nguage"), self.language)
        form.addRow(
            "", parts.label(self.tr("A new language is used from the next start."), "muted")
        )
        form.addRow("", self.notify)
        form.addRow("", self.tray)
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
        self.tray.setChecked(chosen.tray)

    def save(self) -> None:
        """Keep what is shown, and dress the window anew."""
        chosen = self._controller.settings
        chosen.appearance = str(self.look.currentData())
        chosen.zoom = int(self.zoom.currentData())
        chosen.language = str(self.language.currentData())
        chosen.notify = self.notify.isChecked()
        chosen.tray = self.tray.isChecked()
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
    """Versions, licences, the folder of the logs."""

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
                self.tr("Apache License 2.0. Built with the work of many others."),
                "muted",
                wrap=True,
            )
        )
        versions = "\n".join(f"{name} {found}" for name, found in controller.versions.items())
        layout.addWidget(parts.label(versions, "muted", name="versions"))
        logs = parts.button(self.tr("Open the log folder"), self._open_logs)
        licences = parts.button(self.tr("Licences…"), self.show_licences, name="licences")
        layout.addLayout(parts.row(licences, logs, 1))

    def show_licences(self) -> LicencesDialog:
        """List the libraries and their licences."""
        dialog = LicencesDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()
        return dialog

    def _open_logs(self) -> None:
        folder = Home.locate().ensure().log
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
