"""Servers for tests of the client: the real app on a loopback port, a proxy that counts, sockets that misbehave."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette

from fhe_protocol.manifest import Manifest, canonical_json, parse_manifest
from fhe_server.artefact import Artefact
from fhe_server.imports.hints import write_hints
from fhe_server.service.app import ServedModel, ServerCounters, create_app
from fhe_server.service.serving import DrainingServer, uvicorn_config

LOOPBACK = IPv4Address("127.0.0.1")


def make_artefact(folder: Path, name: str = "tiny", seed: int = 1) -> Manifest:
    """Write a whole artefact folder, hints included, of three small random groups. Needs no torch."""
    rng = np.random.default_rng(seed)
    client = folder / "client"
    client.mkdir(parents=True)
    (client / "config.json").write_text(json.dumps({"seed": seed}))
    (client / "client.safetensors").write_bytes(rng.bytes(3000))
    groups, blobs = [], []
    for index, (outputs, cuts) in enumerate(((40, (0, 24)), (64, (0, 10, 24)), (24, (0, 64)))):
        weights = rng.integers(-127, 128, size=(outputs, cuts[-1])).astype(np.int8)
        parts = []
        for start, stop in pairwise(cuts):
            piece = np.ascontiguousarray(weights[:, start:stop])
            wide = piece.astype(np.int64)
            blobs.append(piece)
            parts.append(
                {
                    "start": start,
                    "stop": stop,
                    "w_norm": float(np.sqrt((wide**2).sum(1).max())),
                    "peak": int(np.abs(wide).max()),
                    "weights_sha256": hashlib.sha256(piece.tobytes()).hexdigest(),
                }
            )
        groups.append(
            {
                "name": f"g{index}",
                "kind": "linear",
                "inputs": cuts[-1],
                "outputs": outputs,
                "members": [{"module": f"m{index}", "outputs": outputs}],
                "parts": parts,
            }
        )
    (folder / "weights.bin").write_bytes(b"".join(b.tobytes() for b in blobs))
    document = _document(name, groups, client, len(blobs))
    digests = write_hints(
        parse_manifest(canonical_json(document)),
        lambda k: blobs[k],
        folder / "hints.bin",
        lambda done, total: None,
    )
    document["hints"] = digests
    (folder / "manifest.json").write_bytes(canonical_json(document))
    return parse_manifest(canonical_json(document))


def _document(name: str, groups: list[object], client: Path, parts: int) -> dict[str, object]:
    files = [
        {
            "path": p.name,
            "size": p.stat().st_size,
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in sorted(client.iterdir())
    ]
    model = {
        "name": name,
        "parameters": "hint-1024-24",
        "architecture": "Tiny",
        "model_type": "tiny",
        "context_length": 64,
        "vocabulary": 64,
        "groups": groups,
        "files": files,
    }
    return {"format": "tacita-manifest", "version": 1, "model": model, "hints": ["0" * 64] * parts}


@dataclass
class RunningServer:
    """A server in a thread of this process.

    Attributes:
        counters: the server's own count of rounds and payload bytes.
        end: asks it to end, as SIGTERM does; the block waits for it.
    """

    url: str
    port: int
    app: Starlette
    end: Callable[[], None] = lambda: None

    @property
    def counters(self) -> ServerCounters:
        counters: ServerCounters = self.app.state.service.counters
        return counters


@contextmanager
def running_app(
    app: Starlette, port: int = 0, certificate: Path | None = None, drain_s: int = 1
) -> Iterator[RunningServer]:
    """Run an ASGI app on a loopback port with the configuration of `tacita-server serve`.

    Args:
        certificate: a PEM file with key and certificate, for TLS.
    """
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.listen(64)  # from here on a client can connect, however late the thread starts
        config = uvicorn_config(app)
        config.timeout_graceful_shutdown = drain_s
        config.ssl_certfile = certificate
        server = DrainingServer(config, app)

        def end() -> None:
            server.should_exit = True

        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        number = bound.getsockname()[1]
        try:
            scheme = "http" if certificate is None else "https"
            yield RunningServer(f"{scheme}://127.0.0.1:{number}", number, app, end)
        finally:
            end()
            thread.join(30)
            assert not thread.is_alive(), "the server did not stop"


@contextmanager
def running_server(
    *folders: Path,
    token_hashes: frozenset[str] = frozenset(),
    port: int = 0,
    certificate: Path | None = None,
) -> Iterator[RunningServer]:
    """The real service over artefact folders, on a real loopback port."""
    models = {m.manifest.name: m for m in (ServedModel(Artefact(f)) for f in folders)}
    with running_app(create_app(models, token_hashes), port, certificate) as server:
        yield server


def self_signed(folder: Path) -> tuple[Path, str]:
    """A fresh self-signed certificate for 127.0.0.1: a PEM file (key and certificate) and its SHA-256 fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return path, certificate.fingerprint(hashes.SHA256()).hex()


class CountingProxy:
    """A TCP proxy that counts payload bytes each way, can keep a copy, and can cut connections.

    Attributes:
        up, down: bytes from and to the client.
        connections: accepted so far.
        sent: what clients sent, if `keep`.
    """

    def __init__(self, port: int, keep: bool = False) -> None:
        self._target = port
        self._keep = keep
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.up = self.down = self.connections = 0
        self.sent = bytearray()
        self.cut_after_up: int | None = None
        """Cut everything once, when this many bytes went up."""
        self.cut_after_down: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _shut(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._pairs.append((client, server))
            for source, sink, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if self._note(data, up):
                    self.cut()
                    return
                sink.sendall(data)
        except OSError:
            pass
        finally:
            _shut(sink)

    def _note(self, data: bytes, up: bool) -> bool:
        """Count before passing on, so that no byte arrives uncounted; says whether it is time to cut."""
        with self._lock:
            if up:
                self.up += len(data)
                if self._keep:
                    self.sent += data
                if self.cut_after_up is not None and self.up >= self.cut_after_up:
                    self.cut_after_up = None
                    return True
            else:
                self.down += len(data)
                if self.cut_after_down is not None and self.down >= self.cut_after_down:
                    self.cut_after_down = None
                    return True
        return False


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        end.close()


@contextmanager
def scripted_server(script: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A server that reads each request's head and leaves the rest to `script(connection, head)`; gives its URL.

    A connection is closed when the script returns; what a client does to it meanwhile (hanging up) is no error.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(4096)
                    if not data:
                        return
                    head += data
                script(connection, head)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Closing alone does not wake a thread in accept().
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def reply(
    body: bytes, *headers: str, status: str = "200 OK", length: int | None = None
) -> Callable[[socket.socket, bytes], None]:
    """A script that answers everything with this body."""
    size = len(body) if length is None else length
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""))

    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head.encode() + body)

    return script


class InProcessChannel:
    """A RoundChannel without a network: the real service's own answer to a frame.

    Attributes:
        frames: every frame that was sent, in order.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self.should_stop: Callable[[], bool] = lambda: False
        self.on_reconnect: Callable[[object], None] | None = None
        self.frames: list[bytes] = []

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        self.frames.append(frame)
        answer = self._model.answer(frame)
        assert len(answer) == answer_size
        return answer

    def close(self) -> None:
        """Nothing to close."""
