"""Hadamard rotations of blocks of inputs, in blocks of rows that fit a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ROTATION = 256
_BLOCK = 1 << 18  # entries

FloatMatrix = NDArray[np.float32]


def rotation_order(inputs: int) -> int:
    """b for n inputs: the largest power of two that divides n, at most 256."""
    return min(MAX_ROTATION, inputs & -inputs)


def rotated(matrix: FloatMatrix, order: int) -> FloatMatrix:
    """W R for float32 (m, n): additions in a fixed order, so that every machine gets the same bits."""
    result = np.array(matrix, dtype=np.float32, order="C")
    for rows in row_blocks(result):
        rotate(result[rows], order)
    return result


def rotate(block: FloatMatrix, order: int) -> None:
    """`rotated`, in place, for contiguous rows."""
    if order == 1:
        return
    half = 1
    while half < order:
        pairs = block.reshape(-1, 2, half)
        difference = pairs[:, 0] - pairs[:, 1]
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] = difference
        half *= 2
    block *= np.float32(order**-0.5)


def row_blocks(matrix: NDArray[Any]) -> Iterator[slice]:
    """Slices of rows, a cacheful at a time."""
    step = max(1, _BLOCK // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)
