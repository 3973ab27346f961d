"""Connections that dribble, stall, flood or idle, on a real socket; and the end of a server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import numpy as np
import pytest

from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import FrameHeader, answer_size, pack_query
from fhe_server.artefact import Artefact
from fhe_server.service.app import create_app
from fhe_server.service.guarded_protocols import ReaderWatch
from fhe_server.service.limits import Limits
from fhe_server.service.load import masked_frame, open_websocket
from fhe_server.service.served_model import ServedModel
from tests.servers import RunningServer, make_artefact, running_app

PATIENCE_S = 60
BRISK = Limits(head_seconds=0.5, transfer_seconds=0.5, least_rate=1e6, max_head_bytes=4096)
"""Short enough for a test; whole requests arrive in one piece, which no timer can cut."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    model = ServedModel(Artefact(folder))
    with running_app(create_app({"tiny": model}, limits=BRISK)) as running:
        yield running


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Artefact(folder).manifest


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def web_socket(server: RunningServer, manifest: Manifest) -> socket.socket:
    path = f"/v1/models/tiny/rounds?digest={manifest.digest}"
    return open_websocket(("127.0.0.1", server.port), path)


def query(manifest: Manifest, request_id: int = 1) -> bytes:
    planes = [np.zeros((3, 1, p.inputs), dtype=np.int8) for p in manifest.groups[0].parts]
    return pack_query(FrameHeader(request_id, 0, 1), planes)


def receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def until_closed(sock: socket.socket) -> bytes:
    """All that comes until the other side closes or resets."""
    data = b""
    try:
        while piece := sock.recv(65_536):
            data += piece
    except ConnectionError:
        pass
    return data


def whole_answer(sock: socket.socket) -> bytes:
    """Head and JSON body of an answer on a connection that stays open."""
    data = b""
    while not data.endswith(b"}"):
        piece = sock.recv(4096)
        assert piece, "the connection ended within an answer"
        data += piece
    return data


def healthy(server: RunningServer) -> bool:
    with closing(connect(server)) as sock:
        sock.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"200 OK" in until_closed(sock)


def dribble(sock: socket.socket, data: bytes) -> bool:
    """Send byte by byte, for ever; True once the other side has had enough."""
    deadline = time.monotonic() + PATIENCE_S
    sock.settimeout(0.02)
    number = 0
    while time.monotonic() < deadline:
        try:
            sock.sendall(data[number % len(data) : number % len(data) + 1])
            if sock.recv(1) == b"":
                return True
        except TimeoutError:
            number += 1
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /v1/health HTTP/1.1\r\nX-",
        b"POST /v1/models/tiny/rounds HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    ],
)
def test_a_request_that_dribbles_is_cut(server: RunningServer, start: bytes) -> None:
    with closing(connect(server)) as sock:
        sock.sendall(start)
        assert dribble(sock, b"x")
    assert healthy(server)


def test_a_second_request_may_not_dribble_either(server: RunningServer) -> None:
    with closing(connect(server)) as sock:
        sock.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in sock.recv(4096)
        assert dribble(sock, b"GET /v1/health HTTP/1.1\r\nA: " + b"b" * 50)


def test_line_ends_after_an_answer_hold_no_connection(server: RunningServer) -> None:
    """They begin no request, so no timer of a request runs; and the keep-alive timer ends with the first byte."""
    with closing(connect(server)) as sock:
        sock.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        whole_answer(sock)
        sock.sendall(b"\r\n")
        assert until_closed(sock) == b""
    assert healthy(server)


