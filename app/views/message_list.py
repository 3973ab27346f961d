"""The messages of a chat. Scrolling up is never yanked back; only messages near the view are drawn."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from app import theme
from app.library import Library
from app.views import parts
from app.views.message_view import MessageView
from fhe_client.history import Message, MessageState

PAGE = 12  # drawn at once when a chat opens
STEP = 2  # drawn at a time while scrolling, so that no step is felt
STEP_MS = 10
MOST_SHOWN = 120
NEAR_END = 32


class MessageList(QScrollArea):
    """Draws a part of a branch, first its end, and moves that part as the user scrolls.

    ``_messages[_first:_last]`` is drawn: at most ``MOST_SHOWN``, so that a long chat scrolls like a
    short one.
    """

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
        self._messages: list[Message] = []
        self._first = self._last = 0
        self._views: dict[int, MessageView] = {}
        self._following = True
        self._anchor: tuple[QWidget, int] | None = None  # stays at this height in the viewport
        self._placing = False
        self._filling = QTimer(self, interval=STEP_MS)
        self._column = QWidget()
        self._layout = QVBoxLayout(self._column)
        self._layout.setSpacing(theme.SMALL)
        parts.margins(self._layout, 0, theme.WIDE)
        self._more = parts.button(self.tr("Show earlier messages"), self._to_top)
        self._later = parts.button(self.tr("Show later messages"), self._to_bottom)
        self._layout.addWidget(self._more, 0, Qt.AlignmentFlag.AlignHCenter)
        self._layout.addWidget(self._later, 0, Qt.AlignmentFlag.AlignHCenter)
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
        self._filling.timeout.connect(self._fill)
        self.viewport().installEventFilter(self)

    # -- contents --------------------------------------------------------------------------------

    def reload(self) -> None:
        """Show the branch of the chat that is chosen, from its end."""
        self._take_down()
        self._messages = self._library.messages()
        self._draw(len(self._messages) - PAGE, len(self._messages))
        self.follow()

    def _take_down(self) -> None:
        self._anchor = None
        while self._last > self._first:
            self._drop(self._last - 1)
            self._last -= 1

    def _draw(self, first: int, last: int) -> None:
        """Draw a part of the chat from nothing."""
        self._first = self._last = max(0, first)
        for index in range(self._first, min(last, len(self._messages))):
            self._insert(index)
            self._last += 1
        self._show_ends()

    def add(self, message: Message) -> None:
        """Append a new message and go there."""
        at_end = self._last == len(self._messages)
        self._messages.append(message)
        if at_end:
            self._insert(self._last)
            self._last += 1
            self._show_ends()
        self.follow()

    def view_of(self, message_id: int) -> MessageView | None:
        """The view of a message, if it is drawn."""
        return self._views.get(message_id)

    def views(self) -> list[MessageView]:
        """The drawn messages, in order."""
        return [self._views[message.id] for message in self._messages[self._first : self._last]]

    def update_message(self, message: Message) -> None:
        """Show a message's present text, state and figures."""
        self._keep(message)
        view = self._views.get(message.id)
        if view is not None:
            view.show_message(message)

    def add_piece(self, message_id: int, piece: str) -> None:
        """Append text to the reply that is being made."""
        view = self._views.get(message_id)
        if view is not None:
            view.add(piece)
        elif self._messages and self._messages[-1].id == message_id:
            last = self._messages[-1]
            self._messages[-1] = replace(last, text=last.text + piece)

    def _keep(self, message: Message) -> None:
        for index in range(len(self._messages) - 1, -1, -1):
            if self._messages[index].id == message.id:
                self._messages[index] = message
                return

    def show_earlier(self, count: int = STEP) -> None:
        """Draw some messages more above; what is in sight stays where it is."""
        self._hold(self._first)
        for _ in range(min(count, self._first)):
            self._first -= 1
            self._insert(self._first)
        while self._last - self._first > MOST_SHOWN and not self._is_held(self._last - 1):
            self._last -= 1
            self._drop(self._last)
        self._show_ends()

    def show_later(self, count: int = STEP) -> None:
        """Draw some messages more below; what is in sight stays where it is."""
        self._hold(self._last - 1)
        for _ in range(min(count, len(self._messages) - self._last)):
            self._insert(self._last)
            self._last += 1
        while self._last - self._first > MOST_SHOWN and not self._is_held(self._first):
            self._drop(self._first)
            self._first += 1
        self._show_ends()

    def _fill(self) -> None:
        """Draw ahead of the user's scrolling, a view's height each way, a few messages at a time."""
        bar, ahead = self.verticalScrollBar(), self.viewport().height()
        if not self.isVisible():
            self._filling.stop()
        elif self._being_laid_out():
            return  # where things are is known at the next turn
        elif self._first > 0 and bar.value() < ahead:
            self.show_earlier()
        elif self._last < len(self._messages) and bar.maximum() - bar.value() < ahead:
            self.show_later()
        else:
            self._filling.stop()

    def _being_laid_out(self) -> bool:
        return not all(view.isVisible() for view in self.views())

    def _to_top(self) -> None:
        self.verticalScrollBar().setValue(0)
        self._filling.start()

    def _to_bottom(self) -> None:
        self._to_end()
        self._filling.start()

    def _show_ends(self) -> None:
        self._more.setVisible(self._first > 0)
        self._later.setVisible(self._last < len(self._messages))
        for view in self.views()[-2:]:
            view.set_last(view.message.id == self._messages[-1].id)

    def reveal(self, message_id: int) -> MessageView | None:
        """Draw the part of the chat around a message; its view, or None if it is not in the chat."""
        if message_id not in self._views:
            index = next((i for i, m in enumerate(self._messages) if m.id == message_id), None)
            if index is None:
                return None
            self._following = False
            self._take_down()
            self._draw(index - PAGE // 2, index + PAGE // 2)
        return self._views.get(message_id)

    def show_within(self, child: QWidget) -> None:
        """Scroll to a widget inside a message once the layout has settled."""
        self._following = False
        self._anchor = None
        QTimer.singleShot(0, child, lambda: self._hold_in_sight(child))

    def _hold_in_sight(self, child: QWidget) -> None:
        self.ensureWidgetVisible(child, 0, self.height() // 3)
        view = next((v for v in self._views.values() if v.isAncestorOf(child)), None)
        self._anchor = None if view is None else (view, self._top_of(view))

    def redraw(self) -> None:
        """Draw everything with the present palette and font."""
        for view in self._views.values():
            view.redraw()
        parts.recolour(self)

    def _insert(self, index: int) -> None:
        """Make the view of a message, next to those that are drawn."""
        message = self._messages[index]
        view = MessageView(message, self._library.position(message))
        view.regenerate_asked.connect(self.regenerate_asked)
        view.continue_asked.connect(self.continue_asked)
        view.edit_asked.connect(self.edit_asked)
        view.branch_asked.connect(self.branch_asked)
        self._views[message.id] = view
        self._layout.insertWidget(1 + index - self._first, view)

    def _drop(self, index: int) -> None:
        """Take a message's view away; of a reply that is being made, keep the text."""
        view = self._views.pop(self._messages[index].id)
        if view.body is not None and view.message.state is MessageState.STREAMING:
            self._messages[index] = replace(view.message, text=view.body.text)
        self._layout.removeWidget(view)
        view.hide()
        view.deleteLater()

    # -- scrolling -------------------------------------------------------------------------------

    def follow(self) -> None:
        """Go to the end, and stay there while text arrives."""
        if self._last < len(self._messages):
            self._take_down()
            self._draw(len(self._messages) - PAGE, len(self._messages))
        self._following = True
        self._anchor = None
        self._to_end()
        self._filling.start()
        QTimer.singleShot(0, self, self._range_changed)

    def _to_end(self) -> None:
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _top_of(self, widget: QWidget) -> int:
        """Where a widget begins, seen from the top of the viewport."""
        holder = self.widget() or self._column
        return widget.mapTo(holder, QPoint(0, 0)).y() - self.verticalScrollBar().value()

    def _hold(self, index: int) -> None:
        """Keep this message where it is while others come and go around it."""
        if self._following:
            return  # the end is what stays in sight
        if self._anchor is not None and self._anchor[0] in self._views.values():
            return  # not measured anew in the middle of a layout
        view = self._views.get(self._messages[index].id) if self._messages else None
        self._anchor = None if view is None else (view, self._top_of(view))

    def _is_held(self, index: int) -> bool:
        view = self._views.get(self._messages[index].id)
        return self._anchor is not None and self._anchor[0] is view

    def _scrolled(self, value: int) -> None:
        if self._placing:
            return
        bar = self.verticalScrollBar()
        self._anchor = None
        self._following = value >= bar.maximum() - NEAR_END and self._last == len(self._messages)
        self._place_jump()
        self._filling.start()

    def _range_changed(self) -> None:
        if (
            self._anchor is not None
        ):  # the layout changes in several steps: hold on until the next scroll
            widget, top = self._anchor
            bar = self.verticalScrollBar()
            self._placing = True
            bar.setValue(bar.value() + self._top_of(widget) - top)
            self._placing = False
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

    def showEvent(self, event: QShowEvent) -> None:
        """Draw ahead again."""
        super().showEvent(event)
        self._filling.start()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the button in its place."""
        super().resizeEvent(event)
        self._place_jump()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A wheel turned upwards stops following at once, even while text pours in."""
        if event.type() == QEvent.Type.Wheel and event.angleDelta().y() > 0:  # type: ignore[attr-defined]
            self._following = self.verticalScrollBar().maximum() == 0
        return super().eventFilter(watched, event)
