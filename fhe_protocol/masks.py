"""The public mask A of one group part, expanded by both sides from a seed that the client hashes itself.

A is n ring elements of N coefficients, uniform mod 2^24. The seed is SHAKE-256 over an injective (length-prefixed)
encoding of everything that names the mask, so that a server can only resample A by changing the model digest,
and two parts never share one. The stream is AES-256-CTR under that seed: public, so a block cipher with
hardware support is as good as an extendable-output function and five times faster
(docs/decisions/0003-masks-from-aes-ctr.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.parameters import HintParameters

_DOMAIN = b"tacita/mask"
_BYTES = 3
_BLOCK = 16


def encode_fields(*fields: bytes) -> bytes:
    """Injective encoding: each field behind its length as eight big-endian bytes."""
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)


@dataclass(frozen=True, slots=True)
class MaskName:
    """Everything that tells one mask from another.

    Attributes:
        model_digest: 32 bytes, `Manifest.model_digest`.
        part_index: position of the part among all parts of the model.
        name: the part's unique, normalised name.
        inputs: n.
        outputs: m.
    """

    model_digest: bytes
    part_index: int
    name: str
    inputs: int
    outputs: int


def mask_seed(parameters: HintParameters, name: MaskName) -> bytes:
    """48 bytes (AES-256 key, then the initial counter block) for the mask called `name`."""
    integers = (
        PROTOCOL_VERSION,
        parameters.ring_degree,
        parameters.modulus_bits,
        parameters.error_eta,
        parameters.answer_bits,
        name.part_index,
        name.inputs,
        name.outputs,
    )
    encoded = encode_fields(
        _DOMAIN,
        parameters.name.encode(),
        name.model_digest,
        name.name.encode(),
        *(value.to_bytes(8, "big") for value in integers),
    )
    return hashlib.shake_256(encoded).digest(48)


def expand_mask(
    parameters: HintParameters, name: MaskName, start: int = 0, stop: int | None = None
) -> NDArray[np.uint32]:
    """Rows start..stop of A.

    Args:
        start, stop: input indices, 0 <= start <= stop <= n.

    Returns:
        uint32 array (stop - start, N), each coefficient uniform in [0, 2^24).
    """
    stop = name.inputs if stop is None else stop
    if not 0 <= start <= stop <= name.inputs:
        raise ValueError("mask rows out of range")
    raw = _stream(parameters, name, start, stop - start).reshape(-1, _BYTES)
    wide = np.zeros((raw.shape[0], 4), dtype=np.uint8)
    wide[:, :_BYTES] = raw
    return (
        wide.view("<u4").reshape(stop - start, parameters.ring_degree).astype(np.uint32, copy=False)
    )


def expand_mask_digits(
    parameters: HintParameters, name: MaskName, start: int, stop: int
) -> NDArray[np.int8]:
    """Rows start..stop of A - 0x808080 as balanced digits, those of one coefficient side by side: int8 (rows, N, 3).

    They are the bytes of A, each less 128: no carry, hence no arithmetic. To sort them into planes would cost six
    times what the stream does.
    """
    if not 0 <= start <= stop <= name.inputs:
        raise ValueError("mask rows out of range")
    raw = _stream(parameters, name, start, stop - start, flip=0x80)
    return raw.view(np.int8).reshape(stop - start, parameters.ring_degree, _BYTES)


def _stream(
    parameters: HintParameters, name: MaskName, start: int, rows: int, flip: int = 0
) -> NDArray[np.uint8]:
    """Bytes of the stream, each xor `flip`."""
    seed = mask_seed(parameters, name)
    row_bytes = (
        parameters.ring_degree * _BYTES
    )  # a multiple of the 16-byte AES block for every N >= 512
    counter = int.from_bytes(seed[32:], "big") + start * row_bytes // 16
    block = (counter % (1 << 128)).to_bytes(16, "big")
    encryptor = Cipher(algorithms.AES(seed[:32]), modes.CTR(block)).encryptor()
    size = rows * row_bytes
    stream = np.empty(size + _BLOCK - 1, dtype=np.uint8)  # the room that a block cipher could need
    encryptor.update_into(bytes((flip,)) * size, stream.data)
    return stream[:size]
