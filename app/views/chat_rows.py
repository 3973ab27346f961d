"""The rows of the side bar: chats, folders, and search hits with their words marked."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QDragMoveEvent,
    QDropEvent,
    QFont,
    QFontMetrics,
    QKeyEvent,
    QPainter,
    QTextCharFormat,
    QTextLayout,
    QTextOption,
)
from PySide6.QtWidgets import (
    QApplication,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app import icons, theme
from app.i18n import translate
from fhe_client.history import Chat, Folder

CHAT = Qt.ItemDataRole.UserRole
FOLDER = Qt.ItemDataRole.UserRole + 1
MARKS = Qt.ItemDataRole.UserRole + 2
EXCERPT_LINES = 2
PADDING = 8
INDENT = 14

Index = QModelIndex | QPersistentModelIndex
Marks = Sequence[tuple[int, int]]


def title_marks(title: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where the words of a search are in a title, each at its first place."""
    low = title.casefold()
    if len(low) != len(title):  # a letter that folds to two: places would be off
        return []
    places = [(low.find(word.casefold()), len(word)) for word in words]
    return sorted((at, at + length) for at, length in places if at >= 0)


class ChatRows(QListWidget):
    """A flat list whose folder rows open and close; chats can be dragged onto folders."""

    dropped = Signal(int, object)
    folder_toggled = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setDragDropMode(QListWidget.DragDropMode.DragDrop)
        self.setItemDelegate(_RowDelegate(self))

    def add_folder(self, folder: Folder, count: int) -> None:
        """A row for a folder, with the number of its chats."""
        item = QListWidgetItem(f"{folder.name}  ({count})")
        item.setIcon(
            icons.icon("right" if folder.closed else "chevron-down", theme.colours().muted)
        )
        item.setData(FOLDER, folder.id)
        item.setToolTip(folder.name)
        said = (
            translate("chats", "Folder {0}, closed, chats: {1}")
            if folder.closed
            else translate("chats", "Folder {0}, open, chats: {1}")
        )
        item.setData(Qt.ItemDataRole.AccessibleTextRole, said.format(folder.name, count))
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsDragEnabled)
        self.addItem(item)

    def add_chat(
        self, chat: Chat, excerpt: str = "", marks: Marks = (), heading: Marks = ()
    ) -> None:
        """A row for a chat; a search hit has an excerpt and places to mark in it."""
        item = QListWidgetItem(chat.title)
        item.setData(CHAT, chat.id)
        item.setToolTip(chat.title)
        if excerpt or heading:
            item.setText(f"{chat.title}\n{excerpt}".strip())
            item.setData(MARKS, (chat.title, tuple(heading), excerpt, tuple(marks)))
        elif chat.folder is not None:
            item.setData(FOLDER, chat.folder)
        if chat.pinned:
            item.setIcon(icons.icon("pin", theme.colours().muted))
            said = translate("chats", "{0}, pinned").format(chat.title)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, said)
        self.addItem(item)

    def row_of(self, role: int, value: int) -> int:
        """The row of a chat (``CHAT``) or of a folder itself (``FOLDER``), or -1."""
        for row in range(self.count()):
            item = self.item(row)
            if item.data(role) == value and (role == CHAT or item.data(CHAT) is None):
                return row
        return -1

    # -- keyboard and mouse ------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and Right close and open the folder of the current row."""
        item = self.currentItem()
        arrows = {Qt.Key.Key_Left: True, Qt.Key.Key_Right: False}
        close = arrows.get(Qt.Key(event.key()))
        if item is not None and close is not None and item.data(CHAT) is None:
            is_open = self.row_of(FOLDER, item.data(FOLDER)) >= 0 and not _closed(item)
            if is_open == close:
                self.folder_toggled.emit(item.data(FOLDER))
            return
        super().keyPressEvent(event)

    def supportedDropActions(self) -> Qt.DropAction:
        """The list itself never moves a row: the library does, and the list is filled anew."""
        return Qt.DropAction.CopyAction

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        """Only rows of this list may be dropped here."""
        if event.source() is self:
            event.setDropAction(Qt.DropAction.CopyAction)
            event.accept()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:
        """A chat dropped on a folder, or on a chat in it, goes there; elsewhere out of folders."""
        dragged, target = self.currentItem(), self.itemAt(event.position().toPoint())
        if event.source() is not self or dragged is None or dragged.data(CHAT) is None:
            event.ignore()
            return
        chat, folder = dragged.data(CHAT), target.data(FOLDER) if target else None
        event.setDropAction(Qt.DropAction.CopyAction)
        event.accept()
        if folder != dragged.data(FOLDER):  # after the drag has ended: the rows are made anew
            QTimer.singleShot(0, self, lambda: self.dropped.emit(chat, folder))


