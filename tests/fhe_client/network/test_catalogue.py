"""What a server offers, and the small files of a model, each checked whenever they are asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_client.network.catalogue import ClientFiles, parse_info
from fhe_client.network.errors import (
    NotTacitaError,
    ProtocolBreachError,
    StoppedError,
    StorageError,
)
from fhe_client.network.retries import Timeouts
from fhe_client.network.transport import ServerConnection
from fhe_protocol.manifest import Manifest
from tests.servers import RunningServer, running_server

PATIENT = Timeouts(connect=30, control=60, stall=60, tries=2, first_wait=0.01)
MODEL = {
    "name": "a",
    "digest": "0" * 64,
    "hint_bytes": 1,
    "rounds_per_token": 2,
    "query_bytes_per_token": 1_000_000,
    "answer_bytes_per_token": 500_000,
}
INFO = {
    "software": "tacita",
    "protocol_version": 1,
    "version": "0.1",
    "schemes": ["hint"],
    "models": [MODEL],
}


@pytest.fixture
def connection(server: RunningServer) -> Iterator[ServerConnection]:
    with ServerConnection(server.url, timeouts=PATIENT) as opened:
        yield opened


def downloaded(connection: ServerConnection) -> int:
    return connection.meter.snapshot().of("files")[1]


def test_info_is_parsed() -> None:
    info = parse_info(json.dumps(INFO).encode())
    assert (info.protocol_version, info.version, info.schemes) == (1, "0.1", ("hint",))
    assert info.models[0].mb_per_token == 1.5


@pytest.mark.parametrize(
    "change",
    [
        {"software": "nginx"},
        {"protocol_version": "1"},
        {"protocol_version": True},
        {"models": {}},
        {"models": [MODEL] * 1001},
        {"models": [{**MODEL, "name": "../x"}]},
        {"models": [{**MODEL, "name": 5}]},
        {"models": [{**MODEL, "digest": "0" * 63}]},
        {"models": [{**MODEL, "hint_bytes": -1}]},
        {"models": [{**MODEL, "hint_bytes": 1e9}]},
        {"models": [{**MODEL, "hint_bytes": 1 << 60}]},
        {"schemes": 7},
        {"unavailable_schemes": ["glwe"]},
        {"unavailable_schemes": {str(k): "" for k in range(30)}},
    ],
)
def test_info_that_is_not_usable(change: dict[str, object]) -> None:
    with pytest.raises(NotTacitaError):
        parse_info(json.dumps(INFO | change).encode())


def test_control_characters_of_a_server_are_not_shown() -> None:
    info = parse_info(json.dumps(INFO | {"version": "\x1b[2J\n" + "v" * 500}).encode())
    assert info.version.isprintable()
    assert len(info.version) <= 40
    info = parse_info(json.dumps(INFO | {"unavailable_schemes": {"glwe": "\x1b" * 900}}).encode())
    assert info.unavailable["glwe"].isprintable()
    assert len(info.unavailable["glwe"]) <= 200


@given(st.binary(max_size=200))
def test_any_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(NotTacitaError):
        parse_info(data)


def test_files_are_downloaded_once(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection, artefact: Path
) -> None:
    files = ClientFiles(tmp_path)
    seen: list[tuple[int, int]] = []
    folder = files.ensure(manifest, connection, lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "models" / manifest.model_digest.hex() / "client"
    assert sorted(p.name for p in folder.iterdir()) == [e.path for e in manifest.files]
    for entry in manifest.files:
        assert (folder / entry.path).read_bytes() == (artefact / "client" / entry.path).read_bytes()
    assert seen[-1] == (files.size(), files.size())
    once = downloaded(connection)
    files.ensure(manifest, connection)
    assert downloaded(connection) == once


@pytest.mark.parametrize("damage", ["bit", "short", "gone", "link"])
def test_damaged_files_are_downloaded_again(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection, damage: str
) -> None:
    path = ClientFiles(tmp_path).ensure(manifest, connection) / "client.safetensors"
    good = path.read_bytes()
    if damage == "bit":
        path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    elif damage == "short":
        path.write_bytes(good[:-1])
    else:
        path.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(good)
        path.symlink_to(tmp_path / "elsewhere")
    ClientFiles(tmp_path).ensure(manifest, connection)
    assert path.read_bytes() == good
    assert not path.is_symlink()


@pytest.mark.parametrize("change", [b"", b"x" * 3000, b"x" * 9000])
def test_files_that_the_manifest_does_not_name_are_refused(
    tmp_path: Path, artefact: Path, manifest: Manifest, change: bytes
) -> None:
    shutil.copytree(artefact, tmp_path / "served")
    with running_server(tmp_path / "served") as server:
        (tmp_path / "served" / "client" / "client.safetensors").write_bytes(change)
        with (
            ServerConnection(server.url, timeouts=PATIENT) as connection,
            pytest.raises(ProtocolBreachError),
        ):
            ClientFiles(tmp_path / "cache").ensure(manifest, connection)
    folder = ClientFiles(tmp_path / "cache").folder(manifest)
    assert not (folder / "client.safetensors").exists()
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_full_disk_is_noticed_first(
    tmp_path: Path,
    manifest: Manifest,
    connection: ServerConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="Not enough space"):
        ClientFiles(tmp_path).ensure(manifest, connection)


def test_stop(tmp_path: Path, manifest: Manifest, connection: ServerConnection) -> None:
    with pytest.raises(StoppedError):
        ClientFiles(tmp_path).ensure(manifest, connection, should_stop=lambda: True)
