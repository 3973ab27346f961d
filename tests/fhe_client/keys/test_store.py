from __future__ import annotations

import base64
import logging
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from keyring.errors import InitError, KeyringLocked

from fhe_client.home import Home
from fhe_client.keys.errors import (
    BoxDamagedError,
    KeyExistsError,
    KeyLostError,
    KeyMismatchError,
    KeyModeError,
    KeyNotSetUpError,
    KeyringLockedError,
    KeyringUnavailableError,
    KeyRotatedError,
    KeyValueDamagedError,
    MarkerDamagedError,
    PassphraseNeededError,
    ProfileBusyError,
    WrongPassphraseError,
)
from fhe_client.keys.sealed import read_sealed, write_sealed
from fhe_client.keys.slots import SERVICE, format_value, parse_value
from fhe_client.keys.store import KeyStore
from tests.fhe_client.keys.fakes import (
    CHEAP_ARGON2,
    PASSPHRASE,
    RECOVERY,
    MemoryKeyring,
    access_to,
)


def values(backend: MemoryKeyring) -> list[str]:
    return list(backend.values.values())


def write(home: Home, store: KeyStore, passphrase: str | None = None) -> Path:
    path = home.data / "x.sealed"
    with store.open(passphrase=passphrase) as key:
        store.seal_file(path, key, "test", b"precious")
    return path


# --- first run ---


