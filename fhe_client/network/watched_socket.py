"""A socket that counts its bytes, keeps an overall deadline and can be told to stop.

The timeouts of sockets are per call: a server that sends one byte every few seconds never trips them. A `Watch` bounds
the whole exchange instead; for long downloads it asks for a minimum rate.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from fhe_client.network.errors import StoppedError
from fhe_client.network.meter import TrafficMeter
from fhe_protocol.waiting import ShortWait

_SLICE = 0.25
"""Seconds between two looks at the deadline and at `should_stop` while a socket is silent."""


def never() -> bool:
    """A `should_stop` that never asks."""
    return False


class Watch:
    """When to give up. One per connection; `start` begins a new exchange.

    With a rate, every byte that passes buys 1 / rate seconds, up to the whole allowance again: a slow download may go
    on, one that trickles may not. Bytes beyond the expected ones (headers, pings without end) buy nothing.
    """

    def __init__(self, should_stop: Callable[[], bool] = never) -> None:
        self.should_stop = should_stop
        self._allowance = 0.0
        self._rate: float | None = None
        self._deadline = float("inf")
        self._latest = float("inf")

    def start(self, seconds: float, rate: float | None = None, expected: int = 0) -> None:
        """Allow `seconds` from now, and at `rate` bytes per second the time that `expected` bytes take."""
        self._allowance, self._rate = seconds, rate
        self._deadline = time.monotonic() + seconds
        self._latest = self._deadline + (0 if rate is None else expected / rate)

    def progress(self, count: int) -> None:
        """Note that bytes passed, which may push the deadline back."""
        if self._rate is not None:
            soon = time.monotonic() + self._allowance
            self._deadline = min(soon, self._latest, self._deadline + count / self._rate)

    def check(self) -> None:
        """Raise StoppedError if someone asked to stop, TimeoutError past the deadline."""
        if self.should_stop():
            raise StoppedError("Stopped.")
        if time.monotonic() > self._deadline:
            raise TimeoutError("the exchange took too long")


class WatchedSocket:
    """Wraps a connected socket (plain or TLS) for http.client, urllib3 and WebSocket frames."""

    def __init__(self, inner: socket.socket, meter: TrafficMeter, kind: str, watch: Watch) -> None:
        inner.settimeout(_SLICE)
        self._inner = inner
        self._meter = meter
        self._kind = kind
        self._watch = watch
        self._readers = 0
        self._closed = False
        self._poll: Callable[[int], object] | None = None
        self._short_wait = ShortWait()

    def expect_soon(self) -> None:
        """From now on `wait_awake` waits for answers that come quickly. Where the system cannot, it does nothing."""
        if hasattr(select, "poll") and not isinstance(self._inner, ssl.SSLSocket):
            watched = select.poll()
            watched.register(self._inner, select.POLLIN)
            self._poll = watched.poll

    def wait_awake(self) -> bool:
        """Wait a moment for bytes without going to sleep."""
        if self._poll is None:
            return False
        poll = self._poll
        return bool(self._short_wait.poll(lambda: poll(0)))

    def note_wait(self) -> None:
        """The answer that `wait_awake` waited for is here."""
        self._short_wait.waited()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def settimeout(self, _: float | None) -> None:
        """Ignored: the watch decides how long to wait, and waits go by slices."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As socket.recv_into; waits until the watch gives up."""
        while True:
            self._watch.check()
            try:
                count = self._inner.recv_into(buffer, nbytes, flags)
                break
            except TimeoutError:
                continue
        self._watch.progress(count)
        self._meter.add(self._kind, 0, count)
        return count

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As socket.recv."""
        buffer = bytearray(bufsize)
        return bytes(buffer[: self.recv_into(buffer, 0, flags)])

    def send(self, data: Any, flags: int = 0) -> int:
        """As socket.send."""
        while True:
            self._watch.check()
            try:
                count = self._inner.send(data, flags)
                break
            except TimeoutError:
                continue
        self._watch.progress(count)
        self._meter.add(self._kind, count, 0)
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As socket.sendall."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view, flags) :]

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.BufferedReader:
        """A buffered reader, which is all that http.client asks for."""
        if mode != "rb":
            raise ValueError("only for reading")
        self._readers += 1
        raw: Any = socket.SocketIO(self, "r")  # type: ignore[arg-type]  # it needs recv_into and the two below
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 2 else buffering
        return io.BufferedReader(raw, size)

    def _decref_socketios(self) -> None:
        self._readers -= 1
        if self._closed and self._readers <= 0:
            self._inner.close()

    def close(self) -> None:
        """Close, once the readers are done (as socket.close does)."""
        self._closed = True
        if self._readers <= 0:
            self._inner.close()

    def abort(self) -> None:
        """Close now, whoever still reads."""
        self._closed = True
        self._inner.close()
