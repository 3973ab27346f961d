"""The `glwe` scheme on the wire: Concrete ML's encrypted matrix product, checked before native code sees it.

    Query  = header | EncryptedMatrix (rows x n), one for the whole group
    Answer = header | for each block of at most 2,048 outputs: CompressedResultEncryptedMatrix (rows x b)
    header = magic 2 | version 1 | reserved 1 | request id 4 | group 2 | rows 2      (12 bytes, little-endian)

The inner objects are the bytes of `concrete_ml_extensions`, sequences of little-endian 64-bit words. For a given shape
every word is either ciphertext, where any value is valid, or structure, whose one valid value is known:

    EncryptedMatrix (rows x n), p = ceil(n / 2048)
        rows | rows x ( p | p x (1248 | 1248 data words | 39 2048 39 1 2048 | 2 seed words | 0 0 64) | n ) | rows n
    CompressedResult (rows x b), b <= 2048, d = ceil((2048 + b) * 26 / 64)
        rows | rows x ( 1 | d | d data words | 26 2048+b 1 2048 b 0 0 64 )
    CompressionKey
        2^24 | 2^24 data words | 14 2 2 2048 0 0 64 2048 26

So `check_*` leave nothing to be believed: length and every structure word are compared with the only legal ones. The
native deserialisers need that: a crafted length field makes them allocate without bound or abort the process
(docs/decisions/0010-glwe-over-the-network.md).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.errors import FrameError, ParameterError
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.wire import HEADER, Buffer, FrameHeader

MAX_ROWS = 16
"""Rows of one frame: a row costs the server seconds, so longer prompts travel in several passes."""

KEY_HEADER = "x-tacita-glwe-key"
"""The HTTP header that names the uploaded compression key of a round."""

_QUERY = b"GQ"
_ANSWER = b"GA"
_WORD = 8

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class GlweParameters:
    """The parameter set of `concrete_ml_extensions.default_params()`; 2^133 by the lattice estimator.

    Attributes:
        name: stable identifier.
        polynomial_size: N, values of one ciphertext and outputs of one block.
        message_bits: results live in [-2^(message_bits-1), 2^(message_bits-1)) and wrap silently beyond.
        query_bits, answer_bits: bits of a coefficient on the way up and down.
        switch_base_log, switch_levels: decomposition of the packing key switch.
    """

    name: str
    polynomial_size: int
    message_bits: int
    query_bits: int
    answer_bits: int
    switch_base_log: int
    switch_levels: int

    @property
    def half_range(self) -> int:
        """Results of this size or more wrap: 2^26."""
        return 1 << (self.message_bits - 1)

    @property
    def noise_offset_sigma(self) -> float:
        """Standard deviation of the part of the noise that neighbouring outputs of one row share.

        The answer keeps `answer_bits` of a coefficient, so each of the N mask coefficients is off by a uniform value of
        +-2^(message_bits - answer_bits) / 2. Decryption adds N of them times a secret bit s = 1/2 + (s - 1/2): the
        first half gives a sum that changes slowly from output to output, the second one looks independent.
        """
        step = 2.0 ** (self.message_bits - self.answer_bits)
        return math.sqrt(self.polynomial_size * step**2 / 12) / 2

    @property
    def noise_white_sigma(self) -> float:
        """Standard deviation of the part that looks independent: as above, plus the key switch's own rounding."""
        kept = self.switch_base_log * self.switch_levels
        step = 2.0 ** (self.message_bits - kept)
        switch = self.polynomial_size / 2 * step**2 / 12
        return math.sqrt(self.noise_offset_sigma**2 + switch)

    @property
    def noise_sigma(self) -> float:
        """Standard deviation of a decrypted integer around the exact product, whatever the product is."""
        return math.hypot(self.noise_offset_sigma, self.noise_white_sigma)

    @property
    def guard(self) -> float:
        """What a product must leave free below `half_range`: 8 sigma."""
        return 8 * self.noise_sigma

    @property
    def query_words(self) -> int:
        """Packed words of one query ciphertext."""
        return self.polynomial_size * self.query_bits // 64

    def answer_words(self, outputs: int) -> int:
        """Packed words of one answer ciphertext of `outputs` values."""
        return -(-(self.polynomial_size + outputs) * self.answer_bits // 64)

    @property
    def key_words(self) -> int:
        """Data words of a compression key."""
        return 2 * self.switch_levels * self.polynomial_size**2


GLWE_2048_27 = GlweParameters(
    name="glwe-2048-27",
    polynomial_size=2048,
    message_bits=27,
    query_bits=39,
    answer_bits=26,
    switch_base_log=14,
    switch_levels=2,
)


def glwe_parameters_by_name(name: str) -> GlweParameters:
    """The known parameter set of that name.

    Raises:
        ParameterError: another one than this version accepts.
    """
    if name != GLWE_2048_27.name:
        raise ParameterError(f"unknown parameter set {name[:40]!r}; known: {GLWE_2048_27.name}")
    return GLWE_2048_27


def output_blocks(outputs: int) -> tuple[tuple[int, int], ...]:
    """Slices of the outputs, each answered by ciphertexts of its own."""
    size = GLWE_2048_27.polynomial_size
    return tuple((a, min(a + size, outputs)) for a in range(0, outputs, size))


def matrix_size(rows: int, inputs: int) -> int:
    """Bytes of a serialised EncryptedMatrix."""
    pieces = -(-inputs // GLWE_2048_27.polynomial_size)
    return _WORD * (3 + rows * (2 + pieces * (GLWE_2048_27.query_words + 11)))


def result_size(rows: int, outputs: int) -> int:
    """Bytes of a serialised CompressedResultEncryptedMatrix of one block, `outputs` <= 2048."""
    return _WORD * (1 + rows * (10 + GLWE_2048_27.answer_words(outputs)))


KEY_SIZE = _WORD * (1 + GLWE_2048_27.key_words + 9)
"""Bytes of a serialised compression key: 134,217,808."""


def query_size(group: Group, rows: int) -> int:
    """Bytes of a whole query frame."""
    return HEADER.size + matrix_size(rows, group.inputs)


def answer_size(group: Group, rows: int) -> int:
    """Bytes of a whole answer frame."""
    return HEADER.size + sum(result_size(rows, b - a) for a, b in output_blocks(group.outputs))


def max_query_size(manifest: Manifest) -> int:
    """Largest query frame this model can have; a server refuses more before reading it."""
    return max(query_size(g, MAX_ROWS) for g in manifest.groups)


def check_matrix(data: Buffer, rows: int, inputs: int) -> None:
    """Check that `data` is a serialised EncryptedMatrix of exactly this shape.

    Raises:
        FrameError: it is not.
    """
    _compare(data, matrix_size(rows, inputs), *_matrix_structure(rows, inputs), "encrypted matrix")


def check_result(data: Buffer, rows: int, outputs: int) -> None:
    """Check that `data` is a serialised CompressedResultEncryptedMatrix of exactly this shape.

    Raises:
        FrameError: it is not.
    """
    structure = _result_structure(rows, outputs)
    _compare(data, result_size(rows, outputs), *structure, "encrypted result")


def check_key(data: Buffer) -> None:
    """Check that `data` is a serialised compression key.

    Raises:
        FrameError: it is not.
    """
    _compare(data, KEY_SIZE, *_key_structure(), "compression key")


def _compare(data: Buffer, size: int, positions: NDArray[np.int64], due: Words, what: str) -> None:
    if len(data) != size:
        raise FrameError(f"{what} has {len(data)} bytes where {size} are due")
    words = np.frombuffer(data, dtype="<u8")
    if not np.array_equal(words[positions], due):
        raise FrameError(f"{what} is not of the shape that is due")


_Structure = tuple[NDArray[np.int64], Words]


class _Builder:
    """Collects positions and values of the structure words of a serialised object."""

    def __init__(self) -> None:
        self._at = 0
        self._positions: list[int] = []
        self._values: list[int] = []

    def fixed(self, *values: int) -> None:
        self._positions.extend(range(self._at, self._at + len(values)))
        self._values.extend(values)
        self._at += len(values)

    def free(self, count: int) -> None:
        self._at += count

    def done(self) -> _Structure:
        return np.array(self._positions, dtype=np.int64), np.array(self._values, dtype=np.uint64)


@lru_cache(maxsize=256)
def _matrix_structure(rows: int, inputs: int) -> _Structure:
    p = GLWE_2048_27
    size, pieces = p.polynomial_size, -(-inputs // p.polynomial_size)
    build = _Builder()
    build.fixed(rows)
    for _ in range(rows):
        build.fixed(pieces)
        for _ in range(pieces):
            build.fixed(p.query_words)
            build.free(p.query_words)
            build.fixed(p.query_bits, size, p.query_bits, 1, size)
            build.free(2)
            build.fixed(0, 0, 64)
        build.fixed(inputs)
    build.fixed(rows, inputs)
    return build.done()


@lru_cache(maxsize=256)
def _result_structure(rows: int, outputs: int) -> _Structure:
    p = GLWE_2048_27
    size = p.polynomial_size
    build = _Builder()
    build.fixed(rows)
    for _ in range(rows):
        build.fixed(1, p.answer_words(outputs))
        build.free(p.answer_words(outputs))
        build.fixed(p.answer_bits, size + outputs, 1, size, outputs, 0, 0, 64)
    return build.done()


@lru_cache(maxsize=1)
def _key_structure() -> _Structure:
    p = GLWE_2048_27
    size = p.polynomial_size
    build = _Builder()
    build.fixed(p.key_words)
    build.free(p.key_words)
    build.fixed(p.switch_base_log, p.switch_levels, 2, size, 0, 0, 64, size, p.answer_bits)
    return build.done()


def pack_query(header: FrameHeader, matrix: bytes) -> bytes:
    """A query frame around a serialised EncryptedMatrix."""
    return _pack(_QUERY, header) + matrix


def parse_query(data: Buffer, manifest: Manifest) -> tuple[FrameHeader, memoryview]:
    """Read a query from untrusted bytes.

    Returns:
        The header, and the EncryptedMatrix of (rows, n), checked to its last structure word: a view of `data`.

    Raises:
        FrameError: wrong magic, version, group, number of rows, length or structure.
    """
    header = _parse_header(data, _QUERY)
    if header.group >= len(manifest.groups):
        raise FrameError(f"no group {header.group} in this model")
    matrix = memoryview(data)[HEADER.size :]
    check_matrix(matrix, header.rows, manifest.groups[header.group].inputs)
    return header, matrix


def pack_answer_header(header: FrameHeader) -> bytes:
    """The first bytes of an answer frame; the results of the blocks follow in order."""
    return _pack(_ANSWER, header)


def pack_answer(header: FrameHeader, results: Sequence[bytes]) -> bytes:
    """A whole answer frame."""
    return _pack(_ANSWER, header) + b"".join(results)


def parse_answer(data: Buffer, group: Group, expected: FrameHeader) -> list[memoryview]:
    """Read the answer to the query whose header was `expected`.

    Returns:
        For each block of outputs the CompressedResult, checked to its last structure word: views of `data`.

    Raises:
        FrameError: it is malformed or answers another query.
    """
    if _parse_header(data, _ANSWER) != expected:
        raise FrameError("the answer belongs to another query")
    due = answer_size(group, expected.rows)
    if len(data) != due:
        raise FrameError(f"frame has {len(data)} bytes where {due} are due")
    return list(_split_answer(memoryview(data), group, expected.rows))


def _split_answer(data: memoryview, group: Group, rows: int) -> Iterator[memoryview]:
    offset = HEADER.size
    for start, stop in output_blocks(group.outputs):
        size = result_size(rows, stop - start)
        piece = data[offset : offset + size]
        check_result(piece, rows, stop - start)
        offset += size
        yield piece


def _pack(magic: bytes, header: FrameHeader) -> bytes:
    return HEADER.pack(magic, PROTOCOL_VERSION, 0, header.request_id, header.group, header.rows)


def _parse_header(data: Buffer, magic: bytes) -> FrameHeader:
    try:
        found, version, reserved, request_id, group, rows = HEADER.unpack_from(data)
    except struct.error:
        raise FrameError("frame is shorter than its header") from None
    if found != magic:
        raise FrameError("not a Tacita frame of the expected kind")
    if version != PROTOCOL_VERSION or reserved != 0:
        raise FrameError(f"frame is not of protocol version {PROTOCOL_VERSION}")
    if not 1 <= rows <= MAX_ROWS:
        raise FrameError(f"a frame of this scheme has 1 to {MAX_ROWS} rows")
    return FrameHeader(request_id, group, rows)
