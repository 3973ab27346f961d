"""Products in Z[X]/(X^N + 1) with a ternary polynomial, by a folded complex FFT of length N/2.

With zeta = exp(i*pi/N), z_j = (a_j + i*a_{j+N/2}) * zeta^j for j < N/2 turns a negacyclic product of length N
into a cyclic one of length N/2 (Bernstein, "Multidigit multiplication for mathematicians", right-angle
convolution). Coefficients and transforms are two types, so one cannot be passed for the other.

Precision. For |a| <= 2^23 and ternary s the product is below N * 2^23 = 2^33; complex128 keeps 53 bits, the
error is below 1e-4 by bound and some 1e-6 in practice, so rounding is exact. For hints, |a| <= 2^15, complex64
is off by less than one unit of the hint's last place, a thousandth of the noise that the hint's own rounding
makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Transform:
    """The folded transform of one secret polynomial, in both precisions. Key material: `wipe` it."""

    double: torch.Tensor = field(repr=False)
    single: torch.Tensor = field(repr=False)

    def wipe(self) -> None:
        """Overwrite with zeros."""
        # Through numpy: torch would use its threads, which a forked child has lost, and wait for them for ever.
        self.double.numpy().fill(0)
        self.single.numpy().fill(0)

    def wipe_after_fork(self) -> None:
        """As `wipe`, in a forked child."""
        self.wipe()

    def __reduce__(self) -> NoReturn:
        raise TypeError("the transform of a secret cannot be copied or stored")


def transform(polynomial: NDArray[np.int8]) -> Transform:
    """Transform of one polynomial with small coefficients, shape (N,)."""
    values = torch.from_numpy(polynomial.astype(np.float64))
    double = _forward(values.unsqueeze(0))[0]
    return Transform(double, double.to(torch.complex64))


def multiply_exact(rows: NDArray[np.int32], secret: Transform) -> NDArray[np.int64]:
    """Exact products of every row with the secret.

    Args:
        rows: int32 (count, N), |value| <= 2^23.

    Returns:
        int64 (count, N), not reduced.
    """
    spectrum = _forward(_as_tensor(rows).to(torch.float64)).mul_(secret.double)
    exact: NDArray[np.int64] = _backward(spectrum).round_().to(torch.int64).numpy()
    return exact


def multiply_approximate(rows: NDArray[np.int16], secret: Transform) -> NDArray[np.int32]:
    """Products in single precision, rounded: for hints, where the last bit is noise already.

    Args:
        rows: int16 (count, N).

    Returns:
        int32 (count, N), not reduced.
    """
    spectrum = _forward(_as_tensor(rows).to(torch.float32)).mul_(secret.single)
    close: NDArray[np.int32] = _backward(spectrum).round_().to(torch.int32).numpy()
    return close


def _as_tensor(rows: NDArray[Any]) -> torch.Tensor:
    # Hints read from a file may be read-only, and torch has no read-only tensors: copy those.
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def _forward(rows: torch.Tensor) -> torch.Tensor:
    half = rows.shape[1] // 2
    folded = torch.complex(rows[:, :half], rows[:, half:])
    spectrum: torch.Tensor = torch.fft.fft(folded.mul_(_twist(2 * half, folded.dtype)))
    return spectrum


def _backward(spectrum: torch.Tensor) -> torch.Tensor:
    degree = 2 * spectrum.shape[1]
    folded = torch.fft.ifft(spectrum).mul_(_twist(degree, spectrum.dtype).conj())
    return torch.cat((folded.real, folded.imag), dim=1)


@cache
def _twist(degree: int, dtype: torch.dtype) -> torch.Tensor:
    angles = torch.arange(degree // 2, dtype=torch.float64) * (math.pi / degree)
    return torch.polar(torch.ones_like(angles), angles).to(dtype)
