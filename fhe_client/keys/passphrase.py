"""A 32-byte key locked by a passphrase: the key file, and the recovery file in a form that can be printed.

    magic (8) | version (1) | key id (8) | passes, KiB, lanes (4 each) | salt (16) | nonce (12) | ciphertext | tag (16)
    ... | first 8 bytes of SHA-256 of all before

    lock key = Argon2id(NFC(passphrase), salt, passes, KiB, lanes)        body = ChaCha20-Poly1305, header associated

The checksum is no protection; it tells "damaged" from "wrong passphrase", which an AEAD alone cannot.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import struct
import textwrap
import unicodedata
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fhe_client.keys.errors import (
    BoxDamagedError,
    PassphraseNeededError,
    WeakPassphraseError,
    WrongPassphraseError,
)
from fhe_client.keys.master_key import KEY_BYTES, KEY_ID_BYTES, key_id_of

MIN_PASSPHRASE = 8
"""Characters of a new passphrase; fewer are refused, since Argon2id only slows guessing down."""

_VERSION = 1
_PARAMETERS = struct.Struct(">III")
_CHECKSUM_BYTES = 8
_BODY_BYTES = KEY_BYTES + 16
_HEADER_BYTES = 8 + 1 + KEY_ID_BYTES + _PARAMETERS.size + 16 + 12
BOX_BYTES = _HEADER_BYTES + _BODY_BYTES + _CHECKSUM_BYTES

_BEGIN = "-----BEGIN TACITA RECOVERY KEY-----"
_END = "-----END TACITA RECOVERY KEY-----"
_MAX_TEXT = 4096


class BoxKind(Enum):
    """What a box is for; one kind never opens as the other."""

    KEY_FILE = b"\x89TACPAS\n"
    RECOVERY = b"\x89TACREC\n"


@dataclass(frozen=True)
class Argon2Parameters:
    """Cost of one guess. The default is RFC 9106's memory-constrained choice with four times its memory.

    The upper bounds keep a forged file from exhausting the machine before it is refused.
    """

    passes: int = 3
    memory_kib: int = 256 * 1024
    lanes: int = 4

    def __post_init__(self) -> None:
        within = 1 <= self.passes <= 32 and 1 <= self.lanes <= 16
        if not (within and 8 * self.lanes <= self.memory_kib <= 2**20):
            raise ValueError("Argon2 parameters out of bounds")


DEFAULT_ARGON2 = Argon2Parameters()


def check_new_passphrase(passphrase: str) -> None:
    """Raise `WeakPassphraseError` unless a new passphrase is long enough to be worth the name."""
    if len(passphrase.strip()) < MIN_PASSPHRASE:
        raise WeakPassphraseError(
            f"The passphrase is shorter than {MIN_PASSPHRASE} characters.",
            "Choose a longer one; four unrelated words are good.",
        ).about(minimum=MIN_PASSPHRASE)


def lock_box(
    raw: bytes | bytearray,
    passphrase: str,
    kind: BoxKind,
    argon2: Argon2Parameters = DEFAULT_ARGON2,
) -> bytes:
    """Return the 32-byte key `raw` locked by a passphrase (`BOX_BYTES` bytes)."""
    check_new_passphrase(passphrase)
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    cost = _PARAMETERS.pack(argon2.passes, argon2.memory_kib, argon2.lanes)
    identity = kind.value + bytes([_VERSION]) + bytes.fromhex(key_id_of(raw))
    header = identity + cost + salt + nonce
    body = _cipher(passphrase, salt, argon2).encrypt(nonce, bytes(raw), header)
    return header + body + _checksum(header + body)


def unlock_box(blob: bytes, passphrase: str | None, kind: BoxKind) -> bytearray:
    """Return the key. Raises `BoxDamagedError`, `PassphraseNeededError` or `WrongPassphraseError`."""
    key_id, argon2 = _parse(blob, kind)
    if not passphrase:
        raise PassphraseNeededError(
            "The key is protected by a passphrase.", "Enter the passphrase."
        )
    salt, nonce = blob[_HEADER_BYTES - 28 : _HEADER_BYTES - 12], blob[_HEADER_BYTES - 12 :][:12]
    body = blob[_HEADER_BYTES:-_CHECKSUM_BYTES]
    try:
        raw = bytearray(
            _cipher(passphrase, salt, argon2).decrypt(nonce, body, blob[:_HEADER_BYTES])
        )
    except InvalidTag:
        raise WrongPassphraseError(
            "The passphrase is not the right one.",
            "Try again; check the keyboard layout and Caps Lock.",
        ) from None
    if key_id_of(raw) != key_id:
        raise _damaged()
    return raw


def box_key_id(blob: bytes, kind: BoxKind) -> str:
    """Return the id of the key inside, without the passphrase. Raises `BoxDamagedError`."""
    return _parse(blob, kind)[0]


def to_text(blob: bytes) -> str:
    """Return a recovery box as a few lines of ASCII that survive printing, mail and editors."""
    body = textwrap.fill(base64.b64encode(blob).decode("ascii"), 64)
    return f"{_BEGIN}\n{body}\n{_END}\n"


def from_text(text: str | bytes) -> bytes:
    """Read what `to_text` wrote, blind to line ends, indentation and text around it. Raises `BoxDamagedError`."""
    if len(text) > _MAX_TEXT:
        raise _damaged()
    if isinstance(text, bytes):
        text = text.decode("ascii", errors="replace")
    _, begin, rest = text.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not (begin and end):
        raise _damaged()
    try:
        return base64.b64decode("".join(body.split()).encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raise _damaged() from None


def _parse(blob: bytes, kind: BoxKind) -> tuple[str, Argon2Parameters]:
    if len(blob) != BOX_BYTES or not blob.startswith(kind.value):
        raise _damaged()
    if _checksum(blob[:-_CHECKSUM_BYTES]) != blob[-_CHECKSUM_BYTES:]:
        raise _damaged()
    if blob[8] != _VERSION:
        raise BoxDamagedError(
            f"The key file has format version {blob[8]}.", "Update Tacita to read it."
        )
    start = 9 + KEY_ID_BYTES
    try:
        argon2 = Argon2Parameters(*_PARAMETERS.unpack_from(blob, start))
    except ValueError:
        raise _damaged() from None
    return blob[9:start].hex(), argon2


def _cipher(passphrase: str, salt: bytes, argon2: Argon2Parameters) -> ChaCha20Poly1305:
    from argon2.low_level import Type, hash_secret_raw

    # One passphrase can be typed as different code points on different systems; NFC makes them one.
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return ChaCha20Poly1305(
        hash_secret_raw(
            secret, salt, argon2.passes, argon2.memory_kib, argon2.lanes, KEY_BYTES, Type.ID
        )
    )


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_CHECKSUM_BYTES]


def _damaged() -> BoxDamagedError:
    return BoxDamagedError(
        "The key file is damaged, or it is not one that Tacita wrote.",
        "Check that it is the right file and complete, or use another copy.",
    )
