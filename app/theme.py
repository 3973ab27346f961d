"""The look, defined once: palette, type scale and spacing, on Qt's Fusion style."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

from app.resources import resource

# Spacing in device-independent pixels.
TIGHT, SMALL, NORMAL, WIDE, HUGE = 4, 8, 12, 20, 32
RADIUS = 8
COLUMN = 780  # the widest a line of text gets, for easy reading


@dataclass(frozen=True)
class Colours:
    """One palette. Every text colour has a contrast of at least 4.5 on its background."""

    window: str
    surface: str
    sidebar: str
    text: str
    muted: str
    border: str
    accent: str
    on_accent: str
    bubble: str
    code: str
    hover: str
    danger: str
    warning: str
    mark: str
    dark: bool


LIGHT = Colours(
    window="#FBFBF9",
    surface="#FFFFFF",
    sidebar="#F1F2EE",
    text="#1D2329",
    muted="#59626C",
    border="#D9DCD5",
    accent="#0B6B62",
    on_accent="#FFFFFF",
    bubble="#E4F0EC",
    code="#F3F4F0",
    hover="#E5E8E2",
    danger="#A8261B",
    warning="#825408",
    mark="#F6E3A1",
    dark=False,
)
DARK = Colours(
    window="#181B1E",
    surface="#202428",
    sidebar="#131618",
    text="#E6E9EB",
    muted="#A3ACB5",
    border="#343A40",
    accent="#5CC2B4",
    on_accent="#08201D",
    bubble="#20352F",
    code="#111416",
    hover="#2A3035",
    danger="#F2958B",
    warning="#E5BC66",
    mark="#5A4A12",
    dark=True,
)

# The type scale, as factors of the base size.
SCALE = {"small": 0.87, "body": 1.0, "title": 1.2, "display": 1.65}
BASE_POINTS = 10.5
_current = LIGHT
_zoom = 1.0


def colours() -> Colours:
    """The palette in use."""
    return _current


def points(step: str = "body") -> float:
    """Font size of a step of the type scale, zoom included."""
    return BASE_POINTS * _zoom * SCALE[step]


def scaled(pixels: int) -> int:
    """A width or height that grows with the text, by less than the text: 1.6 times at 200 %."""
    return round(pixels * (1 + max(_zoom - 1, 0) * 0.6))


def mono() -> QFont:
    """The fixed-width font at body size."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPointSizeF(points("body") * 0.95)
    return font


def system_is_dark(app: QApplication) -> bool:
    """Whether the desktop asks for a dark look."""
    return app.styleHints().colorScheme() == Qt.ColorScheme.Dark


def apply(app: QApplication, mode: str = "system", zoom: int = 100) -> None:
    """Dress the whole application. ``mode`` is light, dark or system; ``zoom`` in percent."""
    global _current, _zoom
    dark = mode == "dark" or (mode == "system" and system_is_dark(app))
    _current = DARK if dark else LIGHT
    _zoom = max(50, min(zoom, 300)) / 100
    if app.style().name().casefold() != "fusion":
        app.setStyle("Fusion")
    app.setPalette(_palette(_current))
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    font.setPointSizeF(points())
    app.setFont(font)
    app.setStyleSheet(stylesheet(_current))


def _palette(c: Colours) -> QPalette:
    palette = QPalette()
    roles = {
        QPalette.ColorRole.Window: c.window,
        QPalette.ColorRole.WindowText: c.text,
        QPalette.ColorRole.Base: c.surface,
        QPalette.ColorRole.AlternateBase: c.code,
        QPalette.ColorRole.Text: c.text,
        QPalette.ColorRole.Button: c.surface,
        QPalette.ColorRole.ButtonText: c.text,
        QPalette.ColorRole.ToolTipBase: c.surface,
        QPalette.ColorRole.ToolTipText: c.text,
        QPalette.ColorRole.Highlight: c.accent,
        QPalette.ColorRole.HighlightedText: c.on_accent,
        QPalette.ColorRole.Accent: c.accent,
        QPalette.ColorRole.Link: c.accent,
        QPalette.ColorRole.LinkVisited: c.accent,
        QPalette.ColorRole.PlaceholderText: c.muted,
        QPalette.ColorRole.Light: c.surface,
        QPalette.ColorRole.Midlight: c.hover,
        QPalette.ColorRole.Mid: c.border,
        QPalette.ColorRole.Dark: c.border,
        QPalette.ColorRole.Shadow: c.border,
    }
    for role, colour in roles.items():
        palette.setColor(role, QColor(colour))
    for role in (
        QPalette.ColorRole.Text,
        QPalette.ColorRole.ButtonText,
        QPalette.ColorRole.WindowText,
    ):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(c.muted))
    return palette


