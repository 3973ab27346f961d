"""Short blocking work (keyring, key derivation, deleting files) off the window's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QRunnable, QThreadPool, Signal

from app.events import Failure
from app.i18n import translate
from app.sentences import failure_from
from fhe_client.errors import TacitaError

OnDone = Callable[[Any], None]
OnFailure = Callable[[Failure], None]


class Background(QObject):
    """Runs one piece of work at a time; what comes of it is told on the window's own thread."""

    _ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._ended.connect(lambda tell: tell())

    def run(self, work: Callable[[], Any], on_done: OnDone, on_failure: OnFailure) -> None:
        """Do ``work`` on another thread, then call exactly one of the two functions here."""
        self._pool.start(_Task(lambda: self._do(work, on_done, on_failure)))

    def _do(self, work: Callable[[], Any], on_done: OnDone, on_failure: OnFailure) -> None:
        try:
            value = work()
        except Exception as error:
            failure = failure_of(error)
            self._ended.emit(lambda: on_failure(failure))
        else:
            self._ended.emit(lambda: on_done(value))

    def wait(self, milliseconds: int) -> bool:
        """Wait for work under way; False when it is still stuck, for example in a keyring."""
        return self._pool.waitForDone(milliseconds)


class _Task(QRunnable):
    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        self._work()


def failure_of(error: Exception) -> Failure:
    """What to show of an error: a foreign one by its class alone, for its text could name a secret."""
    if isinstance(error, TacitaError):
        return failure_from(error)
    if isinstance(error, OSError):
        what = error.strerror or type(error).__name__
        text = translate("background", "A file could not be read or written: {0}.")
        return Failure("file", text.format(what))
    text = translate("background", "Something went wrong.")
    return Failure("internal", text, "", type(error).__name__)
