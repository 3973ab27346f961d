"""What one server process allows its clients: times, sizes, numbers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

_OTHER_FILES = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts. The defaults suit a hundred people; docs/operating.md explains each.

    Attributes:
        max_connections: WebSockets for rounds at a time.
        connections_per_token: those of one token.
        connections_per_address: those of one address on a server without tokens; None is no limit.
        head_seconds: for the head of a request, from its first byte.
        transfer_seconds: what a body or message may fall behind `least_rate`.
        least_rate: bytes per second, both ways; a transfer that dribbles is cut.
        max_arriving_bytes: of messages that are not whole yet, all together.
        idle_seconds: a connection that sends nothing for so long is closed.
        max_head_bytes: address and headers of a request.
        drain_seconds: for rounds under way, once the server is asked to end.
    """

    max_connections: int = 1024
    connections_per_token: int = 64
    connections_per_address: int | None = None
    head_seconds: float = 10.0
    transfer_seconds: float = 20.0
    least_rate: float = 4096.0
    max_arriving_bytes: int = 1_000_000_000
    idle_seconds: float = 3600.0
    max_head_bytes: int = 32_768
    drain_seconds: float = 30.0


def most_open(count: int) -> int:
    """How many connections of any kind may be open where `count` of them may be for rounds."""
    return 2 * count


def connections_that_fit(count: int) -> int:
    """As many, or fewer where this process may not have so many files."""
    try:
        import resource
    except ImportError:
        return most_open(count)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(soft // 2, soft - _OTHER_FILES)
    return most_open(count) if soft == resource.RLIM_INFINITY else min(most_open(count), room)


def allow_connections(count: int) -> None:
    """Raise this process's limit of open files so far that twice `count` connections fit, where the system lets us.

    The usual limit is 1,024: a crowd, or one stranger who opens connections and says nothing, would leave no file for
    anybody else.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most_open(count) + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
