"""The client's side of RFC 6455, for one message each way at a time, with sizes bounded before a byte is stored.

websocket-client and websockets buffer whatever length a server announces and copy each payload several times; here the
answer's size is known before it comes, so it is received straight into its place (numbers: benchmarks/transport.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
from dataclasses import dataclass

import numpy as np

from fhe_client.network.errors import (
    ConnectionLostError,
    NetworkError,
    ProtocolBreachError,
    retry_after_seconds,
    server_error,
)
from fhe_client.network.watched_socket import WatchedSocket

MAX_HEAD = 16_384
MAX_TEXT = 4_096
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class UpgradeRefusedError(NetworkError):
    """The other side (often a proxy on the way) speaks HTTP but not WebSocket."""

    code = "upgrade_refused"


@dataclass(frozen=True, slots=True)
class _Frame:
    final: bool
    opcode: int
    length: int


def handshake(sock: WatchedSocket, host: str, path: str, token: str | None) -> None:
    """Ask for the upgrade and check the reply.

    Raises:
        UpgradeRefusedError: the reply is not 101.
        NetworkError: the token is refused, or the server is busy.
    """
    key = base64.b64encode(os.urandom(16))
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: tacita"]
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Key: {key.decode()}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    status, headers = _read_head(sock)
    if status in (
        401,
        403,
        429,
        502,
        503,
        504,
    ):  # 502 and 504: a proxy whose server is being restarted
        error = server_error("", "access refused" if status < 429 else "busy", status)
        error.retry_after = retry_after_seconds(headers.get("retry-after"))
        raise error
    expected = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC 6455 says SHA-1
    accept = headers.get("sec-websocket-accept", "").encode("latin-1")
    if status != 101 or not hmac.compare_digest(accept, expected):
        raise UpgradeRefusedError("The server or a proxy on the way does not allow WebSocket.")
    if "sec-websocket-extensions" in headers or "sec-websocket-protocol" in headers:
        raise ProtocolBreachError("The server chose a WebSocket extension that nobody offered.")


def _read_head(sock: WatchedSocket) -> tuple[int, dict[str, str]]:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows belongs to the first message
        byte = sock.recv(1)
        if not byte or len(head) >= MAX_HEAD:
            raise UpgradeRefusedError("The reply to the WebSocket request is not usable.")
        head += byte
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise UpgradeRefusedError("The reply to the WebSocket request is not usable.")
    pairs = (line.partition(":") for line in lines)
    return int(words[1][:4]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _head(opcode: int, count: int, mask: int = 0) -> bytes:
    """The first 2, 4 or 10 bytes of a final frame."""
    if count < 126:
        return struct.pack("!BB", 0x80 | opcode, mask | count)
    if count < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, mask | 126, count)
    return struct.pack("!BBQ", 0x80 | opcode, mask | 127, count)


def frame(opcode: int, payload: bytes | memoryview, key: bytes | None = None) -> memoryview:
    """One final frame of a client: payload XOR a repeated random four-byte key, as the RFC demands."""
    key = os.urandom(4) if key is None else key
    head = _head(opcode, len(payload), 0x80) + key
    pad = -len(head) % 4  # so that the payload is aligned and one pass over it is enough
    start = pad + len(head)
    out = np.empty(start + len(payload), dtype=np.uint8)
    out[pad:start] = np.frombuffer(head, dtype=np.uint8)
    words = len(payload) // 4
    whole = out[start : start + 4 * words].view("<u4")
    np.bitwise_xor(np.frombuffer(payload, "<u4", words), np.frombuffer(key, "<u4")[0], out=whole)
    for index in range(4 * words, len(payload)):
        out[start + index] = payload[index] ^ key[index % 4]
    return out.data[pad:]


class WebSocketConnection:
    """Binary messages over an upgraded socket."""

    def __init__(self, sock: WatchedSocket) -> None:
        self._sock = sock
        self._pending = b""
        sock.expect_soon()

    def close(self) -> None:
        """Leave; the server needs no farewell, but a proxy may like one."""
        try:
            self._sock.sendall(frame(_CLOSE, b"\x03\xe8"))
        except (OSError, NetworkError):
            pass
        finally:
            self._sock.abort()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._sock.abort()

    def send(self, payload: bytes | memoryview) -> None:
        """Send one binary message."""
        self._sock.sendall(frame(_BINARY, payload))

    def receive(self, size: int) -> memoryview:
        """The next message, which must be binary and of exactly `size` bytes.

        Raises:
            ProtocolBreachError: it is not.
            ConnectionLostError: the server closed the connection.
            NetworkError: the server answered with an error (a text message).
        """
        # Nearly always one frame with a header known in advance: then one call of the system brings it all.
        head = _head(_BINARY, size)
        view = memoryview(bytearray(len(head) + size))
        filled = 0
        self._sock.wait_awake()
        while filled < len(head):
            filled += self._read(view[filled:])
            self._sock.note_wait()
            known = min(filled, len(head))
            if view[:known] != head[:known]:
                self._pending = bytes(view[:filled])
                return self._receive_in_pieces(size)
        self._fill(view[filled:])
        return view[len(head) :]

    def _receive_in_pieces(self, size: int) -> memoryview:
        """Any other order of frames: fragments, pings, errors, or what is not allowed."""
        answer = memoryview(bytearray(size))
        filled = 0
        first = True
        while True:
            header = self._next_data_frame(first)
            first = False
            if header.opcode == _TEXT:
                raise self._server_error(header)
            if filled + header.length > size:
                raise ProtocolBreachError("The server's answer is longer than it can be.")
            self._fill(answer[filled : filled + header.length])
            filled += header.length
            if header.final:
                break
        if filled != size:
            raise ProtocolBreachError("The server's answer is shorter than it must be.")
        return answer

    def _next_data_frame(self, first: bool) -> _Frame:
        """The header of the next frame that carries data; pings are answered on the way."""
        while True:
            header = self._read_header()
            if header.opcode in (_TEXT, _BINARY, _CONTINUATION):
                if (header.opcode == _CONTINUATION) == first:
                    raise ProtocolBreachError("The server's WebSocket frames are out of order.")
                return header
            if header.length > 125 or not header.final:
                raise ProtocolBreachError("The server sent a control frame that is too long.")
            body = bytearray(header.length)
            self._fill(memoryview(body))
            if header.opcode == _CLOSE:
                raise ConnectionLostError("The server closed the connection.")
            if header.opcode == _PING:
                self._sock.sendall(frame(_PONG, bytes(body)))

    def _read_header(self) -> _Frame:
        head = memoryview(bytearray(8))
        self._fill(head[:2])
        first, second = head[0], head[1]
        if first & 0x70 or second & 0x80 or first & 0x0F not in (0, 1, 2, 8, 9, 10):
            raise ProtocolBreachError("The server sent a WebSocket frame that is not valid.")
        length = second & 0x7F
        if length == 126:
            self._fill(head[:2])
            length = int.from_bytes(head[:2], "big")
        elif length == 127:
            self._fill(head[:8])
            length = int.from_bytes(head[:8], "big")
        return _Frame(bool(first & 0x80), first & 0x0F, length)

    def _server_error(self, header: _Frame) -> NetworkError:
        if header.length > MAX_TEXT or not header.final:
            return ProtocolBreachError("The server sent text where an answer was due.")
        body = bytearray(header.length)
        self._fill(memoryview(body))
        return error_of_text(bytes(body))

    def _read(self, target: memoryview) -> int:
        """At least one byte into `target`, as many as are there."""
        if self._pending:
            count = min(len(target), len(self._pending))
            target[:count] = self._pending[:count]
            self._pending = self._pending[count:]
            return count
        count = self._sock.recv_into(target)
        if count == 0:
            raise ConnectionLostError("The server closed the connection.")
        return count

    def _fill(self, target: memoryview) -> None:
        while len(target):
            target = target[self._read(target) :]


def error_of_text(body: bytes) -> NetworkError:
    """What a server's JSON error object means."""
    try:
        error = json.loads(body)["error"]
        found = server_error(error["code"], error["message"], 400)
        found.retry_after = retry_after_seconds(error.get("retry_after"))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ProtocolBreachError("The server sent text where an answer was due.")
