"""Yesterday's copy of the whole profile and of the keyring comes back: no (secret, slot) does.

Real processes open the real chat at the real server, which keeps every query. Each session asks the same question, so
that in the first layer equal slots carry equal plaintexts: with one secret for two sessions the difference of two
queries would be that of two errors, a few units; with a pad used twice it would be nought.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fhe_client.home import Home
from fhe_client.keys import KeyStore
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.slots import SERVICE
from tests.fhe_client.keys.conftest import secret_service  # noqa: F401 - a fixture
from tests.fhe_client.keys.fakes import CHEAP_ARGON2
from tests.security.recording import Recorder, centred, recording_server
from tests.tiny_world import PATIENCE, ROOT, environment, tiny_artefact, wait_until

PASSPHRASE = "a passphrase of some length"
CLOSE = 64
"""Two errors differ by at most 10, and equal plaintexts by nothing; two pads are this close once in 130,000 times."""


@pytest.fixture
def server() -> Iterator[Recorder]:
    with recording_server(tiny_artefact()) as running:
        yield running


def start(server: Recorder, home: Path, mode: str, deed: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.security.speaker", server.url, mode, deed]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(home), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(PASSPHRASE.encode() + b"\n" if mode == "passphrase" else b"\n")
    process.stdin.close()
    return process


def session(server: Recorder, home: Path, mode: str, deed: str = "once") -> list[bytes]:
    """The frames of a whole session, the audit's of a first one left out."""
    before = len(server.frames)
    process = start(server, home, mode, deed)
    try:
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(PATIENCE) == 0, errors.decode()[-2000:]
    finally:
        process.kill()
        process.wait(60)
        process.stderr.close()
    return server.frames[before:]


def killed_session(server: Recorder, home: Path, mode: str) -> list[bytes]:
    """The frames of a session that was killed in the middle of its reply."""
    before = len(server.frames)
    process = start(server, home, mode, "forever")
    try:
        wait_until(lambda: len(server.frames) > before + 60, "nothing was sent")
    finally:
        process.kill()
        process.wait(60)
        assert process.stderr is not None
        process.stderr.close()
    return server.frames[before:]


def restore(home: Path, backup: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(backup, home)


def assert_nothing_repeats(server: Recorder, sessions: list[list[bytes]]) -> None:
    """No two sessions share a secret, and no row was sent twice, within a session or between two."""
    values = [server.values(frames) for frames in sessions]
    rows = [row.tobytes() for one in values for group in one.values() for row in group]
    assert len(rows) > 100
    assert len(set(rows)) == len(rows)
    for one, other in combinations(values, 2):
        for group in one.keys() & other.keys():
            count = min(len(one[group]), len(other[group]))
            near = np.abs(centred(one[group][:count] - other[group][:count])) <= CLOSE
            assert near.mean() < 0.01, (
                f"group {group} was encrypted under one secret in two sessions"
            )


def test_a_restored_profile_with_its_key_file_repeats_nothing(
    server: Recorder, tmp_path: Path
) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    KeyStore(Home.at(home).ensure(), argon2=CHEAP_ARGON2).use("passphrase", PASSPHRASE).close()
    first = session(server, home, "passphrase")
    shutil.copytree(home, backup)
    lost = killed_session(server, home, "passphrase")
    restore(home, backup)
    forked = session(server, home, "passphrase", "fork")
    assert_nothing_repeats(server, [audited(server, first), lost, forked])
    speeches = [len(server.values(s)[0]) for s in (audited(server, first), forked)]
    assert speeches[0] == speeches[1], "the forked child spoke"


def audited(server: Recorder, frames: list[bytes]) -> list[bytes]:
    """A first session's frames behind those of the audit, which asks every group once before anything else."""
    return frames[len(server.manifest.groups) :]


@pytest.mark.keyring
def test_a_restored_profile_and_keyring_repeat_nothing(
    server: Recorder,
    tmp_path: Path,
    secret_service: KeyringAccess,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    home, backup = tmp_path / "home", tmp_path / "backup"
    place = Home.at(home).ensure()
    store = KeyStore(place, keyring=secret_service)
    service = f"{SERVICE} (profile {place.profile})"
    try:
        store.open("keyring").close()
        first = audited(server, session(server, home, "keyring"))
        shutil.copytree(home, backup)
        kept = secret_service.get(service)
        assert kept is not None
        lost = killed_session(server, home, "keyring")
        secret_service.delete(service)
        secret_service.set(service, kept)
        restore(home, backup)
        again = session(server, home, "keyring")
        assert_nothing_repeats(server, [first, lost, again])
    finally:
        store.erase()
