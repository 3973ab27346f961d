"""The hot path: one query frame to the server, one answer frame back, over a connection that is kept.

This layer sees opaque bytes. When a connection breaks it opens another and sends *the same bytes object* again; it
could not encrypt anew if it wanted to (invariant 2).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote, urlsplit

from fhe_client.network.errors import NetworkError, ProtocolBreachError, map_network_error
from fhe_client.network.http_lane import Access, Lane
from fhe_client.network.retries import with_retries
from fhe_client.network.watched_socket import never
from fhe_client.network.websocket_frames import UpgradeRefusedError, WebSocketConnection, handshake
from fhe_protocol.manifest import Manifest

Answer = bytes | memoryview


class RoundChannel(Protocol):
    """What a session needs of the network.

    Attributes:
        should_stop: asked while waiting; once true, `exchange` raises StoppedError.
        on_reconnect: called with the error before each further try.
    """

    should_stop: Callable[[], bool]
    on_reconnect: Callable[[NetworkError], None] | None

    def exchange(self, frame: bytes, answer_size: int) -> Answer:
        """Send a query frame, return the answer frame of exactly `answer_size` bytes.

        Raises:
            NetworkError: after all tries, or at once where trying again cannot help.
        """

    def close(self) -> None:
        """Close the connection; a later `exchange` opens another."""


class _Wire(Protocol):
    def exchange(self, frame: bytes, answer_size: int) -> Answer: ...
    def close(self) -> None: ...


class ReconnectingChannel:
    """A RoundChannel over WebSocket, or over HTTP POST where a proxy on the way refuses the upgrade."""

    def __init__(self, access: Access, manifest: Manifest, kind: str = "rounds") -> None:
        self.should_stop: Callable[[], bool] = never
        self.on_reconnect: Callable[[NetworkError], None] | None = None
        self._access = access
        self._kind = kind
        self._name = quote(manifest.name, safe="")
        self._digest = manifest.digest
        self._lane = Lane(access, kind, lambda: self.should_stop())
        self._wire: _Wire | None = None
        self._lock = threading.Lock()
        self._upgrade_refused = False

    @property
    def transport(self) -> str:
        """ "websocket", "http", or "" before the first connection."""
        if self._wire is None:
            return ""
        return "http" if isinstance(self._wire, _PostWire) else "websocket"

    def open(self) -> None:
        """Connect now, so that the first round need not wait for it."""
        with self._lock:
            with_retries(self._connect, self._access.timeouts, self.should_stop, self.on_reconnect)

    def exchange(self, frame: bytes, answer_size: int) -> Answer:
        """See RoundChannel."""
        with self._lock:
            answer = with_retries(
                lambda: self._try(frame, answer_size),
                self._access.timeouts,
                self.should_stop,
                self.on_reconnect,
            )
        self._access.meter.add_round(self._kind)
        return answer

    def close(self) -> None:
        """See RoundChannel."""
        with self._lock:
            self._drop()
            self._lane.close()

    def _try(self, frame: bytes, answer_size: int) -> Answer:
        wire = self._connect()
        timeouts = self._access.timeouts
        self._lane.watch.start(timeouts.stall, timeouts.rate, len(frame) + answer_size)
        try:
            return wire.exchange(frame, answer_size)
        except BaseException as error:
            # Whatever happened, an answer may still be on its way: this connection is spent.
            self._drop()
            if isinstance(error, OSError):
                raise map_network_error(error) from error
            raise

    def _connect(self) -> _Wire:
        if self._wire is None:
            if not self._upgrade_refused:
                try:
                    self._wire = self._websocket()
                except UpgradeRefusedError:
                    self._upgrade_refused = True
            if self._wire is None:
                self._wire = _PostWire(self._lane, self._path, self._digest)
        return self._wire

    @property
    def _path(self) -> str:
        return f"/v1/models/{self._name}/rounds"

    def _websocket(self) -> _SocketWire:
        path = f"{self._path}?digest={self._digest}"
        origin = self._access.origin
        self._lane.watch.start(self._access.timeouts.control)
        sock = self._lane.connect(path)
        try:
            host = urlsplit(origin.url).netloc
            handshake(sock, host, origin.prefix + path, self._access.token)
        except BaseException as error:
            sock.abort()
            if isinstance(error, OSError):
                raise map_network_error(error) from error
            raise
        return _SocketWire(WebSocketConnection(sock))

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


class _SocketWire:
    """Rounds as binary messages."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    def exchange(self, frame: bytes, answer_size: int) -> Answer:
        """One message each way."""
        self._connection.send(frame)
        return self._connection.receive(answer_size)

    def close(self) -> None:
        """Drop the connection."""
        self._connection.abort()


class _PostWire:
    """Rounds as HTTP POST on a kept connection."""

    def __init__(self, lane: Lane, path: str, digest: str) -> None:
        self._lane = lane
        self._path = path
        self._headers = {"X-Tacita-Model": digest, "Content-Type": "application/octet-stream"}

    def exchange(self, frame: bytes, answer_size: int) -> Answer:
        timeouts = self._lane.access.timeouts
        response = self._lane.open(
            self._path,
            headers=self._headers,
            body=frame,
            seconds=timeouts.stall,
            rate=timeouts.rate,
            expected=len(frame) + answer_size,
        )
        answer = b"".join(self._lane.stream(response, answer_size))
        if len(answer) != answer_size:
            raise ProtocolBreachError("The server's answer is shorter than it must be.")
        return answer

    def close(self) -> None:
        self._lane.close()
