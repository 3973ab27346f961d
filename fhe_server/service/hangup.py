"""SIGHUP, by which an operator asks a server to read everything again. Untouched it would end the process.

So it is caught from the first moment on, long before the models are open; one that comes early, or while the server is
about to end, is noted and does no harm.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NUMBER: int | None = getattr(signal, "SIGHUP", None)
_early = threading.Event()


def catch_hangups() -> None:
    """From now on SIGHUP is noted until somebody listens. Nothing happens where there is none, or in another thread."""
    if _NUMBER is not None and threading.current_thread() is threading.main_thread():
        signal.signal(_NUMBER, lambda number, frame: _early.set())


def take_early_hangup() -> bool:
    """Whether one has come that nobody has heeded yet."""
    came = _early.is_set()
    _early.clear()
    return came


@contextmanager
def listening(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` on the running event loop for every SIGHUP, one that came early included."""
    if _NUMBER is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(_NUMBER, ask)
    if take_early_hangup():
        ask()
    try:
        yield
    finally:
        loop.remove_signal_handler(_NUMBER)  # which leaves the signal as the system has it: deadly
        catch_hangups()
