"""uvicorn's two protocols with a stop-watch: what dribbles, stalls or never ends is cut (slow-loris and its kin).

What costs its sender little and us much is counted: requests sent ahead, pieces of a message, pings. And where all
connections are taken, the one that has been of no use for longest gives way.

Timers run only while something is unfinished, so a round that comes in one piece costs two comparisons. When the
server is asked to end, a WebSocket finishes the round that is under way before it closes.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, ClassVar

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from fhe_server.service.inflow import Inflow
from fhe_server.service.limits import Limits, connections_that_fit

_GOING_AWAY = 1001
_LAST_LOOK_S = 0.1
_STEP_BYTES = 65_536
_LAST_WORD_S = 2.0
"""For the other side to answer a farewell, before the connection is closed without."""
_MOST_AHEAD = 8
"""Requests that wait for the answer to an earlier one; uvicorn would read on and keep any number."""
_MOST_FRAGMENTS = 16_384
"""Pieces of one message: a 40 MB query in pieces of 4 KB has 10,000."""
_MOST_PINGS = 1000
"""Between two messages: those of a proxy, every twenty seconds, for hours."""
_HEAD_TOO_LARGE = "The head of the request is too large."


class StopWatch:
    """A deadline that may grow with the bytes that arrive; calls `on_late` when it has passed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Any) -> None:
        self._loop = loop
        self._on_late = on_late
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._looked = False

    @property
    def running(self) -> bool:
        """Whether something is unfinished."""
        return self._timer is not None

    def start(self, seconds: float) -> None:
        """Begin, or begin anew."""
        self.stop()
        self._deadline = self._loop.time() + seconds
        self._looked = False
        self._timer = self._loop.call_at(self._deadline, self._fire)

    def extend(self, seconds: float) -> None:
        """Bytes have come: a little more time."""
        self._deadline += seconds

    def stop(self) -> None:
        """It is finished."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._fire)
            return
        if not self._looked:  # if it was we who slept, what has arrived meanwhile is read first
            self._looked = True
            self._timer = self._loop.call_later(_LAST_LOOK_S, self._fire)
            return
        self._timer = None
        self._on_late()


class ReaderWatch:
    """While answers wait for the other side: it must take some of them all the time, however many there are."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any, on_stalled: Any) -> None:
        self._transport = transport
        self._on_stalled = on_stalled
        self._watch = StopWatch(loop, self._look)
        self._seconds = 0.0
        self._waiting = 0

    def start(self, limits: Limits) -> None:
        """The buffer is full."""
        self._seconds = limits.transfer_seconds + _STEP_BYTES / limits.least_rate
        self._begin_step()

    def stop(self) -> None:
        """It is nearly empty."""
        self._watch.stop()

    def _begin_step(self) -> None:
        self._waiting = self._transport.get_write_buffer_size()
        self._watch.start(self._seconds)

    def _look(self) -> None:
        if self._waiting - self._transport.get_write_buffer_size() >= _STEP_BYTES:
            self._begin_step()
        else:
            self._on_stalled()