def test_line_ends_before_a_second_request_do_no_harm(server: RunningServer) -> None:
    with closing(connect(server)) as sock:
        for _ in range(2):
            sock.sendall(b"\r\nGET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in whole_answer(sock)


@pytest.mark.parametrize("line", [b"GET /" + b"a" * 99, b"X: " + b"a" * 99, b"X: y\r\n" * 20])
def test_a_head_without_end_is_refused(server: RunningServer, line: bytes) -> None:
    with closing(connect(server)) as sock:
        sock.sendall(b"" if line.startswith(b"GET") else b"GET / HTTP/1.1\r\n")
        data = b""
        try:
            for _ in range(10_000):
                sock.sendall(line)
                line = line[-99:] if line.startswith(b"X: y") else b"a" * 99
            data = until_closed(sock)
        except ConnectionError:  # the refusal was overtaken by the reset
            data = b"400"
        assert b"400" in data
    assert healthy(server)


@pytest.mark.parametrize("tail", [b"0\r\n", b"1\r\nx\r\n0\r\nX: ", b"1;"])
def test_trailers_without_end_are_refused(folder: Path, tail: bytes) -> None:
    """What follows a body in chunks would be kept, whoever sends it: three gigabytes in five seconds.

    The timers are the usual ones, so it is not they that end it.
    """
    start = b"POST /v1/models/tiny/rounds HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"a: b\r\n" * 5000 if tail == b"0\r\n" else b"a" * 30_000
    sent, most = 0, 32 << 20  # more than the system's buffers hold
    with running_app(create_app({"tiny": ServedModel(Artefact(folder))})) as usual:
        with closing(connect(usual)) as sock, suppress(ConnectionError):
            sock.sendall(start + tail)
            while sent < most:
                sock.sendall(piece)
                sent += len(piece)
        assert sent < most
        assert healthy(usual)


def test_a_body_in_chunks_may_be_long(server: RunningServer, manifest: Manifest) -> None:
    """What is limited is what comes beside a body, not the body."""
    planes = [np.zeros((3, 256, p.inputs), dtype=np.int8) for p in manifest.groups[0].parts]
    frame = pack_query(FrameHeader(1, 0, 256), planes)
    head = "POST /v1/models/tiny/rounds HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += f"Connection: close\r\nX-Tacita-Model: {manifest.digest}\r\n\r\n"
    pieces = [frame[start : start + 1000] for start in range(0, len(frame), 1000)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    with closing(connect(server)) as sock:
        sock.sendall(head.encode() + body)
        said = until_closed(sock)
    assert len(frame) > 4 * BRISK.max_head_bytes
    assert said.startswith(b"HTTP/1.1 200")


def test_a_message_that_dribbles_is_cut(server: RunningServer, manifest: Manifest) -> None:
    frame = masked_frame(query(manifest))
    with closing(web_socket(server, manifest)) as sock:
        sock.sendall(frame[:5])
        assert dribble(sock, b"\0")
    assert healthy(server)


def test_fragments_without_end_are_cut(server: RunningServer, manifest: Manifest) -> None:
    """Whole WebSocket frames, one after the other, of a message that never ends."""
    with closing(web_socket(server, manifest)) as sock:
        sock.sendall(b"\x02\x81\0\0\0\0a")
        assert dribble(sock, b"\x00\x81\0\0\0\0a")


def test_a_whole_message_is_answered_and_the_next_may_take_its_time(
    server: RunningServer, manifest: Manifest
) -> None:
    """An idle connection is no slow one: the timers run only inside a message."""
    size = answer_size(manifest.groups[0], 1)
    with closing(web_socket(server, manifest)) as sock:
        for number in range(2):
            sock.sendall(masked_frame(query(manifest, number)))
            assert len(receive(sock, 2 + size)) == 2 + size
            time.sleep(3 * BRISK.transfer_seconds * (number == 0))


def cut_while_sending(sock: socket.socket, frame: bytes) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            sock.sendall(frame)
        except TimeoutError:
            continue
        except OSError:  # reset, or broken pipe
            return True
    return False


def test_pieces_of_nothing_are_cut(folder: Path, manifest: Manifest) -> None:
    """They never reach the limit of a message's bytes, and each is kept. It is not the timers that end it."""
    piece = b"\x00\x80\0\0\0\0" * 10_000
    sent, most = 0, 32 << 20  # more than the system's buffers hold
    with running_app(create_app({"tiny": ServedModel(Artefact(folder))})) as usual:
        with closing(web_socket(usual, manifest)) as sock, suppress(ConnectionError):
            sock.sendall(b"\x02\x80\0\0\0\0")
            while sent < most:
                sock.sendall(piece)
                sent += len(piece)
        assert sent < most
        assert healthy(usual)


def test_a_flood_of_pings_is_cut_and_those_of_a_proxy_are_answered(
    folder: Path, manifest: Manifest
) -> None:
    size = answer_size(manifest.groups[0], 1)
    ping, pong = b"\x89\x80\0\0\0\0", b"\x8a\0"
    with running_app(create_app({"tiny": ServedModel(Artefact(folder))})) as usual:
        with closing(web_socket(usual, manifest)) as sock:
            for number in range(2):
                sock.sendall(ping * 600)
                assert receive(sock, 1200) == pong * 600
                sock.sendall(masked_frame(query(manifest, number)))
                assert len(receive(sock, 2 + size)) == 2 + size
            sock.sendall(ping * 1001)
            until_closed(sock)  # raises if it stays open
        assert healthy(usual)


def test_requests_sent_ahead_are_answered_in_order_but_not_any_number(
    server: RunningServer,
) -> None:
    """Each waits in memory, and uvicorn reads more after every answer: gigabytes from a stranger."""
    ask = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n%b\r\n"
    with closing(connect(server)) as sock:
        sock.sendall(ask % b"" * 2 + ask % b"Connection: close\r\n")
        assert until_closed(sock).count(b"200 OK") == 3
    with closing(connect(server)) as sock:
        with suppress(ConnectionError):
            sock.sendall(ask % b"" * 5000)
        assert until_closed(sock).count(b"200 OK") < 5000
    assert healthy(server)


def test_whoever_says_nothing_gives_way(folder: Path, manifest: Manifest) -> None:
    """Strangers may take every connection there is; then the quiet ones go first, and rounds go on."""

    def quiet(server: RunningServer) -> socket.socket:
        sock = connect(server)
        sock.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in whole_answer(sock)
        return sock

    app = create_app({"tiny": ServedModel(Artefact(folder))}, limits=Limits(max_connections=4))
    size = answer_size(manifest.groups[0], 1)
    with running_app(app) as server, ExitStack() as held:
        chat = held.enter_context(closing(web_socket(server, manifest)))
        before = [held.enter_context(closing(quiet(server))) for _ in range(8)]
        after = [held.enter_context(closing(quiet(server))) for _ in range(8)]
        assert [until_closed(sock) for sock in before] == [b""] * 8
        chat.sendall(masked_frame(query(manifest)))
        assert len(receive(chat, 2 + size)) == 2 + size
        after[-1].sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in whole_answer(after[-1])


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_the_system_looks_whether_a_silent_peer_is_there(
    server: RunningServer, manifest: Manifest
) -> None:
    """A laptop that lost its network would keep its place for an hour."""
    with closing(web_socket(server, manifest)) as sock:
        ends = [f"0100007F:{port:04X}" for port in (server.port, sock.getsockname()[1])]
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        (timer,) = (line[5] for line in lines if line[1:3] == ends)
        assert timer.startswith("02:")  # the one of SO_KEEPALIVE


@pytest.mark.parametrize("way", ["websocket", "post"])
def test_who_takes_longest_gives_way_where_too_much_arrives(
    folder: Path, manifest: Manifest, way: str
) -> None:
    """Hundreds of large queries that never become whole would take all memory; an honest one is whole soon."""
    planes = [np.zeros((3, 256, p.inputs), dtype=np.int8) for p in manifest.groups[0].parts]
    frame = pack_query(FrameHeader(1, 0, 256), planes)
    message, half = masked_frame(frame), len(frame) // 2
    limits = Limits(max_arriving_bytes=int(0.8 * len(frame)), transfer_seconds=3600)
    head = f"POST /v1/models/tiny/rounds HTTP/1.1\r\nHost: x\r\nContent-Length: {len(frame)}\r\n"
    head += f"X-Tacita-Model: {manifest.digest}\r\n\r\n"
    app = create_app({"tiny": ServedModel(Artefact(folder))}, limits=limits)
    with (
        running_app(app) as server,
        closing(web_socket(server, manifest)) as honest,
        closing(connect(server) if way == "post" else web_socket(server, manifest)) as slow,
    ):
        slow.sendall(head.encode() + frame[:half] if way == "post" else message[:half])
        assert healthy(server)  # by now it has read what came before
        honest.sendall(message[:half])
        assert until_closed(slow) == b""
        honest.sendall(message[half:])
        size = answer_size(manifest.groups[0], 256)
        assert receive(honest, 1) == b"\x82"
        assert len(receive(honest, size)) == size


def test_a_reader_that_does_not_read_is_cut(server: RunningServer, manifest: Manifest) -> None:
    """It asks for far more answers than the buffers of both sides hold, and takes none."""
    planes = [np.zeros((3, 256, p.inputs), dtype=np.int8) for p in manifest.groups[1].parts]
    frame = masked_frame(pack_query(FrameHeader(1, 1, 256), planes))
    with closing(web_socket(server, manifest)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(2)
        assert cut_while_sending(sock, frame)
    assert healthy(server)


def test_a_slow_reader_of_much_is_not_cut_while_it_reads() -> None:
    """An answer of many megabytes need not leave within the time that a full buffer may take."""
    sizes = iter([400_000, 330_000, 330_000, 260_000, 260_000, 260_000])  # twice at each look

    class Buffer:
        def get_write_buffer_size(self) -> int:
            return next(sizes)

    async def watch() -> None:
        stalled = asyncio.Event()
        reader = ReaderWatch(asyncio.get_running_loop(), Buffer(), stalled.set)
        reader.start(Limits(transfer_seconds=0.01, least_rate=1e9))
        await asyncio.wait_for(stalled.wait(), PATIENCE_S)

    asyncio.run(watch())
    assert next(sizes, None) is None


def test_an_idle_connection_is_closed(folder: Path, manifest: Manifest) -> None:
    app = create_app({"tiny": ServedModel(Artefact(folder))}, limits=Limits(idle_seconds=0.3))
    with running_app(app) as server, closing(web_socket(server, manifest)) as sock:
        said = until_closed(sock)
    assert said[:1] == b"\x88"
    assert int.from_bytes(said[2:4], "big") == 1001


def test_a_server_that_ends_finishes_the_round_that_is_under_way(
    folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ServedModel(Artefact(folder))
    begun, go_on = threading.Event(), threading.Event()
    multiply = model.multiply

    def slow(group: int, planes: object) -> object:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return multiply(group, planes)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "multiply", slow)
    monkeypatch.setattr(model, "products", lambda group: 10**15)  # so it runs in a thread
    size = answer_size(manifest.groups[0], 1)
    app = create_app({"tiny": model}, limits=Limits(drain_seconds=PATIENCE_S))
    with running_app(app, drain_s=PATIENCE_S) as server:
        idle, busy = web_socket(server, manifest), web_socket(server, manifest)
        with closing(idle), closing(busy):
            busy.sendall(masked_frame(query(manifest, 7)))
            assert begun.wait(PATIENCE_S)
            server.end()
            assert until_closed(idle)[2:4] == (1012).to_bytes(2, "big")
            go_on.set()
            answer = receive(busy, 2 + size)
            assert (len(answer), answer[6]) == (2 + size, 7)
            assert until_closed(busy)[2:4] == (1012).to_bytes(2, "big")
