"""The icon in the system tray and the notice that an answer is ready: never a word of a chat."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QMenu, QSystemTrayIcon, QWidget

from app.resources import resource
from app.settings import Settings

NOTICE_MS = 8_000


class Tray(QObject):
    """Off by default. Closing the window still quits: nothing goes on behind the user's back."""

    def __init__(self, window: QWidget, settings: Settings, new_chat: Callable[[], object]) -> None:
        super().__init__(window)
        self._window = window
        self._settings = settings
        self._new_chat = new_chat
        self._menu: QMenu | None = None
        self.icon: QSystemTrayIcon | None = None

    def refresh(self) -> None:
        """Show or remove the icon, as the settings say and the desktop allows."""
        wanted = self._settings.tray and QSystemTrayIcon.isSystemTrayAvailable()
        if wanted and self.icon is None:
            self._make()
        if self.icon is not None:
            self.icon.setVisible(wanted)

    def _make(self) -> None:
        self.icon = QSystemTrayIcon(QIcon(str(resource("icons/app-colour.svg"))), self)
        self.icon.setToolTip("Tacita")
        self._menu = QMenu(self._window)
        self._menu.addAction(self.tr("Show the window"), self.show_window)
        self._menu.addAction(self.tr("New chat"), self._start_chat)
        self._menu.addSeparator()
        self._menu.addAction(self.tr("Quit"), self._window.close)
        self.icon.setContextMenu(self._menu)
        self.icon.activated.connect(self._activated)
        self.icon.messageClicked.connect(self.show_window)

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason is QSystemTrayIcon.ActivationReason.Trigger:
            self.show_window()

    def show_window(self) -> None:
        """Bring the window to the front."""
        minimised = Qt.WindowState.WindowMinimized
        self._window.setWindowState(self._window.windowState() & ~minimised)
        self._window.show()
        self._window.raise_()
        self._window.activateWindow()

    def _start_chat(self) -> None:
        self._new_chat()
        self.show_window()

    def notify(self) -> None:
        """Tell that an answer is ready, if the window is not in front and the user wants it."""
        if not self._settings.notify or self._window.isActiveWindow():
            return
        QApplication.alert(self._window)
        if self.icon is not None and self.icon.isVisible():
            text = self.tr("An answer is ready.")
            self.icon.showMessage("Tacita", text, QIcon(self.icon.icon()), NOTICE_MS)
