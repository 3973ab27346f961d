"""Frames of RFC 6455 without a server: what is sent, and every shape in which an answer may or may not come."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from fhe_client.network.errors import (
    BusyError,
    ConnectionLostError,
    NetworkError,
    OtherModelError,
    ProtocolBreachError,
    QuotaError,
    UnauthorisedError,
)
from fhe_client.network.meter import TrafficMeter
from fhe_client.network.watched_socket import Watch, WatchedSocket
from fhe_client.network.websocket_frames import (
    UpgradeRefusedError,
    WebSocketConnection,
    frame,
    handshake,
)


@pytest.fixture
def pair() -> Iterator[tuple[WebSocketConnection, socket.socket]]:
    ours, theirs = socket.socketpair()
    watch = Watch()
    watch.start(60)
    watched = WatchedSocket(ours, TrafficMeter(), "rounds", watch)
    with ours, theirs:
        yield WebSocketConnection(watched), theirs


def server_frame(
    payload: bytes, opcode: int = 2, final: bool = True, length: int | None = None
) -> bytes:
    count = len(payload) if length is None else length
    head = bytes([0x80 * final | opcode])
    if count < 126:
        return head + bytes([count]) + payload
    if count < 1 << 16:
        return head + b"\x7e" + count.to_bytes(2, "big") + payload
    return head + b"\x7f" + count.to_bytes(8, "big") + payload


@given(st.binary(max_size=300), st.sampled_from([0, 65_300, 70_000]))
def test_an_independent_parser_reads_what_we_send(payload: bytes, more: int) -> None:
    payload += bytes(more)
    reader = StreamReader()
    reader.feed_data(bytes(frame(2, payload)))
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parser)
    assert done.value.value.opcode is Opcode.BINARY
    assert bytes(done.value.value.data) == payload
    assert reader.at_eof()


def test_masks_differ_from_frame_to_frame() -> None:
    assert len({bytes(frame(2, bytes(8))) for _ in range(20)}) == 20


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536])
def test_an_answer_in_one_frame(pair: tuple[WebSocketConnection, socket.socket], size: int) -> None:
    connection, server = pair
    payload = bytes(i % 251 for i in range(size))
    server.sendall(server_frame(payload))
    assert connection.receive(size) == payload


def test_fragments_and_pings_and_a_following_answer(
    pair: tuple[WebSocketConnection, socket.socket],
) -> None:
    connection, server = pair
    server.sendall(
        server_frame(b"hi", opcode=9)
        + server_frame(b"ab", final=False)
        + server_frame(b"", opcode=10)
        + server_frame(b"", opcode=0, final=False)
        + server_frame(b"cd", opcode=0)
        + server_frame(b"next")
    )
    assert connection.receive(4) == b"abcd"
    assert connection.receive(4) == b"next"
    pong = server.recv(100)
    assert pong[0] == 0x8A
    assert bytes(a ^ b for a, b in zip(pong[6:], pong[2:6], strict=False)) == b"hi"


WRONG = {
    "too long": server_frame(bytes(9)),
    "too short": server_frame(bytes(7)),
    "too long in pieces": server_frame(bytes(5), final=False) + server_frame(bytes(5), opcode=0),
    "too short in pieces": server_frame(bytes(5), final=False) + server_frame(bytes(2), opcode=0),
    "endless": server_frame(b"", length=(1 << 63) - 1),
    "masked": bytes([0x82, 0x88]) + bytes(12),
    "compressed": bytes([0xC2, 0x08]) + bytes(8),
    "unknown opcode": bytes([0x83, 0x08]) + bytes(8),
    "continuation of nothing": server_frame(bytes(8), opcode=0),
    "two beginnings": server_frame(bytes(4), final=False) + server_frame(bytes(4)),
    "long ping": server_frame(bytes(200), opcode=9),
    "ping in pieces": server_frame(b"x", opcode=9, final=False),
    "text that is no error": server_frame(b"hello", opcode=1),
    "text without end": server_frame(b"", opcode=1, length=1 << 40),
    "text that is a list": server_frame(b"[1]", opcode=1),
    "nested text": server_frame(b"[" * 4000, opcode=1),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_an_answer_is_refused(
    pair: tuple[WebSocketConnection, socket.socket], data: bytes
) -> None:
    connection, server = pair
    server.sendall(data)
    with pytest.raises(ProtocolBreachError):
        connection.receive(8)


@given(st.binary(max_size=60))
def test_any_bytes_end_in_an_answer_or_an_error(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    watch = Watch()
    watch.start(60)
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        connection = WebSocketConnection(WatchedSocket(ours, TrafficMeter(), "rounds", watch))
        with suppress(NetworkError):
            assert len(connection.receive(8)) == 8


def test_errors_of_the_server_are_understood(
    pair: tuple[WebSocketConnection, socket.socket],
) -> None:
    connection, server = pair
    server.sendall(server_frame(b'{"error":{"code":"other_model","message":"changed"}}', opcode=1))
    with pytest.raises(OtherModelError, match="changed"):
        connection.receive(8)


@pytest.mark.parametrize(
    ("asked", "wait"), [("7", 7.0), ('"9"', 9.0), ("null", None), ("-1", None), ("1e9", None)]
)
def test_a_server_says_when_to_come_back(
    pair: tuple[WebSocketConnection, socket.socket], asked: str, wait: float | None
) -> None:
    connection, server = pair
    body = f'{{"error":{{"code":"busy","message":"later","retry_after":{asked}}}}}'
    server.sendall(server_frame(body.encode(), opcode=1))
    with pytest.raises(BusyError) as error:
        connection.receive(8)
    assert error.value.retry_after == wait


def test_a_used_up_quota_is_not_tried_again(
    pair: tuple[WebSocketConnection, socket.socket],
) -> None:
    connection, server = pair
    body = b'{"error":{"code":"quota_exceeded","message":"anew at noon","retry_after":9}}'
    server.sendall(server_frame(body, opcode=1))
    with pytest.raises(QuotaError, match="anew at noon") as error:
        connection.receive(8)
    assert not error.value.retryable


def test_a_close_is_a_lost_connection(pair: tuple[WebSocketConnection, socket.socket]) -> None:
    connection, server = pair
    server.sendall(server_frame(b"\x03\xe8", opcode=8))
    with pytest.raises(ConnectionLostError):
        connection.receive(8)


def test_the_end_in_mid_answer_is_a_lost_connection(
    pair: tuple[WebSocketConnection, socket.socket],
) -> None:
    connection, server = pair
    server.sendall(server_frame(bytes(3), length=8))
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLostError):
        connection.receive(8)


REFUSALS = {
    "plain": (b"HTTP/1.1 200 OK\r\n\r\n", UpgradeRefusedError),
    "wrong key": (b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: abc\r\n\r\n", UpgradeRefusedError),
    "no http": (b"SSH-2.0-server\r\n\r\n", UpgradeRefusedError),
    "endless": (b"HTTP/1.1 101 " + b"x" * 20_000, UpgradeRefusedError),
    "nothing": (b"", UpgradeRefusedError),
    "token": (b"HTTP/1.1 401 no\r\n\r\n", UnauthorisedError),
    "busy": (b"HTTP/1.1 503 no\r\n\r\n", BusyError),
    "proxy without server": (b"HTTP/1.1 502 no\r\n\r\n", ConnectionLostError),
}


@pytest.mark.parametrize(("data", "error"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refused_upgrades(data: bytes, error: type[NetworkError]) -> None:
    ours, theirs = socket.socketpair()
    watch = Watch()
    watch.start(60)
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(error):
            handshake(WatchedSocket(ours, TrafficMeter(), "rounds", watch), "h", "/p", None)
