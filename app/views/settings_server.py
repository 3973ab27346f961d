"""Settings, *Server*: the saved servers, the local one, and *Test connection*."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from app import theme
from app.controller import Controller
from app.settings import LOCAL, SavedServer
from app.views import parts
from app.views.connection_form import ConnectionForm

_URL = Qt.ItemDataRole.UserRole


class ServerPage(QWidget):
    """Choose, add, change and remove servers."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.list = QListWidget()
        self.list.setAccessibleName(self.tr("Servers"))
        self.list.setObjectName("serverList")
        self.list.setMaximumHeight(150)
        self.form = ConnectionForm(controller)
        self.use_button = parts.button(self.tr("Use this server"), self.use, "primary", "useServer")
        self.add_button = parts.button(self.tr("Add a server"), self.add, name="addServer")
        self.remove_button = parts.button(self.tr("Remove"), self.remove, "danger", "removeServer")
        self.note = parts.label("", "muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0)
        layout.addWidget(self.list)
        layout.addLayout(parts.row(self.add_button, self.remove_button, 1))
        frame, inside = parts.card()
        inside.addWidget(self.form)
        self._frame = frame
        layout.addWidget(frame)
        layout.addWidget(self.note)
        layout.addLayout(parts.row(1, self.use_button))
        self.list.currentItemChanged.connect(lambda *_: self._show_chosen())
        self.form.changed.connect(self._enable)
        self.refresh()

    @property
    def chosen(self) -> str:
        """The chosen entry: a URL, ``local``, or empty for a new server."""
        item = self.list.currentItem()
        return str(item.data(_URL)) if item else ""

    def refresh(self) -> None:
        """List the servers, the one in use marked in words."""
        current = self._controller.settings.server
        self.list.clear()
        self._item(self.tr("Local server on this computer"), LOCAL, current)
        for server in self._controller.settings.servers:
            self._item(server.label, server.url, current)

    def _item(self, label: str, url: str, current: str) -> None:
        in_use = self.tr("{0}  ·  in use").format(label) if url == current else label
        item = QListWidgetItem(in_use)
        item.setData(_URL, url)
        item.setSizeHint(QSize(0, 34))
        self.list.addItem(item)
        if url == current:
            self.list.setCurrentItem(item)

    def _show_chosen(self) -> None:
        url = self.chosen
        local = url == LOCAL
        self._frame.setVisible(not local)
        self.remove_button.setEnabled(bool(url) and not local)
        self.note.setText(
            self.tr("A server program is started on this computer and ends with this window.")
            if local
            else ""
        )
        saved = self._controller.settings.saved_server(url)
        if not local:
            token = self._controller.server_token(url) if url else ""
            self.form.fill(url, token, saved.model if saved else "")
        self._enable()

    def _enable(self) -> None:
        self.use_button.setEnabled(self.chosen == LOCAL or self.form.valid)

    def add(self) -> None:
        """Begin a new server."""
        self.list.setCurrentRow(-1)
        self._show_chosen()
        self.form.url_field.setFocus(Qt.FocusReason.OtherFocusReason)

    def use(self) -> None:
        """Save what is in the form and connect to it."""
        controller = self._controller
        server = LOCAL
        if self.chosen != LOCAL:
            server = self.form.url
            controller.settings.add_server(SavedServer(server, "", self.form.model))
            controller.set_server_token(server, self.form.token)
        controller.choose_server(server)
        self.refresh()

    def remove(self) -> None:
        """Forget the chosen server and its token."""
        url = self.chosen
        was_used = url == self._controller.settings.server
        self._controller.settings.remove_server(url)
        self._controller.set_server_token(url, "")
        self._controller.save_settings()
        if was_used:
            self._controller.reconnect()
        self.refresh()
