"""The list of saved chats: new, open, search, rename, pin, folders, delete with undo."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFrame,
    QInputDialog,
    QLabel,
    QLineEdit,
    QListWidgetItem,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from app import icons, theme
from app.library import Library
from app.views import parts
from app.views.chat_rows import CHAT, FOLDER, ChatRows, title_marks
from fhe_client.history import Chat, Folder

SEARCH_AFTER_MS = 150
UNDO_MS = 12_000
WIDTH = 248


class ChatList(QFrame):
    """The side bar."""

    export_asked = Signal(int)

    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sidebar")
        self.setFixedWidth(theme.scaled(WIDTH))
        self._library = library
        self._undo: Callable[[], object] | None = None
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
        self.list = ChatRows()
        self.list.setAccessibleName(self.tr("Chats"))
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
        self.list.dropped.connect(self._library.move)
        self.list.folder_toggled.connect(self._toggle)
        for key, action in (("F2", self.rename), (QKeySequence.StandardKey.Delete, self.delete)):
            shortcut = QShortcut(QKeySequence(key), self.list)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(action)

    # -- contents --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the chats in their folders, or those that match the search."""
        wanted = self.search.text().split()
        current = self.list.currentItem()
        folder = current.data(FOLDER) if current and current.data(CHAT) is None else None
        self.list.clear()
        if wanted:
            self._fill_with_hits(wanted)
        else:
            self._fill()
        self._say_if_empty(bool(wanted))
        self._select_current()
        if folder is not None and (row := self.list.row_of(FOLDER, folder)) >= 0:
            self.list.setCurrentRow(row)

    def _fill(self) -> None:
        chats = self._library.chats()
        loose = [chat for chat in chats if chat.folder is None]
        for chat in loose:
            if chat.pinned:
                self.list.add_chat(chat)
        for folder in self._library.history.folders():
            self._add_folder(folder, [chat for chat in chats if chat.folder == folder.id])
        for chat in loose:
            if not chat.pinned:
                self.list.add_chat(chat)

    def _add_folder(self, folder: Folder, chats: list[Chat]) -> None:
        self.list.add_folder(folder, len(chats))
        for chat in chats if not folder.closed else []:
            self.list.add_chat(chat)

    def _fill_with_hits(self, words: list[str]) -> None:
        for hit in self._library.search(" ".join(words)):
            excerpt = "".join(" " if sign.isspace() else sign for sign in hit.excerpt)
            heading = title_marks(hit.chat.title, words)
            self.list.add_chat(hit.chat, excerpt, hit.marks, heading)

    def _say_if_empty(self, searching: bool) -> None:
        if searching:
            self.empty.setText(self.tr("No chat has these words."))
        else:
            self.empty.setText(self.tr("Your chats appear here."))
        self.empty.setVisible(self.list.count() == 0)

    def _select_current(self) -> None:
        current = None if self._library.temporary else self._library.current
        row = -1 if current is None else self.list.row_of(CHAT, current)
        self.list.setCurrentRow(row)

    def _chosen(self, role: int = CHAT) -> int | None:
        """The chosen chat; with ``FOLDER`` the chosen folder's own row."""
        item = self.list.currentItem()
        if item is None or (role == FOLDER and item.data(CHAT) is not None):
            return None
        found = item.data(role)
        return None if found is None else int(found)

    def _open(self, item: QListWidgetItem) -> None:
        if item.data(CHAT) is None:
            self._toggle(int(item.data(FOLDER)))
            return
        chat_id = int(item.data(CHAT))
        if self._library.temporary or chat_id != self._library.current:
            self._library.open_chat(chat_id)

    def _toggle(self, folder: int) -> None:
        self._library.close_folder(folder, not self._folder(folder).closed)

    def _folder(self, ident: int) -> Folder:
        return next(folder for folder in self._library.history.folders() if folder.id == ident)

    # -- actions ---------------------------------------------------------------------------------

    def _menu(self, where: QPoint) -> None:
        chat_id, folder = self._chosen(), self._chosen(FOLDER)
        if chat_id is not None:
            menu = self.chat_menu(chat_id)
        elif folder is not None:
            menu = QMenu(self)
            menu.addAction(self.tr("Rename folder…"), self.rename)
            menu.addAction(self.tr("Delete folder, keep its chats"), self.delete)
        else:
            return
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.list.mapToGlobal(where))

    def chat_menu(self, chat_id: int) -> QMenu:
        """What can be done to a chat."""
        chat = self._library.history.chat(chat_id)
        menu = QMenu(self)
        menu.addAction(self.tr("Rename…"), self.rename)
        text = self.tr("Unpin") if chat.pinned else self.tr("Pin to the top")
        menu.addAction(text, lambda: self._library.pin(chat_id, not chat.pinned))
        self._add_moves(menu.addMenu(self.tr("Move to")), chat)
        menu.addAction(self.tr("Export…"), lambda: self.export_asked.emit(chat_id))
        menu.addSeparator()
        menu.addAction(self.tr("Delete"), self.delete)
        return menu

    def _add_moves(self, menu: QMenu, chat: Chat) -> None:
        def add(text: str, folder: int | None) -> None:
            action = menu.addAction(text, lambda: self._library.move(chat.id, folder))
            action.setEnabled(folder != chat.folder)

        add(self.tr("No folder"), None)
        for folder in self._library.history.folders():
            add(folder.name.replace("&", "&&"), folder.id)
        menu.addSeparator()
        menu.addAction(self.tr("New folder…"), lambda: self.ask_folder([chat.id]))

    def ask_folder(self, chats: list[int]) -> None:
        """Ask for the name of a new folder for some chats."""
        self._ask(
            self.tr("New folder"),
            self.tr("Name"),
            "",
            lambda name: self._library.new_folder(name, chats),
        )

    def rename(self) -> None:
        """Ask for another title for the chosen chat, or another name for the chosen folder."""
        chat_id, folder = self._chosen(), self._chosen(FOLDER)
        library = self._library
        if chat_id is not None:
            title = library.history.chat(chat_id).title
            self._ask(
                self.tr("Rename chat"),
                self.tr("Title"),
                title,
                lambda new: library.rename(chat_id, new),
            )
        elif folder is not None:
            self._ask(
                self.tr("Rename folder"),
                self.tr("Name"),
                self._folder(folder).name,
                lambda new: library.rename_folder(folder, new),
            )

    def _ask(self, title: str, what: str, present: str, then: Callable[[str], object]) -> None:
        dialog = QInputDialog(self)
        dialog.setWindowTitle(title)
        dialog.setLabelText(what)
        dialog.setTextValue(present)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.textValueSelected.connect(lambda text: then(text))
        dialog.open()
        for line in dialog.findChildren(QLineEdit):
            line.setAccessibleName(what)

    def delete(self) -> None:
        """Delete the chosen chat or folder, and offer to undo it."""
        chat_id, folder = self._chosen(), self._chosen(FOLDER)
        if chat_id is not None:
            self._library.delete(chat_id)
            self._offer_undo(self.tr("Chat deleted"), lambda: self._library.undelete(chat_id))
        elif folder is not None:
            name = self._folder(folder).name
            inside = [chat.id for chat in self._library.chats() if chat.folder == folder]
            self._library.delete_folder(folder)
            again = self._library.new_folder
            self._offer_undo(self.tr("Folder deleted"), lambda: again(name, inside))

    def _offer_undo(self, text: str, undo: Callable[[], object]) -> None:
        self._undo = undo
        self.undo_text.setText(text)
        self.undo_bar.show()
        self._undoing.start()

    def undo(self) -> None:
        """Bring back what was deleted last."""
        self.undo_bar.hide()
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def redraw(self) -> None:
        """Draw the icons with the present palette, as wide as the text needs."""
        self.setFixedWidth(theme.scaled(WIDTH))
        self.new_button.setIcon(icons.icon("plus"))
        parts.recolour(self)
        self.refresh()
