"""The connection against the real service, then against servers that misbehave: each a clear error, in bounded time."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fhe_client.network.errors import (
    BadUrlError,
    BusyError,
    ConnectionLostError,
    NameNotFoundError,
    NetworkError,
    NoSuchModelError,
    NotTacitaError,
    ProtocolBreachError,
    RefusedError,
    ServerTimeoutError,
    StoppedError,
    UnauthorisedError,
    WrongVersionError,
)
from fhe_client.network.http_lane import checked_token
from fhe_client.network.retries import Timeouts, pause, with_retries
from fhe_client.network.transport import ServerConnection, check_info
from fhe_protocol.manifest import Manifest, canonical_json
from fhe_server.service.app import hash_token
from tests.servers import RunningServer, make_artefact, reply, running_server, scripted_server

TOKEN = "canary-token-4711"
QUICK = Timeouts(connect=10, control=1.0, stall=1.0, rate=1e6, tries=2, first_wait=0.01)
PATIENT = Timeouts(connect=20, control=60, stall=60, tries=2, first_wait=0.01)

Script = Callable[[socket.socket, bytes], None]


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact") / "tiny"
    make_artefact(folder)
    return folder


@pytest.fixture(scope="module")
def server(artefact: Path) -> Iterator[RunningServer]:
    with running_server(artefact, token_hashes=frozenset({hash_token(TOKEN)})) as running:
        yield running


@pytest.fixture
def connection(server: RunningServer) -> Iterator[ServerConnection]:
    with ServerConnection(server.url, token=TOKEN, timeouts=PATIENT) as opened:
        yield opened


@pytest.fixture
def manifest(connection: ServerConnection) -> Manifest:
    return connection.manifest("tiny")


def test_info_manifest_files_and_hints(
    connection: ServerConnection, manifest: Manifest, artefact: Path
) -> None:
    info = connection.info()
    check_info(info, "tiny")
    (model,) = info.models
    assert (model.name, model.digest) == ("tiny", manifest.digest)
    assert model.mb_per_token == (manifest.query_bytes() + manifest.answer_bytes()) / 1e6
    for entry in manifest.files:
        assert connection.file("tiny", entry) == (artefact / "client" / entry.path).read_bytes()
    hints = (artefact / "hints.bin").read_bytes()
    assert b"".join(connection.hint_stream(manifest)) == hints
    assert b"".join(connection.hint_stream(manifest, 100_001)) == hints[100_001:]
    assert b"".join(connection.hint_stream(manifest, len(hints))) == b""


@pytest.mark.parametrize("token", [None, "wrong", "", "  "])
def test_without_the_token_nothing_is_told(server: RunningServer, token: str | None) -> None:
    with ServerConnection(server.url, token=token, timeouts=PATIENT) as connection:
        with pytest.raises(UnauthorisedError):
            connection.info()
        with pytest.raises(UnauthorisedError):
            connection.manifest("tiny")


@pytest.mark.parametrize(
    "name", ["other", "../../etc/passwd", "tiny/../tiny", "", "TINY", "a" * 200]
)
def test_models_that_are_not_there(connection: ServerConnection, name: str) -> None:
    with pytest.raises(NoSuchModelError):
        connection.manifest(name)


def test_check_info_names_what_does_not_fit(connection: ServerConnection) -> None:
    with pytest.raises(NoSuchModelError, match="tiny"):
        check_info(connection.info(), "other")


@pytest.mark.parametrize("token", ["two words", "line\r\nbreak", "ümlaut", "x" * 5000])
def test_tokens_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(BadUrlError) as refused:
        checked_token(token)
    assert token not in str(refused.value)


def test_a_certificate_is_pinned_for_tls_only() -> None:
    with pytest.raises(BadUrlError, match="https"):
        ServerConnection("http://127.0.0.1:1", pinned_certificate="0" * 64)
    with pytest.raises(BadUrlError, match="64 hex"):
        ServerConnection("https://127.0.0.1:1", pinned_certificate="12:34")


def info_of(**changes: object) -> bytes:
    document = {
        "software": "tacita",
        "protocol_version": 1,
        "version": "1",
        "schemes": ["hint"],
        "models": [],
    }
    return json.dumps(document | changes).encode()


def stall(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)  # until the client hangs up


def trickle(head: bytes) -> Script:
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return script


def flood(head: bytes) -> Script:
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        block = b"[" * (1 << 16)
        for _ in range(3000):
            connection.sendall(block)

    return script


BOMB = gzip.compress(bytes(20_000_000), 1)
HOSTILE: dict[str, tuple[Script, type[NetworkError]]] = {
    "silence": (stall, ServerTimeoutError),
    "hangs up": (lambda c, h: None, ConnectionLostError),
    "not http": (lambda c, h: c.sendall(b"220 mail.example ESMTP\r\n"), NotTacitaError),
    "another program": (reply(b"<html>hello</html>"), NotTacitaError),
    "other json": (reply(b'{"software": "nginx"}'), NotTacitaError),
    "a list": (reply(b"[]"), NotTacitaError),
    "null": (reply(b"null"), NotTacitaError),
    "deep json": (reply(b"[" * 500_000), NotTacitaError),
    "negative sizes": (
        reply(info_of(models=[{"name": "a", "digest": "0" * 64, "hint_bytes": -1}])),
        NotTacitaError,
    ),
    "path in a name": (
        reply(info_of(models=[{"name": "../a", "digest": "0" * 64}])),
        NotTacitaError,
    ),
    "not found": (reply(b"no", status="404 Not Found"), NotTacitaError),
    "redirect": (
        reply(b"", "Location: http://192.0.2.1/v1/info", status="302 Found"),
        NotTacitaError,
    ),
    "redirect without end": (
        flood(b"HTTP/1.1 301 x\r\nLocation: /v1/info\r\nContent-Length: 1000000000\r\n\r\n"),
        NotTacitaError,
    ),
    "gzip bomb": (reply(BOMB, "Content-Encoding: gzip"), ProtocolBreachError),
    "announces too much": (reply(b"{}", length=1 << 40), ProtocolBreachError),
    "negative length": (reply(b"{}", length=-5), ProtocolBreachError),
    "100 MB without a length": (flood(b"HTTP/1.1 200 OK\r\n\r\n"), ProtocolBreachError),
    "100 MB of error": (flood(b"HTTP/1.1 500 OK\r\n\r\n"), NotTacitaError),
    "100 MB in chunks": (
        flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
        ProtocolBreachError,
    ),
    "headers without end": (flood(b"HTTP/1.1 200 OK\r\nX: "), NetworkError),
    "truncated": (reply(info_of(), length=5000), ConnectionLostError),
    "slow body": (trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"), ServerTimeoutError),
    "slow headers": (trickle(b"HTTP/1.1 200 OK\r\nX: "), ServerTimeoutError),
    "endless hundreds": (flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), NetworkError),
}


@pytest.mark.parametrize(("script", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_servers_end_in_a_clear_error(
    script: Script, expected: type[NetworkError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    timeouts = QUICK if expected is ServerTimeoutError else PATIENT
    tracemalloc.start()
    try:
        with (
            scripted_server(script) as url,
            ServerConnection(url, token=TOKEN, timeouts=timeouts) as connection,
            pytest.raises(expected) as raised,
        ):
            connection.info()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000
    assert raised.value.next_step
    assert TOKEN not in str(raised.value) + caplog.text


def test_a_redirect_is_not_followed_and_the_token_stays_here() -> None:
    asked: list[bytes] = []

    def other(connection: socket.socket, head: bytes) -> None:
        asked.append(head)

    with scripted_server(other) as elsewhere:
        script = reply(b"", f"Location: {elsewhere}/v1/info", status="307 Temporary Redirect")
        with (
            scripted_server(script) as url,
            ServerConnection(url, token=TOKEN, timeouts=PATIENT) as connection,
            pytest.raises(NotTacitaError, match="another address"),
        ):
            connection.info()
    assert asked == []


def test_cookies_and_compression_are_not_offered() -> None:
    heads: list[bytes] = []

    def script(connection: socket.socket, head: bytes) -> None:
        heads.append(head.lower())
        reply(info_of(), "Set-Cookie: id=1", "Connection: close")(connection, head)

    with scripted_server(script) as url, ServerConnection(url, timeouts=PATIENT) as connection:
        connection.info()
        connection.info()
    assert len(heads) == 2
    assert all(b"cookie" not in head for head in heads)
    assert all(b"accept-encoding: identity" in head for head in heads)
    assert all(b"user-agent: tacita\r\n" in head and b"authorization" not in head for head in heads)


def test_a_netrc_does_not_replace_the_token(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with ServerConnection(server.url, token=TOKEN, timeouts=PATIENT) as connection:
        assert connection.info().models


def test_a_proxy_is_not_asked_for_this_computer(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ServerConnection(server.url, token=TOKEN, timeouts=PATIENT) as connection:
        assert connection.info().models


def test_a_proxy_is_asked_for_other_computers(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    def script(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        reply(b"", status="403 Forbidden")(connection, head)

    with scripted_server(script) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with (
            ServerConnection("https://tacita.example", token=TOKEN, timeouts=PATIENT) as connection,
            pytest.raises(NetworkError),
        ):
            connection.info()
    assert heads
    assert all(head.startswith(b"CONNECT tacita.example:443 ") for head in heads)
    assert all(TOKEN.encode() not in head for head in heads)


def test_busy_is_waited_for_and_retry_after_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        "fhe_client.network.retries.pause", lambda seconds, stop: waits.append(seconds)
    )
    answers = iter(
        [
            reply(b"{}", "Retry-After: 7", "Connection: close", status="429 Slow down"),
            reply(b"{}", "Retry-After: 9999", "Connection: close", status="503 Busy"),
            reply(b"{}", "Retry-After: soon", "Connection: close", status="503 Busy"),
            reply(info_of(), "Connection: close"),
        ]
    )

    def script(connection: socket.socket, head: bytes) -> None:
        next(answers)(connection, head)

    timeouts = Timeouts(connect=20, control=60, stall=60, tries=4, first_wait=0.5)
    with scripted_server(script) as url, ServerConnection(url, timeouts=timeouts) as connection:
        assert connection.info().models == ()
    assert waits == [7.0, 30.0, 2.0]


def test_busy_without_end_is_an_error() -> None:
    script = reply(b"{}", "Connection: close", status="503 Busy")
    with (
        scripted_server(script) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
        pytest.raises(BusyError),
    ):
        connection.info()


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses for as long as it is held
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with ServerConnection(url, timeouts=PATIENT) as connection, pytest.raises(RefusedError):
            connection.info()


def test_a_name_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with (
        ServerConnection("https://nowhere.invalid", timeouts=PATIENT) as connection,
        pytest.raises(NameNotFoundError),
    ):
        connection.info()


def test_another_protocol_version() -> None:
    with (
        scripted_server(reply(info_of(protocol_version=2))) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
        pytest.raises(WrongVersionError, match="2"),
    ):
        check_info(connection.info(), None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 99}, WrongVersionError),
        ({"format": "other"}, ProtocolBreachError),
        ({"hints": []}, ProtocolBreachError),
        ({"extra": 1}, ProtocolBreachError),
    ],
)
def test_manifests_that_are_not_usable(
    manifest: Manifest, change: dict[str, object], expected: type[NetworkError]
) -> None:
    body = canonical_json({**manifest.document, **change})
    with (
        scripted_server(reply(body)) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
        pytest.raises(expected),
    ):
        connection.manifest("tiny")


def test_the_manifest_of_another_model(manifest: Manifest) -> None:
    with (
        scripted_server(reply(manifest.to_bytes())) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
        pytest.raises(ProtocolBreachError, match="another model"),
    ):
        connection.manifest("other")


def test_a_server_that_knows_no_ranges(manifest: Manifest) -> None:
    hints = bytes(manifest.hint_bytes - 3) + b"end"
    with (
        scripted_server(reply(hints, f'ETag: "{manifest.digest}"')) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
    ):
        assert b"".join(connection.hint_stream(manifest, manifest.hint_bytes - 10)) == hints[-10:]


def test_another_range_than_asked_for(manifest: Manifest) -> None:
    size = manifest.hint_bytes
    headers = (f'ETag: "{manifest.digest}"', f"Content-Range: bytes 0-{size - 1}/{size}")
    with (
        scripted_server(reply(b"x", *headers, status="206 Partial Content")) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
        pytest.raises(ProtocolBreachError),
    ):
        list(connection.hint_stream(manifest, 10))


def test_stop_ends_a_silent_wait() -> None:
    with (
        scripted_server(stall) as url,
        ServerConnection(url, timeouts=PATIENT) as connection,
    ):
        asked = iter([False] * 4)
        connection.should_stop = lambda: next(asked, True)
        with pytest.raises(StoppedError):
            connection.info()


def test_retries_end_and_only_repeat_what_may_be_repeated() -> None:
    calls: list[int] = []

    def lost() -> None:
        calls.append(1)
        raise ConnectionLostError("lost")

    def refused() -> None:
        calls.append(1)
        raise UnauthorisedError("no")

    with pytest.raises(ConnectionLostError):
        with_retries(lost, Timeouts(tries=3, first_wait=0))
    assert len(calls) == 3
    with pytest.raises(UnauthorisedError):
        with_retries(refused, Timeouts(tries=3, first_wait=0))
    assert len(calls) == 4


def test_a_pause_can_be_stopped() -> None:
    with pytest.raises(StoppedError):
        pause(3600, lambda: True)
