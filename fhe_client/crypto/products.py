"""Products of masks and hints with one secret, at some slots: two ways to the same integers.

`FourierProducts` multiplies in the ring by FFT, which makes all N slots, and keeps those that are asked for.

`MatrixProducts` computes only those slots: coefficient t of a*s in Z[X]/(X^N + 1) is the sum over i of a_i *
S[t, i] with S[t, i] = s_{t-i} for i <= t and -s_{N+t-i} for i > t, so k slots of many polynomials are one
matrix product with the k x N matrix S, ternary like s. Polynomials enter as int8 digits, and the
accumulators are exact: N * 128 < 2^31. It does more multiplications and is several times faster where the
processor multiplies int8 matrices in hardware (VNNI, AMX). For few slots what costs is to sort the digits into
planes. There they stay as they come, coefficient by coefficient, and for each digit the rows of S are spread so that
they meet this digit and zeros meet the others.

Which is faster is measured once per process.
"""

from __future__ import annotations

import time
from functools import cache
from typing import NoReturn, Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fhe_client.crypto.ring import multiply_approximate, multiply_exact, transform
from fhe_protocol.masks import MaskName, expand_mask, expand_mask_digits
from fhe_protocol.parameters import HINT_1024_24, HintParameters
from fhe_protocol.planes import MASK, OFFSET, PLANES

MASK_ROWS = 256
HINT_ROWS = 512
"""Polynomials at a time: a few megabytes, so that what is made of them stays in the cache."""

SPREAD_SLOTS = 128
"""Up to so many slots, multiplying the zeros of a spread S costs less than sorting digits into planes."""

_FFT_ROWS = 128
_HINT_BYTES = 2
_SPARE_BITS = np.int32(8)


class Products(Protocol):
    """What one secret makes of public polynomials at the chosen slots. Key material: `wipe` it."""

    def of_mask(
        self, parameters: HintParameters, name: MaskName, start: int, stop: int
    ) -> NDArray[np.uint32]:
        """(A*s)_t mod 2^24 for rows start..stop of a mask: uint32 (k, stop - start)."""
        ...

    def of_hint(self, hint: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """(H*s)_t mod 2^16 for some rows of a hint, (rows, N): uint16 (k, rows)."""
        ...

    def wipe(self) -> None:
        """Overwrite with zeros."""
        ...

    def wipe_after_fork(self) -> None:
        """As `wipe`, in a forked child."""
        ...


def make_products(secret: NDArray[np.int8], slots: NDArray[np.int64]) -> Products:
    """The faster way of this machine.

    Args:
        secret: int8 (N,), ternary; the caller wipes it.
        slots: int64 (k,), each in [0, N).
    """
    return MatrixProducts(secret, slots) if _matrix_is_faster() else FourierProducts(secret, slots)


class MatrixProducts:
    """By int8 matrix product with the slots' rows of the secret's Toeplitz matrix."""

    def __init__(self, secret: NDArray[np.int8], slots: NDArray[np.int64]) -> None:
        degree = secret.size
        # (-s, s) at N + t - i is S[t, i]; reversed, each row of S is a run of it.
        extended = np.empty(2 * degree, dtype=np.int8)
        extended[:degree] = secret[::-1]
        np.negative(
            secret[::-1], out=extended[degree:]
        )  # in place: no copy of the secret is left behind
        counts = (1, _HINT_BYTES, PLANES) if len(slots) <= SPREAD_SLOTS else (1,)
        self._rows = {count: _spread_rows(extended, slots, count) for count in counts}
        extended.fill(0)
        self._sums = self._rows[1].sum(axis=1, dtype=np.int32).view(np.uint32)[:, None]

    def of_mask(
        self, parameters: HintParameters, name: MaskName, start: int, stop: int
    ) -> NDArray[np.uint32]:
        """See `Products`."""
        digits = self._times(expand_mask_digits(parameters, name, start, stop))
        total: NDArray[np.uint32] = digits[2] << np.uint32(8)
        total += digits[1]
        total <<= np.uint32(8)
        total += digits[0]
        total += self._sums * np.uint32(OFFSET)  # the digits are those of A - 0x808080
        total &= np.uint32(MASK)
        return total

    def of_hint(self, hint: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """See `Products`."""
        # h = (low - 128) + 128 + 256 * signed high
        flipped = np.bitwise_xor(np.ascontiguousarray(hint, dtype="<u2"), 0x80, dtype="<u2")
        digits = self._times(flipped.view(np.int8).reshape(*hint.shape, _HINT_BYTES))
        total = digits[1] << np.uint32(8)
        total += digits[0]
        total += self._sums * np.uint32(128)
        rounded: NDArray[np.uint16] = total.astype(np.uint16)
        return rounded

    def wipe(self) -> None:
        """Overwrite with zeros."""
        # Not by torch: it would use its threads, which a forked child has lost, and wait for them for ever.
        for rows in self._rows.values():
            rows.fill(0)
        self._sums.fill(0)

    def wipe_after_fork(self) -> None:
        """As `wipe`, in a forked child."""
        self.wipe()

    def _times(self, digits: NDArray[np.int8]) -> NDArray[np.uint32]:
        """(k, N) times the polynomials that each of the b digits of (rows, N, b) makes: uint32 (b, k, rows), two's
        complement."""
        rows, degree, count = digits.shape
        if count in self._rows:
            product = _product(self._rows[count], digits.reshape(rows, -1))
            return np.moveaxis(product.reshape(-1, count, rows), 1, 0)
        planes = np.ascontiguousarray(np.moveaxis(digits, 2, 0)).reshape(-1, degree)
        return np.moveaxis(_product(self._rows[1], planes).reshape(-1, count, rows), 1, 0)

    def __repr__(self) -> str:
        return "MatrixProducts()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("products with a secret cannot be copied or stored")


def _spread_rows(
    extended: NDArray[np.int8], slots: NDArray[np.int64], count: int
) -> NDArray[np.int8]:
    """Rows of S at some slots, spread over `count` digits: (k * count, N * count).

    Row t*count + d holds slot t's row of S at the places of digit d, and zeros. Each is a run of `extended`, spread.
    """
    degree = extended.size // 2
    wide = np.zeros((count, extended.size * count), dtype=np.int8)
    for digit in range(count):
        wide[digit, digit::count] = extended
    windows = np.moveaxis(sliding_window_view(wide, degree * count, axis=1), 1, 0)
    # Slots first, as they are taken: in any other order `reshape` would leave a copy of the secret behind.
    runs = windows[count * (degree - 1 - slots)]
    wide.fill(0)
    return runs.reshape(-1, degree * count)


def _product(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.uint32]:
    """left @ right.T, sums mod 2^32."""
    sums = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).t())
    product: NDArray[np.int32] = sums.numpy()
    return product.view(np.uint32)


