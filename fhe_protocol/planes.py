"""Values mod 2^24 as three planes of balanced base-256 digits.

v = d0 + 256*d1 + 65536*d2 (mod 2^24) with d in [-128, 127]. With b_i the bytes of v + 0x808080, d_i = b_i -
128, because 0x808080 = 128 * (1 + 256 + 65536). The map is a bijection between Z_(2^24) and triples of bytes,
so every byte string of the right length is a valid query, and a uniform value makes three uniform bytes. An
int8 matrix times v is three int8 matrix products, one a plane: that is why queries travel in planes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PLANES = 3
OFFSET = 0x808080
MASK = 0xFFFFFF
_SIGNS = np.uint32(OFFSET)
_BYTE = np.uint32(8)


def to_planes(values: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Digit planes of values mod 2^24.

    Args:
        values: any shape S, uint32; only the low 24 bits count.

    Returns:
        int8 array of shape (3, *S), least significant plane first, C-contiguous.
    """
    return offset_to_planes(values + np.uint32(OFFSET))


def offset_to_planes(shifted: NDArray[np.uint32]) -> NDArray[np.int8]:
    """As `to_planes`, for values to which OFFSET was added already (pads store it that way)."""
    planes = np.empty((PLANES, *shifted.shape), dtype=np.int8)
    write_planes(shifted.copy(), planes)
    return planes


def write_planes(shifted: NDArray[np.uint32], planes: NDArray[np.int8]) -> None:
    """As `offset_to_planes`, into an array (3, *S) that is there already. The values are used up."""
    shifted ^= _SIGNS
    low = planes.view(np.uint8)
    np.copyto(low[0], shifted, casting="unsafe")
    for plane in range(1, PLANES):
        shifted >>= _BYTE
        np.copyto(low[plane], shifted, casting="unsafe")


def from_planes(planes: NDArray[np.int8]) -> NDArray[np.uint32]:
    """The inverse of `to_planes`: shape (3, *S) int8 to S uint32, reduced mod 2^24."""
    wide = planes.astype(np.int64)
    total: NDArray[np.int64] = wide[0] + (wide[1] << 8) + (wide[2] << 16)
    values: NDArray[np.uint32] = (total & MASK).astype(np.uint32)
    return values


def round_answer(values: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Top 16 of 24 bits, rounded: round(v / 256) mod 2^16. The clear reference of the kernel's last step."""
    return (((values + 128) >> 8) & 0xFFFF).astype(np.uint16)
