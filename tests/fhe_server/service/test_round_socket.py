"""The short way for rounds: whatever way the bytes of a message arrive, the answer is the same."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import websocket

from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import FrameHeader, pack_query
from fhe_server.artefact import Artefact
from fhe_server.service.app import ServedModel, create_app
from fhe_server.service.round_socket import INBOX_BYTES, unmask
from tests.servers import RunningServer, make_artefact, running_app, running_server

PATIENCE_S = 60
BINARY, TEXT, PING, PONG, CONTINUATION, CLOSE = 0x2, 0x1, 0x9, 0xA, 0x0, 0x8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def model(folder: Path) -> ServedModel:
    return ServedModel(Artefact(folder))


@contextmanager
def upgraded(server: RunningServer, manifest: Manifest) -> Iterator[socket.socket]:
    """A raw socket behind the handshake."""
    url = f"ws://127.0.0.1:{server.port}/v1/models/tiny/rounds?digest={manifest.digest}"
    link = websocket.create_connection(url, timeout=PATIENCE_S)
    try:
        yield link.sock
    finally:
        link.shutdown()


def masked(payload: bytes, opcode: int = BINARY, *, final: bool = True, mask: bool = True) -> bytes:
    key = os.urandom(4) if mask else b""
    body = memoryview(bytearray(payload))
    if mask:
        unmask(body, key)
    head = bytes([(0x80 if final else 0) | opcode])
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([flag | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", flag | 126, len(payload))
    else:
        head += struct.pack("!BQ", flag | 127, len(payload))
    return head + key + bytes(body)


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        assert piece, "the server closed the connection"
        data += piece
    return data


def message(sock: socket.socket) -> tuple[int, bytes]:
    """(opcode, payload) of the next unmasked frame."""
    first, length = read(sock, 2)
    if length == 126:
        length = struct.unpack("!H", read(sock, 2))[0]
    elif length == 127:
        length = struct.unpack("!Q", read(sock, 8))[0]
    return first & 0x0F, read(sock, length)


def query(model: ServedModel, group: int, rows: int, number: int = 1) -> bytes:
    rng = np.random.default_rng(number)
    parts = model.manifest.groups[group].parts
    planes = [rng.integers(-128, 128, (3, rows, p.inputs), dtype=np.int8) for p in parts]
    return pack_query(FrameHeader(number, group, rows), planes)


@pytest.mark.parametrize("rows", [1, 256])
def test_a_message_may_come_in_pieces(server: RunningServer, model: ServedModel, rows: int) -> None:
    """Cut inside the head, right behind it, inside the payload, and before the last byte."""
    frame = query(model, 0, rows)
    wire = masked(frame)
    with upgraded(server, model.manifest) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cuts in ([1], [2], [5], [8], [14], [len(wire) - 1], [1, 2, 3, 4, 9, 40]):
            start = 0
            for stop in [*cuts, len(wire)]:
                sock.sendall(wire[start:stop])
                time.sleep(0.005)  # so that they arrive apart; together they must do, too
                start = stop
            assert message(sock) == (BINARY, model.answer(frame))


def test_messages_may_come_together(server: RunningServer, model: ServedModel) -> None:
    """More than the inbox holds, cut anywhere: the answers come in the order of the queries."""
    frames = [query(model, k % 3, 1 + k % 5, k) for k in range(500)]
    wire = b"".join(masked(f) for f in frames)
    assert len(wire) > 2 * INBOX_BYTES
    with upgraded(server, model.manifest) as sock:
        sock.sendall(wire)
        answers = [message(sock) for _ in frames]
    assert answers == [(BINARY, model.answer(f)) for f in frames]


def test_fragments_and_pings_take_the_long_way(server: RunningServer, model: ServedModel) -> None:
    frame = query(model, 1, 2)
    with upgraded(server, model.manifest) as sock:
        sock.sendall(masked(frame))
        assert message(sock) == (BINARY, model.answer(frame))
        sock.sendall(masked(b"hello", PING))
        assert message(sock) == (PONG, b"hello")
        sock.sendall(masked(frame[:10], final=False))
        sock.sendall(masked(b"between", PING))
        sock.sendall(masked(frame[10:], CONTINUATION))
        assert message(sock) == (PONG, b"between")
        assert message(sock) == (BINARY, model.answer(frame))
        sock.sendall(masked(frame))  # and back to whole messages
        assert message(sock) == (BINARY, model.answer(frame))


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (masked(b"abc", mask=False), 1002),
        (bytes([0x82, 0xFF]) + b"\xff" * 8 + b"key!", 1009),
        (bytes([0xC2, 0x81]) + b"key!x", 1002),
        (bytes([0x83, 0x81]) + b"key!x", 1002),
        (bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40) + b"key!", 1009),
    ],
    ids=["not masked", "negative length", "reserved bit", "reserved opcode", "huge"],
)
def test_what_is_not_allowed_ends_the_connection(
    server: RunningServer, model: ServedModel, wire: bytes, code: int
) -> None:
    with upgraded(server, model.manifest) as sock:
        sock.sendall(wire)
        opcode, body = message(sock)
    assert opcode == CLOSE
    assert struct.unpack("!H", body[:2])[0] == code
    with upgraded(server, model.manifest) as sock:  # and the server goes on
        frame = query(model, 0, 1)
        sock.sendall(masked(frame))
        assert message(sock) == (BINARY, model.answer(frame))


def test_a_malformed_query_is_refused_in_words(server: RunningServer, model: ServedModel) -> None:
    with upgraded(server, model.manifest) as sock:
        sock.sendall(masked(b"nonsense"))
        opcode, body = message(sock)
        assert opcode == TEXT
        assert b"bad_frame" in body
        assert message(sock)[0] == CLOSE


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 4099])
def test_unmasking_is_what_the_standard_says(length: int) -> None:
    data, key = os.urandom(length), b"\x01\x80\xff\x3c"
    changed = memoryview(bytearray(data))
    unmask(changed, key)
    assert bytes(changed) == bytes(b ^ key[i % 4] for i, b in enumerate(data))


def test_a_head_that_announces_much_takes_no_memory(folder: Path) -> None:
    """Fourteen bytes, and then nothing: what a message takes is what has come of it."""
    large = 64 << 20
    model = ServedModel(Artefact(folder))
    model.max_query_size = large
    head = struct.pack("!BBQ4s", 0x82, 0xFF, large, b"mask")
    with running_app(create_app({"tiny": model})) as server, ExitStack() as open_ones:
        before = psutil.Process().memory_info().rss
        for _ in range(8):
            open_ones.enter_context(upgraded(server, model.manifest)).sendall(head)
        with upgraded(server, model.manifest) as sock:  # later than they, on the same loop
            sock.sendall(masked(query(model, 0, 1)))
            assert message(sock)[0] == BINARY
        after = psutil.Process().memory_info().rss
    assert after - before < 2 * large