def test_the_first_run_makes_one_key_and_later_ones_find_it(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    assert store.status().state == "missing"
    assert backend.values == {}
    first, second = store.open(), store.open("keyring")
    assert first.key_id == second.key_id == store.status().key_id
    assert store.status().state == "keyring"
    assert len(backend.values) == 1
    assert stat.S_IMODE((home.config / "keys.json").stat().st_mode) == 0o600


def test_the_entry_is_one_short_ascii_line_under_a_name_of_its_own(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    raw = store.open().raw_copy()
    ((service, user), value) = next(iter(backend.values.items()))
    assert (service, user) == (f"{SERVICE} (profile {home.profile})", "tacita")
    assert value == format_value(raw)
    assert value.isascii()
    assert value.isprintable()
    assert len(value) < 100
    assert value.startswith("tacita1:")


def test_profiles_share_a_keyring_without_meeting(tmp_path: Path, backend: MemoryKeyring) -> None:
    stores = [KeyStore(Home.at(tmp_path / name), keyring=access_to(backend)) for name in "ab"]
    assert stores[0].open().key_id != stores[1].open().key_id
    stores[0].erase()
    assert stores[1].status().state == "keyring"


def test_a_keyring_that_cannot_tell_is_never_a_first_run(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    for error, kind in (
        (InitError("x"), KeyringUnavailableError),
        (KeyringLocked("x"), KeyringLockedError),
        (RuntimeError("x"), KeyringUnavailableError),
    ):
        backend.fails = error
        for call in (store.open, lambda: store.open("keyring"), lambda: store.create("keyring")):
            with pytest.raises(kind):
                call()
        assert store.status().state == "unavailable"
    assert not (home.config / "keys.json").exists()
    assert backend.values == {}


def test_without_keyring_the_user_may_choose(store: KeyStore, backend: MemoryKeyring) -> None:
    backend.fails = InitError("x")
    key = store.create("passphrase", PASSPHRASE)
    assert store.status().state == "passphrase"
    assert store.open(passphrase=PASSPHRASE).key_id == key.key_id
    with pytest.raises(PassphraseNeededError):
        store.open()
    with pytest.raises(WrongPassphraseError):
        store.open(passphrase="not the passphrase")


def test_a_passphrase_key_is_not_made_by_opening(store: KeyStore) -> None:
    """A typing error at a prompt must not become the passphrase."""
    with pytest.raises(KeyNotSetUpError):
        store.open("passphrase", PASSPHRASE)


def test_a_session_key_is_kept_nowhere(store: KeyStore, backend: MemoryKeyring, home: Home) -> None:
    backend.fails = InitError("x")
    first = store.use("session")
    second = store.open()
    assert first.key_id != second.key_id
    assert store.status().state == "session"
    backend.fails = None
    assert backend.values == {}
    for file in home.config.iterdir():
        assert first.raw_copy() not in file.read_bytes()
    with pytest.raises(KeyModeError):
        store.rotate()


def test_a_session_beside_a_stored_key_leaves_it_alone(
    store: KeyStore, backend: MemoryKeyring
) -> None:
    stored = store.open().key_id
    before = dict(backend.values)
    assert store.use("session").key_id != stored
    assert store.open("session").origin == "session"
    assert backend.values == before
    assert store.open().key_id == stored


def test_a_key_from_before_a_session_choice_is_taken_up_not_replaced(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    first = store.open().key_id
    (home.config / "keys.json").unlink()
    backend.fails = InitError("x")
    store.use("session")
    backend.fails = None
    assert store.use("keyring").key_id == first


# --- never a new key over data that cannot be opened ---


def test_a_lost_key_is_not_a_first_run(store: KeyStore, backend: MemoryKeyring, home: Home) -> None:
    path = write(home, store)
    blob = path.read_bytes()
    backend.values.clear()
    for call in (store.open, lambda: store.open("keyring"), store.rotate):
        with pytest.raises(KeyLostError):
            call()
    with pytest.raises(KeyExistsError):
        store.create("keyring")
    assert store.status().state == "lost"
    assert backend.values == {}
    assert path.read_bytes() == blob


def test_data_without_key_and_marker_is_not_a_first_run(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    write(home, store)
    backend.values.clear()
    (home.config / "keys.json").unlink()
    for call in (
        store.open,
        lambda: store.create("keyring"),
        lambda: store.use("passphrase", PASSPHRASE),
        lambda: store.use("session"),
    ):
        with pytest.raises(KeyLostError):
            call()
    backend.fails = InitError("x")
    with pytest.raises(KeyringUnavailableError):
        store.create("passphrase", PASSPHRASE)
    backend.fails = None
    assert backend.values == {}
    assert not (home.config / "master.key").exists()


def test_a_lost_marker_is_rebuilt_from_the_keyring(store: KeyStore, home: Home) -> None:
    path = write(home, store)
    (home.config / "keys.json").unlink()
    assert store.status().state == "keyring"
    assert read_sealed(path, store.open(), "test") == b"precious"


def test_a_lost_marker_is_rebuilt_from_the_key_file(store: KeyStore, home: Home) -> None:
    key = store.create("passphrase", PASSPHRASE)
    (home.config / "keys.json").unlink()
    with pytest.raises(PassphraseNeededError):
        store.open()
    assert store.open(passphrase=PASSPHRASE).key_id == key.key_id


def test_a_found_key_is_not_adopted_over_data_of_another(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    write(home, store)
    (home.config / "keys.json").unlink()
    service = next(iter(backend.values))
    backend.values[service] = format_value(bytes(32))
    with pytest.raises(KeyMismatchError):
        store.open()


def test_another_key_in_the_keyring_is_a_mismatch(store: KeyStore, backend: MemoryKeyring) -> None:
    store.open()
    service = next(iter(backend.values))
    backend.values[service] = format_value(bytes(32))
    with pytest.raises(KeyMismatchError):
        store.open()
    assert values(backend) == [format_value(bytes(32))]


@pytest.mark.parametrize(
    "value", ["", "x", "tacita2:", "tacita1:00:00", format_value(bytes(32))[:-1]]
)
def test_a_garbled_entry_is_neither_a_key_nor_a_first_run(
    store: KeyStore, backend: MemoryKeyring, home: Home, value: str
) -> None:
    store.open()
    service = next(iter(backend.values))
    backend.values[service] = value
    with pytest.raises(KeyValueDamagedError):
        store.open()
    (home.config / "keys.json").unlink()
    with pytest.raises(KeyValueDamagedError):
        store.open()
    assert values(backend) == [value]


def test_every_changed_character_of_the_entry_is_noticed() -> None:
    good = format_value(bytes(range(32)))
    assert parse_value(good, "s") == bytes(range(32))
    for index in range(len(good)):
        bad = good[:index] + ("0" if good[index] != "0" else "1") + good[index + 1 :]
        with pytest.raises(KeyValueDamagedError) as caught:
            parse_value(bad, "s")
        assert bad[10:40] not in str(caught.value)


def test_a_damaged_marker_stops_everything(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    store.open()
    (home.config / "keys.json").write_text("{")
    before = dict(backend.values)
    for call in (store.open, lambda: store.create("keyring"), store.rotate):
        with pytest.raises(MarkerDamagedError):
            call()
    assert store.status().state == "unavailable"
    assert backend.values == before


def test_a_damaged_or_missing_key_file_is_said_so(store: KeyStore, home: Home) -> None:
    store.create("passphrase", PASSPHRASE)
    path = home.config / "master.key"
    blob = path.read_bytes()
    path.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(BoxDamagedError):
        store.open(passphrase=PASSPHRASE)
    path.unlink()
    with pytest.raises(KeyLostError):
        store.open(passphrase=PASSPHRASE)
    assert store.status().state == "lost"


def test_a_profile_restored_from_before_a_rotation_is_refused_and_recovered(
    store: KeyStore, backend: MemoryKeyring, home: Home, tmp_path: Path
) -> None:
    path = write(home, store)
    recovery = store.export_recovery(RECOVERY)
    shutil.copytree(home.config.parent, tmp_path / "backup")
    store.rotate().close()
    shutil.rmtree(home.config.parent)
    shutil.copytree(tmp_path / "backup", home.config.parent)

    with pytest.raises(KeyMismatchError):
        store.open()
    with store.import_recovery(recovery, RECOVERY) as key:
        assert read_sealed(path, key, "test") == b"precious"
    with store.open() as key:
        assert read_sealed(path, key, "test") == b"precious"


# --- moving ---


def test_moving_keeps_the_key_and_leaves_no_copy(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    path = write(home, store)
    first = store.open().key_id
    assert store.use("passphrase", PASSPHRASE).key_id == first
    assert backend.values == {}
    assert stat.S_IMODE((home.config / "master.key").stat().st_mode) == 0o600
    assert store.status().state == "passphrase"
    with pytest.raises(KeyModeError):
        store.open("keyring")
    with pytest.raises(WrongPassphraseError):
        store.use("keyring", "some other passphrase")
    assert store.use("keyring", PASSPHRASE).key_id == first
    assert not (home.config / "master.key").exists()
    assert read_sealed(path, store.open(), "test") == b"precious"


def test_a_passphrase_can_be_changed(store: KeyStore) -> None:
    first = store.create("passphrase", PASSPHRASE).key_id
    store.use("passphrase", PASSPHRASE, "another passphrase")
    assert store.open(passphrase="another passphrase").key_id == first
    with pytest.raises(WrongPassphraseError):
        store.open(passphrase=PASSPHRASE)


def test_a_copy_that_cannot_be_deleted_now_is_deleted_later(
    store: KeyStore, backend: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.open()

    def refuse(*_args: str) -> None:
        raise InitError("x")

    with monkeypatch.context() as patch:
        patch.setattr(backend, "delete_password", refuse)
        store.use("passphrase", PASSPHRASE)
        assert len(backend.values) == 1
    store.open(passphrase=PASSPHRASE)
    assert backend.values == {}


# --- recovery ---


def test_recovery_brings_a_lost_key_back(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    path = write(home, store)
    text = store.export_recovery(RECOVERY)
    backend.values.clear()
    with pytest.raises(WrongPassphraseError):
        store.import_recovery(text, PASSPHRASE)
    with pytest.raises(BoxDamagedError):
        store.import_recovery(text.replace("TACITA", "TACITO"), RECOVERY)
    assert backend.values == {}
    store.import_recovery(text, RECOVERY)
    assert read_sealed(path, store.open(), "test") == b"precious"


def test_recovery_under_a_passphrase_on_a_machine_without_keyring(
    store: KeyStore, backend: MemoryKeyring, tmp_path: Path
) -> None:
    text = store.export_recovery(RECOVERY) if store.open() else ""
    backend.fails = InitError("x")
    other = KeyStore(Home.at(tmp_path / "new"), keyring=access_to(backend), argon2=CHEAP_ARGON2)
    other.import_recovery(text, RECOVERY, "passphrase", PASSPHRASE)
    with other.open(passphrase=PASSPHRASE) as key:
        backend.fails = None
        assert key.key_id == store.open().key_id


def test_recovery_never_replaces_a_key_that_data_needs(
    store: KeyStore, backend: MemoryKeyring, home: Home, tmp_path: Path
) -> None:
    path = write(home, store)
    other = KeyStore(
        Home.at(tmp_path / "b"), keyring=access_to(MemoryKeyring()), argon2=CHEAP_ARGON2
    )
    other.open()
    before = dict(backend.values)
    with pytest.raises(KeyExistsError):
        store.import_recovery(other.export_recovery(RECOVERY), RECOVERY)
    assert backend.values == before
    assert read_sealed(path, store.open(), "test") == b"precious"


# --- erase ---


@pytest.mark.parametrize("mode", ["keyring", "passphrase", "session"])
def test_erase_leaves_nothing_and_the_next_start_is_a_first_run(
    store: KeyStore, backend: MemoryKeyring, home: Home, mode: str
) -> None:
    key = store.create(mode, PASSPHRASE)
    write_sealed(home.data / "deep" / "x.sealed", key, "test", b"precious")
    (home.data / "model.bin").write_bytes(b"public")
    (home.config / ".master.key.x1.tmp").write_bytes(b"left by a crash")
    erased = store.erase()
    assert erased.files == 1
    assert erased.keys == (0 if mode == "session" else 1)
    assert backend.values == {}
    left = {path.name for path in home.config.parent.rglob("*") if path.is_file()}
    assert left <= {"model.bin", "keys.lock"}
    assert store.status().state == "missing"
    assert store.open().key_id != key.key_id


def test_erase_works_on_a_lost_key_and_a_damaged_marker(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    write(home, store)
    backend.values.clear()
    store.erase()
    write(home, store)
    (home.config / "keys.json").write_text("{")
    store.erase()
    assert store.status().state == "missing"
    assert backend.values == {}


def test_erase_does_not_pretend(store: KeyStore, backend: MemoryKeyring, home: Home) -> None:
    path = write(home, store)
    backend.fails = InitError("x")
    with pytest.raises(KeyringUnavailableError):
        store.erase()
    assert path.exists()
    store.erase(force=True)
    assert not path.exists()


# --- several windows ---


def test_windows_that_start_at_once_make_one_key(home: Home, backend: MemoryKeyring) -> None:
    start, ids = threading.Barrier(4), []

    def window() -> None:
        store = KeyStore(home, keyring=access_to(backend))
        start.wait(60)
        ids.append(store.open().key_id)

    threads = [threading.Thread(target=window) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_processes_exclude_each_other(store: KeyStore, home: Home, backend: MemoryKeyring) -> None:
    home.ensure()
    code = (
        "import sys; from filelock import FileLock\n"
        f"lock = FileLock({str(home.config / 'keys.lock')!r}); lock.acquire()\n"
        "print('held', flush=True); sys.stdin.readline(); lock.release()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        hasty = KeyStore(home, keyring=access_to(backend), lock_timeout_s=0.2)
        with pytest.raises(ProfileBusyError):
            hasty.open()
        assert backend.values == {}
        other.communicate("\n", timeout=60)
    assert store.open().key_id


def test_the_lock_is_given_back_after_an_error(
    store: KeyStore, backend: MemoryKeyring, home: Home
) -> None:
    backend.fails = InitError("x")
    with pytest.raises(KeyringUnavailableError):
        store.open()
    FileLock(home.config / "keys.lock", timeout=0).acquire().lock.release()


def test_a_window_with_the_old_key_cannot_write_behind_a_rotation(
    store: KeyStore, home: Home
) -> None:
    path = write(home, store)
    old = store.open()
    new = store.rotate()
    with pytest.raises(KeyRotatedError):
        store.seal_file(path, old, "test", b"from an old window")
    assert read_sealed(path, new, "test") == b"precious"


# --- canary ---


def test_no_secret_in_logs_files_output_or_errors(
    store: KeyStore,
    backend: MemoryKeyring,
    home: Home,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets: list[bytes] = []
    texts: list[str] = []
    with store.open() as key:
        secrets.append(bytes(key.raw_copy()))
        texts.append(repr(key))
    write(home, store)
    with store.rotate() as key:
        secrets.append(bytes(key.raw_copy()))
    texts.append(store.export_recovery(RECOVERY))
    store.use("passphrase", PASSPHRASE).close()
    for wrong in ("a wrong passphrase", None):
        try:
            store.open(passphrase=wrong)
        except (WrongPassphraseError, PassphraseNeededError) as error:
            texts += [str(error), repr(error)]
    texts += [repr(store.status()), repr(vars(store)), caplog.text, *capfd.readouterr()]
    blobs = [path.read_bytes() for path in home.config.parent.rglob("*") if path.is_file()]
    haystack = b"\n".join([*blobs, *(text.encode() for text in texts)])
    for secret in secrets:
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)[:40]):
            assert form not in haystack
    for phrase in (PASSPHRASE, RECOVERY, "a wrong passphrase"):
        assert phrase.encode() not in haystack
    assert len(texts) > 6
    assert len(blobs) >= 3
