"""Progress of long work: a callback, and a line on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); total 0 means not known yet."""

_SECONDS_BETWEEN_LINES = 0.1


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class ProgressLine:
    """One line that is rewritten on a terminal; elsewhere one plain line per finished stage."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._last = 0.0
        self._started: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` of `stage` are through."""
        now = time.monotonic()
        started = self._started.setdefault(stage, now)
        if total and done >= total:
            self._write(f"{stage}: done in {now - started:.1f} s", end="\n")
            del self._started[stage]
        elif self._live and now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            share = f"{100 * done // total:3d} %" if total else "..."
            self._write(f"{stage}: {share}", end="")

    def _write(self, text: str, end: str) -> None:
        lead = "\r\x1b[K" if self._live else ""
        self._stream.write(f"{lead}{text}{end}")
        self._stream.flush()


class ProgressRecords:
    """One JSON object a line, for a program that shows progress in its own way: {"stage", "done", "total"}."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._last = 0.0
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` of `stage` are through; not every step, but every beginning and end."""
        now = time.monotonic()
        ended = bool(total) and done >= total
        if stage == self._stage and not ended and now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._stage, self._last = stage, now
        record = {"stage": stage, "done": done, "total": total}
        self._stream.write(json.dumps(record) + "\n")
        self._stream.flush()
