"""Where a stored key lies: an entry of the keyring, or a file locked by a passphrase. Two slots make a place.

The keyring's text is `tacita1:` + 64 hex digits + `:` + 8 hex digits of a checksum: one short ASCII line, because
Windows takes at most 1,280 characters and some keyrings mangle anything else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fhe_client.home import Home
from fhe_client.keys import files
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.errors import KeyValueDamagedError, PassphraseNeededError
from fhe_client.keys.marker import KEYRING, PASSPHRASE
from fhe_client.keys.master_key import KEY_BYTES
from fhe_client.keys.passphrase import Argon2Parameters, BoxKind, lock_box, unlock_box

SERVICE = "Tacita master key"
PREVIOUS_SERVICE = "Tacita master key, previous"
KEY_FILE = "master.key"
PREVIOUS_KEY_FILE = "master.key.previous"
_PREFIX = "tacita1:"


class Slot(Protocol):
    """Holds one 32-byte key or none."""

    def get(self) -> bytearray | None:
        """Return the key, None if there is none; raise if that cannot be told."""
        ...

    def set(self, raw: bytes | bytearray) -> None:
        """Store a key in place of the one there."""
        ...

    def delete(self) -> bool:
        """Delete the key and return whether there was one."""
        ...


@dataclass(frozen=True)
class Place:
    """The slot of the key in use, and the one that holds the old key while a rotation runs."""

    mode: str
    backend: str
    primary: Slot
    previous: Slot


@dataclass(frozen=True)
class KeyringSlot:
    """An entry of the system keyring."""

    access: KeyringAccess
    service: str
    prefer: str = ""

    def get(self) -> bytearray | None:
        """Return the key or None. Raises `KeyringUnavailableError`, `KeyValueDamagedError`."""
        text = self.access.get(self.service, self.prefer)
        return None if text is None else parse_value(text, self.service)

    def set(self, raw: bytes | bytearray) -> None:
        """Store the key. Raises `KeyringUnavailableError`."""
        self.access.set(self.service, format_value(raw), self.prefer)

    def delete(self) -> bool:
        """Delete the entry. Raises `KeyringUnavailableError`."""
        return self.access.delete(self.service, self.prefer)


@dataclass(frozen=True)
class FileSlot:
    """A key file locked by a passphrase."""

    path: Path
    passphrase: str | None
    argon2: Argon2Parameters

    def __repr__(self) -> str:
        return f"<FileSlot {self.path.name}>"  # the generated one would show the passphrase

    def get(self) -> bytearray | None:
        """Return the key or None. Raises `PassphraseNeededError`, `WrongPassphraseError`, `BoxDamagedError`."""
        blob = self.read()
        return None if blob is None else unlock_box(blob, self.passphrase, BoxKind.KEY_FILE)

    def set(self, raw: bytes | bytearray) -> None:
        """Lock the key and write it. Raises `PassphraseNeededError`, `WeakPassphraseError`."""
        if not self.passphrase:
            raise PassphraseNeededError(
                "A passphrase is needed.", "Choose a passphrase for the key."
            )
        files.write_private(
            self.path, lock_box(raw, self.passphrase, BoxKind.KEY_FILE, self.argon2)
        )

    def delete(self) -> bool:
        """Delete the file."""
        return files.remove(self.path)

    def read(self) -> bytes | None:
        """Return the locked bytes, None if there is no file."""
        try:
            with self.path.open("rb") as file:
                return file.read(4096)
        except FileNotFoundError:
            return None


def keyring_place(home: Home, access: KeyringAccess, prefer: str = "") -> Place:
    """Return the profile's two keyring entries. Only the profile of the usual folders has no suffix."""
    suffix = f" (profile {home.profile})" if home.profile else ""
    primary = KeyringSlot(access, SERVICE + suffix, prefer)
    return Place(KEYRING, prefer, primary, KeyringSlot(access, PREVIOUS_SERVICE + suffix, prefer))


def passphrase_place(home: Home, passphrase: str | None, argon2: Argon2Parameters) -> Place:
    """Return the profile's two key files."""
    primary = FileSlot(home.config / KEY_FILE, passphrase, argon2)
    previous = FileSlot(home.config / PREVIOUS_KEY_FILE, passphrase, argon2)
    return Place(PASSPHRASE, "", primary, previous)


def format_value(raw: bytes | bytearray) -> str:
    """Return a key as the keyring's one-line text."""
    return f"{_PREFIX}{raw.hex()}:{_checksum(raw)}"


def parse_value(text: str, service: str) -> bytearray:
    """Read what `format_value` wrote. Raises `KeyValueDamagedError`, which never quotes the text."""
    body, _, checksum = text.removeprefix(_PREFIX).partition(":")
    try:
        raw = bytearray.fromhex(body)
    except ValueError:
        raw = bytearray()
    if not text.startswith(_PREFIX) or len(raw) != KEY_BYTES or _checksum(raw) != checksum:
        raise KeyValueDamagedError(
            f"The keyring's entry “{service}” is not a key that this Tacita can read.",
            "Update Tacita if the entry is from a newer one; otherwise import your recovery file.",
        )
    return raw


def _checksum(raw: bytes | bytearray) -> str:
    digest = hashlib.sha256(b"tacita/keyring value\0")
    digest.update(raw)
    return digest.hexdigest()[:8]
