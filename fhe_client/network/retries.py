"""How long to wait, how often to try again, and how to be told to stop meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fhe_client.network.errors import NetworkError, StoppedError
from fhe_client.network.watched_socket import never

MAX_WAIT = 30.0
"""Longest pause between two tries, whatever Retry-After says."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, and bytes per second.

    Attributes:
        connect: for a TCP connection and for the TLS handshake, each.
        control: for a whole small request.
        stall: what a long transfer may fall behind `rate`; also for one round.
        rate: slowest acceptable transfer.
        tries: attempts at anything that may be repeated.
        first_wait: pause before the second attempt; it doubles from there.
    """

    connect: float = 5.0
    control: float = 20.0
    stall: float = 45.0
    rate: float = 16_384.0
    tries: int = 5
    first_wait: float = 0.5


def pause(seconds: float, should_stop: Callable[[], bool]) -> None:
    """Sleep, unless someone asks to stop.

    Raises:
        StoppedError: someone did.
    """
    until = time.monotonic() + seconds
    while True:
        if should_stop():
            raise StoppedError("Stopped.")
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.1))


def with_retries(
    attempt: Callable[[], T],
    timeouts: Timeouts,
    should_stop: Callable[[], bool] = never,
    on_wait: Callable[[NetworkError], None] | None = None,
) -> T:
    """Call `attempt` until it succeeds, fails for good, or has been tried `timeouts.tries` times.

    Pauses double from `first_wait`; a longer Retry-After of the server is honoured up to MAX_WAIT.
    """
    wait = timeouts.first_wait
    for left in range(timeouts.tries - 1, -1, -1):
        try:
            return attempt()
        except NetworkError as error:
            if not error.retryable or left == 0:
                raise
            if on_wait is not None:
                on_wait(error)
            pause(min(max(wait, error.retry_after or 0.0), MAX_WAIT), should_stop)
            wait *= 2
    raise AssertionError("tries is at least 1")
