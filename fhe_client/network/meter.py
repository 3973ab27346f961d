"""Counting bytes where they pass: at the socket.

What is counted is every byte of HTTP and WebSocket, headers and framing included, as this program hands it to the
socket. Without TLS that is exactly the TCP payload; with TLS it is the plaintext inside (records add about 22 bytes for
every 16 KiB, and the handshake is not counted), and the CONNECT line of a proxy is not counted either.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

KINDS = ("rounds", "hints", "files", "control", "audit", "keys")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes since the start of a meter.

    Attributes:
        by_kind: kind -> (bytes up, bytes down).
        rounds: rounds answered, those of the hint audit not counted.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    rounds: int = 0
    by_kind: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))

    def since(self, earlier: Traffic) -> Traffic:
        """What passed between `earlier` and this."""
        kinds = {
            kind: (up - earlier.of(kind)[0], down - earlier.of(kind)[1])
            for kind, (up, down) in self.by_kind.items()
        }
        return Traffic(
            self.bytes_up - earlier.bytes_up,
            self.bytes_down - earlier.bytes_down,
            self.rounds - earlier.rounds,
            MappingProxyType(kinds),
        )

    def of(self, kind: str) -> tuple[int, int]:
        """(bytes up, bytes down) of one kind."""
        return self.by_kind.get(kind, (0, 0))


class TrafficMeter:
    """Thread-safe totals by kind: "rounds", "hints", "files", "control", "audit" or "keys" (those of `glwe`)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._up = dict.fromkeys(KINDS, 0)
        self._down = dict.fromkeys(KINDS, 0)
        self._rounds = 0

    def add(self, kind: str, up: int, down: int) -> None:
        """Count bytes of a kind.

        Raises:
            KeyError: there is no such kind.
        """
        with self._lock:
            self._up[kind] += up
            self._down[kind] += down

    def add_round(self, kind: str) -> None:
        """Count one answered round, unless it belongs to the audit."""
        if kind == "rounds":
            with self._lock:
                self._rounds += 1

    def snapshot(self) -> Traffic:
        """The totals now."""
        with self._lock:
            kinds = {kind: (self._up[kind], self._down[kind]) for kind in KINDS}
            return Traffic(
                sum(self._up.values()),
                sum(self._down.values()),
                self._rounds,
                MappingProxyType(kinds),
            )
