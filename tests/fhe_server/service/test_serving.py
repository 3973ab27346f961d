"""Running the service on a real loopback socket: limits that only the web server can keep."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import websocket

from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import MAX_ROWS, FrameHeader, answer_size, max_query_size, pack_query
from fhe_server.errors import ArtefactError, ServerError
from fhe_server.service.app import ServedModel, create_app
from fhe_server.service.config import Settings
from fhe_server.service.housekeeping import open_models
from fhe_server.service.serving import ServeOptions, make_app, serve, uvicorn_config
from tests.servers import make_artefact, running_server
from tests.tiny_world import wait_until

PATIENCE_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> ServedModel:
    return open_models(folder.parent, [], "cpu")["tiny"]


@contextmanager
def connected(url: str, manifest: Manifest) -> Iterator[websocket.WebSocket]:
    address = url.replace("http", "ws") + f"/v1/models/tiny/rounds?digest={manifest.digest}"
    link = websocket.create_connection(address, timeout=PATIENCE_S)
    try:
        yield link
    finally:
        link.shutdown()  # `close` leaves the socket open once the server has closed


def test_models_are_loaded_by_folder_name(folder: Path, model: ServedModel) -> None:
    assert list(open_models(folder.parent, ["tiny"], "cpu")) == ["tiny"]
    assert model.manifest.name == "tiny"


def test_nothing_to_serve_says_what_to_do(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArtefactError, match="tacita-server pull"):
        open_models(tmp_path, [], "cpu")
    with pytest.raises(ArtefactError, match="no readable model"):
        open_models(folder.parent, ["tiny", "other"], "cpu")


def test_the_server_neither_logs_addresses_nor_compresses(model: ServedModel) -> None:
    """Compressed ciphertext would cost time and gain nothing; an access log would hold addresses."""
    config = uvicorn_config(create_app({"tiny": model}))
    assert config.access_log is False
    assert config.ws_per_message_deflate is False
    assert config.ws_max_size == max_query_size(model.manifest)


def test_a_message_beyond_the_largest_query_ends_the_connection(
    folder: Path, model: ServedModel
) -> None:
    with running_server(folder) as server:
        with connected(server.url, model.manifest) as link:
            link.send_binary(bytes(model.max_query_size + 1))
            opcode, data = link.recv_data()
            assert opcode == websocket.ABNF.OPCODE_CLOSE
            assert struct.unpack(">H", data[:2])[0] == 1009
        with connected(server.url, model.manifest) as link:  # and the server goes on
            group = model.manifest.groups[0]
            planes = [np.zeros((3, 1, p.inputs), dtype=np.int8) for p in group.parts]
            link.send_binary(pack_query(FrameHeader(1, 0, 1), planes))
            assert len(link.recv()) == answer_size(group, 1)
        assert server.counters.rounds == 1


def test_a_larger_model_that_comes_later_may_be_asked(folder: Path, model: ServedModel) -> None:
    """The limit of messages is that of the models that are served now."""
    group, rows = model.manifest.groups[2], MAX_ROWS
    with running_server(folder) as server:
        shelf = server.app.state.service.shelf
        small = ServedModel(model.artefact)
        small.max_query_size = 1000
        shelf.replace({"tiny": small})
        frame = pack_query(FrameHeader(1, 2, rows), [np.zeros((3, rows, 64), dtype=np.int8)])

        def answered() -> bool:
            with connected(server.url, model.manifest) as link:
                link.send_binary(frame)
                opcode, data = link.recv_data()
                assert opcode == websocket.ABNF.OPCODE_CLOSE or len(data) == answer_size(
                    group, rows
                )
                return opcode == websocket.ABNF.OPCODE_BINARY

        wait_until(lambda: not answered(), "a smaller limit does not hold")
        shelf.replace({"tiny": model})
        wait_until(answered, "a larger limit does not hold")


def test_the_settings_are_read_again(folder: Path) -> None:
    fresh = Settings(max_connections=3, connections_per_token=2, max_waiting=7)
    app = make_app(ServeOptions(folder.parent, glwe=False, reread=lambda: fresh))
    state = app.state.service
    app.state.housekeeper.reload(state)
    assert (state.limits.max_connections, state.limits.connections_per_token) == (3, 2)
    assert state.batcher.limits.max_waiting == 7


def test_a_client_that_floods_without_reading_is_answered_in_order(
    folder: Path, model: ServedModel
) -> None:
    group = model.manifest.groups[2]
    frames = [
        pack_query(FrameHeader(i, 2, 1), [np.full((3, 1, 64), i, dtype=np.int8)]) for i in range(40)
    ]
    with running_server(folder) as server, connected(server.url, model.manifest) as link:
        for frame in frames:
            link.send_binary(frame)
        answers = [link.recv() for _ in frames]
    assert [struct.unpack_from("<I", a, 4)[0] for a in answers] == list(range(40))
    assert {len(a) for a in answers} == {answer_size(group, 1)}


def test_an_address_in_use_is_said(folder: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match="Choose another --host or --port"):
            serve(ServeOptions(folder.parent, port=port))
    with pytest.raises(ServerError, match="Cannot listen"):
        serve(ServeOptions(folder.parent, port=70_000))


SERVE = """
import sys
from pathlib import Path
from fhe_server.service.serving import ServeOptions, serve
models, port_file = map(Path, sys.argv[1:])
serve(ServeOptions(models, port=0, port_file=port_file, exit_with_stdin=True))
"""


def test_a_server_ends_when_its_parent_does(folder: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(folder, models / "tiny")
    port_file = tmp_path / "port.json"
    command = [sys.executable, "-c", SERVE, str(models), str(port_file)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        assert "Serving tiny on http://127.0.0.1:" in line, line + process.stdout.read()
        written = json.loads(port_file.read_text())
        assert written["pid"] == process.pid
        assert line.strip().endswith(f":{written['port']}")
        assert set(os.listdir(tmp_path)) == {"models", "port.json"}
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()
