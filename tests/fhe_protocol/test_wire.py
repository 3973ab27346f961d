"""Round frames: what is packed is parsed, and nothing else is."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_protocol.errors import FrameError
from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import (
    HEADER,
    MAX_ROWS,
    FrameHeader,
    answer_size,
    max_query_size,
    pack_answer,
    pack_query,
    parse_answer,
    parse_query,
    query_size,
)
from tests.security.world import make_world

MANIFEST: Manifest = make_world().manifest
TWO_PARTS = MANIFEST.groups[1]


def planes(rows: int, seed: int = 5) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(-128, 128, size=(3, rows, part.inputs), dtype=np.int8)
        for part in TWO_PARTS.parts
    ]


def answers(rows: int) -> list[Any]:
    rng = np.random.default_rng(6)
    return [
        rng.integers(0, 1 << 16, size=(rows, TWO_PARTS.outputs)).astype(np.uint16)
        for _ in TWO_PARTS.parts
    ]


def query(rows: int = 2) -> bytes:
    return pack_query(FrameHeader(77, 1, rows), planes(rows))


@pytest.mark.parametrize("rows", [1, 2, MAX_ROWS])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_query_survives(rows: int, kind: type) -> None:
    header = FrameHeader(0xFFFFFFFF, 1, rows)
    frame = pack_query(header, planes(rows))
    assert len(frame) == query_size(TWO_PARTS, rows) <= max_query_size(MANIFEST)
    parsed, views = parse_query(kind(frame), MANIFEST)
    assert parsed == header
    for view, sent in zip(views, planes(rows), strict=True):
        assert np.array_equal(view, sent)


@pytest.mark.parametrize("rows", [1, 3, MAX_ROWS])
def test_an_answer_survives(rows: int) -> None:
    header = FrameHeader(9, 1, rows)
    frame = pack_answer(header, answers(rows))
    assert len(frame) == answer_size(TWO_PARTS, rows)
    parsed = parse_answer(frame, TWO_PARTS, header)
    for got, sent in zip(parsed, answers(rows), strict=True):
        assert got.dtype == np.uint16
        assert np.array_equal(got, sent)


def test_strided_arrays_are_packed_by_value() -> None:
    doubled = [np.repeat(p, 2, axis=2)[:, :, ::2] for p in planes(2)]
    assert pack_query(FrameHeader(77, 1, 2), doubled) == query()


def test_the_header_is_the_documented_one() -> None:
    assert query()[:12] == b"TQ" + bytes([1, 0]) + struct.pack("<IHH", 77, 1, 2)


def test_three_bytes_a_value_up_and_two_down() -> None:
    assert query_size(TWO_PARTS, 5) == 12 + 3 * 5 * 50
    assert answer_size(TWO_PARTS, 5) == 12 + 2 * 5 * 10 * 2


@pytest.mark.parametrize("length", [*range(20), 200, 311])
def test_a_truncated_query_is_refused(length: int) -> None:
    with pytest.raises(FrameError):
        parse_query(query()[:length], MANIFEST)


def test_every_truncation_of_a_query_and_an_answer_is_refused() -> None:
    frame = query(1)
    header = FrameHeader(9, 1, 1)
    reply = pack_answer(header, answers(1))
    for length in range(len(frame)):
        with pytest.raises(FrameError):
            parse_query(frame[:length], MANIFEST)
    for length in range(len(reply)):
        with pytest.raises(FrameError):
            parse_answer(reply[:length], TWO_PARTS, header)


@pytest.mark.parametrize("extra", [b"\0", b"x" * 1000])
def test_bytes_behind_a_frame_are_refused(extra: bytes) -> None:
    with pytest.raises(FrameError, match="bytes where"):
        parse_query(query() + extra, MANIFEST)
    header = FrameHeader(9, 1, 2)
    with pytest.raises(FrameError, match="bytes where"):
        parse_answer(pack_answer(header, answers(2)) + extra, TWO_PARTS, header)


@pytest.mark.parametrize(
    "fields",
    [
        (b"TA", 1, 0, 77, 1, 2),
        (b"XX", 1, 0, 77, 1, 2),
        (b"TQ", 0, 0, 77, 1, 2),
        (b"TQ", 2, 0, 77, 1, 2),
        (b"TQ", 1, 1, 77, 1, 2),
        (b"TQ", 1, 0, 77, 3, 2),
        (b"TQ", 1, 0, 77, 65535, 2),
        (b"TQ", 1, 0, 77, 1, 0),
        (b"TQ", 1, 0, 77, 1, 1),
        (b"TQ", 1, 0, 77, 1, 257),
        (b"TQ", 1, 0, 77, 1, 65535),
        (b"TQ", 1, 0, 77, 0, 2),
    ],
)
def test_a_query_with_a_wrong_field_is_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(FrameError):
        parse_query(HEADER.pack(*fields) + query()[12:], MANIFEST)


@pytest.mark.parametrize(
    "other", [FrameHeader(10, 1, 2), FrameHeader(9, 0, 2), FrameHeader(9, 1, 1)]
)
def test_the_answer_to_another_query_is_refused(other: FrameHeader) -> None:
    reply = pack_answer(FrameHeader(9, 1, 2), answers(2))
    with pytest.raises(FrameError, match="another query"):
        parse_answer(reply, TWO_PARTS, other)


def test_a_query_is_not_an_answer() -> None:
    with pytest.raises(FrameError, match="expected kind"):
        parse_answer(query(), TWO_PARTS, FrameHeader(77, 1, 2))


@given(st.binary(max_size=700))
def test_any_bytes_are_a_query_or_a_frame_error(data: bytes) -> None:
    for frame in (data, query(1)[:12] + data, query(1)[: len(data)] + data[: len(data) // 2]):
        try:
            header, views = parse_query(frame, MANIFEST)
        except FrameError:
            continue
        assert sum(v.nbytes for v in views) == len(frame) - HEADER.size
        assert 1 <= header.rows <= MAX_ROWS


@given(st.binary(min_size=query_size(TWO_PARTS, 1) - 12, max_size=query_size(TWO_PARTS, 1) - 12))
def test_every_byte_string_of_the_right_length_is_a_query(payload: bytes) -> None:
    header, views = parse_query(query(1)[:12] + payload, MANIFEST)
    assert header == FrameHeader(77, 1, 1)
    assert b"".join(v.tobytes() for v in views) == payload


@given(st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_a_frame_error(data: bytes) -> None:
    header = FrameHeader(9, 1, 1)
    good = pack_answer(header, answers(1))
    for frame in (data, good[:12] + data, data + good[len(data) :]):
        try:
            parsed = parse_answer(frame, TWO_PARTS, header)
        except FrameError:
            continue
        assert [p.shape for p in parsed] == [(1, 10), (1, 10)]
