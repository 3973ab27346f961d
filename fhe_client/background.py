"""Work on a thread of its own, whose end is waited for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


def _go_on() -> None:
    """No reason to stop."""


class Background(Generic[T]):
    """One call on a thread of its own, whose result or exception is collected later, as often as is asked."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._value = work()
        except BaseException as error:
            self._error = error

    def result(self, check_stop: Callable[[], None] = _go_on) -> T:
        """Wait for the end; `check_stop` may raise meanwhile, and the work then ends unheard."""
        while self._thread.is_alive():
            self._thread.join(0.1)
            check_stop()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # None is a value of T wherever there is no error
