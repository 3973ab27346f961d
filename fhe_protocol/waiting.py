"""How both ends of a connection wait for the other: awake for a moment, then asleep.

A round takes a few hundred microseconds at either end, and a process that sleeps meanwhile pays for it twice: it has to
be woken, and finds its caches filled by others. So while rounds follow each other quickly, whoever waits asks the
kernel again and again for a time that is about as long as the last waits were, and only then goes to sleep.

Nobody gains where the processor is wanted elsewhere. The kernel counts how often a thread was pushed off its processor;
when that happens during a wait, waits are asleep for ten times as long as the thread stayed away. On an idle machine
that is some microseconds of the system's housekeeping in every hundredth wait. Beside a program that computes it is the
milliseconds of that program's turn, in every few waits: each time it happens again soon, the sleep is twice as long.

What is measured is how long the other end takes, which both ends and the network can see anyway. No value that was
decrypted goes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LONGEST_S = 0.002
"""Waits longer than this are spent asleep: there is nothing to gain."""

_PATIENCE = 2.0
_LEARN = 0.1
_REST = 10.0
"""Seconds asleep for each second away: who is disturbed rarely hardly loses by it, and waits awake nearly always."""
_LONGEST_PAUSE_S = 5.0
_TURN_S = 0.001
"""Whoever is away for longer had to let a program have its turn."""

T = TypeVar("T")


class ShortWait:
    """Waits of one thread. The clock is a parameter for tests."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._expected = LONGEST_S / 2
        self._began = 0.0
        self._resume = 0.0
        self._pause = 0.0
        self._pushed_off = 0

    def poll(self, look: Callable[[], T]) -> T:
        """What `look` returns, called until it returns something true, or until it is time to sleep.

        Call `waited` when the wait is over, whether `look` ended it or sleeping did.
        """
        began = self._began = self._clock()
        found = look()
        if found or self._expected > LONGEST_S or began < self._resume or not CAN_TELL:
            return found
        self._pushed_off = _pushed_off()
        end = began + _PATIENCE * self._expected
        longest, now = 0.0, self._clock()
        while not found and now < end:
            found = look()
            before, now = now, self._clock()
            longest = max(longest, now - before)
        if _pushed_off() != self._pushed_off:
            self._rest(longest)
        return found

    def waited(self) -> None:
        """The wait is over: learn how long such waits are."""
        seconds = min(self._clock() - self._began, 4 * LONGEST_S)
        self._expected += _LEARN * (seconds - self._expected)

    def _rest(self, away: float) -> None:
        now = self._clock()
        soon_again = now < self._resume + self._pause
        pause = _REST * away
        if soon_again and away > _TURN_S:
            pause = max(pause, 2 * self._pause)
        self._pause = min(pause, _LONGEST_PAUSE_S)
        self._resume = now + self._pause


def _pushed_off() -> int:
    """How often this thread had to leave its processor to another."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


CAN_TELL = resource is not None and hasattr(resource, "RUSAGE_THREAD")
"""Whether the kernel counts it; without the count nobody spins."""
