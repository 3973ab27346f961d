"""Giving freed memory back to the system while long work goes on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return free pages of the heap to the system, where the C library can.

    The C library keeps what was freed for later, and large aligned blocks that come and go leave holes that it does not
    use again: without this, work on one matrix after another would grow with their number.
    """
    _trimmer()(0)


@cache
def _trimmer() -> Callable[[int], object]:
    try:
        found: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library, or another system
        return _nothing
    return found


def _nothing(_pad: int) -> None:
    return None
