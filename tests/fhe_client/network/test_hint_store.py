"""Hints on disk: downloaded once, resumed, checked part by part, and never trusted."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fhe_client.network.disk import cache_lock
from fhe_client.network.errors import (
    NetworkError,
    OtherModelError,
    ProtocolBreachError,
    StoppedError,
    StorageError,
)
from fhe_client.network.hint_store import HintFile, HintsDamagedError, HintStore
from fhe_client.network.retries import Timeouts
from fhe_client.network.transport import ServerConnection
from fhe_protocol.manifest import Manifest
from fhe_server.artefact import Artefact
from tests.servers import CountingProxy, RunningServer, make_artefact, running_server

PATIENT = Timeouts(connect=30, control=60, stall=60, tries=3, first_wait=0.01)


@pytest.fixture
def connection(server: RunningServer) -> Iterator[ServerConnection]:
    with ServerConnection(server.url, timeouts=PATIENT) as opened:
        yield opened


@pytest.fixture
def damaged_server(artefact: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """The same manifest over hints of which the third part has one bit flipped."""
    folder = tmp_path / "damaged"
    shutil.copytree(artefact, folder)
    offset = Artefact(artefact).manifest.hint_offsets[2] + 11
    with (folder / "hints.bin").open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    with running_server(folder) as running:
        yield running


def downloaded(connection: ServerConnection) -> int:
    return connection.meter.snapshot().of("hints")[1]


def kept_bytes(manifest: Manifest) -> int:
    return manifest.hint_bytes + len(manifest.to_bytes())


def test_download_once_and_read(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection, artefact: Path
) -> None:
    store = HintStore(tmp_path)
    assert store.missing_bytes(manifest) == manifest.hint_bytes
    seen: list[tuple[int, int]] = []
    hints = store.ensure(manifest, connection, lambda done, total: seen.append((done, total)))
    raw = np.frombuffer((artefact / "hints.bin").read_bytes(), "<u2")
    for index, (group, _) in enumerate(manifest.parts):
        found = hints.read(index)
        start, stop = (o // 2 for o in manifest.hint_offsets[index : index + 2])
        assert found.shape == (group.outputs, 1024)
        assert found.dtype == np.uint16
        assert np.array_equal(found.ravel(), raw[start:stop])
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert seen[-1] == (manifest.hint_bytes, manifest.hint_bytes)
    once = downloaded(connection)
    assert store.missing_bytes(manifest) == 0
    assert HintStore(tmp_path).ensure(manifest, connection).read(0).size
    assert downloaded(connection) == once
    assert store.size() == kept_bytes(manifest)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_files_belong_to_their_owner_alone(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    path = HintStore(tmp_path).ensure(manifest, connection).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_stop_keeps_whole_parts_and_a_later_download_resumes(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    store = HintStore(tmp_path)
    reached: list[int] = []
    with pytest.raises(StoppedError):
        store.ensure(
            manifest,
            connection,
            lambda done, total: reached.append(done),
            lambda: bool(reached) and reached[-1] >= manifest.hint_offsets[2],
        )
    kept = manifest.hint_bytes - store.missing_bytes(manifest)
    assert kept > 0
    before = downloaded(connection)
    store.ensure(manifest, connection).read(3)
    assert downloaded(connection) - before < manifest.hint_bytes - manifest.hint_offsets[1] + 2000


def test_a_download_that_breaks_goes_on_by_itself(
    tmp_path: Path, manifest: Manifest, server: RunningServer
) -> None:
    with (
        CountingProxy(server.port) as proxy,
        ServerConnection(proxy.url, timeouts=PATIENT) as connection,
    ):
        proxy.cut_after_down = manifest.hint_offsets[2] + 5000
        hints = HintStore(tmp_path).ensure(manifest, connection)
        assert proxy.connections == 2
    assert [hints.read(i).shape[0] for i in range(4)] == [40, 64, 64, 24]


def test_a_damaged_part_file_is_not_trusted(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection, artefact: Path
) -> None:
    store = HintStore(tmp_path)
    part = store.path(manifest).with_suffix(".part")
    part.parent.mkdir(parents=True)
    raw = bytearray((artefact / "hints.bin").read_bytes())
    raw[manifest.hint_offsets[1] + 1] ^= 0xFF
    part.write_bytes(raw + b"and more than there should be")
    hints = store.ensure(manifest, connection)
    assert hints.path.read_bytes() == (artefact / "hints.bin").read_bytes()
    left = manifest.hint_bytes - manifest.hint_offsets[1]
    assert left <= downloaded(connection) < left + 2000
    assert not part.exists()


def test_hints_that_the_manifest_does_not_name_are_asked_for_twice_and_refused(
    tmp_path: Path, manifest: Manifest, damaged_server: RunningServer
) -> None:
    store = HintStore(tmp_path)
    with ServerConnection(damaged_server.url, timeouts=PATIENT) as connection:
        with pytest.raises(ProtocolBreachError):
            store.ensure(manifest, connection)
        assert not store.has(manifest)
        received = downloaded(connection)
    assert received > manifest.hint_offsets[3] + manifest.hint_bytes // 4
    assert received < 2 * manifest.hint_bytes + 4000


def test_a_part_that_was_damaged_once_is_downloaded_again(
    tmp_path: Path, manifest: Manifest, server: RunningServer, damaged_server: RunningServer
) -> None:
    store = HintStore(tmp_path)
    with (
        CountingProxy(damaged_server.port) as proxy,
        ServerConnection(proxy.url, timeouts=PATIENT) as connection,
    ):
        hints_of = connection.hint_stream
        calls: list[int] = []

        def stream(*arguments: object) -> Iterator[bytes]:
            calls.append(1)
            proxy._target = damaged_server.port if len(calls) == 1 else server.port
            return hints_of(*arguments)  # type: ignore[arg-type]

        connection.hint_stream = stream  # type: ignore[method-assign,assignment]
        store.ensure(manifest, connection)
    assert len(calls) == 2
    digest = hashlib.sha256(store.path(manifest).read_bytes()).hexdigest()
    assert digest == hashlib.sha256(b"".join(_parts(store, manifest))).hexdigest()


def _parts(store: HintStore, manifest: Manifest) -> Iterator[bytes]:
    hints = HintFile(store.path(manifest), manifest)
    for index in range(len(manifest.parts)):
        yield hints.read(index).tobytes()


def test_hints_of_another_manifest(tmp_path: Path, manifest: Manifest) -> None:
    make_artefact(tmp_path / "other", seed=9)
    with (
        running_server(tmp_path / "other") as server,
        ServerConnection(server.url, timeouts=PATIENT) as connection,
        pytest.raises(OtherModelError),
    ):
        HintStore(tmp_path).ensure(manifest, connection)


def test_damage_on_disk_is_found_at_the_first_read_and_repaired(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    store = HintStore(tmp_path)
    path = store.ensure(manifest, connection).path
    raw = bytearray(path.read_bytes())
    raw[manifest.hint_offsets[2] + 1] ^= 4
    path.write_bytes(raw)
    hints = store.ensure(manifest, connection)
    hints.read(0)
    with pytest.raises(HintsDamagedError) as damaged:
        hints.read(2)
    assert "Connect again" in damaged.value.next_step
    with pytest.raises(HintsDamagedError):
        hints.read(0)
    store.ensure(manifest, connection).read(2)


def backdate(path: Path) -> None:
    """As if it had been written a minute ago, whatever the resolution of this disk's clock."""
    then = path.stat().st_mtime_ns - 60 * 10**9
    os.utime(path, ns=(then, then))