def _notice_a_dead_peer(sock: socket.socket | None) -> None:
    """A laptop that sleeps, or lost its network, says nothing; without this it would keep its place for an hour."""
    if sock is None:
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class GuardedHttp(HttpToolsProtocol):
    """HTTP/1.1 with bounded heads, bodies that must flow, and readers that must read.

    Attributes:
        quiet: connections of this server that wait for a request, in the order in which they began to.
    """

    limits = Limits()
    quiet: ClassVar[dict[GuardedHttp, None]] = {}
    inflow = Inflow()

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        _notice_a_dead_peer(transport.get_extra_info("socket"))
        self.quiet[self] = None
        self._make_room()
        self._late = StopWatch(self.loop, self.give_way)
        self._stalled = ReaderWatch(self.loop, transport, self.give_way)
        self._head_bytes = 0  # since the request began, or its body last grew
        self._late.start(self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._late.stop()
        self._stalled.stop()
        self.quiet.pop(self, None)
        self.inflow.end(self)
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """An attacker, too, can only hold a connection by using it."""
        if len(self.connections) > connections_that_fit(self.limits.max_connections):
            oldest = next(iter(self.quiet))
            del self.quiet[oldest]
            oldest.give_way()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_bytes = 0  # since the request began, or its body last grew
        self._late.start(self.limits.head_seconds)

    def on_headers_complete(self) -> None:
        """The head is whole; a body may follow."""
        self._late.start(self.limits.transfer_seconds)
        self.quiet.pop(self, None)
        if len(self.pipeline) >= _MOST_AHEAD:
            raise HttpParserError("too many requests at once")
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer has left."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self.quiet[self] = None

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._head_bytes = 0
        self._late.extend(len(body) / self.limits.least_rate)
        if self.cycle is not None and not self.cycle.response_complete:  # else nobody keeps it
            self.inflow.add(self, len(body), self.limits.max_arriving_bytes)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._late.stop()
        self.inflow.end(self)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on another protocol has the connection."""
        self._late.stop()
        self._stalled.stop()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. The parser itself would take a head, or trailers of a body, of any length."""
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data)
        too_large = self._head_bytes > self.limits.max_head_bytes
        if too_large and not self.transport.is_closing() and self._is_ours():
            self.send_400_response(_HEAD_TOO_LARGE)
        self._limit_pause()

    def _limit_pause(self) -> None:
        """Line ends between two requests begin none, but uvicorn takes them for one and stops its own timer."""
        idle = self.cycle is not None and self.cycle.response_complete
        timed = self.timeout_keep_alive_task is not None or self._late.running
        if idle and not timed and not self.transport.is_closing() and self._is_ours():
            self._late.start(self.limits.head_seconds)

    def _is_ours(self) -> bool:
        """Whether no WebSocket has taken the connection over."""
        return self.transport.get_protocol() is self

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        self._stalled.start(self.limits)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stalled.stop()

    def give_way(self) -> None:
        """End at once."""
        if not self.transport.is_closing():
            self.transport.abort()


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """WebSocket messages that must flow, an end for idle connections, and a last answer before the server ends."""

    limits = Limits()
    inflow = Inflow()

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.close_timeout = _LAST_WORD_S
        self._late = StopWatch(self.loop, self.give_way)
        self._stalled = ReaderWatch(self.loop, transport, self.give_way)
        self._idle = StopWatch(self.loop, self._end_idle)
        self._unanswered = 0
        self._pings = 0
        self._draining = False
        self._idle.start(self.limits.idle_seconds)
        self._last = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for watch in (self._late, self._stalled, self._idle):
            watch.stop()
        self.inflow.end(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._note_arrival(len(data))

    def _note_arrival(self, count: int) -> None:
        """Bytes have been parsed."""
        self._last = self.loop.time()
        if self.transport.is_closing():
            return
        if not self.in_message():
            if self._late.running:
                self._late.stop()
                self.inflow.end(self)
            return
        if self._late.running:
            self._late.extend(count / self.limits.least_rate)
        else:
            self._late.start(self.limits.transfer_seconds)
        self.inflow.add(self, count, self.limits.max_arriving_bytes)

    def send_receive_event_to_app(self) -> None:
        """A message is whole."""
        self.note_message()
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """What the app says."""
        await super().send(message)
        if message["type"] == "websocket.send":
            self.note_answer()

    def note_message(self) -> None:
        """A message waits for its answer."""
        self._unanswered += 1
        self._pings = 0

    def handle_cont(self, event: Frame) -> None:
        """A piece of a message. Empty ones would never reach the limit of its bytes."""
        if len(self.frames) < _MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self.give_way()

    def handle_ping(self) -> None:
        """Answered; but the answers to a flood, left unread, would pile up here."""
        self._pings += 1
        if self._pings <= _MOST_PINGS:
            super().handle_ping()
        else:
            self.give_way()

    def note_answer(self) -> None:
        """An answer has left, for a server that is ending perhaps the last one."""
        self._unanswered -= 1
        if self._draining and self._unanswered <= 0:
            super().shutdown()

    def shutdown(self) -> None:
        """The server is to end: at once, or after the answer that is under way."""
        self._draining = True
        if self._unanswered <= 0 or not self.handshake_complete or self.close_sent:
            super().shutdown()

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        self._stalled.start(self.limits)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stalled.stop()

    def in_message(self) -> bool:
        """Whether bytes of an unfinished message or handshake are here."""
        if self.read_paused:  # we are the slow one
            return False
        return bool(self.frames) or len(self.conn.reader.buffer) > 0 or not self.handshake_initiated

    def give_way(self) -> None:
        """End at once."""
        if not self.transport.is_closing():
            self.transport.abort()

    def _end_idle(self) -> None:
        left = self._last + self.limits.idle_seconds - self.loop.time()
        if left > 0 or self._unanswered > 0:
            self._idle.start(max(left, 1.0))
        elif self.handshake_complete and not self.close_sent:
            self.conn.send_close(_GOING_AWAY, "idle")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        else:
            self.give_way()


def guarded(
    limits: Limits, web_socket: type[GuardedWebSocket] = GuardedWebSocket
) -> tuple[type[GuardedHttp], type[GuardedWebSocket]]:
    """The two protocols for a server with these limits."""

    class Http(GuardedHttp):
        quiet: ClassVar[dict[GuardedHttp, None]] = {}

    class Socket(web_socket):  # type: ignore[misc, valid-type]  # a class as an argument
        pass

    Http.limits = Socket.limits = limits
    Http.inflow = Socket.inflow = Inflow()
    return Http, Socket
