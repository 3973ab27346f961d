"""A TCP proxy on loopback that delays bytes without limiting them, unless it is asked to.

    python -m benchmarks.delaying_proxy TARGET_PORT ROUND_TRIP_SECONDS [MEGABITS_PER_SECOND]

Prints its own port and serves until standard input ends. Each direction holds every chunk back by half of the round
trip; chunks follow each other as fast as they came, as on a long line. With a limit, a chunk also waits for the ones
before it to pass at that rate, each direction apart. A link's losses and slow start are not played.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time

CHUNK = 1 << 18


class Direction:
    """Bytes one way of one connection: a thread that reads, and one that writes when their time has come."""

    def __init__(
        self, source: socket.socket, target: socket.socket, delay: float, rate: float | None
    ) -> None:
        self._source, self._target = source, target
        self._delay, self._rate = delay, rate
        self._line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        free = 0.0
        data = b"-"
        while data:
            try:
                data = self._source.recv(CHUNK)
            except OSError:
                data = b""
            now = time.monotonic()
            if self._rate:
                free = max(free, now) + len(data) / self._rate
            self._line.put((max(free, now) + self._delay, data))

    def _write(self) -> None:
        while True:
            due, data = self._line.get()
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            try:
                if data:
                    self._target.sendall(data)
                    continue
                self._target.shutdown(socket.SHUT_WR)
            except OSError:
                with contextlib.suppress(OSError):
                    self._source.shutdown(socket.SHUT_RDWR)
            return


def serve(target_port: int, round_trip: float, megabits: float | None = None) -> None:
    """Accept and connect through, for ever."""
    rate = megabits * 1e6 / 8 if megabits else None
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", target_port))
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Direction(near, far, round_trip / 2, rate)
        Direction(far, near, round_trip / 2, rate)


def main() -> None:
    """Serve until standard input is closed."""
    megabits = float(sys.argv[3]) if len(sys.argv) > 3 else None
    arguments = (int(sys.argv[1]), float(sys.argv[2]), megabits)
    threading.Thread(target=serve, args=arguments, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
