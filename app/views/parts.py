"""Small widgets and makers that several views share."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLayoutItem,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import icons, theme


def label(text: str = "", kind: str = "", *, wrap: bool = False, name: str = "") -> QLabel:
    """A plain-text label of a kind that the style sheet knows: muted, title, display, danger."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if kind:
        made.setProperty("kind", kind)
    if name:
        made.setObjectName(name)
    return made


def say(made: QLabel, text: str) -> None:
    """Show a text in a label that takes no room while it is empty."""
    made.setText(text)
    made.setVisible(bool(text))


def button(text: str, clicked: Callable[[], object], kind: str = "", name: str = "") -> QPushButton:
    """A push button; ``kind`` primary or danger."""
    made = QPushButton(text)
    made.setAutoDefault(False)
    if kind:
        made.setProperty("kind", kind)
    if name:
        made.setObjectName(name)
    made.clicked.connect(lambda: clicked())
    return made


def tool(icon: str, text: str, clicked: Callable[[], object] | None = None) -> QToolButton:
    """An icon button with its name as tool tip and accessible name."""
    made = QToolButton()
    made.setIconSize(QSize(18, 18))
    made.setToolTip(text)
    made.setAccessibleName(text)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.setProperty("iconName", icon)
    made.setIcon(icons.icon(icon))
    if clicked is not None:
        made.clicked.connect(lambda: clicked())
    return made


def recolour(root: QWidget) -> None:
    """Draw the icons of every ``tool`` under a widget again, after the palette changed."""
    for made in root.findChildren(QToolButton):
        name = made.property("iconName")
        if isinstance(name, str) and name:
            colour = theme.colours().on_accent if made.objectName() in ("send", "stop") else None
            made.setIcon(icons.icon(name, colour))


def margins(layout: QLayout, horizontal: int, vertical: int | None = None) -> None:
    """Set equal margins left and right, and above and below."""
    high = horizontal if vertical is None else vertical
    layout.setContentsMargins(horizontal, high, horizontal, high)


def row(*items: QWidget | int, spacing: int = theme.SMALL) -> QHBoxLayout:
    """Widgets side by side; an integer is a stretch."""
    layout = QHBoxLayout()
    layout.setSpacing(spacing)
    margins(layout, 0)
    _fill(layout, items)
    return layout


def column(*items: QWidget | int, spacing: int = theme.SMALL) -> QVBoxLayout:
    """Widgets one below the other; an integer is a stretch."""
    layout = QVBoxLayout()
    layout.setSpacing(spacing)
    margins(layout, 0)
    _fill(layout, items)
    return layout


def _fill(layout: QHBoxLayout | QVBoxLayout, items: tuple[QWidget | int, ...]) -> None:
    for item in items:
        if isinstance(item, int):
            layout.addStretch(item)
        else:
            layout.addWidget(item)


def card(name: str = "card") -> tuple[QFrame, QVBoxLayout]:
    """A framed box and its layout."""
    frame = QFrame()
    frame.setObjectName(name)
    layout = QVBoxLayout(frame)
    layout.setSpacing(theme.SMALL)
    margins(layout, theme.NORMAL + 2, theme.NORMAL)
    return frame, layout


def clear(layout: QLayout) -> None:
    """Remove and delete everything in a layout."""
    while (item := _take(layout)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()


def size_for_text(window: QWidget, width: int, height: int) -> None:
    """Resize a window to what the zoom of the text asks for, within the screen."""
    room = window.screen().availableSize()
    window.resize(min(theme.scaled(width), room.width()), min(theme.scaled(height), room.height()))


def _take(layout: QLayout) -> QLayoutItem | None:
    return layout.takeAt(0) if layout.count() else None


def centred(content: QWidget, width: int = theme.COLUMN) -> QWidget:
    """A widget kept in the middle, never wider than ``width``."""
    holder = QWidget()
    content.setMaximumWidth(width)
    content.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    layout = QHBoxLayout(holder)
    margins(layout, theme.WIDE, 0)
    layout.addStretch(1)
    layout.addWidget(content, 1000)
    layout.addStretch(1)
    return holder
