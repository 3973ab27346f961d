"""The messages of a chat. Scrolling up is never yanked back; old messages are drawn on demand."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from app import theme
from app.library import Library
from app.views import parts
from app.views.message_view import MessageView
from fhe_client.history import Message

PAGE = 30
NEAR_END = 32


class MessageList(QScrollArea):
    """Shows the last ``PAGE`` messages of a branch and more above as the user scrolls up."""

    regenerate_asked = Signal(int)
    continue_asked = Signal()
    edit_asked = Signal(int)
    branch_asked = Signal(int, int)

    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("messages")
        self.setAccessibleName(self.tr("Messages"))
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._library = library
        self._above: list[Message] = []  # not drawn yet, oldest first
        self._views: dict[int, MessageView] = {}
        self._following = True
        self._from_end = 0
        self._column = QWidget()
        self._layout = QVBoxLayout(self._column)
        self._layout.setSpacing(theme.SMALL)
        parts.margins(self._layout, 0, theme.WIDE)
        self._more = parts.button(self.tr("Show earlier messages"), self.show_earlier)
        self._layout.addWidget(self._more, 0, Qt.AlignmentFlag.AlignHCenter)
        self._layout.addStretch(1)
        self.setWidget(parts.centred(self._column))
        self._jump = parts.tool("down", self.tr("Jump to the end"), self.follow)
        self._jump.setParent(self)
        self._jump.setStyleSheet("QToolButton { border-radius: 16px; padding: 6px; }")
        self._wire()
        self.reload()

    def _wire(self) -> None:
        bar = self.verticalScrollBar()
        bar.valueChanged.connect(self._scrolled)
        bar.rangeChanged.connect(self._range_changed)
        self.viewport().installEventFilter(self)

    # -- contents --------------------------------------------------------------------------------

    def reload(self) -> None:
        """Show the branch of the chat that is chosen, from its end."""
        for view in self._views.values():
            self._layout.removeWidget(view)
            view.hide()
            view.deleteLater()
        self._views.clear()
        messages = self._library.messages()
        self._above, shown = messages[:-PAGE], messages[-PAGE:]
        for message in shown:
            self._insert(message, self._layout.count() - 1)
        self._mark_last()
        self._more.setVisible(bool(self._above))
        self.follow()

    def add(self, message: Message) -> None:
        """Append a new message."""
        self._insert(message, self._layout.count() - 1)
        self._mark_last()
        self.follow()

    def _mark_last(self) -> None:
        views = self.views()
        for view in views[-2:]:
            view.set_last(view is views[-1])

    def view_of(self, message_id: int) -> MessageView | None:
        """The view of a message, if it is drawn."""
        return self._views.get(message_id)

    def views(self) -> list[MessageView]:
        """The drawn messages, in order."""
        found = (self._layout.itemAt(index) for index in range(self._layout.count()))
        return [w for item in found if item and isinstance(w := item.widget(), MessageView)]

    def update_message(self, message: Message) -> None:
        """Show a message's final text and figures."""
        view = self._views.get(message.id)
        if view is not None:
            view.show_message(message)

    def add_piece(self, message_id: int, piece: str) -> None:
        """Append text to the reply that is being made."""
        view = self._views.get(message_id)
        if view is not None:
            view.add(piece)

    def show_earlier(self) -> None:
        """Draw another page above; what is in sight stays where it is."""
        bar = self.verticalScrollBar()
        self._from_end = bar.maximum() - bar.value()
        self._above, page = self._above[:-PAGE], self._above[-PAGE:]
        for index, message in enumerate(page):
            self._insert(message, 1 + index)
        self._more.setVisible(bool(self._above))

    def reveal(self, message_id: int) -> MessageView | None:
        """Draw pages above until a message is there; its view, or None if it is not in the chat."""
        while message_id not in self._views and self._above:
            self.show_earlier()
        return self._views.get(message_id)

    def show_within(self, child: QWidget) -> None:
        """Scroll to a widget inside a message once the layout has settled."""
        self._following = False
        QTimer.singleShot(0, child, lambda: self.ensureWidgetVisible(child, 0, self.height() // 3))

    def redraw(self) -> None:
        """Draw everything with the present palette and font."""
        for view in self._views.values():
            view.redraw()
        parts.recolour(self)

    def _insert(self, message: Message, index: int) -> None:
        view = MessageView(message, self._library.position(message))
        view.regenerate_asked.connect(self.regenerate_asked)
        view.continue_asked.connect(self.continue_asked)
        view.edit_asked.connect(self.edit_asked)
        view.branch_asked.connect(self.branch_asked)
        self._views[message.id] = view
        self._layout.insertWidget(index, view)

    # -- scrolling -------------------------------------------------------------------------------

    def follow(self) -> None:
        """Go to the end, and stay there while text arrives."""
        self._following = True
        self._from_end = 0
        self._to_end()
        QTimer.singleShot(0, self, self._range_changed)

    def _to_end(self) -> None:
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _scrolled(self, value: int) -> None:
        bar = self.verticalScrollBar()
        self._following = value >= bar.maximum() - NEAR_END
        self._place_jump()
        if value == 0 and bar.maximum() > 0 and self._above and not self._from_end:
            self.show_earlier()

    def _range_changed(self) -> None:
        bar = self.verticalScrollBar()
        if self._from_end:  # a page was added above: keep the distance to the end
            distance, self._from_end = self._from_end, 0
            bar.setValue(bar.maximum() - distance)
        elif self._following:
            self._to_end()
        self._place_jump()

    def _place_jump(self) -> None:
        self._jump.setVisible(not self._following)
        size = self._jump.sizeHint()
        self._jump.resize(size)
        self._jump.move(
            (self.width() - size.width()) // 2, self.height() - size.height() - theme.NORMAL
        )
        self._jump.raise_()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the button in its place."""
        super().resizeEvent(event)
        self._place_jump()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A wheel turned upwards stops following at once, even while text pours in."""
        if event.type() == QEvent.Type.Wheel and event.angleDelta().y() > 0:  # type: ignore[attr-defined]
            self._following = self.verticalScrollBar().maximum() == 0
        return super().eventFilter(watched, event)
