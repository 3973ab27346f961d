"""The window: chats at the left, messages and composer in the middle, the server's view at the right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app import figures, theme
from app.controller import Controller
from app.events import Failure
from app.tray import Tray
from app.views import parts
from app.views.chat_list import ChatList
from app.views.chat_page import ChatPage
from app.views.data_dialogs import DataDialogs
from app.views.elided import ElidedLabel
from app.views.first_run import FirstRunPage
from app.views.passphrase_dialog import PassphraseDialog
from app.views.server_view import ServerViewPanel
from app.views.shortcuts import ShortcutsDialog, add_shortcuts

if TYPE_CHECKING:
    from app.views.settings_dialog import SettingsDialog


class MainWindow(QMainWindow):
    """Wires the views to the controller; decides nothing itself."""

    def __init__(self, controller: Controller, version: Callable[[], str]) -> None:
        super().__init__()
        self.controller = controller
        self._version = version
        self._settings_dialog: SettingsDialog | None = None
        self.data = DataDialogs(controller, self)
        self.tray = Tray(self, controller.settings, controller.library.new_chat)
        self.setWindowTitle("Tacita")
        self.setMinimumSize(QSize(560, 420))
        self.resize(controller.settings.width, controller.settings.height)
        self.chats = ChatList(controller.library)
        self.page = ChatPage(controller)
        self.server_panel = ServerViewPanel()
        self.first_run = FirstRunPage(controller)
        self.stack = QStackedWidget()
        self._lay_out()
        self._wire()
        add_shortcuts(self)
        self._show_title()
        self._choose_page()
        self.tray.refresh()

    # -- building --------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        right = QWidget()
        layout = QVBoxLayout(right)
        layout.setSpacing(0)
        parts.margins(layout, 0)
        layout.addWidget(self._top_bar())
        middle = parts.row(spacing=0)
        middle.addWidget(self.page, 1)
        middle.addWidget(self.server_panel)
        layout.addLayout(middle, 1)
        chat = QWidget()
        whole = QHBoxLayout(chat)
        whole.setSpacing(0)
        parts.margins(whole, 0)
        whole.addWidget(self.chats)
        whole.addWidget(right, 1)
        self.stack.addWidget(chat)
        self.stack.addWidget(self.first_run)
        self.setCentralWidget(self.stack)
        self.chats.setVisible(self.controller.settings.sidebar)
        self.server_panel.hide()

    def _top_bar(self) -> QFrame:
        bar = QFrame()
        bar.setObjectName("topbar")
        self.title = ElidedLabel("strong", "chatTitle")
        self.totals = ElidedLabel("muted", "chatTotals")
        self.totals.setToolTip(self.tr("All replies of this chat, those on other branches too"))
        self.totals.hide()
        self.model = parts.label("", "muted", name="modelName")
        side = parts.tool("sidebar", self.tr("Show or hide the chats"), self.toggle_sidebar)
        find = parts.tool("search", self.tr("Find in this chat"), self.page.open_find)
        self.eye = parts.tool("eye", self.tr("What the server sees"))
        self.eye.setCheckable(True)
        settings = parts.tool("settings", self.tr("Settings"), self.open_settings)
        layout = QHBoxLayout(bar)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, theme.NORMAL, theme.SMALL)
        layout.addWidget(side)
        layout.addLayout(parts.column(self.title, self.totals, spacing=0), 1)
        layout.addWidget(self.model)
        for widget in (find, self.eye, settings):
            layout.addWidget(widget)
        return bar

    def _wire(self) -> None:
        controller = self.controller
        self.eye.toggled.connect(self.show_server_view)
        self.first_run.finished.connect(self._choose_page)
        controller.begun_again.connect(self._begun_again)
        self.chats.export_asked.connect(self.data.export)
        controller.library.chat_opened.connect(self._chat_opened)
        controller.library.chats_changed.connect(self._show_title)
        controller.connected.connect(lambda found: self.model.setText(found.model))
        controller.ready_changed.connect(self._ready_changed)
        controller.message_added.connect(self._words_sent)
        controller.engine.layer.connect(self.page.ribbon.show_layer)
        controller.engine.server_view.connect(self.server_panel.add)
        controller.passphrase_needed.connect(self._ask_passphrase)
        controller.message_finished.connect(lambda _message: self._reply_finished())
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.styleHints().colorSchemeChanged.connect(lambda _scheme: self.apply_theme())

    # -- pages -----------------------------------------------------------------------------------

    def _choose_page(self) -> None:
        self.stack.setCurrentIndex(1 if self.controller.settings.first_run else 0)
        if self.stack.currentIndex() == 0:
            self.page.composer.draft.setFocus()

    def _begun_again(self) -> None:
        self.first_run.begin_again()
        self._choose_page()
        self.apply_theme()
        if self._settings_dialog is not None and self.controller.settings.first_run:
            self._settings_dialog.reject()

    def _chat_opened(self) -> None:
        self._show_title()
        self.page.reload()
        self.server_panel.clear()

    def _show_title(self) -> None:
        library = self.controller.library
        chat = library.chat()
        title = chat.title if chat else self.tr("New chat")
        if library.temporary:
            title = self.tr("Temporary chat · never saved")
        self.title.setText(title)
        parts.say(self.totals, figures.chat_line(library.reply_figures()))

    def toggle_sidebar(self) -> None:
        """Show or hide the list of chats."""
        shown = not self.chats.isVisible()
        self.chats.setVisible(shown)
        self.controller.settings.sidebar = shown

    def search_chats(self) -> None:
        """Put the keyboard into the search of all chats."""
        if not self.chats.isVisible():
            self.toggle_sidebar()
        self.chats.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.chats.search.selectAll()

    def show_server_view(self, on: bool) -> None:
        """Show or hide *What the server sees*."""
        if self.eye.isChecked() != on:
            self.eye.setChecked(on)
            return
        self.server_panel.setVisible(on)
        self.page.ribbon.setVisible(on)
        self.controller.watch_layers(on)

    def _ready_changed(self, ready: bool) -> None:
        if ready and self.eye.isChecked():
            self.controller.watch_layers(True)

    def _words_sent(self, message: object) -> None:
        messages = self.controller.library.messages()
        mine = [found.text for found in messages if found.role.value == "user"]
        if mine:
            self.server_panel.show_words(mine[-1])

    def open_settings(self) -> None:
        """Open the settings; once."""
        if self._settings_dialog is None:
            from app.views.settings_dialog import SettingsDialog  # not needed to show the window

            dialog = SettingsDialog(self.controller, self.data, self._version(), self)
            dialog.appearance_changed.connect(self.apply_theme)
            dialog.finished.connect(self._settings_closed)
            self._settings_dialog = dialog
        self._settings_dialog.show()
        self._settings_dialog.raise_()

    def _settings_closed(self) -> None:
        if self._settings_dialog is not None:
            self._settings_dialog.deleteLater()
            self._settings_dialog = None

    def open_shortcuts(self) -> None:
        """Show the list of shortcuts."""
        dialog = ShortcutsDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _ask_passphrase(self, failure: Failure) -> None:
        dialog = PassphraseDialog(self.controller, failure, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    # -- look ------------------------------------------------------------------------------------

    def apply_theme(self) -> None:
        """Dress everything in the palette and zoom that were chosen."""
        app = QApplication.instance()
        if not isinstance(app, QApplication):
            return
        theme.apply(app, self.controller.settings.appearance, self.controller.settings.zoom)
        parts.recolour(self)
        self.chats.redraw()
        self.page.redraw()
        self.first_run.redraw()
        self.server_panel.redraw()
        self.tray.refresh()

    def zoom(self, step: int) -> None:
        """Make text larger (+1), smaller (-1) or normal (0)."""
        settings = self.controller.settings
        settings.zoom = max(70, min(settings.zoom + 10 * step, 200)) if step else 100
        self.controller.save_settings()
        self.apply_theme()

    def _reply_finished(self) -> None:
        self._show_title()
        self.tray.notify()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Remember the size; hide at once, the engine ends behind."""
        if self._settings_dialog is not None:
            self._settings_dialog.reject()  # it saves what was typed last
        self.controller.settings.width = self.width()
        self.controller.settings.height = self.height()
        if not self.controller.settings.first_run:
            self.controller.save_settings()
        super().closeEvent(event)
