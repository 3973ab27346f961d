"""Uploads of compression keys: order, digest, structure, quota, expiry."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fhe_protocol import glwe
from fhe_server.glwe import key_store
from fhe_server.glwe.key_store import (
    BadKeyError,
    KeyLimits,
    KeyStore,
    NoSuchKeyError,
    OffsetError,
    QuotaError,
)
from fhe_server.glwe.worker_process import WorkerProcess

SIZE = 4096
ROOT = Path(__file__).parents[3]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyStore]:
    """A store whose keys have 4 KB, so that uploads take no time; what makes a key is checked by its first byte."""
    monkeypatch.setattr(key_store, "KEY_SIZE", SIZE)
    monkeypatch.setattr(key_store, "check_key", check_first_byte)
    limits = KeyLimits(keys=3, keys_per_owner=2, idle_seconds=100, upload_seconds=10)
    made = KeyStore(limits, 1 << 30, clock)
    yield made
    made.close()


def check_first_byte(data: memoryview) -> None:
    if data[0] != 7:
        raise glwe.FrameError("no key")


def key_bytes(first: int = 7) -> bytes:
    return bytes([first]) + np.random.default_rng(1).bytes(SIZE - 1)


def upload(store: KeyStore, owner: str = "me", first: int = 7) -> str:
    data = key_bytes(first)
    key = store.create(owner, hashlib.sha256(data).hexdigest())
    store.append(key, 0, data[:1000])
    assert not store.status(key).ready
    store.append(key, 1000, data[1000:])
    return key


def folder(store: KeyStore) -> Path:
    assert store._folder is not None
    return store._folder


def test_a_key_arrives_in_chunks_and_is_then_usable(store: KeyStore) -> None:
    key = upload(store)
    status = store.status(key)
    assert status.ready
    assert status.received == SIZE
    assert status.expires_in == 100
    files = list(folder(store).iterdir())
    assert [f.read_bytes() for f in files] == [key_bytes()]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(folder(store).stat().st_mode) == 0o700
    assert not store.worker(key).alive


def test_chunks_must_continue_what_arrived(store: KeyStore) -> None:
    data = key_bytes()
    key = store.create("me", hashlib.sha256(data).hexdigest())
    store.append(key, 0, data[:100])
    for offset in (0, 99, 101, SIZE):
        with pytest.raises(OffsetError, match="100"):
            store.append(key, offset, data[100:200])
    with pytest.raises(OffsetError):
        store.append(key, 100, data[100:] + b"x")
    with pytest.raises(NoSuchKeyError, match="not complete"):
        store.worker(key)
    assert store.append(key, 100, data[100:]).ready
    with pytest.raises(OffsetError):
        store.append(key, SIZE, b"")


def test_a_wrong_digest_or_structure_removes_the_upload(store: KeyStore) -> None:
    key = store.create("me", "0" * 64)
    with pytest.raises(BadKeyError, match="digest"):
        store.append(key, 0, key_bytes())
    with pytest.raises(BadKeyError, match="no key"):
        upload(store, first=8)
    assert len(store) == 0
    assert list(folder(store).iterdir()) == []


def test_quotas_hold_for_each_owner_and_for_all(store: KeyStore) -> None:
    first = upload(store)
    store.create("me", "0" * 64)
    with pytest.raises(QuotaError):
        store.create("me", "0" * 64)
    store.create("you", "0" * 64)
    with pytest.raises(QuotaError):
        store.create("someone else", "0" * 64)
    store.remove(first)
    store.remove(first)
    store.create("someone else", "0" * 64)


def test_keys_expire_when_unused_and_uploads_sooner(store: KeyStore, clock: Clock) -> None:
    key = upload(store)
    abandoned = store.create("me", "0" * 64)
    clock.now += 11
    with pytest.raises(NoSuchKeyError):
        store.append(abandoned, 0, b"x")
    for _ in range(3):
        store.worker(key)  # using it keeps it
        clock.now += 99
    clock.now += 2
    store.sweep()
    assert len(store) == 0
    assert list(folder(store).iterdir()) == []
    with pytest.raises(NoSuchKeyError):
        store.worker(key)


def test_no_key_lives_for_ever(store: KeyStore, clock: Clock) -> None:
    key = upload(store)
    end = clock.now + store.limits.life_seconds
    while clock.now + 90 < end:
        clock.now += 90
        store.worker(key)
    clock.now = end
    with pytest.raises(NoSuchKeyError):
        store.worker(key)


def test_closing_removes_files(store: KeyStore) -> None:
    upload(store)
    place = folder(store)
    store.close()
    assert not place.exists()
    upload(store)  # a store can be used again
    assert len(store) == 1


def test_folders_of_killed_servers_are_removed_and_no_others(
    store: KeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ours = folder_of_a_killed_server(tmp_path)
    other = tmp_path / "tacita-glwe-other"
    new = tmp_path / "tacita-glwe-keys-new"
    for place in (other, new):
        place.mkdir()
    for place in (ours, other):
        os.utime(place, (0, 0))
    upload(store)
    assert not ours.exists()
    assert other.exists()
    assert new.exists()
    held = folder(store)
    os.utime(held, (0, 0))
    key_store.remove_left_behind(tmp_path)
    assert held.exists()  # its server lives


def folder_of_a_killed_server(temporary: Path) -> Path:
    """What a real store leaves in a process that is killed while it holds a key."""
    code = (
        "import os, signal; from fhe_server.glwe.key_store import KeyLimits, KeyStore; "
        "store = KeyStore(KeyLimits(), 1 << 30); store.create('me', '0' * 64); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=120)
    (left,) = temporary.glob("tacita-glwe-keys-*")
    assert len(list(left.iterdir())) == 1
    return left


def test_the_least_recently_used_worker_makes_room(
    store: KeyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []
    keys = [upload(store, owner) for owner in ("a", "b", "c")]
    for key in keys:
        worker = store.worker(key)
        monkeypatch.setattr(worker, "stop", lambda key=key: stopped.append(key))
        clock.now += 1
    monkeypatch.setattr(WorkerProcess, "alive", property(lambda self: True))
    store.worker(keys[0])
    assert stopped == [keys[1]]
