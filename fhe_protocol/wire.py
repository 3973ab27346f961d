"""Round frames: one group's encrypted rows to the server, its answer back.

    Query  = header | for each part: planes int8 (3, rows, n_part)
    Answer = header | for each part: uint16 little-endian (rows, m)
    header = magic 2 | version 1 | reserved 1 | request id 4 | group 2 | rows 2      (12 bytes, little-endian)

Every size follows from the manifest and the header, so it is checked before anything is allocated. A query of
the right length is always valid (see planes.py).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.errors import FrameError
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.planes import PLANES

MAX_ROWS = 256
"""Rows of one frame. Longer prompts travel in several passes."""

HEADER = struct.Struct("<2sBBIHH")
_QUERY = b"TQ"
_ANSWER = b"TA"
_ANSWER_DTYPE = np.dtype("<u2")

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame is about: an opaque request id, the group's index, the number of rows."""

    request_id: int
    group: int
    rows: int


def query_size(group: Group, rows: int) -> int:
    """Bytes of a whole query frame."""
    return HEADER.size + PLANES * rows * group.inputs


def answer_size(group: Group, rows: int) -> int:
    """Bytes of a whole answer frame."""
    return HEADER.size + 2 * rows * group.outputs * len(group.parts)


def max_query_size(manifest: Manifest) -> int:
    """Largest query frame this model can have; a server refuses more before reading it."""
    return max(query_size(g, MAX_ROWS) for g in manifest.groups)


def pack_query(header: FrameHeader, parts: Sequence[NDArray[np.int8]]) -> bytes:
    """A query frame. `parts[k]` has shape (3, rows, n_k)."""
    return _pack(_QUERY, header, parts)


def empty_query(header: FrameHeader, group: Group) -> tuple[bytearray, list[NDArray[np.int8]]]:
    """A query frame to be filled in place: the frame, and for each part its planes, int8 (3, rows, n_k)."""
    frame = bytearray(query_size(group, header.rows))
    frame[: HEADER.size] = _pack_header(_QUERY, header)
    return frame, _views(frame, group, header.rows)


def pack_answer(header: FrameHeader, parts: Sequence[NDArray[np.uint16]]) -> bytes:
    """An answer frame. `parts[k]` has shape (rows, m)."""
    return _pack(_ANSWER, header, [np.ascontiguousarray(p, dtype="<u2") for p in parts])


def _pack(magic: bytes, header: FrameHeader, parts: Sequence[NDArray[Any]]) -> bytes:
    head = _pack_header(magic, header)
    return b"".join((head, *(np.ascontiguousarray(p).data for p in parts)))


def _pack_header(magic: bytes, header: FrameHeader) -> bytes:
    return HEADER.pack(magic, PROTOCOL_VERSION, 0, header.request_id, header.group, header.rows)


def parse_query(data: Buffer, manifest: Manifest) -> tuple[FrameHeader, list[NDArray[np.int8]]]:
    """Read a query from untrusted bytes.

    Returns:
        The header and, for each part, a view of `data` of shape (3, rows, n_part).

    Raises:
        FrameError: wrong magic, version, group, number of rows, or length.
    """
    header = _parse_header(data, _QUERY)
    if header.group >= len(manifest.groups):
        raise FrameError(f"no group {header.group} in this model")
    group = manifest.groups[header.group]
    _check_length(data, query_size(group, header.rows))
    return header, _views(data, group, header.rows)


def _views(data: Buffer, group: Group, rows: int) -> list[NDArray[np.int8]]:
    """The planes of each part of a whole query frame."""
    views: list[NDArray[np.int8]] = []
    offset = HEADER.size
    for part in group.parts:
        count = PLANES * rows * part.inputs
        flat = np.frombuffer(data, dtype=np.int8, count=count, offset=offset)
        views.append(flat.reshape(PLANES, rows, part.inputs))
        offset += count
    return views


def parse_answer(data: Buffer, group: Group, expected: FrameHeader) -> list[NDArray[np.uint16]]:
    """Read the answer to the query whose header was `expected`.

    Returns:
        For each part an array (rows, m) of 16-bit values, a view of `data`.

    Raises:
        FrameError: it is malformed or answers another query.
    """
    if bytes(data[: HEADER.size]) != _pack_header(_ANSWER, expected):
        _parse_header(data, _ANSWER)
        raise FrameError("the answer belongs to another query")
    _check_length(data, answer_size(group, expected.rows))
    flat = np.frombuffer(data, dtype=_ANSWER_DTYPE, offset=HEADER.size)
    stacked = flat.reshape(len(group.parts), expected.rows, group.outputs)
    return [stacked[k].astype(np.uint16, copy=False) for k in range(len(group.parts))]


def _parse_header(data: Buffer, magic: bytes) -> FrameHeader:
    if len(data) < HEADER.size:
        raise FrameError("frame is shorter than its header")
    found, version, reserved, request_id, group, rows = HEADER.unpack_from(data)
    if found != magic:
        raise FrameError("not a Tacita frame of the expected kind")
    if version != PROTOCOL_VERSION or reserved != 0:
        raise FrameError(
            f"frame is of protocol version {version}, this program speaks {PROTOCOL_VERSION}"
        )
    if not 1 <= rows <= MAX_ROWS:
        raise FrameError(f"a frame has 1 to {MAX_ROWS} rows")
    return FrameHeader(request_id, group, rows)


def _check_length(data: Buffer, expected: int) -> None:
    if len(data) != expected:
        raise FrameError(f"frame has {len(data)} bytes where {expected} are due")
