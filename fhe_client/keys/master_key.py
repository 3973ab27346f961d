"""The one 32-byte key that everything secret on this machine hangs from.

    key_id            = first 8 bytes of SHA-256("tacita/master key/id" || 0 || key)
    derive(context)   = HKDF-SHA256(key, info = "tacita/derive/1" || 0 || length || len(context) || context)

The lengths are 4-byte big-endian, so that no two (context, length) pairs share an info string.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from typing import NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhe_client.keys.errors import KeyClosedError

KEY_BYTES = 32
KEY_ID_BYTES = 8
_ID_DOMAIN = b"tacita/master key/id\0"
_DERIVE_DOMAIN = b"tacita/derive/1\0"


def key_id_of(raw: bytes | bytearray) -> str:
    """Return the public name of a 32-byte key: 16 hex digits that say nothing about it."""
    # b"".join would make one more copy of the key; the hash object takes the buffer as it is.
    digest = hashlib.sha256(_ID_DOMAIN)
    digest.update(raw)
    return digest.digest()[:KEY_ID_BYTES].hex()


class MasterKey:
    """32 secret bytes that cannot be printed, pickled or copied by accident, wiped by `close`.

    `origin` names where the key is kept ("keyring.backends...", "passphrase", "session"); it is written into the
    header of every sealed file. Wiping is best effort: Python and the keyring may have made copies of their own.
    """

    __slots__ = ("_key_id", "_raw", "origin")

    def __init__(self, raw: bytes | bytearray, *, origin: str) -> None:
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw: bytearray | None = bytearray(raw)
        self._key_id = key_id_of(raw)
        self.origin = origin

    @classmethod
    def generate(cls, *, origin: str) -> MasterKey:
        """Return a fresh key from the operating system's generator."""
        return cls(secrets.token_bytes(KEY_BYTES), origin=origin)

    @property
    def key_id(self) -> str:
        """16 hex digits; public; known after `close` too."""
        return self._key_id

    @property
    def closed(self) -> bool:
        """Whether the key has been wiped."""
        return self._raw is None

    def derive(self, context: bytes, length: int = 32) -> bytes:
        """Return `length` bytes (1 to 8,160) that depend on the key, the whole context and the length."""
        info = _DERIVE_DOMAIN + struct.pack(">II", length, len(context)) + context
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self._open())

    def raw_copy(self) -> bytearray:
        """Return the key itself. Only the key store, which puts it away, has a reason to call this."""
        return bytearray(self._open())

    def close(self) -> None:
        """Overwrite the key with zeros and refuse every later use. May be called twice."""
        raw, self._raw = self._raw, None
        if raw is not None:
            wipe(raw)

    def _open(self) -> bytearray:
        raw = self._raw
        if raw is None:
            raise KeyClosedError("The key has been closed.", "Open it again before using it.")
        return raw

    def __enter__(self) -> MasterKey:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MasterKey {self._key_id}{' closed' if self.closed else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a MasterKey is never pickled or copied")


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer with zeros in place."""
    buffer[:] = bytes(len(buffer))
