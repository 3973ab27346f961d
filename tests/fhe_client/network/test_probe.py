"""*Test connection*: each outcome of the list, and an answer in time whatever hangs."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fhe_client.network import probe
from fhe_client.network.probe import OUTCOMES, ConnectionReport
from fhe_server.service.app import create_app, hash_token
from tests.servers import (
    RunningServer,
    make_artefact,
    reply,
    running_app,
    running_server,
    scripted_server,
    self_signed,
)

TOKEN = "canary-token-0815"
PATIENT = 120.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine may take longer than a user would wait."""
    monkeypatch.setattr(probe, "_TIMEOUTS", probe.Timeouts(connect=60, control=60, tries=1))


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact") / "tiny"
    make_artefact(folder)
    return folder


@pytest.fixture(scope="module")
def server(artefact: Path) -> Iterator[RunningServer]:
    with running_server(artefact, token_hashes=frozenset({hash_token(TOKEN)})) as running:
        yield running


def look(url: str, token: str | None = None, model: str | None = None) -> ConnectionReport:
    report = probe.test_connection(url, token, model, limit=PATIENT)
    assert report.outcome in OUTCOMES
    assert report.message
    assert TOKEN not in report.message
    return report


@pytest.mark.parametrize("model", [None, "tiny"])
def test_ok_has_times_and_sizes(server: RunningServer, model: str | None) -> None:
    report = look(server.url, TOKEN, model)
    assert report.outcome == "ok"
    assert report.rtt_ms is not None
    assert report.rtt_ms > 0
    assert [m.name for m in report.models] == ["tiny"]
    assert report.mb_per_token == pytest.approx(0.00072)
    assert report.seconds_per_token is not None
    assert report.seconds_per_token > 3 * 0.0005


def test_a_server_without_models() -> None:
    with running_app(create_app({})) as server:
        report = look(server.url)
    assert (report.outcome, report.models, report.seconds_per_token) == ("ok", (), None)


def test_unauthorised_and_no_such_model(server: RunningServer) -> None:
    assert look(server.url, "wrong").outcome == "unauthorised"
    report = look(server.url, TOKEN, "other")
    assert report.outcome == "no_such_model"
    assert [m.name for m in report.models] == ["tiny"]


def test_addresses_that_cannot_be_used() -> None:
    assert look("http://example.org").outcome == "tls"
    assert look("https://user:secret@example.org").outcome == "name_not_found"
    assert look("nonsense").outcome == "name_not_found"


def test_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert look(f"http://127.0.0.1:{taken.getsockname()[1]}").outcome == "refused"


def test_name_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert look("https://nowhere.invalid").outcome == "name_not_found"


def test_tls(tmp_path: Path, artefact: Path) -> None:
    certificate, fingerprint = self_signed(tmp_path)
    with running_server(artefact, certificate=certificate) as server:
        refused = look(server.url)
        assert (refused.outcome, refused.certificate_sha256) == ("tls", fingerprint)
        other = probe.test_connection(server.url, pinned_certificate="0" * 64, limit=PATIENT)
        assert (other.outcome, other.certificate_sha256) == ("tls", fingerprint)
        trusted = probe.test_connection(server.url, pinned_certificate=fingerprint, limit=PATIENT)
        assert (trusted.outcome, trusted.certificate_sha256) == ("ok", None)


def test_looking_at_a_certificate_tells_its_owner_nothing(tmp_path: Path) -> None:
    """Whoever answers sees a handshake that ends: no request, no token."""
    certificate, fingerprint = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        for _ in range(2):  # the refused connection, then the look
            raw, _ = listener.accept()
            with raw, suppress(OSError), context.wrap_socket(raw, server_side=True) as connection:
                heard.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,), daemon=True)
        thread.start()
        report = look(f"https://127.0.0.1:{listener.getsockname()[1]}", TOKEN)
        thread.join(PATIENT)
    assert report.certificate_sha256 == fingerprint
    assert b"".join(heard) == b""


def test_a_certificate_that_cannot_be_had_is_none() -> None:
    """TLS fails because what answers does not speak it."""

    def answer_in_the_clear() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_in_the_clear, daemon=True)
        thread.start()
        report = look(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join(timeout=30)
    assert report.outcome == "tls"
    assert report.certificate_sha256 is None


def test_not_tacita_and_wrong_version() -> None:
    with scripted_server(reply(b"<html>")) as url:
        assert look(url).outcome == "not_tacita"
    info = {
        "software": "tacita",
        "protocol_version": 9,
        "version": "9",
        "schemes": [],
        "models": [],
    }
    with scripted_server(reply(json.dumps(info).encode())) as url:
        assert look(url).outcome == "wrong_version"


def test_a_name_server_that_hangs_does_not_hang_us(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> None:
        release.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    report = probe.test_connection("https://slow.invalid", limit=0.3)
    assert report.outcome == "timeout"
    assert time.monotonic() - started < 50
    release.set()


def test_the_limits_leave_room_below_five_seconds() -> None:
    assert probe.LIMIT < 5
