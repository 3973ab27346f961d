"""Sealed files: small secrets on disk, readable and changeable only with the master key.

    magic (8) | version (1) | key id (8) | len, purpose | len, backend | salt (16) | nonce (12) | ciphertext | tag (16)

    file key = master.derive("sealed" || 0 || salt)      one per file, so a random nonce never meets itself
    body     = ChaCha20-Poly1305(file key, nonce, plaintext, associated data = everything before it)

The purpose and the backend are public words of at most 255 bytes. The key id says which master key opens the file,
which is what makes rotation resumable and "wrong key" a different error from "damaged".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fhe_client.keys import files
from fhe_client.keys.errors import (
    KeyLostError,
    NotSealedError,
    SealDamagedError,
    SealedError,
    UnknownVersionError,
    WrongKeyError,
    WrongPurposeError,
)
from fhe_client.keys.master_key import KEY_ID_BYTES, MasterKey

MAGIC = b"\x89TACITA\n"
VERSION = 1
MAX_PLAINTEXT = 256 * 2**20
"""Bytes. A sealed file is held in memory whole; larger things keep a data key here and encrypt themselves."""

_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_HEADER = len(MAGIC) + 1 + KEY_ID_BYTES + 2 * 256 + _SALT_BYTES + _NONCE_BYTES
_FILE_KEY_CONTEXT = b"sealed\0"


@dataclass(frozen=True)
class SealedHeader:
    """The public part of a sealed file; not to be believed before the file has been opened."""

    key_id: str
    purpose: str
    backend: str
    salt: bytes
    nonce: bytes
    size: int
    """Bytes of the header, which are the associated data."""


def seal(key: MasterKey, purpose: str, plaintext: bytes) -> bytes:
    """Return `plaintext` encrypted and authenticated for `purpose`, under fresh randomness."""
    if len(plaintext) > MAX_PLAINTEXT:
        raise ValueError(
            f"{len(plaintext)} bytes are too many to seal; the limit is {MAX_PLAINTEXT}"
        )
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    words = _word(purpose) + _word(key.origin)
    header = MAGIC + bytes([VERSION]) + bytes.fromhex(key.key_id) + words + salt + nonce
    return header + _cipher(key, salt).encrypt(nonce, plaintext, header)


def open_sealed(key: MasterKey, purpose: str, blob: bytes) -> bytes:
    """Return the plaintext of `blob`.

    Raises `NotSealedError`, `UnknownVersionError`, `WrongKeyError`, `WrongPurposeError` or `SealDamagedError`, which
    are all `SealedError`.
    """
    header = parse_header(blob)
    if header.key_id != key.key_id:
        raise WrongKeyError(
            f"The file was sealed with key {header.key_id}, but the open key is {key.key_id}.",
            "Import the recovery file of that key, or restart if the key was just changed.",
        ).about(sealed_with=header.key_id, open_key=key.key_id)
    plaintext = _decrypt(key, header, blob)
    if header.purpose != purpose:
        raise WrongPurposeError(
            f"The file holds “{header.purpose}”, not “{purpose}”.",
            "Put the right file in its place.",
        )
    return plaintext


def parse_header(blob: bytes) -> SealedHeader:
    """Read the public header, checking every length. Raises as `open_sealed` does."""
    reader = _Reader(blob)
    if not blob or reader.take(min(len(blob), len(MAGIC))) != MAGIC:
        raise NotSealedError(
            "The file is not one that Tacita sealed.", "Check that it is the right file."
        )
    version = reader.take(1)[0]
    if version != VERSION:
        raise UnknownVersionError(
            f"The file has format version {version}; this Tacita reads version {VERSION}.",
            "Update Tacita, or restore the file from a backup.",
        ).about(version=version, known=VERSION)
    key_id = reader.take(KEY_ID_BYTES).hex()
    purpose, backend = reader.word(), reader.word()
    salt, nonce = reader.take(_SALT_BYTES), reader.take(_NONCE_BYTES)
    return SealedHeader(key_id, purpose, backend, salt, nonce, reader.position)


def write_sealed(path: Path, key: MasterKey, purpose: str, plaintext: bytes) -> None:
    """Seal `plaintext` into `path`, atomically, mode 0600."""
    files.write_private(path, seal(key, purpose, plaintext))


def read_sealed(path: Path, key: MasterKey, purpose: str) -> bytes:
    """Return the plaintext of a sealed file. Raises as `open_sealed`, and FileNotFoundError."""
    return open_sealed(key, purpose, _read_bounded(path))


def data_key(path: Path, key: MasterKey, purpose: str, *, protects: Path | None = None) -> bytes:
    """Return the 32-byte key of something large (the history), kept sealed in `path`; make it at the first call.

    The large thing then survives a rotation of the master key untouched: only this small file is sealed anew. If
    `protects` exists while `path` does not, a new key could not open it, so `KeyLostError` is raised instead.
    """
    if path.exists():
        return read_sealed(path, key, purpose)
    if protects is not None and protects.exists():
        raise KeyLostError(
            f"The key of {protects.name} is missing ({path.name}).",
            f"Restore {path.name} from a backup, or move {protects.name} away to start afresh.",
        )
    fresh = secrets.token_bytes(32)
    try:
        files.write_private(path, seal(key, purpose, fresh), replace=False)
    except FileExistsError:
        return read_sealed(path, key, purpose)  # another window was first
    return fresh


def sealed_files(roots: tuple[Path, ...]) -> Iterator[tuple[Path, SealedHeader | None]]:
    """Yield every file under `roots` that starts like a sealed one; None stands for an unreadable header."""
    for path in files.regular_files(roots):
        start = files.first_bytes(path, _MAX_HEADER)
        if start.startswith(MAGIC) and not files.is_temporary(path):
            yield path, _header_or_none(start)


def sealed_paths(roots: tuple[Path, ...]) -> Iterator[Path]:
    """Yield every file that starts like a sealed one, with what crashes left behind: all that `erase` deletes."""
    for path in files.regular_files(roots):
        if files.first_bytes(path, len(MAGIC)) == MAGIC:
            yield path


def reseal_file(path: Path, old: MasterKey, new: MasterKey) -> None:
    """Replace a file sealed under `old` by the same content sealed under `new`, atomically."""
    blob = _read_bounded(path)
    purpose = parse_header(blob).purpose
    write_sealed(path, new, purpose, open_sealed(old, purpose, blob))


def _header_or_none(start: bytes) -> SealedHeader | None:
    try:
        return parse_header(start)
    except SealedError:
        return None


def _decrypt(key: MasterKey, header: SealedHeader, blob: bytes) -> bytes:
    body, associated = blob[header.size :], blob[: header.size]
    if not _TAG_BYTES <= len(body) <= MAX_PLAINTEXT + _TAG_BYTES:
        raise _damaged()
    try:
        return _cipher(key, header.salt).decrypt(header.nonce, body, associated)
    except InvalidTag:
        raise _damaged() from None


def _cipher(key: MasterKey, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key.derive(_FILE_KEY_CONTEXT + salt))


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_HEADER + MAX_PLAINTEXT + _TAG_BYTES + 1)


def _word(text: str) -> bytes:
    encoded = text.encode("utf-8")
    if not 0 < len(encoded) < 256:
        raise ValueError("a purpose or backend name has 1 to 255 bytes")
    return bytes([len(encoded)]) + encoded


def _damaged() -> SealDamagedError:
    return SealDamagedError(
        "The file was changed or cut short after it was written.", "Restore it from a backup."
    )


class _Reader:
    """Takes bytes from the front; running out means the file is cut short."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._blob):
            raise _damaged()
        taken = self._blob[self.position : end]
        self.position = end
        return taken

    def word(self) -> str:
        try:
            text = self.take(self.take(1)[0]).decode("utf-8")
        except UnicodeDecodeError:
            raise _damaged() from None
        if not text:
            raise _damaged()
        return text
