"""Many clients in one thread: prepared query frames over WebSockets, for `tacita-server bench` and benchmarks/.

Any bytes of the right length are a valid query, so a load needs no secret; benchmarks/server_load.py hands in frames of
the real client and decrypts the answers. Frames are masked once, ahead, so that this side costs little.
"""

from __future__ import annotations

import base64
import os
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fhe_protocol.manifest import Manifest
from fhe_protocol.planes import PLANES
from fhe_protocol.wire import HEADER, FrameHeader, answer_size, pack_query
from fhe_server.errors import ServerError

_PATIENCE_S = 60.0
_BINARY = 0x82

OnAnswer = Callable[[int, int, memoryview], None]
"""Called with (client, step, answer frame); the memory is used again afterwards."""


class LoadError(ServerError):
    """The server refused a client of the load, or answered wrongly."""


@dataclass(frozen=True, slots=True)
class Step:
    """One round: the masked WebSocket frame to send, and the answer frame's bytes."""

    sent: bytes
    answer_size: int


def masked_frame(payload: bytes, key: bytes | None = None) -> bytes:
    """`payload` as one binary WebSocket frame of a client."""
    key = os.urandom(4) if key is None else key
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", _BINARY, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _BINARY, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", _BINARY, 0x80 | 127, size)
    pad = np.frombuffer((key * (size // 4 + 1))[:size], dtype=np.uint8)
    return head + key + np.bitwise_xor(np.frombuffer(payload, dtype=np.uint8), pad).tobytes()


def step_of(frame: bytes, manifest: Manifest) -> Step:
    """The step that sends a query frame."""
    _, _, _, _, group, rows = HEADER.unpack_from(frame)
    return Step(masked_frame(frame), answer_size(manifest.groups[group], rows))


def random_pass(manifest: Manifest, rows: int = 1, seed: int = 0) -> list[Step]:
    """One pass over all groups with random queries: to the server they look like any others."""
    rng = np.random.default_rng(seed)
    steps = []
    for group in manifest.groups:
        planes = [
            rng.integers(-128, 128, (PLANES, rows, p.inputs), dtype=np.int8) for p in group.parts
        ]
        steps.append(
            step_of(pack_query(FrameHeader(group.index, group.index, rows), planes), manifest)
        )
    return steps


@dataclass
class LoadReport:
    """What the clients of a load saw.

    Attributes:
        seconds: wall time of the measured part.
        cpu_s: processor time of the load generator in it.
        rounds: of each client.
        times: seconds of every round.
        by_step: the same, for each place in the pass.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    rounds: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    by_step: dict[int, list[float]] = field(default_factory=dict)

    def tokens_per_second(self, rounds_per_token: int) -> float:
        """All clients together."""
        return sum(self.rounds) / rounds_per_token / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds that `share` of all rounds stayed under."""
        return float(np.quantile(np.array(self.times), share)) if self.times else float("nan")

    @property
    def spread(self) -> float:
        """p99 over p50 of rounds of the same kind; the middle one of all kinds.

        Kinds differ by more than ten times in size (a head of 49,152 outputs, a projection of 576).
        """
        ratios = [np.quantile(t, 0.99) / np.quantile(t, 0.5) for t in self.by_step.values()]
        return float(np.median(ratios)) if ratios else float("nan")

    @property
    def fairness(self) -> float:
        """The slowest client's rounds over those of the one in the middle."""
        return min(self.rounds) / max(float(np.median(self.rounds)), 1.0)


class _Client:
    """One connection and its place in its steps."""

    def __init__(self, number: int, sock: socket.socket, steps: Sequence[Step], first: int) -> None:
        self.number, self.sock, self.steps = number, sock, steps
        self.position = first % len(steps)
        self.rounds = 0
        self.started = 0.0
        self._unsent = memoryview(b"")
        self._answer = memoryview(b"")
        self._filled = 0
        self._heads = [_answer_head(s.answer_size) for s in steps]
        self._buffer = memoryview(
            bytearray(max(len(h) + s.answer_size for h, s in zip(self._heads, steps, strict=True)))
        )

    def begin(self) -> None:
        """Send the next query."""
        step = self.steps[self.position]
        self._unsent = memoryview(step.sent)
        self._answer = self._buffer[: len(self._heads[self.position]) + step.answer_size]
        self._filled = 0
        self.started = time.perf_counter()
        self.send()

    def send(self) -> None:
        """Send what the socket takes."""
        try:
            while len(self._unsent):
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            return

    @property
    def sending(self) -> bool:
        """Whether some of the query is still to be sent."""
        return len(self._unsent) > 0

    def receive(self) -> memoryview | None:
        """The answer frame once it is whole, else None."""
        try:
            while self._filled < len(self._answer):
                count = self.sock.recv_into(self._answer[self._filled :])
                if count == 0:
                    raise LoadError("The server closed a connection of the load.")
                self._filled += count
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        head = self._heads[self.position]
        known = min(self._filled, len(head))
        if self._answer[:known] != head[:known]:
            said = bytes(self._answer[: self._filled])[:300]
            raise LoadError(f"The server did not answer a round of the load: {said!r}.")
        return self._answer[len(head) :] if self._filled == len(self._answer) else None

    def advance(self) -> None:
        """The round is done."""
        self.rounds += 1
        self.position = (self.position + 1) % len(self.steps)


def _answer_head(size: int) -> bytes:
    if size < 126:
        return struct.pack("!BB", _BINARY, size)
    if size < 1 << 16:
        return struct.pack("!BBH", _BINARY, 126, size)
    return struct.pack("!BBQ", _BINARY, 127, size)


def run_load(
    address: tuple[str, int],
    path: str,
    passes: Sequence[Sequence[Step]],
    seconds: float,
    *,
    warm_up_s: float = 1.0,
    token: str | None = None,
    on_answer: OnAnswer | None = None,
) -> LoadReport:
    """Let one client for each of `passes` go round and round for some seconds.

    They start at different groups, as clients that know nothing of one another do.

    Raises:
        LoadError: a round was refused or answered wrongly, or nothing came for a minute.
    """
    report = LoadReport()
    with _clients(address, path, passes, token) as (selector, clients):
        begun = time.perf_counter()
        _run_until(begun + warm_up_s, selector, clients, LoadReport(), on_answer)
        before = [c.rounds for c in clients]
        started, cpu = time.perf_counter(), time.process_time()
        _run_until(started + seconds, selector, clients, report, on_answer)
        report.seconds = time.perf_counter() - started
        report.cpu_s = time.process_time() - cpu
        report.rounds = [c.rounds - b for c, b in zip(clients, before, strict=True)]
    return report


class _clients:  # noqa: N801  # reads as a statement
    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        passes: Sequence[Sequence[Step]],
        token: str | None,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._list: list[_Client] = []
        for number, steps in enumerate(passes):
            sock = open_websocket(address, path, token)
            sock.setblocking(False)
            first = number * len(steps) // len(passes)
            client = _Client(number, sock, steps, first)
            self._list.append(client)
            self._selector.register(sock, selectors.EVENT_READ, client)

    def __enter__(self) -> tuple[selectors.BaseSelector, list[_Client]]:
        for client in self._list:
            client.begin()
            _watch(self._selector, client)
        return self._selector, self._list

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for client in self._list:
            client.sock.close()


def _watch(selector: selectors.BaseSelector, client: _Client) -> None:
    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.sending else 0)
    if selector.get_key(client.sock).events != events:
        selector.modify(client.sock, events, client)


def _run_until(
    end: float,
    selector: selectors.BaseSelector,
    clients: list[_Client],
    report: LoadReport,
    on_answer: OnAnswer | None,
) -> None:
    while time.perf_counter() < end:
        ready = selector.select(_PATIENCE_S)
        if not ready:
            raise LoadError("The server has not answered any client of the load for a minute.")
        for key, events in ready:
            client: _Client = key.data
            if events & selectors.EVENT_WRITE:
                client.send()
                _watch(selector, client)
            if events & selectors.EVENT_READ and (answer := client.receive()) is not None:
                taken = time.perf_counter() - client.started
                report.times.append(taken)
                report.by_step.setdefault(client.position, []).append(taken)
                if on_answer is not None:
                    on_answer(client.number, client.position, answer)
                client.advance()
                client.begin()
                if client.sending:
                    _watch(selector, client)


def open_websocket(address: tuple[str, int], path: str, token: str | None = None) -> socket.socket:
    """A connected WebSocket as its bare socket.

    Raises:
        LoadError: the server does not want to.
    """
    sock = socket.create_connection(address, timeout=_PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [f"GET {path} HTTP/1.1", f"Host: {address[0]}:{address[1]}", "Connection: Upgrade"]
    lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b"".join(_head_of(sock))
    if not head.startswith(b"HTTP/1.1 101"):
        sock.close()
        raise LoadError(f"The server refused a WebSocket: {head[:100]!r}.")
    return sock


def _head_of(sock: socket.socket) -> Iterator[bytes]:
    """Byte by byte, because what follows belongs to the first message."""
    last = b""
    while not last.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            return
        last = (last + byte)[-4:]
        yield byte
