"""Secret randomness: keyed streams, and the two distributions drawn from them.

Everything here takes its bytes from a stream that the caller names; there is no global generator, and neither
numpy's nor torch's is ever asked. A stream is AES-256-CTR under a key derived by SHAKE-256 from an epoch key
and an injective encoding of what the stream is for, so two purposes never share a byte, and asking again for
the same purpose gives the same bytes (which is why preparing a window twice can never draw a second error for
one slot).
"""

from __future__ import annotations

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fhe_protocol.masks import encode_fields

_DOMAIN = b"tacita/secret-stream"
_TERNARY_LIMIT = 255
"""Largest multiple of three in a byte: larger values are rejected, or residues would not be uniform."""


class SecretStream:
    """A deterministic stream of secret bytes.

    Args:
        key: at least 32 secret bytes.
        purpose: byte strings that separate this stream from every other under the key.
    """

    def __init__(self, key: bytes | bytearray, *purpose: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a secret stream needs a key of at least 32 bytes")
        encoded = encode_fields(_DOMAIN, bytes(key), *purpose)
        material = hashlib.shake_256(encoded).digest(48)
        self._algorithm = algorithms.AES(material[:32])
        self._start = int.from_bytes(material[32:], "big")
        self.seek(0)

    def seek(self, block: int) -> None:
        """Go on from the block of 16 bytes with that number, counted from the start of the stream."""
        counter = (self._start + block) % (1 << 128)
        self._encryptor = Cipher(
            self._algorithm, modes.CTR(counter.to_bytes(16, "big"))
        ).encryptor()

    def read(self, count: int) -> NDArray[np.uint8]:
        """The next `count` bytes."""
        return np.frombuffer(self._encryptor.update(bytes(count)), dtype=np.uint8)

    def __reduce__(self) -> str:
        raise TypeError("a secret stream cannot be copied or stored")


def sample_ternary(rng_secret: SecretStream, count: int) -> NDArray[np.int8]:
    """`count` values uniform in {-1, 0, 1}: bytes below 255 taken mod 3, the rest rejected."""
    pieces: list[NDArray[np.int8]] = []
    missing = count
    while missing > 0:
        raw = rng_secret.read(missing + 16)
        kept = raw[raw < _TERNARY_LIMIT][:missing]
        pieces.append((kept % 3).astype(np.int8) - np.int8(1))
        missing -= kept.size
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int8)


def centred_binomial_of(words: NDArray[np.uint16], eta: int) -> NDArray[np.int8]:
    """popcount(eta bits) - popcount(other eta bits) of every uniform word: mean 0, variance eta/2.

    Args:
        words: uniform 16-bit words of a secret stream, any shape.
        eta: 1 to 8; one value takes 2*eta of the 16 bits.

    Returns:
        int8 of the shape of `words`.
    """
    if not 1 <= eta <= 8:
        raise ValueError("eta must lie in 1..8")
    low = np.uint16((1 << eta) - 1)
    plus = np.bitwise_count(words & low).astype(np.int8)
    minus = np.bitwise_count((words >> np.uint16(eta)) & low).astype(np.int8)
    drawn: NDArray[np.int8] = plus - minus
    return drawn
