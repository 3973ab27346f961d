"""The store against the real Secret Service of the session bus (scripts/test starts one)."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhe_client.home import Home
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.errors import KeyLostError, KeyMismatchError
from fhe_client.keys.sealed import read_sealed, write_sealed
from fhe_client.keys.slots import PREVIOUS_SERVICE, SERVICE, parse_value
from fhe_client.keys.store import KeyStore
from tests.fhe_client.keys.fakes import CHEAP_ARGON2, PASSPHRASE, RECOVERY, Fuse, PowerCut

pytestmark = pytest.mark.keyring
NAME = "keyring.backends.SecretService.Keyring"


@pytest.fixture(autouse=True)
def _usual_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)


@pytest.fixture
def real(home: Home, secret_service: KeyringAccess) -> Iterator[KeyStore]:
    """A store of a throw-away profile, erased afterwards."""
    store = KeyStore(home, keyring=secret_service, argon2=CHEAP_ARGON2)
    yield store
    store.erase()


def services(home: Home) -> tuple[str, str]:
    suffix = f" (profile {home.profile})"
    return SERVICE + suffix, PREVIOUS_SERVICE + suffix


def test_the_probe_finds_it_usable(secret_service: KeyringAccess) -> None:
    status = secret_service.probe()
    assert (status.usable, status.backend) == (True, NAME)


def test_none_is_not_stored_and_not_an_error(secret_service: KeyringAccess, home: Home) -> None:
    assert secret_service.get(services(home)[0]) is None
    assert secret_service.delete(services(home)[0]) is False


def test_a_whole_life(real: KeyStore, home: Home, secret_service: KeyringAccess) -> None:
    assert real.status().state == "missing"
    key = real.open()
    assert (key.origin, real.status().backend) == (NAME, NAME)
    value = secret_service.get(services(home)[0])
    assert value is not None
    assert parse_value(value, "s") == key.raw_copy()

    path = home.data / "x.sealed"
    real.seal_file(path, key, "test", b"precious")
    new = real.rotate()
    assert new.key_id != key.key_id
    assert secret_service.get(services(home)[1]) is None
    text = real.export_recovery(RECOVERY)

    assert real.use("passphrase", PASSPHRASE).key_id == new.key_id
    assert secret_service.get(services(home)[0]) is None
    assert real.use("keyring", PASSPHRASE).key_id == new.key_id

    secret_service.delete(services(home)[0])
    assert real.status().state == "lost"
    with pytest.raises(KeyLostError):
        real.open()
    with real.import_recovery(text, RECOVERY) as back:
        assert read_sealed(path, back, "test") == b"precious"

    assert real.erase().keys == 1
    assert secret_service.get(services(home)[0]) is None
    assert not path.exists()
    assert real.status().state == "missing"


def test_a_restored_profile_is_noticed(real: KeyStore, home: Home, tmp_path: Path) -> None:
    with real.open() as key:
        write_sealed(home.data / "x.sealed", key, "test", b"precious")
    shutil.copytree(home.config.parent, tmp_path / "backup")
    real.rotate().close()
    shutil.rmtree(home.config.parent)
    shutil.copytree(tmp_path / "backup", home.config.parent)
    with pytest.raises(KeyMismatchError):
        real.open()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_step_loses_nothing(
    tmp_path: Path, secret_service: KeyringAccess, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    fuse = Fuse(monkeypatch)
    ended = set()
    for step in itertools.count():
        home = Home.at(tmp_path / str(step))
        store = KeyStore(home, keyring=secret_service)
        with store.open() as key:
            write_sealed(home.data / "x.sealed", key, "test", b"precious")
        fuse.arm(step, after=after)
        try:
            store.rotate().close()
        except PowerCut:
            fuse.disarm()
            with store.open() as again:
                ended.add(again.key_id == key.key_id)
                assert read_sealed(home.data / "x.sealed", again, "test") == b"precious"
            assert secret_service.get(services(home)[1]) is None
            store.erase()
            continue
        fuse.disarm()
        store.erase()
        break
    assert ended == {True, False}


def test_windows_that_start_at_once_make_one_key(home: Home, secret_service: KeyringAccess) -> None:
    start, ids = threading.Barrier(3), []

    def window() -> None:
        store = KeyStore(home, keyring=KeyringAccess())
        start.wait(60)
        ids.append(store.open().key_id)

    threads = [threading.Thread(target=window) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    KeyStore(home, keyring=secret_service).erase()
    assert len(ids) == 3
    assert len(set(ids)) == 1


_IN_A_BUS_OF_ITS_OWN = """
import sys, secretstorage
from pathlib import Path
from fhe_client.home import Home
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.store import KeyStore
from fhe_client.keys.errors import KeyringUnavailableError

access = KeyringAccess(timeout_s=30)
store = KeyStore(Home.at(Path(sys.argv[1])), keyring=access)
first = store.open().key_id
bus = secretstorage.dbus_init()
secretstorage.get_default_collection(bus).lock()
def cannot_tell(call):
    # Locked where a prompt could be shown and was dismissed; another of the kind where there is none.
    try:
        call()
    except KeyringUnavailableError:
        print("cannot tell", store.status().state, access.probe().usable)

for call in (store.open, store.rotate, store.erase):
    cannot_tell(call)
(store.home.config / "keys.json").unlink()
cannot_tell(store.open)
cannot_tell(lambda: store.create("keyring"))
"""


def test_a_locked_keyring_is_cannot_tell(tmp_path: Path, secret_service: KeyringAccess) -> None:
    """In a bus and a keyring of its own, since locking the session's would stop every other test."""
    if shutil.which("dbus-run-session") is None or shutil.which("gnome-keyring-daemon") is None:
        pytest.skip("dbus-run-session or gnome-keyring-daemon is missing")
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    keep = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    environment |= {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(run)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    start = "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1"
    done = subprocess.run(
        [
            *("dbus-run-session", "--", "sh", "-c", f'{start}; exec "$@"', "sh"),
            *(sys.executable, "-c", _IN_A_BUS_OF_ITS_OWN, str(tmp_path / "profile")),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["cannot tell unavailable False"] * 5, done.stderr
