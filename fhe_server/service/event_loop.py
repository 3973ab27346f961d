"""The server's event loop: asyncio's own, which waits awake for a moment while rounds follow each other."""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Mapping
from typing import Any

from fhe_protocol.waiting import ShortWait


class PatientSelector(selectors.BaseSelector):
    """The system's best selector; after `expect_soon` the next wait begins awake."""

    def __init__(self) -> None:
        self._inner = selectors.DefaultSelector()
        self._short_wait = ShortWait()
        self._soon = False

    def expect_soon(self) -> None:
        """An answer has left, and its client may send the next query in a moment."""
        self._soon = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `BaseSelector`."""
        if not self._soon or (timeout is not None and timeout <= 0):
            return self._inner.select(timeout)
        self._soon = False
        found = self._short_wait.poll(lambda: self._inner.select(0))
        if not found:
            found = self._inner.select(timeout)
        self._short_wait.waited()
        return found

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `BaseSelector`."""
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See `BaseSelector`."""
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `BaseSelector`."""
        return self._inner.modify(fileobj, events, data)

    def close(self) -> None:
        """See `BaseSelector`."""
        self._inner.close()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """See `BaseSelector`."""
        return self._inner.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See `BaseSelector`."""
        return self._inner.get_map()


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that can be told that input is due."""

    def __init__(self) -> None:
        self._patient = PatientSelector()
        super().__init__(self._patient)

    def expect_soon(self) -> None:
        """See `PatientSelector`."""
        self._patient.expect_soon()


def make_loop() -> asyncio.AbstractEventLoop:
    """What uvicorn's `loop` setting names."""
    return asyncio.new_event_loop() if sys.platform == "win32" else PatientLoop()