class FourierProducts:
    """By FFT in the ring."""

    def __init__(self, secret: NDArray[np.int8], slots: NDArray[np.int64]) -> None:
        self._transform = transform(secret)
        contiguous = bool(np.all(np.diff(slots) == 1))
        self._slots = slice(int(slots[0]), int(slots[-1]) + 1) if contiguous else slots

    def of_mask(
        self, parameters: HintParameters, name: MaskName, start: int, stop: int
    ) -> NDArray[np.uint32]:
        """See `Products`."""
        mask = expand_mask(parameters, name, start, stop).view(np.int32)
        centred = (mask << _SPARE_BITS) >> _SPARE_BITS  # sign-extends 24 bits: [-2^23, 2^23)
        pieces = [
            (
                multiply_exact(centred[row : row + _FFT_ROWS], self._transform)[:, self._slots].T
                & MASK
            )
            for row in range(0, stop - start, _FFT_ROWS)
        ]
        return np.concatenate(pieces, axis=1).astype(np.uint32)

    def of_hint(self, hint: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """See `Products`. Single precision: off by one unit now and then, far below the hint's own rounding."""
        centred = hint.view(np.int16)  # mod 2^16 a hint is its two's complement: already centred
        pieces = [
            multiply_approximate(centred[row : row + _FFT_ROWS], self._transform)[:, self._slots].T
            for row in range(0, hint.shape[0], _FFT_ROWS)
        ]
        return (np.concatenate(pieces, axis=1) & 0xFFFF).astype(np.uint16)

    def wipe(self) -> None:
        """Overwrite with zeros."""
        self._transform.wipe()

    def wipe_after_fork(self) -> None:
        """As `wipe`, in a forked child."""
        self.wipe()

    def __repr__(self) -> str:
        return "FourierProducts()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("products with a secret cannot be copied or stored")


@cache
def _matrix_is_faster() -> bool:
    """Times both ways on a public polynomial, and trusts the matrix product only where it is exact."""
    degree = HINT_1024_24.ring_degree
    public = (np.arange(degree) % 3 - 1).astype(np.int8)
    slots = np.arange(256)
    matrix, fourier = MatrixProducts(public, slots), FourierProducts(public, slots)
    extreme = np.full((8, degree), 0x8080, dtype=np.uint16)
    extreme[::2] = 0x7F7F
    exact = multiply_exact(extreme.view(np.int16).astype(np.int32), transform(public))[:, slots].T
    expected = (exact & 0xFFFF).astype(np.uint16)
    few = MatrixProducts(public, slots[:SPREAD_SLOTS])
    if not np.array_equal(matrix.of_hint(extreme), expected):
        return False
    if not np.array_equal(few.of_hint(extreme), expected[:SPREAD_SLOTS]):
        return False
    return _seconds(matrix) < _seconds(fourier)


def _seconds(products: Products) -> float:
    """Best of a few runs over as many masks as hints, as in a typical layer."""
    name = MaskName(bytes(32), 0, "speed", 64, 64)
    hint = np.zeros((64, HINT_1024_24.ring_degree), dtype=np.uint16)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        products.of_mask(HINT_1024_24, name, 0, 64)
        products.of_hint(hint)
        best = min(best, time.perf_counter() - started)
    return best
