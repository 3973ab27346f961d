"""Digit planes: a bijection between Z_(2^24) and triples of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_protocol.planes import (
    OFFSET,
    from_planes,
    offset_to_planes,
    round_answer,
    to_planes,
)

EDGES = [0, 1, 127, 128, 129, 255, 256, 0x7FFF, 0x8000, 0x8080, 0x7FFFFF, 0x800000, 0x808080]


def test_every_value_survives_so_no_two_share_planes() -> None:
    chunk = 1 << 20  # the whole of Z_(2^24), in pieces that fit a small machine
    for start in range(0, 1 << 24, chunk):
        values = np.arange(start, start + chunk, dtype=np.uint32)
        planes = to_planes(values)
        assert planes.shape == (3, chunk)
        assert np.array_equal(from_planes(planes), values)


@pytest.mark.parametrize("value", [*EDGES, *((1 << 24) - e for e in EDGES if e)])
def test_planes_are_balanced_base_256_digits(value: int) -> None:
    digits = [int(d) for d in to_planes(np.array([value], dtype=np.uint32))[:, 0]]
    assert all(-128 <= d <= 127 for d in digits)
    assert (digits[0] + 256 * digits[1] + 65536 * digits[2] - value) % (1 << 24) == 0


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_only_the_low_24_bits_count(values: list[int]) -> None:
    array = np.array(values, dtype=np.uint32)
    assert np.array_equal(from_planes(to_planes(array)), array & 0xFFFFFF)
    shifted = array + np.uint32(OFFSET)
    assert np.array_equal(offset_to_planes(shifted), to_planes(array))


def test_planes_of_any_layout_are_contiguous() -> None:
    values = np.arange(60, dtype=np.uint32).reshape(3, 20)[:, ::2] * np.uint32(70_001)
    values.flags.writeable = False
    planes = to_planes(values)
    assert planes.flags.c_contiguous
    assert planes.shape == (3, 3, 10)
    assert planes.dtype == np.int8
    assert np.array_equal(from_planes(planes), values & 0xFFFFFF)
    assert to_planes(np.empty((0, 5), dtype=np.uint32)).shape == (3, 0, 5)


@given(st.integers(0, (1 << 24) - 1))
def test_rounding_keeps_the_nearest_multiple(value: int) -> None:
    rounded = int(round_answer(np.array([value], dtype=np.int64))[0])
    error = (rounded * 256 - value + (1 << 23)) % (1 << 24) - (1 << 23)
    assert -128 < error <= 128