def _closed(item: QListWidgetItem) -> bool:
    rows, row = item.listWidget(), item.listWidget().row(item)
    below = rows.item(row + 1)
    return below is None or bool(below.data(FOLDER) != item.data(FOLDER))


class _RowDelegate(QStyledItemDelegate):
    """Draws chats in a folder indented, and search hits with their words marked."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        found = index.data(MARKS)
        indented = index.data(FOLDER) is not None and index.data(CHAT) is not None
        if indented:
            option.rect.adjust(INDENT, 0, 0, 0)
        if found is None:
            super().paint(painter, option, index)
            return
        self.initStyleOption(option, index)
        option.text = ""
        rows = self.parent()
        assert isinstance(rows, QWidget)
        item = QStyle.ControlElement.CE_ItemViewItem
        rows.style().drawControl(item, option, painter, rows)
        self._draw(painter, option, found)

    def _draw(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        found: tuple[str, Marks, str, Marks],
    ) -> None:
        title, heading, excerpt, marks = found
        box = option.rect.adjusted(PADDING, PADDING - 2, -PADDING, 0)
        painter.save()
        painter.setClipRect(box)
        painter.setPen(QColor(theme.colours().text))
        top = QPointF(box.topLeft())
        top.setY(_lines(painter, top, box.width(), _strong(), title, heading, 1))
        painter.setPen(QColor(theme.colours().muted))
        _lines(painter, top, box.width(), _small(), excerpt, marks, EXCERPT_LINES)
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        found = index.data(MARKS)
        if found is None:
            return super().sizeHint(option, index)
        height = QFontMetrics(_strong()).lineSpacing() + 2 * PADDING
        if found[2]:
            height += QFontMetrics(_small()).lineSpacing() * EXCERPT_LINES
        return QSize(0, height)


def _strong() -> QFont:
    font = QApplication.font()
    font.setWeight(QFont.Weight.DemiBold)
    return font


def _small() -> QFont:
    font = QApplication.font()
    font.setPointSizeF(theme.points("small"))
    return font


def _lines(
    painter: QPainter, at: QPointF, width: int, font: QFont, text: str, marks: Marks, most: int
) -> float:
    """Draw up to ``most`` lines of a text with marked places; returns where the next one begins."""
    layout = QTextLayout(text, font)
    layout.setTextOption(QTextOption())
    layout.setFormats([_mark(first, last) for first, last in marks])
    layout.beginLayout()
    height = 0.0
    for _ in range(most):
        line = layout.createLine()
        if not line.isValid():
            break
        line.setLineWidth(width)
        line.setPosition(QPointF(0, height))
        height += line.height()
    layout.endLayout()
    layout.draw(painter, at)
    return at.y() + height


def _mark(first: int, last: int) -> QTextLayout.FormatRange:
    colours = theme.colours()
    look = QTextCharFormat()
    look.setBackground(QColor(colours.mark))
    look.setForeground(QColor(colours.text))
    made = QTextLayout.FormatRange()
    made.start = first
    made.length = last - first
    made.format = look
    return made
