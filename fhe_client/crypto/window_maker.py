"""Makes windows ahead of need: the first in the foreground, by two threads, later ones in one background thread.

The thread works while the user reads or types and rests while a reply is made, until the window in use is half spent:
on a machine with two cores it would otherwise cost every token of the next seconds a third of its speed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from fhe_client.crypto.errors import CryptoError, SecretWipedError, SessionClosedError
from fhe_client.crypto.pads import HintSource, prepare_window
from fhe_client.crypto.secrets import EpochSecrets
from fhe_client.crypto.window import Window
from fhe_client.keys import MasterKey
from fhe_protocol.manifest import Manifest

Progress = Callable[[int, int], None]

FIRST_SLOTS = 64
"""Slots of a session's first window: enough for a first question, and made in a quarter of the time."""
_QUIET_S = 0.4
"""A pause in the rounds after which the user counts as reading."""
_NICE = 10
_AT_ONCE = 2
"""Threads that make a window that is waited for. Half of their time passes outside Python, where they do not wait for
each other."""


class WindowMaker:
    """Windows of consecutive slots, epoch after epoch, at most one ahead. The very first one is short.

    An epoch's secrets are erased as soon as its last window is prepared: pads are all that is needed after.

    Args:
        window_slots: slots of a window, a divisor of N.

    Raises:
        ValueError: `window_slots` does not divide N.
    """

    def __init__(
        self, manifest: Manifest, hints: HintSource, master_key: MasterKey, window_slots: int
    ) -> None:
        self._degree = manifest.parameters.ring_degree
        if window_slots < 1 or self._degree % window_slots:
            raise ValueError(f"window_slots must divide {self._degree}")
        self._manifest = manifest
        self._hints = hints
        self._master_key = master_key
        self._count = window_slots
        self._secrets: EpochSecrets | None = None
        self._first = 0
        self._ready: Window | None = None
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()  # between beginning an epoch and closing
        self._urgent = threading.Event()
        self._last_use = time.monotonic()
        self.epochs_begun = 0

    def note_use(self, slots_left: int, count: int) -> None:
        """Tell that a pass begins, and how many slots the window in use, of `count` slots, has left."""
        self._last_use = time.monotonic()
        if 2 * slots_left <= count:
            self._urgent.set()

    @property
    def ready(self) -> bool:
        """Whether the next window is there, so that `take` need not wait."""
        return self._ready is not None

    def begin(self, on_progress: Progress | None = None) -> None:
        """Make the first window in this thread."""
        self._ready = self._make(on_progress, _AT_ONCE)

    def take(self) -> Window:
        """The next window, waiting for it where it is not ready; starts on the one after it.

        Raises:
            SessionClosedError: the maker was closed.
            CryptoError: preparing it failed.
        """
        self._urgent.set()
        self._wait()
        window, self._ready = self._ready, None
        if window is None:
            window = self._make(None, _AT_ONCE)
        self._start()
        return window

    def close(self) -> None:
        """Stop, and erase what was made and not taken."""
        with self._lock:
            self._closing.set()
        self._urgent.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=30)
        self._erase()

    def _erase(self) -> None:
        ready, secrets = self._ready, self._secrets
        if ready is not None:
            ready.wipe()
        if secrets is not None:
            secrets.wipe()

    def _wait(self) -> None:
        thread = self._thread
        if thread is not None:
            thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if isinstance(failure, CryptoError):
            raise failure
        # Anything else (a hint file that could not be read, say) is tried again in the foreground, where it is shown.

    def _start(self) -> None:
        self._urgent.clear()
        self._last_use = time.monotonic()  # a question may be waiting for the window just taken
        self._thread = threading.Thread(target=self._work, name="window-maker", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        _lower_priority()
        try:
            self._rest()
            self._ready = self._make(lambda _done, _total: self._rest())
        except BaseException as error:
            self._failure = error
        if (
            self._closing.is_set()
        ):  # `close` may have stopped waiting before there was anything to erase
            self._erase()

    def _rest(self) -> None:
        while not self._urgent.is_set():
            busy_for = self._last_use + _QUIET_S - time.monotonic()
            if busy_for <= 0:
                return
            self._urgent.wait(busy_for)

    def _make(self, on_progress: Progress | None, threads: int = 1) -> Window:
        def on_part(done: int, total: int) -> None:
            self._check_open()
            if on_progress is not None:
                on_progress(done, total)

        secrets, first, count = self._reserve()
        try:
            return prepare_window(
                self._manifest,
                secrets,
                self._hints,
                first,
                count,
                on_part,
                self._check_open,
                threads,
            )
        except SecretWipedError:
            self._check_open()  # closed while a part was being prepared
            raise
        finally:
            if first + count >= self._degree:
                secrets.wipe()

    def _reserve(self) -> tuple[EpochSecrets, int, int]:
        """The epoch, the first slot and the number of slots of the next window.

        The counter moves first: whatever happens to the window, its slots are not prepared again.
        """
        with self._lock:
            self._check_open()
            secrets = self._epoch()
            first, count = self._first, self._size()
            self._first += count
            return secrets, first, count

    def _size(self) -> int:
        """Slots of the next window. The second one is what the first one left of a whole one."""
        if self.epochs_begun == 1 and self._first == 0:
            return min(FIRST_SLOTS, self._count)
        return self._count - self._first % self._count

    def _epoch(self) -> EpochSecrets:
        if self._secrets is None or self._first >= self._degree:
            self._secrets = EpochSecrets(self._master_key, self._manifest.parameters)
            self._first = 0
            self.epochs_begun += 1
        return self._secrets

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise SessionClosedError("This session has ended.", "Start a new one.")


def _lower_priority() -> None:
    """Let the reply go first. Only Linux has priorities of threads behind this call."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        except OSError:
            return