def _check_mark(c: Colours) -> str:
    name = "check-dark" if c.dark else "check-light"
    return resource(f"icons/{name}.svg").as_posix()


def stylesheet(c: Colours) -> str:
    """The one style sheet; widgets are addressed by object name or the ``kind`` property."""
    return f"""
QToolTip {{ background: {c.surface}; color: {c.text}; border: 1px solid {c.border}; padding: 4px; }}
#sidebar {{ background: {c.sidebar}; border: none; border-right: 1px solid {c.border}; }}
#sidebar QListWidget {{ background: transparent; border: none; outline: none; }}
#sidebar QListWidget::item {{ padding: 7px 8px; border-radius: 6px; }}
#sidebar QListWidget::item:hover {{ background: {c.hover}; }}
#sidebar QListWidget::item:selected {{ background: {c.bubble}; color: {c.text}; }}
#sidebar QListWidget::item:focus {{ border: 1px solid {c.accent}; }}
#serverPanel {{ background: {c.sidebar}; border: none; border-left: 1px solid {c.border}; }}
#serverPanel QScrollArea, #serverPanel QScrollArea > QWidget > QWidget {{ background: transparent;
    border: none; }}
#topbar, #bottombar {{ background: {c.window}; border: none; }}
#topbar {{ border-bottom: 1px solid {c.border}; }}
#messages, #messages > QWidget > QWidget {{ background: {c.window}; border: none; }}
#composer {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: 12px; }}
#composer[active="true"] {{ border: 1px solid {c.accent}; }}
#composer QPlainTextEdit {{ background: transparent; border: none; }}
#userBubble {{ background: {c.bubble}; border: none; border-radius: 12px; }}
#codeBlock {{ background: {c.code}; border: 1px solid {c.border}; border-radius: {RADIUS}px; }}
#card {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: {RADIUS}px; }}
#errorCard {{ background: {c.surface}; border: 1px solid {c.danger}; border-radius: {RADIUS}px; }}
#banner {{ background: {c.bubble}; border: 1px solid {c.border}; border-radius: {RADIUS}px; }}
QLabel[kind="muted"] {{ color: {c.muted}; font-size: {points("small"):.1f}pt; }}
QLabel[kind="title"] {{ font-size: {points("title"):.1f}pt; font-weight: 600; }}
QLabel[kind="display"] {{ font-size: {points("display"):.1f}pt; font-weight: 600; }}
QLabel[kind="danger"] {{ color: {c.danger}; }}
QLabel[kind="strong"] {{ font-weight: 600; }}
QPushButton {{ background: {c.surface}; color: {c.text}; border: 1px solid {c.border};
    border-radius: 6px; padding: 6px 14px; }}
QPushButton:hover {{ background: {c.hover}; }}
QPushButton:focus {{ border: 1px solid {c.accent}; }}
QPushButton:disabled {{ color: {c.muted}; background: {c.window}; }}
QPushButton[kind="primary"], QPushButton:default {{ background: {c.accent}; color: {c.on_accent};
    border: 1px solid {c.accent}; }}
QPushButton[kind="primary"] {{ font-weight: 600; }} /* not for :default, whose size Qt takes from the plain font */
QPushButton[kind="primary"]:focus {{ border: 2px solid {c.text}; padding: 5px 13px; }}
QPushButton[kind="primary"]:disabled {{ background: {c.hover}; color: {c.muted};
    border: 1px solid {c.border}; }}
QPushButton[kind="danger"] {{ color: {c.danger}; border: 1px solid {c.danger}; }}
QPushButton[kind="danger"]:disabled {{ color: {c.muted}; border: 1px solid {c.border}; }}
QDialog QLabel {{ padding-right: 2px; }}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 6px;
    padding: 4px; color: {c.text}; }}
QToolButton:hover, QToolButton:checked {{ background: {c.hover}; }}
QToolButton:focus {{ border: 1px solid {c.accent}; }}
QToolButton::menu-indicator {{ image: none; }}
QToolButton#send, QToolButton#stop {{ background: {c.accent}; border-radius: 16px; padding: 5px; }}
QToolButton#send:disabled {{ background: {c.hover}; }}
QComboBox QLineEdit, QAbstractSpinBox QLineEdit {{ border: none; padding: 0 2px;
    background: transparent; }}
QToolButton#send:focus, QToolButton#stop:focus {{ border: 2px solid {c.text}; padding: 4px; }}
QLineEdit, QPlainTextEdit {{ background: {c.surface};
    color: {c.text}; border: 1px solid {c.border}; border-radius: 6px; padding: 5px 8px; }}
QLineEdit:focus, QPlainTextEdit:focus {{ border: 1px solid {c.accent}; }}
QComboBox, QAbstractSpinBox {{ min-height: 28px; }}
QRadioButton, QCheckBox {{ spacing: 8px; }}
QRadioButton::indicator, QCheckBox::indicator {{ width: 14px; height: 14px;
    border: 1px solid {c.muted}; background: {c.surface}; }}
QRadioButton::indicator {{ border-radius: 8px; }}
QCheckBox::indicator {{ border-radius: 4px; }}
QRadioButton::indicator:checked {{ border: 5px solid {c.accent}; width: 6px; height: 6px; }}
QCheckBox::indicator:checked {{ border: 1px solid {c.accent}; background: {c.accent};
    image: url("{_check_mark(c)}"); }}
QRadioButton::indicator:focus, QCheckBox::indicator:focus {{ border-color: {c.text}; }}
QRadioButton:disabled, QCheckBox:disabled {{ color: {c.muted}; }}
#serverList {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: 6px;
    outline: none; }}
#serverList::item {{ padding: 0 10px; }}
#serverList::item:selected {{ background: {c.bubble}; color: {c.text}; }}
QSlider {{ min-height: 20px; }}
QSlider::groove:horizontal {{ background: {c.border}; height: 4px; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {c.accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ background: {c.accent}; width: 14px; margin: -5px 0;
    border-radius: 7px; }}
QSlider::handle:horizontal:focus {{ border: 2px solid {c.text}; width: 10px; }}
QProgressBar {{ background: {c.hover}; border: none; border-radius: 3px; max-height: 6px;
    min-height: 6px; }}
QProgressBar::chunk {{ background: {c.accent}; border-radius: 3px; }}
QMenu {{ background: {c.surface}; color: {c.text}; border: 1px solid {c.border}; padding: 4px; }}
QMenu::item {{ padding: 6px 22px 6px 12px; border-radius: 4px; }}
QMenu::item:selected {{ background: {c.hover}; }}
QMenu::item:disabled {{ color: {c.muted}; }}
QScrollBar:vertical {{ background: transparent; width: 12px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 12px; margin: 0; }}
QScrollBar::handle {{ background: {c.border}; border-radius: 4px; margin: 2px; min-height: 32px;
    min-width: 32px; }}
QScrollBar::handle:hover {{ background: {c.muted}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
#dialogPages {{ background: {c.sidebar}; border: none; border-right: 1px solid {c.border};
    outline: none; }}
#dialogPages::item {{ padding: 0 14px; }}
#dialogPages::item:selected {{ background: {c.bubble}; color: {c.text};
    border-left: 3px solid {c.accent}; }}
"""
