"""*What the server sees*: the real bytes of each query, as a picture and in hex, and the ribbon."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QCheckBox, QFrame, QScrollArea, QSlider, QVBoxLayout, QWidget

from app import figures, theme
from app.events import ServerView
from app.views import parts

PICTURE_WIDTH = 32  # values a line; 3,072 bytes are 1,024 values, a square
WIDTH = 336
LARGEST = 1.6  # what the panel grows by at most when text is made larger
HEX_LINES = 10
HEX_BYTES = 9


class LayerRibbon(QWidget):
    """One stroke per group of layers; the one at work is bright, the ones done are filled."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.index = -1
        self.total = 0
        self.setFixedHeight(6)
        self.setAccessibleName(self.tr("Layers of the model"))
        self.setToolTip(self.tr("Each stroke is one encrypted layer group of the present token"))

    def show_layer(self, index: int, total: int) -> None:
        """Show which group is at work."""
        self.index, self.total = index, total
        self.update()

    def clear(self) -> None:
        """Show an empty ribbon."""
        self.show_layer(-1, 0)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the strokes over the whole width."""
        if self.total <= 0:
            return
        painter = QPainter(self)
        accent, rest = QColor(theme.colours().accent), QColor(theme.colours().border)
        done = QColor(accent)
        done.setAlpha(110)
        width = self.width() / self.total
        for index in range(self.total):
            colour = accent if index == self.index else done if index < self.index else rest
            left, right = round(index * width), round((index + 1) * width)
            painter.fillRect(QRect(left, 0, max(right - left - 1, 1), self.height()), colour)
        painter.end()


class BytePicture(QWidget):
    """Bytes as a picture: each 24-bit value is one pixel, its three bytes are red, green, blue."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image = QImage()
        self.setFixedSize(QSize(288, 9))
        self.setAccessibleName(self.tr("Picture of the encrypted bytes"))

    @property
    def image(self) -> QImage:
        """What is drawn."""
        return self._image

    def show_bytes(self, head: bytes) -> None:
        """Draw as many full rows as there are."""
        rows = len(head) // (3 * PICTURE_WIDTH)
        used = head[: rows * 3 * PICTURE_WIDTH]
        if rows:
            whole = QImage(
                used, PICTURE_WIDTH, rows, 3 * PICTURE_WIDTH, QImage.Format.Format_RGB888
            )
            self._image = whole.copy()  # its own memory: ``used`` goes away
        else:
            self._image = QImage()
        side = self.width() // PICTURE_WIDTH
        self.setFixedHeight(max(rows, 1) * side)
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the picture with sharp pixels."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(theme.colours().code))
        if not self._image.isNull():
            side = self.width() // PICTURE_WIDTH
            target = QRect(0, 0, side * PICTURE_WIDTH, side * self._image.height())
            painter.drawImage(target, self._image)
        painter.end()


def hex_lines(head: bytes, lines: int = HEX_LINES) -> str:
    """The first bytes in hex, ``HEX_BYTES`` a line, grouped into 24-bit values."""
    rows = (
        head[start : start + HEX_BYTES]
        for start in range(0, min(len(head), HEX_BYTES * lines), HEX_BYTES)
    )
    return "\n".join(
        "  ".join(row[at : at + 3].hex(" ") for at in range(0, len(row), 3)) for row in rows
    )


def breakable(name: str) -> str:
    """A group's name with places where a line may end: names have no spaces."""
    return name.replace(".", ".\u200b").replace("+", "\u200b+")


class ServerViewPanel(QFrame):
    """The user's words above, what left the computer below, a slider through the layers.

    The panel shows the layer at work until the slider is moved; from then on it stays with that
    layer, whose bytes are other ones for every token.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("serverPanel")
        self.setAccessibleName(self.tr("What the server sees"))
        self._views: dict[int, ServerView] = {}
        self._shown: ServerView | None = None
        self.words = parts.label("", wrap=True, name="ownWords")
        self.group = parts.label("", "strong", wrap=True, name="groupName")
        self.place = parts.label("", "muted", name="layerPlace")
        self.facts = parts.label("", "muted", wrap=True)
        self.picture = BytePicture()
        self.bytes = parts.label("", name="hex")
        self.bytes.setFont(theme.mono())
        self.bytes.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName(self.tr("Layer"))
        self.follow = QCheckBox(self.tr("Follow the layer at work"))
        self.follow.setChecked(True)
        self.slider.actionTriggered.connect(lambda _action: self.follow.setChecked(False))
        self.slider.valueChanged.connect(self._show)
        self.empty = parts.label(
            self.tr("Send a message: the encrypted bytes of every layer appear here."),
            "muted",
            wrap=True,
        )
        self._headings = (
            parts.label(self.tr("You wrote"), "muted"),
            parts.label(self.tr("The server received"), "muted"),
        )
        self.group.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._lay_out()
        self._show_contents(False)
        self.redraw()

    def _lay_out(self) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, theme.WIDE, theme.NORMAL)
        title = parts.label(self.tr("What the server sees"), "title", wrap=True)
        wrote, received = self._headings
        for widget in (
            title,
            wrote,
            self.words,
            received,
            self.group,
            self.place,
            self.picture,
            self.slider,
            self.follow,
            self.bytes,
            self.facts,
            self.empty,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        whole = QVBoxLayout(self)
        parts.margins(whole, 0)
        whole.addWidget(area)

    def _show_contents(self, there: bool) -> None:
        for widget in (
            *self._headings,
            self.words,
            self.group,
            self.place,
            self.picture,
            self.slider,
            self.follow,
            self.bytes,
            self.facts,
        ):
            widget.setVisible(there)
        self.empty.setVisible(not there)

    def show_words(self, text: str) -> None:
        """Show the beginning of what the user wrote."""
        self.words.setText(text if len(text) <= 160 else text[:160] + "…")

    def add(self, view: ServerView) -> None:
        """Take the query that was just sent."""
        if not self._views:
            self._show_contents(True)
        self._views[view.index] = view
        self.slider.setMaximum(max(view.total - 1, *self._views))
        if self.follow.isChecked():
            self.slider.setValue(view.index)
        if self.slider.value() == view.index:
            self._show(view.index)

    def clear(self) -> None:
        """Forget the bytes of the last chat."""
        self._views.clear()
        self._shown = None
        self.words.clear()
        self._show_contents(False)

    def _show(self, index: int) -> None:
        """Show a layer; of one that has not come by yet, the nearest that has."""
        if not self._views or not self.isVisible():
            return
        nearest = min(self._views, key=lambda known: abs(known - index))
        view = self._views[nearest]
        if view is self._shown:
            return
        self._shown = view
        self.group.setText(breakable(view.group))
        place = self.tr("Layer group {0} of {1}")
        self.place.setText(place.format(nearest + 1, max(view.total, nearest + 1)))
        self.picture.show_bytes(view.head)
        self.bytes.setText(hex_lines(view.head))
        size = view.rows * view.width * 3
        self.facts.setText(
            self.tr(
                "{0} bytes: {1} × {2} encrypted values of 24 bits. "
                "Without your key they look like noise."
            ).format(figures.count(size), figures.count(view.rows), figures.count(view.width))
        )

    def redraw(self) -> None:
        """Draw with the present font and zoom."""
        self.bytes.setFont(theme.mono())
        larger = min(max(theme.points() / theme.BASE_POINTS, 1.0), LARGEST)
        self.setFixedWidth(round(WIDTH * larger))
        # Names of groups take one line or two; what is below them should not jump.
        self.group.setMinimumHeight(2 * self.group.fontMetrics().lineSpacing())
