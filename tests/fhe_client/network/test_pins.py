"""Pins: the first digest stays until the user accepts another."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from fhe_client.network.errors import ModelChangedError, StorageError
from fhe_client.network.pins import LOCAL_SERVER, PinsDamagedError, PinStore
from fhe_protocol.manifest import Manifest
from tests.servers import make_artefact

SERVER = "https://tacita.example.org"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Manifest]:
    root = tmp_path_factory.mktemp("models")
    return make_artefact(root / "a", seed=1), make_artefact(root / "b", seed=2)


def test_first_use_pins_and_the_same_model_passes(
    tmp_path: Path, models: tuple[Manifest, Manifest]
) -> None:
    assert PinStore(tmp_path).check(SERVER, models[0])
    assert not PinStore(tmp_path).check(SERVER, models[0])
    assert PinStore(tmp_path).all() == {SERVER: {"tiny": models[0].digest}}


def test_a_changed_model_is_an_error_until_it_is_accepted(
    tmp_path: Path, models: tuple[Manifest, Manifest]
) -> None:
    pins = PinStore(tmp_path)
    pins.check(SERVER, models[0])
    for _ in range(2):
        with pytest.raises(ModelChangedError) as changed:
            pins.check(SERVER, models[1])
    assert (changed.value.pinned, changed.value.found) == (models[0].digest, models[1].digest)
    assert "--accept-model-change" in changed.value.next_step
    pins.accept(SERVER, models[1])
    assert not pins.check(SERVER, models[1])
    with pytest.raises(ModelChangedError):
        pins.check(SERVER, models[0])


def test_each_server_has_its_own_pins(tmp_path: Path, models: tuple[Manifest, Manifest]) -> None:
    pins = PinStore(tmp_path)
    pins.check(SERVER, models[0])
    assert pins.check(LOCAL_SERVER, models[1])
    pins.forget(LOCAL_SERVER, "tiny")
    assert pins.check(LOCAL_SERVER, models[0])
    pins.forget(SERVER)
    assert pins.check(SERVER, models[1])


def test_the_audit_is_remembered_by_digest(
    tmp_path: Path, models: tuple[Manifest, Manifest]
) -> None:
    pins = PinStore(tmp_path)
    assert not pins.is_audited(models[0])
    pins.note_audited(models[0])
    pins.note_audited(models[0])
    assert PinStore(tmp_path).is_audited(models[0])
    assert not PinStore(tmp_path).is_audited(models[1])


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_only_the_owner_reads_it(tmp_path: Path, models: tuple[Manifest, Manifest]) -> None:
    PinStore(tmp_path / "config").check(SERVER, models[0])
    assert stat.S_IMODE((tmp_path / "config" / "pins.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "models": {}, "audited": []}',
        '{"version": 1, "models": {"s": {"m": "not a digest"}}, "audited": []}',
        '{"version": 1, "models": [], "audited": []}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_an_error_and_never_trust(
    tmp_path: Path, models: tuple[Manifest, Manifest], text: str
) -> None:
    (tmp_path / "pins.json").write_text(text)
    with pytest.raises(PinsDamagedError) as damaged:
        PinStore(tmp_path).check(SERVER, models[0])
    assert damaged.value.next_step
    assert (tmp_path / "pins.json").read_text() == text


def test_a_folder_that_is_a_file_is_a_clear_error(
    tmp_path: Path, models: tuple[Manifest, Manifest]
) -> None:
    (tmp_path / "config").write_text("")
    with pytest.raises(StorageError):
        PinStore(tmp_path / "config").check(SERVER, models[0])


def test_threads_lose_no_pin(tmp_path: Path, models: tuple[Manifest, Manifest]) -> None:
    threads = [
        threading.Thread(target=PinStore(tmp_path).check, args=(f"https://s{i}", models[0]))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(PinStore(tmp_path).all()) == 8
