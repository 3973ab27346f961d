"""The life of the master key: made once, opened at each start, moved, rotated, recovered, erased.

The rule behind every branch: **never a new key over data that cannot be opened**. A new key is made only where there is
no stored key on record and no sealed data, and either the keyring itself said "not stored" or the user, told that it
cannot tell, chose a way without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from fhe_client.home import Home
from fhe_client.keys import files
from fhe_client.keys import marker as markers
from fhe_client.keys.adoption import adopt, adopt_key_file, adopt_keyring, refuse_data_of_other_keys
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.errors import (
    KeyExistsError,
    KeyLostError,
    KeyModeError,
    KeyNotSetUpError,
    KeyringUnavailableError,
    KeyRotatedError,
    KeysError,
    MarkerDamagedError,
    ProfileBusyError,
)
from fhe_client.keys.marker import KEYRING, MODES, PASSPHRASE, SESSION, Marker
from fhe_client.keys.master_key import MasterKey, key_id_of, wipe
from fhe_client.keys.passphrase import (
    DEFAULT_ARGON2,
    Argon2Parameters,
    BoxKind,
    check_new_passphrase,
    from_text,
    lock_box,
    to_text,
    unlock_box,
)
from fhe_client.keys.rotation import data_under_keys, primary_backend, rotate, settle
from fhe_client.keys.sealed import sealed_paths, write_sealed
from fhe_client.keys.slots import FileSlot, Place, keyring_place, passphrase_place

AUTO, MARKER_FILE, LOCK_FILE = "auto", "keys.json", "keys.lock"
_LOCK_TIMEOUT_S = 90.0  # longer than one keyring call, which may wait for the user to unlock it


@dataclass(frozen=True)
class KeysStatus:
    """`state` is one of keyring, passphrase, session, missing (first run), lost, unavailable (cannot tell)."""

    state: str
    backend: str
    key_id: str
    detail: str


@dataclass(frozen=True)
class Erased:
    """How many keys and sealed files `KeyStore.erase` deleted."""

    keys: int
    files: int


class KeyStore:
    """The keys of one profile. Each public method holds the profile's file lock while it runs.

    So two windows never make, move or rotate a key at once. Keys returned belong to the caller, who closes them.
    """

    def __init__(
        self,
        home: Home | None = None,
        *,
        keyring: KeyringAccess | None = None,
        argon2: Argon2Parameters = DEFAULT_ARGON2,
        lock_timeout_s: float = _LOCK_TIMEOUT_S,
    ) -> None:
        self.home = home or Home.locate()
        self.keyring = keyring or KeyringAccess()
        self._argon2 = argon2
        self._lock_timeout_s = lock_timeout_s

    # --- opening and making ---

    def open(self, mode: str = AUTO, passphrase: str | None = None) -> MasterKey:
        """Return the profile's key; on a first run with mode auto or keyring, make it in the keyring.

        Mode session always gives a fresh key that is kept nowhere and leaves a stored one alone. Raises
        `KeyringUnavailableError`, `PassphraseNeededError`, `WrongPassphraseError`, `KeyLostError`, ...
        """
        _check_mode(mode, AUTO)
        if mode == SESSION:
            return MasterKey.generate(origin=SESSION)
        with self._locked():
            marker = self._find_marker()
            if marker is None:
                return self._first_run(mode)
            if mode not in (AUTO, marker.mode):
                raise KeyModeError(
                    f"This profile keeps its key in another way ({marker.mode}).",
                    f"Use “tacita keys use {mode}” or the settings to change that.",
                )
            return self._open_marked(marker, passphrase)

    def create(self, mode: str, passphrase: str | None = None) -> MasterKey:
        """Make the profile's first key in the way the user chose. Raises `KeyExistsError`, `KeyLostError`, ..."""
        _check_mode(mode)
        with self._locked():
            return self._create(mode, passphrase)

    def use(
        self, mode: str, passphrase: str | None = None, new_passphrase: str | None = None
    ) -> MasterKey:
        """Keep the key in another way from now on, or make the first one; return it.

        `passphrase` opens the key if it is kept by one, and otherwise is the new one. `new_passphrase` changes it.
        Mode session gives a key for this process only and deletes nothing: a stored key stays for the next start.
        """
        _check_mode(mode)
        with self._locked():
            marker = self._find_marker_if_known(mode)
            if marker is None or not marker.stored:
                return self._create(mode, new_passphrase or passphrase)
            if mode == SESSION:
                return MasterKey.generate(origin=SESSION)
            key = self._open_marked(marker, passphrase)
            if mode != marker.mode or new_passphrase:
                with key:
                    return self._store(key.raw_copy(), mode, new_passphrase or passphrase)
            return key

    def status(self) -> KeysStatus:
        """Say where the key is, without opening it, making one, or asking for a passphrase. Never raises KeysError."""
        try:
            with self._locked():
                return self._status()
        except KeyLostError as error:
            return KeysStatus("lost", "", "", str(error))
        except KeysError as error:
            return KeysStatus("unavailable", self.keyring.name, "", str(error))

    # --- changing, saving, erasing ---

    def rotate(self, passphrase: str | None = None) -> MasterKey:
        """Replace the key by a fresh one and seal every sealed file anew. Crash-safe; see `rotation`."""
        with self._locked():
            marker = self._stored_marker("rotate")
            self._open_marked(marker, passphrase).close()  # finishes what an earlier crash left
            marker = self._stored_marker("rotate")
            return rotate(self._place(marker, passphrase), marker, self.home, self._save)

    def export_recovery(self, recovery_passphrase: str, passphrase: str | None = None) -> str:
        """Return the key locked by a passphrase of its own, as printable lines."""
        check_new_passphrase(recovery_passphrase)
        with self._locked():
            key = self._open_marked(self._stored_marker("export"), passphrase)
        with key:
            raw = key.raw_copy()
            return to_text(lock_box(raw, recovery_passphrase, BoxKind.RECOVERY, self._argon2))

    def import_recovery(
        self,
        text: str | bytes,
        recovery_passphrase: str,
        mode: str = KEYRING,
        passphrase: str | None = None,
    ) -> MasterKey:
        """Put a recovered key in place (`passphrase` is for mode passphrase) and return it.

        Raises `KeyExistsError` if data here needs another key, `BoxDamagedError` or `WrongPassphraseError` for the
        text.
        """
        raw = unlock_box(from_text(text), recovery_passphrase, BoxKind.RECOVERY)
        with self._locked():
            self._refuse_foreign_data(key_id_of(raw))
            key = self._store(raw, mode, passphrase)
            # Left by a rotation that was cut short and that no data needs any more.
            self._place(Marker(mode), passphrase).previous.delete()
            return key

    def erase(self, *, force: bool = False) -> Erased:
        """Delete the key wherever it is, then every sealed file, then the marker. There is no way back.

        If the keyring may hold the key and cannot be asked, `KeyringUnavailableError` is raised and nothing deleted,
        unless `force`.
        """
        with self._locked():
            keys = self._erase_keyring(force)
            key_files = passphrase_place(self.home, None, self._argon2)
            keys += key_files.primary.delete() + key_files.previous.delete()
            roots = (self.home.config, self.home.data, self.home.cache)
            count = sum(files.remove(path) for path in list(sealed_paths(roots)))
            files.remove(self.home.config / MARKER_FILE)
            files.remove_temporaries(self.home.config)
            return Erased(keys, count)

    def seal_file(self, path: Path, key: MasterKey, purpose: str, plaintext: bytes) -> None:
        """`write_sealed`, unless another window has rotated the key meanwhile (`KeyRotatedError`)."""
        with self._locked():
            marker = self._marker()
            if key.origin != SESSION and (marker is None or marker.key_id != key.key_id):
                raise KeyRotatedError(
                    "The key was changed in another window.", "Restart this window."
                )
            write_sealed(path, key, purpose, plaintext)

    # --- inside the lock ---

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.home.ensure()
        lock = FileLock(self.home.config / LOCK_FILE, timeout=self._lock_timeout_s, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise ProfileBusyError(
                "Another Tacita window is busy with the keys.",
                "Finish what it asks, then try again.",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _marker(self) -> Marker | None:
        return markers.load_marker(self.home.config / MARKER_FILE)

    def _save(self, marker: Marker) -> None:
        markers.save_marker(self.home.config / MARKER_FILE, marker)

    def _place(self, marker: Marker, passphrase: str | None) -> Place:
        if marker.mode == PASSPHRASE:
            return passphrase_place(self.home, passphrase, self._argon2)
        return keyring_place(self.home, self.keyring, marker.backend)

    def _find_marker(self) -> Marker | None:
        """Return the marker, found or rebuilt; None only on a true first run. Raises if that cannot be told."""
        marker = self._marker()
        if marker is None and (marker := adopt(self.home, self.keyring)) is not None:
            self._save(marker)
        return marker

    def _find_marker_if_known(self, mode: str) -> Marker | None:
        """As `_find_marker`, but the user's choice of a way without keyring counts where it cannot tell."""
        try:
            return self._find_marker()
        except KeyringUnavailableError:
            if mode == KEYRING or data_under_keys(self.home):
                raise
            return None

    def _first_run(self, mode: str) -> MasterKey:
        if mode == PASSPHRASE:
            raise KeyNotSetUpError(
                "This profile has no key yet.", "Choose a passphrase for it first."
            )
        return self._create(KEYRING, None)

    def _create(self, mode: str, passphrase: str | None) -> MasterKey:
        marker = self._find_marker_if_known(mode)
        if marker is not None and marker.stored:
            raise KeyExistsError("This profile has a key already.", "Open it, or erase it first.")
        if mode == SESSION:
            self._save(Marker(SESSION))
            return MasterKey.generate(origin=SESSION)
        if (found := self._left_behind(mode)) is not None:
            self._save(found)
            return self._open_marked(found, passphrase)
        refuse_data_of_other_keys(self.home, None)
        with MasterKey.generate(origin=SESSION) as fresh:
            return self._store(fresh.raw_copy(), mode, passphrase)

    def _left_behind(self, mode: str) -> Marker | None:
        """Return a key that was there before this profile went to session keys: it is taken up, not replaced."""
        found = (
            adopt_keyring(self.home, self.keyring) if mode == KEYRING else adopt_key_file(self.home)
        )
        if found is not None:
            refuse_data_of_other_keys(self.home, found)
        return found

    def _store(self, raw: bytearray, mode: str, passphrase: str | None) -> MasterKey:
        """Put a key in its place, then say so in the marker, then delete it from the place it had before.

        A crash after the first step is healed by adoption, after the second at the next start.
        """
        before = self._marker()
        place = self._place(Marker(mode), passphrase)
        place.primary.set(raw)
        marker = Marker(mode, key_id_of(raw), primary_backend(place))
        if before is not None and before.stored and before.mode != mode:
            marker = replace(marker, leaving=before.mode, leaving_backend=before.backend)
        self._save(marker)
        if marker.leaving:
            self._leave(marker)
        key = MasterKey(raw, origin=marker.backend or mode)
        wipe(raw)
        return key

    def _open_marked(self, marker: Marker, passphrase: str | None) -> MasterKey:
        if not marker.stored:
            return MasterKey.generate(origin=SESSION)
        key = settle(self._place(marker, passphrase), marker, self.home, self._save)
        if marker.leaving:
            self._leave(marker)
        return key

    def _leave(self, marker: Marker) -> None:
        """Delete the key's copy in the place it moved from; if that cannot be reached now, at a later start."""
        old = self._place(Marker(marker.leaving, backend=marker.leaving_backend), None)
        with contextlib.suppress(KeyringUnavailableError):
            old.primary.delete()
            current = self._marker() or marker
            self._save(replace(current, leaving="", leaving_backend=""))

    def _stored_marker(self, what: str) -> Marker:
        marker = self._find_marker()
        if marker is None:
            raise KeyNotSetUpError("This profile has no key yet.", f"There is nothing to {what}.")
        if not marker.stored:
            raise KeyModeError(
                "This profile uses a new key for every session.", f"There is nothing to {what}."
            )
        return marker

    def _refuse_foreign_data(self, key_id: str) -> None:
        others = [
            path.name
            for path, header in data_under_keys(self.home).items()
            if header is None or header.key_id != key_id
        ]
        if others:
            raise KeyExistsError(
                f"Data of this profile needs another key than the recovered one ({', '.join(others[:3])}).",
                "Use the recovery file of that key, import into a fresh profile, or erase this one first.",
            )

    def _erase_keyring(self, force: bool) -> int:
        try:
            marker = self._marker()
        except MarkerDamagedError:
            marker = None
        prefer = marker.backend or marker.leaving_backend if marker is not None else ""
        place = keyring_place(self.home, self.keyring, prefer)
        try:
            return place.primary.delete() + place.previous.delete()
        except KeyringUnavailableError:
            elsewhere = marker is not None and KEYRING not in (marker.mode, marker.leaving)
            if force or elsewhere:
                return 0
            raise

    def _status(self) -> KeysStatus:
        marker = self._find_marker()
        if marker is None:
            probe = self.keyring.probe()
            return KeysStatus("missing", probe.backend, "", f"No key yet. {probe.detail}")
        if marker.mode == SESSION:
            return KeysStatus(
                SESSION, "", "", "A new key is made for every session and kept nowhere."
            )
        slot = self._place(marker, None).primary
        present = slot.read() if isinstance(slot, FileSlot) else slot.get()
        if present is None:
            raise KeyLostError(
                "The key is gone.", "Import your recovery file, or erase everything."
            )
        where = (
            self.keyring.label(marker.backend)
            if marker.backend
            else "a file locked by a passphrase"
        )
        return KeysStatus(
            marker.mode, marker.backend, marker.key_id, f"The key is kept in {where}."
        )


def open_key(
    mode: str = AUTO, passphrase: str | None = None, home: Home | None = None
) -> MasterKey:
    """Return the profile's master key; see `KeyStore.open`."""
    return KeyStore(home).open(mode, passphrase)


def _check_mode(mode: str, *more: str) -> None:
    if mode not in (*MODES, *more):
        raise ValueError(f"unknown mode {mode!r}")
