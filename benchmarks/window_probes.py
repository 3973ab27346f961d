"""What `benchmarks.window` and the tests of the window measure with: needs PySide6 and the app alone.

Nothing here imports torch or numpy: it runs in the window's own process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QAbstractEventDispatcher, QEventLoop, QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget

from app.views.message_body import MessageBody
from app.views.message_list import MessageList
from fhe_client.history import History, Role

HEAVY = ("torch", "numpy", "transformers", "requests", "fhe_server", "fhe_protocol")
TICK_MS = 5
FRAME_MS = 16
REPLY = """A paragraph with **bold** words, `code` and a [link](https://example.org/{0}).

- first of {0}
- second

```python
def number_{0}(x: int) -> int:
    return x + {0}
```
"""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def heavy_modules() -> list[str]:
    """What this process has imported that a window never needs."""
    return [name for name in HEAVY if name in sys.modules]


class Watch(QObject):
    """Watches the event loop of this thread from ``start`` to ``stop``.

    Attributes:
        lags: seconds by which each tick of a timer came late: what a key press would have waited.
        bursts: CPU seconds of this thread from one wait of the loop to the next. Unlike ``lags`` they
            hardly depend on what else the machine does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lags: list[float] = []
        self.bursts: list[float] = []
        self._due = 0.0
        self._spent = 0.0
        self._timer = QTimer(self, interval=TICK_MS)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._loop = QAbstractEventDispatcher.instance()

    def start(self) -> None:
        """Begin to watch."""
        self.lags, self.bursts = [], []
        self._spent = time.thread_time()
        self._due = time.perf_counter() + TICK_MS / 1e3
        self._loop.aboutToBlock.connect(self._block)
        self._timer.start()

    def stop(self) -> None:
        """End watching."""
        self._timer.stop()
        self._loop.aboutToBlock.disconnect(self._block)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.lags.append(max(0.0, now - self._due))
        self._due = now + TICK_MS / 1e3

    def _block(self) -> None:
        before, self._spent = self._spent, time.thread_time()
        self.bursts.append(self._spent - before)


def settle(milliseconds: int) -> None:
    """Let the event loop run for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def painted(widget: QWidget) -> None:
    """Let everything that is due happen, layout included, and paint the widget."""
    for _ in range(4):
        QApplication.processEvents()
    widget.grab()


def fill(path: Path, key: bytes, messages: int) -> int:
    """Write a chat of so many messages into an encrypted history; its id. The first one holds ``needle``."""
    history = History(path, key)
    chat = history.new_chat("Long")
    parent = None
    with history.transaction():
        for index in range(messages):
            mine = index % 2 == 0
            text = f"question {index}" if mine else REPLY.format(index)
            text += " needle" if index == 0 else ""
            role = Role.USER if mine else Role.ASSISTANT
            parent = history.add_message(chat.id, role, text, parent=parent).id
    history.close()
    return chat.id


def scroll(messages: MessageList, steps: int, pixels: int) -> tuple[Watch, int]:
    """Scroll by steps as a wheel does (up if ``pixels`` is negative): what was watched, most widgets drawn."""
    bar, watch, loop = messages.verticalScrollBar(), Watch(), QEventLoop()
    timer = QTimer(interval=FRAME_MS)
    most, left = 0, steps

    def step() -> None:
        nonlocal most, left
        most, left = max(most, len(messages.views())), left - 1
        bar.setValue(bar.value() + pixels)
        if left <= 0:
            loop.quit()

    timer.timeout.connect(step)
    watch.start()
    timer.start()
    loop.exec()
    timer.stop()
    watch.stop()
    return watch, most


def streams(tokens: int) -> dict[str, list[str]]:
    """Replies of so many tokens, of different kinds."""
    words = [f"word{index} " for index in range(tokens)]
    return {
        "paragraphs": [w + ("\n\n" if i % 40 == 39 else "") for i, w in enumerate(words)],
        "list": [
            ("- " if i % 12 == 0 else "") + w + "\n" * (i % 12 == 11) for i, w in enumerate(words)
        ],
        "numbered list": [
            (f"{i // 12 + 1}. " if i % 12 == 0 else "") + w + "\n\n" * (i % 12 == 11)
            for i, w in enumerate(words)
        ],
        "code": [
            "```python\n",
            *(f"    x{i} = f({i})  # note\n" if i % 8 == 0 else f"x{i} " for i in range(1, tokens)),
        ],
        "code blocks": [
            f"\n\n```python\nx = {i}\n" if i % 40 == 0 else "\n```\n\n" if i % 40 == 20 else w
            for i, w in enumerate(words)
        ],
        "one paragraph": words,
    }


def stream_costs(pieces: Sequence[str]) -> list[float]:
    """CPU seconds that each piece takes, drawn at once as if tokens came slowly."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.resize(820, 700)
    body = MessageBody()
    area.setWidget(body)
    area.show()
    bar = area.verticalScrollBar()
    costs = []
    for piece in pieces:
        began = time.thread_time()
        body.add(piece)
        body.flush()
        QApplication.processEvents()
        bar.setValue(bar.maximum())
        QApplication.processEvents()
        costs.append(time.thread_time() - began)
    assert body.text == "".join(pieces)
    area.hide()
    area.deleteLater()
    return costs
