"""SVG icons in the colours of the palette, sharp at every scale."""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QByteArray, QSize, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from app import theme
from app.resources import resource


def pixmap(name: str, colour: str, size: int, ratio: float = 1.0) -> QPixmap:
    """One icon drawn in ``colour``; ``size`` in device-independent pixels."""
    text = resource(f"icons/{name}.svg").read_text(encoding="utf-8")
    renderer = QSvgRenderer(QByteArray(text.replace("currentColor", colour).encode()))
    image = QPixmap(QSize(round(size * ratio), round(size * ratio)))
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    image.setDevicePixelRatio(ratio)
    return image


def icon(name: str, colour: str | None = None, disabled: str | None = None) -> QIcon:
    """An icon with pixmaps for 100, 200 and 300 % scaling."""
    return _icon(name, colour or theme.colours().text, disabled or theme.colours().muted)


@cache
def _icon(name: str, normal: str, faded: str) -> QIcon:
    made = QIcon()
    for ratio in (1.0, 2.0, 3.0):
        made.addPixmap(pixmap(name, normal, 20, ratio), QIcon.Mode.Normal)
        made.addPixmap(pixmap(name, faded, 20, ratio), QIcon.Mode.Disabled)
    return made
