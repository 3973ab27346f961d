"""A window: pads for some slots of one epoch, each usable once.

The pads of a part are token-major, so that a pass reads contiguous memory:

    query_pad    uint32 (slots, n)   A*s + e + 0x808080, the offset that digit planes need (fhe_protocol.planes)
    hint_product uint16 (slots, m)   H*s mod 2^16

`take_query_pad` moves the part's counter before it hands anything out and erases what it hands out. A slot at
or before the counter is refused, whatever happened to the bytes: lost, cancelled, answered with rubbish. There
is no way back.
"""

from __future__ import annotations

import threading
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.errors import SecretWipedError, SlotError
from fhe_client.crypto.secrets import die_on_fork


class Window:
    """Slots first .. first + count - 1 of one epoch, for every part.

    Args:
        shapes: (n, m) of every part, in order.
        first: first slot within the epoch.
        count: number of slots.
    """

    def __init__(self, shapes: list[tuple[int, int]], first: int, count: int) -> None:
        self.first = first
        self.count = count
        self._query_pads = _blocks(count, [n for n, _ in shapes], np.dtype(np.uint32))
        self._hint_products = _blocks(count, [m for _, m in shapes], np.dtype(np.uint16))
        self._filled = [False] * len(shapes)
        self._sent = [0] * len(shapes)
        self._opened = [0] * len(shapes)
        self._wiped = False
        self._lock = threading.Lock()
        die_on_fork(self)

    def fill(self, part: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """The arrays of one part, to be filled in place, once.

        Raises:
            SlotError: the part was filled before; new pads for a sent slot would be a second use.
        """
        with self._lock:
            self._check_alive()
            if self._filled[part]:
                raise SlotError("A window's pads are prepared once.")
            self._filled[part] = True
            return self._query_pads[part], self._hint_products[part]

    def take_query_pad(self, part: int, start: int, rows: int) -> NDArray[np.uint32]:
        """A copy of the pads of slots start .. start + rows - 1, which are erased here.

        Args:
            start: slot relative to the window.

        Returns:
            uint32 (rows, n).

        Raises:
            SlotError: one of the slots was taken before, lies outside, or has no pad.
            SecretWipedError: the window was erased.
        """
        with self._lock:
            self._claim(self._sent, part, start, rows)
            pads = self._query_pads[part][start : start + rows]
            taken = pads.copy()
            pads.fill(0)
            return taken

    def take_hint_product(self, part: int, start: int, rows: int) -> NDArray[np.uint16]:
        """A copy of the hint products of those slots, which are erased here: uint16 (rows, m).

        Raises:
            SlotError: as above; also for a slot whose query was never sent.
        """
        with self._lock:
            if start + rows > self._sent[part]:
                raise SlotError("A slot is opened after its query was sent, not before.")
            self._claim(self._opened, part, start, rows)
            products = self._hint_products[part][start : start + rows]
            taken = products.copy()
            products.fill(0)
            return taken

    def wipe(self) -> None:
        """Erase all pads. Every later use raises; a wiped pad must never be added to anything."""
        with self._lock:  # or a thread that is copying pads could copy zeros and send clear text
            self._wiped = True
            for pads in self._query_pads:
                pads.fill(0)
            for products in self._hint_products:
                products.fill(0)

    def wipe_after_fork(self) -> None:
        """As `wipe`, in a child where the lock may have been inherited locked."""
        self._lock = threading.Lock()
        self.wipe()

    def _claim(self, counters: list[int], part: int, start: int, rows: int) -> None:
        self._check_alive()
        if not self._filled[part]:
            raise SlotError("This part's pads were not prepared.")
        if rows < 1 or start < 0 or start + rows > self.count:
            raise SlotError("The slots lie outside the window.")
        if start < counters[part]:
            raise SlotError("A slot carries one plaintext, ever: this one was used.")
        counters[part] = start + rows

    def _check_alive(self) -> None:
        if self._wiped:
            raise SecretWipedError("This window's pads were erased.", "Start a new session.")

    def __repr__(self) -> str:
        return f"Window(first={self.first}, count={self.count})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a window cannot be copied or stored")


def _blocks(count: int, widths: list[int], dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    """Arrays (count, width) in one piece of memory.

    One piece is so large that the allocator maps it, and gives it back to the system with the window. Hundreds of small
    ones would stay in the heap of the thread that made them, and memory would grow with every window.
    """
    memory = np.zeros(count * sum(widths), dtype=dtype)
    starts = np.cumsum([0, *widths])[:-1] * count
    return [
        memory[start : start + count * width].reshape(count, width)
        for start, width in zip(starts.tolist(), widths, strict=True)
    ]
