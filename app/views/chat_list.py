"""The list of saved chats: new, open, search, rename, pin, delete with undo."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFrame,
    QInputDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from app import icons, theme
from app.library import Library
from app.views import parts
from fhe_client.history import Chat

SEARCH_AFTER_MS = 150
UNDO_MS = 12_000
_CHAT_ROLE = Qt.ItemDataRole.UserRole


class ChatList(QFrame):
    """The side bar."""

    export_asked = Signal(int)

    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sidebar")
        self.setFixedWidth(248)
        self._library = library
        self._deleted: int | None = None
        self.new_button = parts.button(self.tr("New chat"), library.new_chat, name="newChat")
        self.new_button.setIcon(icons.icon("plus"))
        self.temporary_button = parts.tool(
            "temporary",
            self.tr("Temporary chat: never saved"),
            lambda: library.new_chat(temporary=True),
        )
        self.search = QLineEdit()
        self.search.setPlaceholderText(self.tr("Search chats"))
        self.search.setAccessibleName(self.tr("Search chats"))
        self.search.setClearButtonEnabled(True)
        self.list = QListWidget()
        self.list.setAccessibleName(self.tr("Chats"))
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.empty = parts.label("", "muted", wrap=True)
        self.undo_bar, self.undo_text = self._undo_bar()
        self._searching = QTimer(self, interval=SEARCH_AFTER_MS, singleShot=True)
        self._undoing = QTimer(self, interval=UNDO_MS, singleShot=True)
        self._lay_out()
        self._wire()
        self.refresh()

    def _undo_bar(self) -> tuple[QFrame, QLabel]:
        frame = QFrame()
        frame.setObjectName("banner")
        text = parts.label(self.tr("Chat deleted"))
        layout = parts.row(text, 1, parts.button(self.tr("Undo"), self.undo, name="undo"))
        parts.margins(layout, theme.SMALL, theme.TIGHT)
        frame.setLayout(layout)
        frame.hide()
        return frame, text

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, theme.NORMAL, theme.NORMAL)
        line = parts.row(spacing=theme.TIGHT)
        line.addWidget(self.new_button, 1)
        line.addWidget(self.temporary_button)
        layout.addLayout(line)
        layout.addWidget(self.search)
        layout.addWidget(self.empty)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.undo_bar)

    def _wire(self) -> None:
        self._library.chats_changed.connect(self.refresh)
        self._library.chat_opened.connect(self._select_current)
        self.search.textChanged.connect(lambda: self._searching.start())
        self._searching.timeout.connect(self.refresh)
        self._undoing.timeout.connect(self.undo_bar.hide)
        self.list.itemClicked.connect(self._open)
        self.list.itemActivated.connect(self._open)
        self.list.customContextMenuRequested.connect(self._menu)
        for key, action in (("F2", self.rename), (QKeySequence.StandardKey.Delete, self.delete)):
            shortcut = QShortcut(QKeySequence(key), self.list)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(action)

    # -- contents --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the chats, or those that match the search."""
        wanted = self.search.text().strip()
        self.list.clear()
        if wanted:
            for hit in self._library.search(wanted):
                self._add(hit.chat, hit.excerpt)
        else:
            for chat in self._library.chats():
                self._add(chat, "")
        self._say_if_empty(bool(wanted))
        self._select_current()

    def _add(self, chat: Chat, excerpt: str) -> None:
        item = QListWidgetItem(chat.title)
        if excerpt:
            item.setText(f"{chat.title}\n{' '.join(excerpt.split())}")
        item.setData(_CHAT_ROLE, chat.id)
        item.setToolTip(chat.title)
        if chat.pinned:
            item.setIcon(icons.icon("pin", theme.colours().muted))
        self.list.addItem(item)

    def _say_if_empty(self, searching: bool) -> None:
        if searching:
            self.empty.setText(self.tr("No chat has these words."))
        else:
            self.empty.setText(self.tr("Your chats appear here."))
        self.empty.setVisible(self.list.count() == 0)

    def _select_current(self) -> None:
        current = None if self._library.temporary else self._library.current
        self.list.setCurrentRow(-1)
        for index in range(self.list.count()):
            if self.list.item(index).data(_CHAT_ROLE) == current:
                self.list.setCurrentRow(index)

    def _chosen(self) -> int | None:
        item = self.list.currentItem()
        return int(item.data(_CHAT_ROLE)) if item else None

    def _open(self, item: QListWidgetItem) -> None:
        chat_id = int(item.data(_CHAT_ROLE))
        if self._library.temporary or chat_id != self._library.current:
            self._library.open_chat(chat_id)

    # -- actions ---------------------------------------------------------------------------------

    def _menu(self, where: QPoint) -> None:
        chat_id = self._chosen()
        if chat_id is None:
            return
        pinned = self._library.history.chat(chat_id).pinned
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("Rename…"), self.rename)
        text = self.tr("Unpin") if pinned else self.tr("Pin to the top")
        menu.addAction(text, lambda: self._library.pin(chat_id, not pinned))
        menu.addAction(self.tr("Export…"), lambda: self.export_asked.emit(chat_id))
        menu.addSeparator()
        menu.addAction(self.tr("Delete"), self.delete)
        menu.popup(self.list.mapToGlobal(where))

    def rename(self) -> None:
        """Ask for another title for the chosen chat."""
        chat_id = self._chosen()
        if chat_id is None:
            return
        dialog = QInputDialog(self)
        dialog.setWindowTitle(self.tr("Rename chat"))
        dialog.setLabelText(self.tr("Title"))
        dialog.setTextValue(self._library.history.chat(chat_id).title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.textValueSelected.connect(lambda title: self._library.rename(chat_id, title))
        dialog.open()

    def delete(self) -> None:
        """Delete the chosen chat and offer to undo it."""
        chat_id = self._chosen()
        if chat_id is None:
            return
        self._deleted = chat_id
        self._library.delete(chat_id)
        self.undo_bar.show()
        self._undoing.start()

    def undo(self) -> None:
        """Bring the chat that was deleted last back."""
        self.undo_bar.hide()
        if self._deleted is not None:
            self._library.undelete(self._deleted)
            self._deleted = None

    def redraw(self) -> None:
        """Draw the icons with the present palette."""
        self.new_button.setIcon(icons.icon("plus"))
        parts.recolour(self)
        self.refresh()
