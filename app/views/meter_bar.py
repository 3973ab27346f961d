"""The live meter: what left, what came, how fast, and how far the present secret reaches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from app import figures, sentences, theme
from app.events import Meter, Status
from app.icons import pixmap
from app.views import parts

POINTS = 60
RATE_OVER_S = 1.0
GAP_S = 5.0  # after such a pause a rate is that of a new reply


class Sparkline(QWidget):
    """The last ``POINTS`` values as a small line, zero at the bottom."""

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: deque[float] = deque(maxlen=POINTS)
        self.setAccessibleName(name)
        self.setToolTip(tip)
        self.setFixedSize(QSize(72, 18))
        self.hide()

    @property
    def values(self) -> list[float]:
        """What is drawn, oldest first."""
        return list(self._values)

    def add(self, value: float) -> None:
        """Append a value."""
        self._values.append(value)
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the line, the newest value at the right edge."""
        if len(self._values) < 2:
            return
        top = max(self._values) or 1.0
        step = self.width() / (POINTS - 1)
        left = self.width() - step * (len(self._values) - 1)
        high = self.height() - 3
        line = QPolygonF(
            [
                QPointF(left + step * index, self.height() - 1.5 - high * value / top)
                for index, value in enumerate(self._values)
            ]
        )
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme.colours().accent), 1.5))
        painter.drawPolyline(line)
        painter.end()


class Pace:
    """Bytes per second over about the last second, from totals that come several times a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, total: int) -> float | None:
        """Take a total; the rate, or None when the one before is too old to tell."""
        now = self._clock()
        if self._seen and (now - self._seen[-1][0] > GAP_S or total < self._seen[-1][1]):
            self._seen.clear()
        self._seen.append((now, total))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_OVER_S:
            self._seen.popleft()
        passed = now - self._seen[0][0]
        return (total - self._seen[0][1]) / passed if passed > 0 else None


class StatusLine(QWidget):
    """The status as an icon and words."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._status = Status("starting")
        self._icon = parts.label()
        self.words = parts.label("", "muted", name="statusWords")
        layout = QHBoxLayout(self)
        layout.setSpacing(theme.TIGHT)
        parts.margins(layout, 0)
        layout.addWidget(self._icon)
        layout.addWidget(self.words)
        self.show_status(self._status)

    @property
    def status(self) -> Status:
        """What is shown."""
        return self._status

    def show_status(self, status: Status) -> None:
        """Show a status."""
        words = sentences.status_words(status)
        redraw = sentences.status_icon(status) != sentences.status_icon(self._status)
        self._status = status
        self.words.setText(words)
        self.setAccessibleName(self.tr("Status: {0}").format(words))
        if redraw or self._icon.pixmap().isNull():
            self.redraw()

    def redraw(self) -> None:
        """Draw the icon with the present palette."""
        c = theme.colours()
        good = self._status.state in ("ready", "prompt", "token")
        colour = c.accent if good else c.warning
        ratio = self.devicePixelRatioF()
        self._icon.setPixmap(pixmap(sentences.status_icon(self._status), colour, 18, ratio))


class MeterBar(QWidget):
    """Status at the left, figures at the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.status = StatusLine()
        self.up = self._figure(self.tr("Sent to the server in this session"))
        self.down = self._figure(self.tr("Received from the server in this session"))
        self.speed = self._figure(self.tr("Time for one token"))
        self.left = self._figure(self.tr("Tokens left before new secrets are made"))
        self.rate = self._figure(self.tr("Traffic both ways"))
        self.sparkline = Sparkline(
            self.tr("Seconds per token over time"),
            self.tr("Seconds per token over the last {0} tokens").format(POINTS),
        )
        self.rate_sparkline = Sparkline(
            self.tr("Traffic over time"), self.tr("MB per second, up and down together")
        )
        self._pace = Pace()
        self._working = False
        self._rounds = 0
        layout = QHBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, theme.TIGHT, 0)
        layout.addWidget(self.status)
        layout.addStretch(1)
        for widget in (
            self.rate_sparkline,
            self.rate,
            self.sparkline,
            self.speed,
            self.up,
            self.down,
            self.left,
        ):
            layout.addWidget(widget)

    def _figure(self, tip: str) -> QLabel:
        made = parts.label("", "muted")
        made.setToolTip(tip)
        made.setAlignment(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight)
        made.hide()
        return made

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A narrow window keeps the words and the traffic; the rest waits for more room."""
        super().resizeEvent(event)
        self._arrange()

    def show_status(self, status: Status) -> None:
        """Show a status; a rate is that of the reply being made, and of nothing else."""
        self.status.show_status(status)
        self._working = status.state in sentences.WORKING
        self._arrange()

    def _arrange(self) -> None:
        room = self.width() - self.status.sizeHint().width() - 2 * theme.NORMAL
        for widget in (
            self.up,
            self.down,
            self.speed,
            self.sparkline,
            self.left,
            self.rate,
            self.rate_sparkline,
        ):
            needed = widget.sizeHint().width() if isinstance(widget, QLabel) else widget.width()
            room -= needed + theme.NORMAL
            wanted = bool(widget.text()) if isinstance(widget, QLabel) else bool(widget.values)
            idle = widget in (self.rate, self.rate_sparkline) and not self._working
            widget.setVisible(wanted and not idle and room >= 0)

    def show_meter(self, meter: Meter) -> None:
        """Show the engine's figures."""
        self._set(self.up, self.tr("{0} up").format(figures.megabytes(meter.bytes_up)))
        self._set(self.down, self.tr("{0} down").format(figures.megabytes(meter.bytes_down)))
        if meter.seconds_per_token:
            speed = figures.seconds(meter.seconds_per_token)
            self._set(self.speed, self.tr("{0} per token").format(speed))
            if meter.rounds != self._rounds:
                self.sparkline.add(meter.seconds_per_token)
            rate = self._pace.rate(meter.bytes_up + meter.bytes_down)
            if rate is not None and meter.rounds != self._rounds:
                self._set(self.rate, self.tr("{0}/s").format(figures.megabytes(rate)))
                self.rate_sparkline.add(rate)
        self._rounds = meter.rounds
        if meter.tokens_left is not None:
            self._set(
                self.left, self.tr("{0} tokens left").format(figures.count(meter.tokens_left))
            )
        self._arrange()

    def _set(self, widget: QLabel, text: str) -> None:
        widget.setText(text)
        widget.setAccessibleName(f"{widget.toolTip()}: {text}")
