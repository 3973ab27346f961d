"""How the command line speaks: progress on one line, figures after a reply, and text that cannot command a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from fhe_client.chat_events import Status
from fhe_client.failures import Failure

_WORDS: Mapping[str, str] = {
    "starting": "starting the local server",
    "connecting": "connecting",
    "importing": "preparing the model (once)",
    "downloading_hints": "downloading hints (once)",
    "auditing": "checking the hints (once)",
    "preparing_keys": "preparing keys",
    "reconnecting": "reconnecting",
    "prompt": "reading the prompt",
}
_WORTH_A_LINE = frozenset({"importing", "downloading_hints", "reconnecting"})
_SECONDS_BETWEEN = 0.1


def clean(text: str) -> str:
    """`text` without control characters, line breaks and tabs aside.

    What a model or a server says must not move the cursor, rename the window or fill the clipboard.
    """
    return "".join(c for c in text if c in "\n\t" or not _is_control(ord(c)))


def _is_control(code: int) -> bool:
    # The bidirectional overrides (202A-202E, 2066-2069) can make a line read as another one.
    return (
        code < 32
        or 127 <= code < 160
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or code in (0x2028, 0x2029)
    )


class StatusLine:
    """Progress on standard error: one line that is rewritten on a terminal, a few plain lines elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._shown = False
        self._last = 0.0
        self._state = ""

    def __call__(self, status: Status) -> None:
        """Show a status, unless it is one that shows itself."""
        words = _WORDS.get(status.state)
        if words is None:
            self.clear()
            return
        if self._live:
            self._rewrite(status, words)
        elif status.state in _WORTH_A_LINE and status.state != self._state:
            self._stream.write(f"{words}{_size(status)} ...\n")
            self._stream.flush()
        self._state = status.state

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False

    def _rewrite(self, status: Status, words: str) -> None:
        now = time.monotonic()
        same = status.state == self._state
        if same and now - self._last < _SECONDS_BETWEEN and status.done < status.total:
            return
        self._last = now
        self._stream.write(f"\r\x1b[K{words}{_share(status)}")
        self._stream.flush()
        self._shown = True


def _share(status: Status) -> str:
    if status.total <= 0:
        return " ..."
    if status.unit == "bytes":
        return f" {status.done / 1e6:.0f} of {status.total / 1e6:.0f} MB"
    return f" {100 * status.done // status.total} %"


def _size(status: Status) -> str:
    return f" {status.total / 1e6:.0f} MB" if status.unit == "bytes" and status.total else ""


def megabytes(count: int) -> str:
    """Bytes in MB, two digits where it is little."""
    return f"{count / 1e6:.2f} MB" if count < 10_000_000 else f"{count / 1e6:.1f} MB"


def spelled_fingerprint(digits: str) -> str:
    """A fingerprint as people compare it: pairs of capital digits with colons."""
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2)).upper()


def write_error(failure: Failure, stream: TextIO | None = None) -> None:
    """One line that says what happened, and an indented one that says what to do."""
    out = sys.stderr if stream is None else stream
    out.write(f"tacita: {clean(failure.message)}\n")
    if failure.next_step:
        out.write(f"  {clean(failure.next_step)}\n")
    out.flush()
