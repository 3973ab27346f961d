"""Every parser of bytes that somebody else wrote, with good input to spoil and the errors that it may answer with."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fhe_client.api.errors import ApiError
from fhe_client.api.requests import parse_request
from fhe_client.engine_protocol import parse_command
from fhe_client.errors import TacitaError
from fhe_client.history import History
from fhe_client.history.errors import HistoryError
from fhe_client.history.transfer import FORMAT, FORMAT_VERSION, import_json
from fhe_client.keys.passphrase import from_text, to_text
from fhe_client.keys.sealed import parse_header, seal
from fhe_client.network.catalogue import parse_info
from fhe_client.network.meter import TrafficMeter
from fhe_client.network.origin import parse_origin
from fhe_client.network.watched_socket import Watch, WatchedSocket
from fhe_client.network.websocket_frames import WebSocketConnection, error_of_text
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import parse_messages
from fhe_protocol import glwe, wire
from fhe_protocol.errors import ProtocolError
from fhe_protocol.manifest import parse_manifest
from fhe_protocol.wire import HEADER, FrameHeader
from tests.security.world import World, key

ALLOWED = (ProtocolError, TacitaError, HistoryError, ApiError)
"""What a parser may raise. Anything else is a finding."""
_ANSWER = 40
_of_matrix, _of_result = glwe._matrix_structure, glwe._result_structure


@dataclass(frozen=True)
class Parser:
    """One parser.

    Attributes:
        good: an input that it accepts.
        weight: how often a campaign asks it, relative to the others.
    """

    name: str
    parse: Callable[[bytes], object]
    good: bytes
    weight: int = 1


def parsers(world: World) -> dict[str, Parser]:
    """All of them, by name."""
    group = world.manifest.groups[1]
    header = FrameHeader(7, 1, 2)
    found = [*_protocol(world, header), *_network(), *_files()]
    assert group.index == header.group
    return {one.name: one for one in found}


def _protocol(world: World, header: FrameHeader) -> list[Parser]:
    manifest = world.manifest
    group = manifest.groups[header.group]

    def frame(magic: bytes, size: int) -> bytes:
        return HEADER.pack(magic, 1, 0, 7, header.group, header.rows) + bytes(
            max(0, size - HEADER.size)
        )

    return [
        Parser(
            "query",
            lambda data: wire.parse_query(data, manifest),
            frame(b"TQ", wire.query_size(group, 2)),
            3,
        ),
        Parser(
            "answer",
            lambda data: wire.parse_answer(data, group, header),
            frame(b"TA", wire.answer_size(group, 2)),
            3,
        ),
        Parser("manifest", parse_manifest, manifest.to_bytes()),
        Parser(
            "glwe query",
            lambda data: glwe.parse_query(data, manifest),
            frame(b"GQ", 0)
            + _words(glwe.matrix_size(2, group.inputs), _of_matrix(2, group.inputs)),
        ),
        Parser(
            "glwe answer",
            lambda data: glwe.parse_answer(data, group, header),
            frame(b"GA", 0)
            + _words(glwe.result_size(2, group.outputs), _of_result(2, group.outputs)),
        ),
    ]


def _words(size: int, structure: tuple[NDArray[np.int64], NDArray[np.uint64]]) -> bytes:
    """The native library's message that holds nothing but what its shape says."""
    words = np.zeros(size // 8, dtype="<u8")
    positions, due = structure
    words[positions] = due
    return words.tobytes()


def _network() -> list[Parser]:
    info = {"software": "tacita", "protocol_version": 1, "version": "1", "schemes": ["hint"]}
    model = {"name": "a", "digest": "0" * 64, "hint_bytes": 1, "rounds_per_token": 1}
    model |= {"query_bytes_per_token": 1, "answer_bytes_per_token": 1}
    answer = b"\x82" + bytes([_ANSWER]) + bytes(_ANSWER)
    return [
        Parser("server info", parse_info, json.dumps({**info, "models": [model]}).encode()),
        Parser(
            "websocket",
            _receive,
            b"\x89\x02hi" + answer,
        ),
        Parser("error text", error_of_text, b'{"error":{"code":"busy","message":"wait"}}'),
        Parser(
            "address", lambda data: parse_origin(data.decode("latin-1")), b"https://a.example:8/x"
        ),
    ]


def _receive(data: bytes) -> object:
    """The answer in these bytes, over a real socket that ends behind them."""
    ours, theirs = socket.socketpair()
    watch = Watch()
    watch.start(60)
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        sock = WatchedSocket(ours, TrafficMeter(), "rounds", watch)
        return bytes(WebSocketConnection(sock).receive(_ANSWER))


def _files() -> list[Parser]:
    command = {"id": 1, "cmd": "ask", "messages": [{"role": "user", "content": "x"}]}
    message = {"id": 1, "parent": None, "role": "user", "text": "x", "state": "complete"}
    chat = {"title": "t", "created": 1.0, "leaf": 1, "messages": [{**message, "stats": {}}]}
    export = {"format": FORMAT, "version": FORMAT_VERSION, "chats": [chat]}
    with key() as master:
        sealed = seal(master, "test", b"precious")
    return [
        Parser("sealed header", parse_header, sealed),
        Parser("recovery text", from_text, to_text(b"box" * 30).encode()),
        Parser("engine command", _command, json.dumps(command).encode()),
        Parser("api request", _api_request, json.dumps(_API_REQUEST).encode()),
        Parser("chat export", _import, json.dumps(export).encode()),
    ]


def _command(data: bytes) -> object:
    return parse_messages(parse_command(data).fields.get("messages"))


def _import(data: bytes) -> object:
    history = History(None)
    try:
        return import_json(history, data.decode("utf-8", "surrogateescape"))
    finally:
        history.close()


_API_REQUEST = {
    "model": "tiny",
    "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ],
    "temperature": 0.5,
    "max_tokens": 9,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
}


def _api_request(data: bytes) -> object:
    return parse_request(data, GenerationOptions())
