"""Settings, *Server*: the saved servers, the local one, and *Test connection*."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QFormLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.controller import Controller
from app.settings import LOCAL, SavedServer
from app.views import parts
from app.views.connection_form import ConnectionForm

_URL = Qt.ItemDataRole.UserRole
ROW = 34


class ServerPage(QWidget):
    """Choose, add, change, name and remove servers."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.list = QListWidget()
        self.list.setAccessibleName(self.tr("Servers"))
        self.list.setObjectName("serverList")
        self.name_field = QLineEdit()
        self.name_field.setAccessibleName(self.tr("Name in this list"))
        self.name_field.setPlaceholderText(self.tr("as you like, for example: Office"))
        self.form = ConnectionForm(controller)
        self.use_button = parts.button(self.tr("Use this server"), self.use, "primary", "useServer")
        self.save_button = parts.button(self.tr("Save"), self.save, name="saveServer")
        self.add_button = parts.button(self.tr("Add a server"), self.add, name="addServer")
        self.remove_button = parts.button(self.tr("Remove"), self.remove, "danger", "removeServer")
        self.note = parts.label("", "muted", wrap=True)
        self._lay_out()
        self.list.currentItemChanged.connect(lambda *_: self._show_chosen())
        self.list.itemActivated.connect(lambda _item: self.use())
        self.name_field.textChanged.connect(lambda _text: self._enable())
        self.form.changed.connect(self._enable)
        self.form.token_field.textChanged.connect(lambda _text: self._enable())
        self.form.model_field.editTextChanged.connect(lambda _text: self._enable())
        self.refresh()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0)
        layout.addWidget(self.list)
        layout.addLayout(parts.row(self.add_button, self.remove_button, 1))
        self._frame, inside = parts.card()
        line = QFormLayout()
        line.setHorizontalSpacing(theme.NORMAL)
        line.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        line.addRow(self.tr("&Name"), self.name_field)
        inside.addLayout(line)
        inside.addWidget(self.form)
        layout.addWidget(self._frame)
        layout.addWidget(self.note)
        layout.addLayout(parts.row(1, self.save_button, self.use_button))

    @property
    def chosen(self) -> str:
        """The chosen entry: a URL, ``local``, or empty for a new server."""
        item = self.list.currentItem()
        return str(item.data(_URL)) if item else ""

    def refresh(self, choose: str = "") -> None:
        """List the servers, the one in use marked in words; ``choose``: the entry to show."""
        current = self._controller.settings.server
        self.list.clear()
        self._item(self.tr("Local server on this computer"), LOCAL, current)
        for server in self._controller.settings.servers:
            self._item(server.label, server.url, current)
        self.list.setFixedHeight(theme.scaled(ROW) * min(max(self.list.count(), 2), 4) + 2)
        for row in range(self.list.count()):
            if self.list.item(row).data(_URL) == (choose or current):
                self.list.setCurrentRow(row)

    def _item(self, label: str, url: str, current: str) -> None:
        in_use = self.tr("{0}  ·  in use").format(label) if url == current else label
        item = QListWidgetItem(in_use)
        item.setData(_URL, url)
        item.setToolTip(url if url != LOCAL else "")
        item.setSizeHint(QSize(0, theme.scaled(ROW)))
        self.list.addItem(item)

    def _show_chosen(self) -> None:
        url = self.chosen
        local = url == LOCAL
        self._frame.setVisible(not local)
        self.save_button.setVisible(not local)
        self.remove_button.setEnabled(bool(url) and not local)
        self.note.setText(self._note(local))
        if not local:
            saved = self._controller.settings.saved_server(url) or SavedServer("")
            token = self._controller.server_token(url) if url else ""
            self.name_field.setText(saved.name)
            self.form.fill(url, token, saved.model, saved.pinned_certificate)
        self._enable()

    def _note(self, local: bool) -> str:
        if local:
            return self.tr(
                "A server program is started on this computer and ends with this window."
            )
        return self.tr(
            "The access token is kept encrypted with your chats, under the key in your keyring; "
            "it is never written to the settings file."
        )

    def _enable(self) -> None:
        local = self.chosen == LOCAL
        self.use_button.setEnabled(local or self.form.valid)
        self.save_button.setEnabled(not local and self.form.valid and self._changed())

    def _shown(self) -> SavedServer:
        name = self.name_field.text().strip()
        return SavedServer(self.form.url, name, self.form.model, self.form.pin)

    def _changed(self) -> bool:
        url = self.chosen
        saved = self._controller.settings.saved_server(url)
        return saved != self._shown() or self.form.token != self._controller.server_token(url)

    def add(self) -> None:
        """Begin a new server."""
        self.list.setCurrentRow(-1)
        self._show_chosen()
        self.name_field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _keep(self) -> str:
        """Save what is in the form, in place of the chosen entry; its URL."""
        controller, old, server = self._controller, self.chosen, self._shown()
        if old and old != server.url:
            controller.settings.replace_server(old, server)
            controller.set_server_token(old, "")
        else:
            controller.settings.add_server(server)
        controller.set_server_token(server.url, self.form.token)
        controller.save_settings()
        return server.url

    def save(self) -> None:
        """Save what is in the form; connects again if that server is in use."""
        url = self._keep()
        if url == self._controller.settings.server:
            self._controller.reconnect()
        self.refresh(url)

    def use(self) -> None:
        """Save what is in the form and connect to it."""
        if not self.use_button.isEnabled():
            return
        self._controller.choose_server(LOCAL if self.chosen == LOCAL else self._keep())
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
