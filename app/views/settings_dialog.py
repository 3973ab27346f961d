"""The settings: pages at the left, changes take effect at once."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.controller import Controller
from app.views import parts
from app.views.data_dialogs import DataDialogs
from app.views.settings_model import ModelPage
from app.views.settings_pages import AboutPage, AppearancePage, DataPage
from app.views.settings_privacy import PrivacyPage
from app.views.settings_server import ServerPage


class SettingsDialog(QDialog):
    """Six pages; ``appearance_changed`` asks the window to dress anew."""

    appearance_changed = Signal()

    def __init__(
        self,
        controller: Controller,
        data: DataDialogs,
        version: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Settings"))
        parts.size_for_text(self, 840, 620)
        self.pages = QListWidget()
        self.pages.setObjectName("dialogPages")
        self.pages.setAccessibleName(self.tr("Pages"))
        self.pages.setFixedWidth(theme.scaled(224))
        self.stack = QStackedWidget()
        self.server = ServerPage(controller)
        self.model = ModelPage(controller)
        self.privacy = PrivacyPage(controller)
        self.appearance = AppearancePage(controller)
        self.data = DataPage(controller, data)
        self.about = AboutPage(controller, version)
        self.appearance.changed.connect(self._appearance_changed)
        for title, page in (
            (self.tr("Server"), self.server),
            (self.tr("Model"), self.model),
            (self.tr("Privacy && security").replace("&&", "&"), self.privacy),
            (self.tr("Appearance"), self.appearance),
            (self.tr("Data"), self.data),
            (self.tr("About"), self.about),
        ):
            self._add(title, page)
        self._lay_out()
        self.pages.currentRowChanged.connect(self.stack.setCurrentIndex)
        self.pages.setCurrentRow(0)
        self.finished.connect(lambda _result: self.model.save_now())

    def _add(self, title: str, page: QWidget) -> None:
        item = QListWidgetItem(title, self.pages)
        item.setSizeHint(QSize(0, theme.scaled(40)))
        area = QScrollArea()
        area.setObjectName("messages")
        area.setWidgetResizable(True)
        holder = QWidget()
        layout = QVBoxLayout(holder)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, theme.WIDE, theme.WIDE)
        layout.addWidget(parts.label(title, "title"))
        layout.addWidget(page)
        layout.addStretch(1)
        area.setWidget(holder)
        self.stack.addWidget(area)

    def _lay_out(self) -> None:
        close = parts.button(self.tr("Close"), self.accept, name="closeSettings")
        right = parts.column(spacing=0)
        right.addWidget(self.stack, 1)
        foot = parts.row(1, close)
        parts.margins(foot, theme.WIDE, theme.NORMAL)
        right.addLayout(foot)
        layout = QHBoxLayout(self)
        layout.setSpacing(0)
        parts.margins(layout, 0)
        layout.addWidget(self.pages)
        layout.addLayout(right, 1)

    def _appearance_changed(self) -> None:
        self.appearance_changed.emit()
        parts.recolour(self)
