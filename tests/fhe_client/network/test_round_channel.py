"""Rounds over a connection that breaks: the identical bytes go again, and every wait ends."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fhe_client.network.errors import (
    ConnectionLostError,
    NetworkError,
    NoSuchModelError,
    OtherModelError,
    ProtocolBreachError,
    ServerTimeoutError,
    StoppedError,
    TlsError,
    UnauthorisedError,
)
from fhe_client.network.retries import Timeouts
from fhe_client.network.round_channel import ReconnectingChannel
from fhe_client.network.transport import ServerConnection
from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import FrameHeader, answer_size, pack_query, parse_answer
from fhe_server.artefact import Artefact
from fhe_server.service.app import ServedModel, hash_token
from tests.servers import (
    CountingProxy,
    InProcessChannel,
    RunningServer,
    make_artefact,
    running_server,
    scripted_server,
    self_signed,
)

PATIENT = Timeouts(connect=30, control=60, stall=60, tries=4, first_wait=0.01)
HEADER = FrameHeader(99, 1, 5)


@pytest.fixture(scope="module")
def frame(manifest: Manifest) -> bytes:
    rng = np.random.default_rng(3)
    parts = manifest.groups[HEADER.group].parts
    return pack_query(HEADER, [rng.integers(-128, 128, (3, 5, p.inputs), np.int8) for p in parts])


@pytest.fixture(scope="module")
def size(manifest: Manifest) -> int:
    return answer_size(manifest.groups[HEADER.group], HEADER.rows)


@pytest.fixture(scope="module")
def expected(artefact: Path, frame: bytes, size: int) -> bytes:
    return InProcessChannel(ServedModel(Artefact(artefact))).exchange(frame, size)


def channel_to(url: str, manifest: Manifest, timeouts: Timeouts = PATIENT) -> ReconnectingChannel:
    return ServerConnection(url, timeouts=timeouts).open_rounds(manifest)


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_answers_are_the_servers_own(
    server: RunningServer,
    manifest: Manifest,
    frame: bytes,
    size: int,
    expected: bytes,
    websocket: bool,
) -> None:
    channel = channel_to(server.url, manifest)
    channel._upgrade_refused = not websocket
    for _ in range(3):
        answer = channel.exchange(frame, size)
        assert answer == expected
        parse_answer(answer, manifest.groups[HEADER.group], HEADER)
    channel.close()
    assert channel.exchange(frame, size) == expected  # a closed channel opens again
    channel.close()


def unmasked(stream: bytes) -> list[bytes]:
    """Payloads of the binary frames that a client sent, upgrade requests and unfinished frames left out."""
    payloads = []
    while stream:
        if stream.startswith(b"GET "):
            stream = stream.partition(b"\r\n\r\n")[2]
            continue
        length, at = stream[1] & 0x7F, 2
        if length == 126:
            length, at = int.from_bytes(stream[2:4], "big"), 4
        key, body = stream[at : at + 4], stream[at + 4 : at + 4 + length]
        if len(body) == length and stream[0] == 0x82:
            payloads.append(bytes(b ^ key[i % 4] for i, b in enumerate(body)))
        stream = stream[at + 4 + length :]
    return payloads


def test_a_broken_connection_is_opened_again_and_the_identical_bytes_are_sent(
    server: RunningServer, manifest: Manifest, frame: bytes, size: int, expected: bytes
) -> None:
    with CountingProxy(server.port, keep=True) as proxy:
        channel = channel_to(proxy.url, manifest)
        errors: list[NetworkError] = []
        channel.on_reconnect = errors.append
        channel.exchange(frame, size)
        proxy.cut_after_down = proxy.down + 20  # the query arrives, its answer does not
        assert channel.exchange(frame, size) == expected
        channel.close()
        assert proxy.connections == 2
        assert unmasked(bytes(proxy.sent)) == [frame] * 3
    assert [type(e) for e in errors] == [ConnectionLostError]


def test_a_query_cut_off_half_way_is_sent_again_whole(
    server: RunningServer, manifest: Manifest, frame: bytes, size: int, expected: bytes
) -> None:
    with CountingProxy(server.port) as proxy:
        channel = channel_to(proxy.url, manifest)
        channel.exchange(frame, size)
        proxy.cut_after_up = proxy.up + 1
        assert channel.exchange(frame, size) == expected
        channel.close()


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_a_server_that_starts_again_is_found_again(
    artefact: Path, manifest: Manifest, frame: bytes, size: int, expected: bytes, websocket: bool
) -> None:
    with running_server(artefact) as first:
        channel = channel_to(first.url, manifest)
        channel._upgrade_refused = not websocket
        channel.exchange(frame, size)
        port = first.port
    waited: list[NetworkError] = []
    channel.on_reconnect = waited.append
    with running_server(artefact, port=port):
        assert channel.exchange(frame, size) == expected
        channel.close()
    assert len(waited) == (1 if websocket else 0)  # urllib3 looks before it sends


def test_tries_end(manifest: Manifest, frame: bytes, size: int) -> None:
    with scripted_server(lambda c, h: None) as url:
        channel = channel_to(url, manifest)
        waited: list[NetworkError] = []
        channel.on_reconnect = waited.append
        with pytest.raises(NetworkError):
            channel.exchange(frame, size)
        channel.close()
    assert len(waited) == PATIENT.tries - 1


def test_stop_between_tries(manifest: Manifest, frame: bytes, size: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        channel = channel_to(url, manifest, Timeouts(tries=100, first_wait=3600))
        stopped: list[bool] = []
        channel.should_stop = lambda: bool(stopped)
        channel.on_reconnect = lambda error: stopped.append(True)
        with pytest.raises(StoppedError):
            channel.exchange(frame, size)
        channel.close()


def test_stop_while_an_answer_is_due_and_go_on_afterwards(
    server: RunningServer, manifest: Manifest, frame: bytes, size: int, expected: bytes
) -> None:
    with CountingProxy(server.port) as proxy:
        channel = channel_to(proxy.url, manifest)
        channel.exchange(frame, size)
        channel.should_stop = lambda: True
        with pytest.raises(StoppedError):
            channel.exchange(frame, size)
        channel.should_stop = lambda: False
        assert channel.exchange(frame, size) == expected  # not the answer that was left on the way
        channel.close()
        assert proxy.connections == 2


def test_a_proxy_that_knows_no_websocket(
    server: RunningServer, manifest: Manifest, frame: bytes, size: int, expected: bytes
) -> None:
    def script(connection: socket.socket, head: bytes) -> None:
        if b"upgrade: websocket" in head.lower():
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", server.port)) as behind:
            behind.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            wanted = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            left = wanted - len(head.partition(b"\r\n\r\n")[2])
            while left:
                data = connection.recv(left)
                left -= len(data)
                behind.sendall(data)
            while data := behind.recv(65536):
                connection.sendall(data)

    with scripted_server(script) as url:
        channel = channel_to(url, manifest)
        assert channel.exchange(frame, size) == expected
        assert channel.exchange(frame, size) == expected
        assert channel.transport == "http"
        channel.close()


def test_errors_of_the_server(
    tmp_path: Path, artefact: Path, manifest: Manifest, frame: bytes, size: int
) -> None:
    make_artefact(tmp_path / "changed", seed=5)
    make_artefact(tmp_path / "other", name="other")
    for websocket in (True, False):
        with running_server(tmp_path / "changed") as server:
            check_refused(server, manifest, frame, size, websocket, OtherModelError)
        with running_server(tmp_path / "other") as server:
            check_refused(server, manifest, frame, size, websocket, NoSuchModelError)
        with running_server(artefact, token_hashes=frozenset({hash_token("x")})) as server:
            check_refused(server, manifest, frame, size, websocket, UnauthorisedError)
        with running_server(artefact) as server:
            check_refused(server, manifest, frame[:-1], size, websocket, ProtocolBreachError)


def check_refused(
    server: RunningServer,
    manifest: Manifest,
    frame: bytes,
    size: int,
    websocket: bool,
    expected: type[NetworkError],
) -> None:
    channel = channel_to(server.url, manifest)
    channel._upgrade_refused = not websocket
    with pytest.raises(expected):
        channel.exchange(frame, size)
    channel.close()


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
@pytest.mark.parametrize("difference", [-1, 1])
def test_an_answer_of_the_wrong_length_is_not_asked_for_again(
    server: RunningServer,
    manifest: Manifest,
    frame: bytes,
    size: int,
    websocket: bool,
    difference: int,
) -> None:
    before = server.counters.rounds
    channel = channel_to(server.url, manifest)
    channel._upgrade_refused = not websocket
    with pytest.raises(ProtocolBreachError):
        channel.exchange(frame, size + difference)
    channel.close()
    assert server.counters.rounds == before + 1


def test_a_silent_server_is_given_up(manifest: Manifest, frame: bytes, size: int) -> None:
    timeouts = Timeouts(connect=30, control=0.5, stall=0.5, tries=2, first_wait=0)
    with scripted_server(lambda connection, head: connection.recv(1)) as url:
        channel = channel_to(url, manifest, timeouts)
        with pytest.raises(ServerTimeoutError):
            channel.exchange(frame, size)
        channel.close()


def upgraded(*more: str) -> Callable[[socket.socket, bytes], None]:
    """A script that grants a WebSocket, with further headers, reads a query and trickles an answer."""

    def script(connection: socket.socket, head: bytes) -> None:
        key = head.lower().partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
        key = head[head.lower().index(key) :][: len(key)]
        accept = base64.b64encode(
            hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        )
        lines = ["HTTP/1.1 101 x", f"Sec-WebSocket-Accept: {accept.decode()}", *more, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        connection.recv(1 << 16)
        connection.sendall(b"\x82\x7e\xff\xff")
        while True:  # until the other side hangs up
            connection.sendall(b"x")
            time.sleep(0.05)

    return script


def test_an_answer_that_trickles_is_given_up(manifest: Manifest, frame: bytes) -> None:
    """Each byte comes in time, all of them never would."""
    asked: list[bytes] = []
    script = upgraded()

    def counted(connection: socket.socket, head: bytes) -> None:
        asked.append(head)
        script(connection, head)

    timeouts = Timeouts(connect=30, control=30, stall=0.5, rate=1e6, tries=2, first_wait=0)
    with scripted_server(counted) as url:
        channel = channel_to(url, manifest, timeouts)
        with pytest.raises(ServerTimeoutError):
            channel.exchange(frame, 65_535)
        channel.close()
    assert len(asked) == timeouts.tries


def test_compressed_websockets_are_refused(manifest: Manifest, frame: bytes, size: int) -> None:
    """Nobody offered an extension; one that inflates would be a bomb."""
    with scripted_server(upgraded("Sec-WebSocket-Extensions: permessage-deflate")) as url:
        channel = channel_to(url, manifest)
        with pytest.raises(ProtocolBreachError, match="extension"):
            channel.exchange(frame, size)
        channel.close()


def test_tls_with_a_pinned_self_signed_certificate(
    tmp_path: Path, artefact: Path, manifest: Manifest, frame: bytes, size: int, expected: bytes
) -> None:
    certificate, fingerprint = self_signed(tmp_path)
    spelled = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    with (
        running_server(artefact, certificate=certificate) as server,
        ServerConnection(server.url, pinned_certificate=spelled, timeouts=PATIENT) as connection,
    ):
        assert connection.manifest("tiny").digest == manifest.digest
        channel = connection.open_rounds(manifest)
        assert channel.exchange(frame, size) == expected
        assert channel.transport == "websocket"
        channel.close()
        assert len(b"".join(connection.hint_stream(manifest, 7))) == manifest.hint_bytes - 7


@pytest.mark.parametrize("pinned", [None, "0" * 64], ids=["system trust", "other fingerprint"])
def test_tls_that_cannot_be_trusted(
    tmp_path: Path, artefact: Path, manifest: Manifest, frame: bytes, size: int, pinned: str | None
) -> None:
    certificate, _ = self_signed(tmp_path)
    with (
        running_server(artefact, certificate=certificate) as server,
        ServerConnection(server.url, pinned_certificate=pinned, timeouts=PATIENT) as connection,
    ):
        with pytest.raises(TlsError):
            connection.info()
        channel = connection.open_rounds(manifest)
        with pytest.raises(TlsError):
            channel.exchange(frame, size)
        channel.close()
    assert server.counters.rounds == 0
