"""The WebSocket protocol with a short way for rounds.

Nearly all traffic of a server are small binary messages that arrive whole: one masked frame, one answer. For these the
general parser (generators, frame objects, a copy for each step) takes longer than the product that is asked for. Here
such frames are received into a buffer that is kept, unmasked in one pass and handed to the application; whatever else
arrives (fragments, control frames, text, errors) goes to the general parser, which then keeps the connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from fhe_server.service.guarded_protocols import GuardedWebSocket

INBOX_BYTES = 1 << 16
_BINARY = 0x82
_MASKED = 0x80
_KEY = 4
_WAITING_MESSAGES = 2


class RoundSocket(GuardedWebSocket, asyncio.BufferedProtocol):
    """One WebSocket connection, for uvicorn's `ws` setting."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._inbox = memoryview(bytearray(INBOX_BYTES))
        self._held = 0  # bytes of the inbox that wait for the rest of their frame's head
        self._message: memoryview | None = None  # the message under way, still masked
        self._filled = 0
        self._key = b""
        self._short_way = True
        self._expect_soon: Callable[[], None] = getattr(self.loop, "expect_soon", _nothing)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: straight into a long message, or into the inbox."""
        if self._message is not None:
            return self._message[self._filled :]
        return self._inbox[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        if self._message is not None:
            self._filled += nbytes
            self._end_message()
        elif self._short_way:
            end, self._held = self._held + nbytes, 0
            self._read_frames(self._inbox[:end])
        else:
            self.data_received(bytes(self._inbox[:nbytes]))
            return
        self._note_arrival(nbytes)

    def _read_frames(self, data: memoryview) -> None:
        while len(data):
            head, length = _frame_head(data)
            if head == 0:
                self._inbox[: len(data)] = bytes(data)
                self._held = len(data)
                return
            if length < 0 or length > self.config.ws_max_size or self.close_sent:
                self._short_way = False
                self.data_received(bytes(data))
                return
            self._key = bytes(data[head - _KEY : head])
            # Not zeroed, so that bytes take memory when they arrive, not when a head announces them.
            # Nobody sees it before it is full.
            self._message = np.empty(length, dtype=np.uint8).data
            body = data[head : head + length]
            self._filled = len(body)
            self._message[: self._filled] = body
            data = data[head + self._filled :]
            self._end_message()

    def _end_message(self) -> None:
        message = self._message
        assert message is not None
        if self._filled < len(message):
            return
        self._message = None
        unmask(message, self._key)
        self.note_message()
        event: Any = {
            "type": "websocket.receive",
            "bytes": message,
        }  # ASGI says bytes; see rounds.py
        self.queue.put_nowait(event)
        if self.queue.qsize() >= _WAITING_MESSAGES and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def in_message(self) -> bool:
        """See `GuardedWebSocket`."""
        if self._message is not None or self._held:
            return not self.read_paused
        return super().in_message()

    async def send(self, message: Any) -> None:
        """See ASGI. A binary message is framed here; all else is the general way's matter."""
        payload = message.get("bytes") if message["type"] == "websocket.send" else None
        quick = payload is not None and self.handshake_complete and self.writable.is_set()
        if not quick or self.close_sent or self.disconnected:
            await super().send(message)
            return
        assert payload is not None
        self.transport.write(b"".join((_answer_head(len(payload)), payload)))
        self.note_answer()
        self._expect_soon()


def _nothing() -> None:
    """What loops do that cannot wait awake."""


def _frame_head(data: memoryview) -> tuple[int, int]:
    """(bytes of the head, bytes of the payload) of a final, masked, binary frame.

    The first is 0 where more bytes are needed to tell, the second is negative for any other frame.
    """
    if data[0] != _BINARY:
        return 2, -1
    if len(data) < 2:
        return 0, 0
    if not data[1] & _MASKED:
        return 2, -1
    short = data[1] & 0x7F
    head = 2 + _KEY + (0 if short < 126 else 2 if short == 126 else 8)
    if len(data) < head:
        return 0, 0
    if short < 126:
        return head, short
    return head, int.from_bytes(data[2 : head - _KEY], "big")


def unmask(message: memoryview, key: bytes) -> None:
    """XOR with the repeated key of four bytes, in place."""
    words = len(message) // 4
    whole = np.frombuffer(message, dtype="<u4", count=words)
    np.bitwise_xor(whole, np.frombuffer(key, dtype="<u4")[0], out=whole)
    for index in range(4 * words, len(message)):
        message[index] ^= key[index % 4]


def _answer_head(length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", _BINARY, length)
    if length < 1 << 16:
        return struct.pack("!BBH", _BINARY, 126, length)
    return struct.pack("!BBQ", _BINARY, 127, length)
