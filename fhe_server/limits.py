"""What one server process allows its clients: times, sizes, numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts. The defaults suit a hundred people; docs/operating.md explains each.

    Attributes:
        max_connections: WebSockets for rounds at a time.
        head_seconds: for the head of a request, from its first byte.
        transfer_seconds: what a body or message may fall behind `least_rate`.
        least_rate: bytes per second, both ways; a transfer that dribbles is cut.
        idle_seconds: a connection that sends nothing for so long is closed.
        max_head_bytes: address and headers of a request.
        drain_seconds: for rounds under way, once the server is asked to end.
    """

    max_connections: int = 1024
    head_seconds: float = 10.0
    transfer_seconds: float = 20.0
    least_rate: float = 4096.0
    idle_seconds: float = 3600.0
    max_head_bytes: int = 32_768
    drain_seconds: float = 30.0