def test_untouched_hints_are_checked_at_the_second_read(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    store = HintStore(tmp_path)
    path = store.ensure(manifest, connection).path
    raw = bytearray(path.read_bytes())
    raw[manifest.hint_offsets[2] + 1] ^= 4
    path.write_bytes(raw)  # a bit that fell over, which no clock tells
    backdate(path)
    recalled = store.recall(manifest.digest)
    assert recalled is not None
    for hints in (store.ensure(manifest, connection), recalled[1]):
        for index in range(len(manifest.parts)):
            hints.read(index)
    recalled[1].read(0)
    with pytest.raises(HintsDamagedError):
        recalled[1].read(2)
    path = store.ensure(manifest, connection).path
    backdate(path)
    again = store.ensure(manifest, connection)
    assert np.array_equal(again.read(2), again.read(2))


def test_what_was_served_last_time_is_recalled(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    store = HintStore(tmp_path)
    assert store.recall(manifest.digest) is None
    path = store.ensure(manifest, connection).path
    recalled = store.recall(manifest.digest)
    assert recalled is not None
    assert recalled[0].digest == manifest.digest
    assert recalled[1].path == path
    kept = path.with_suffix(".manifest")
    assert stat.S_IMODE(kept.stat().st_mode) & 0o077 == 0 or os.name == "nt"
    kept.replace(kept.with_stem("1" * 64))
    assert store.recall("1" * 64) is None  # another one's under its name
    store.ensure(manifest, connection)  # as an earlier version left them
    assert store.recall(manifest.digest) is not None
    kept.write_bytes(b"{")
    assert store.recall(manifest.digest) is None
    kept.write_bytes(manifest.to_bytes())
    os.truncate(path, manifest.hint_bytes - 1)
    assert store.recall(manifest.digest) is None


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_the_wrong_size_is_replaced(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection, change: int
) -> None:
    store = HintStore(tmp_path)
    path = store.ensure(manifest, connection).path
    os.truncate(path, manifest.hint_bytes + change)
    assert not store.has(manifest)
    store.ensure(manifest, connection).read(3)


def test_a_full_disk_is_noticed_before_the_download(
    tmp_path: Path,
    manifest: Manifest,
    connection: ServerConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="Not enough space") as full:
        HintStore(tmp_path).ensure(manifest, connection)
    assert "MB" in full.value.message
    assert downloaded(connection) == 0


def test_a_disk_that_fills_up_meanwhile(
    tmp_path: Path,
    manifest: Manifest,
    connection: ServerConnection,
) -> None:
    def full(*_: object) -> Iterator[bytes]:
        yield bytes(100)
        raise OSError(28, "No space left on device")

    connection.hint_stream = full  # type: ignore[method-assign,assignment]
    with pytest.raises(StorageError, match="full"):
        HintStore(tmp_path).ensure(manifest, connection)


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    (tmp_path / "hints").write_text("a file")
    with pytest.raises(StorageError):
        HintStore(tmp_path).ensure(manifest, connection)


def test_two_at_once_download_once(
    tmp_path: Path, manifest: Manifest, server: RunningServer
) -> None:
    meters: list[int] = []
    errors: list[NetworkError] = []

    def work() -> None:
        with ServerConnection(server.url, timeouts=PATIENT) as connection:
            try:
                HintStore(tmp_path).ensure(manifest, connection).read(1)
            except NetworkError as error:
                errors.append(error)
            meters.append(downloaded(connection))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(meters)[:2] == [0, 0]
    assert sorted(meters)[2] > manifest.hint_bytes


def test_waiting_for_another_window_can_be_stopped(
    tmp_path: Path, manifest: Manifest, connection: ServerConnection
) -> None:
    store = HintStore(tmp_path)
    lock = store.path(manifest).with_suffix(".lock")
    lock.parent.mkdir()
    with cache_lock(lock, lambda: False), pytest.raises(StoppedError):
        store.ensure(manifest, connection, should_stop=lambda: True)


def test_clear(tmp_path: Path, manifest: Manifest, connection: ServerConnection) -> None:
    store = HintStore(tmp_path)
    store.ensure(manifest, connection)
    (tmp_path / "hints" / ("0" * 64 + ".part")).write_bytes(bytes(10))
    assert store.size() == kept_bytes(manifest) + 10
    store.clear(keep=manifest)
    assert store.size() == kept_bytes(manifest)
    store.clear()
    store.clear()
    assert store.size() == 0
    assert not store.has(manifest)
