"""Float matrices to int8: symmetric, one scale per output row, weight rounding balanced against decryption noise.

    y = r * (Wq @ R (c * x))      Wq int8 in [-127, 127], r row scale, c input scale, R rotation (1 if there is none)

**The balance.** Two errors meet in y_i, both relative to the norm of v = R (c * x), which is that of c * x. With w the
largest row norm of Wq, sigma(w) the decryption noise in units of Z_q and gamma = (2^23 - guard(w)) / (w ||v||):

    weight rounding     variance r_i^2 ||v||^2 / 12             (each entry is off by a uniform value, variance 1/12)
    decryption noise    variance r_i^2 (sigma(w) / gamma)^2 = r_i^2 ||v||^2 K(w)
                        K(w) = (w sigma(w) / (2^23 - guard(w)))^2

So one long row makes the noise of every row larger. `quantise` may shrink int8 rows that are longer than a cap below a
peak of 127 (r_i grows by the same factor): their rounding gets coarser, everyone's noise smaller. It tries caps and
keeps the one with the smallest predicted total  sum_i a_i r_i^2 (1/12 + K(w)),  a_i = 1 / (squared norm of the row's
module), so that a small module (v) counts as much as a large one (k) of its group. If every row is at the cap, the
optimum is w = (2^46 / (12 (Var e + 1/12)))^(1/4), about 1,230, whatever n is.

**Parts.** With the inputs cut into p parts, part k has a norm bound w_k and, on average, the share n_k/n of ||v||^2:
K = sum_k (n_k/n) (w_k sigma(w_k) / (2^23 - guard(w_k)))^2.

**Rotation.** An int8 row spends its range on its largest entry, so r_i = peak_i / 127, and outliers make it coarse. R
mixes every b inputs in a row by the Hadamard matrix of order b over sqrt(b), orthogonal and its own inverse; rows of
W / c are multiplied by it before rounding. Norms stay, and the entries of a row become all but normally distributed:
the peak falls to about three and a half times the root mean square. That matters most together with input scales,
which lower the product of norms but raise the peaks.

**Embeddings.** x is one-hot, so |W v| <= peak * v, far below w * v: gamma = (2^23 - guard) / (peak * v), and
K = sum_k (peak sigma(w_k) / (2^23 - guard(w_k)))^2. Each token has an input scale of its own, so that an outlier token
does not coarsen the others.

**Zeros.** A zero row has weights 0 and scale 0: its output is exactly zero, whatever the noise. The manifest knows no
all-zero part (peak >= 1), so a single 1 is planted there: in a row whose scale is 0 if there is one, which changes
nothing, else in the row of smallest scale, an error of one unit of rounding in one entry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.parameters import HintParameters
from fhe_server.errors import QuantisationError, UnsupportedModelError

PEAK = 127
DEFAULT_MAX_ERROR = 0.025
MAX_PARTS = 64
MAX_ROTATION = 256
_ROUNDING_VARIANCE = 1 / 12
_CAPS = 48

FloatMatrix = NDArray[np.float32]
Slices = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class NoiseModel:
    """What decryption adds to a product, relative to the input's norm.

    Attributes:
        parameters: of the `hint` scheme.
        embedding: whether inputs are one-hot.
        slices: (start, stop) of every part.
    """

    parameters: HintParameters
    slices: tuple[tuple[int, int], ...]
    embedding: bool = False

    def variance(self, norms: NDArray[np.float64], peak: float = PEAK) -> float:
        """K: variance of the noise of r_i = 1 outputs for ||v|| = 1.

        Args:
            norms: w_k of every part, (p,).

        Returns:
            math.inf where the guard leaves no room for a signal.
        """
        total = 0.0
        inputs = self.slices[-1][1]
        for (start, stop), w in zip(self.slices, norms, strict=True):
            room = self.parameters.modulus / 2 - self.parameters.guard(w)
            if room <= 0:
                return math.inf
            bound, share = (peak, 1.0) if self.embedding else (w, (stop - start) / inputs)
            total += share * (bound * self.parameters.noise_sigma(w) / room) ** 2
        return total


@dataclass(frozen=True)
class QuantisedMatrix:
    """An int8 matrix and its scales.

    Attributes:
        weights: Wq, int8 (m, n), every entry in [-127, 127].
        row_scale: r, float32 (m,); 0 for a row of zeros.
        input_scale: c, float32 (n,), or None.
        rotation: b, or 1.
        slices: the parts, of the rotated inputs.
        noise_error, rounding_error: predicted error over a typical output, by cause.
    """

    weights: NDArray[np.int8]
    row_scale: NDArray[np.float32]
    input_scale: NDArray[np.float32] | None
    rotation: int
    slices: tuple[tuple[int, int], ...]
    noise_error: float
    rounding_error: float

    def part_bounds(self) -> list[tuple[float, int]]:
        """(w_norm, peak) of every part."""
        norms = row_norms(self.weights, self.slices).max(axis=0)
        peaks = [int(np.abs(self.weights[:, a:b]).max()) for a, b in self.slices]
        return [(float(w), peak) for w, peak in zip(norms, peaks, strict=True)]

    def dequantised(self) -> FloatMatrix:
        """r * Wq R * c, float32 (m, n)."""
        matrix = rotated(self.weights * self.row_scale[:, None], self.rotation)
        return matrix if self.input_scale is None else matrix * self.input_scale


def row_norms(weights: NDArray[np.int8], slices: Slices) -> NDArray[np.float64]:
    """L2 norm of every row in every part, exact: (m, p)."""
    wide = [weights[:, a:b].astype(np.int32) for a, b in slices]
    squares = [np.einsum("ij,ij->i", w, w, dtype=np.int64) for w in wide]
    norms: NDArray[np.float64] = np.sqrt(np.stack(squares, axis=1))
    return norms


def cut(inputs: int, count: int) -> tuple[tuple[int, int], ...]:
    """`count` contiguous slices of nearly equal length that cover `inputs`."""
    edges = [inputs * k // count for k in range(count + 1)]
    return tuple(pairwise(edges))


def rotation_order(inputs: int) -> int:
    """b for n inputs: the largest power of two that divides n, at most 256."""
    return min(MAX_ROTATION, inputs & -inputs)


def rotated(matrix: FloatMatrix, order: int) -> FloatMatrix:
    """W R for float32 (m, n): additions in a fixed order, so that every machine gets the same bits."""
    result = np.array(matrix, dtype=np.float32, order="C")
    half = 1
    while half < order:
        pairs = result.reshape(-1, 2, half)
        difference = pairs[:, 0] - pairs[:, 1]
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] = difference
        half *= 2
    return result * np.float32(order**-0.5)


def quantise(
    weight: FloatMatrix,
    noise: NoiseModel,
    *,
    members: Sequence[int] = (),
    input_scale: FloatMatrix | None = None,
    rotation: int = 1,
    equalise: bool = True,
) -> QuantisedMatrix:
    """Quantise a (m, n) matrix; see the module's text for the error that is minimised.

    Args:
        members: rows of each module of the group, in order; their sum is m. Empty: one module.
        input_scale: c, positive, (n,). The matrix is divided by it before rounding.
        rotation: b, a power of two that divides n.
        equalise: allow rows to be shrunk below a peak of 127.

    Raises:
        QuantisationError: a weight is not finite, or the shapes do not fit.
    """
    scaled = rotated(_prepared(weight, input_scale), rotation)
    scale = np.abs(scaled).max(axis=1).astype(np.float64) / PEAK
    importance = _importance(scaled, members)
    norms = _norms(scaled, noise.slices) / np.where(scale > 0, scale, 1)[:, None]
    cap = _best_cap(norms, importance * scale**2, noise) if equalise else math.inf
    row_scale = (scale * np.maximum(1, norms.max(axis=1) / cap)).astype(np.float32)
    weights = _rounded(scaled, row_scale)
    _plant(weights, row_scale, noise.slices)
    noise_error, rounding_error = _errors(weights, importance * row_scale**2.0, noise)
    return QuantisedMatrix(
        weights, row_scale, input_scale, rotation, noise.slices, noise_error, rounding_error
    )


def quantise_embedding(
    table: FloatMatrix, noise: NoiseModel, *, equalise: bool = True
) -> QuantisedMatrix:
    """Quantise a (hidden, vocabulary) table with one scale per token, so that no token coarsens another.

    Rows are first brought to one root mean square over tokens of norm 1 (that is the row scale's share), then every
    token's column gets the scale that lets its largest entry be 127.
    """
    _check_finite(table)
    tokens = _or_one(np.sqrt(np.einsum("ij,ij->j", table, table, dtype=np.float64)))
    rows = _or_one(np.sqrt(np.mean(np.square(table / tokens), axis=1)))
    columns = _or_one(np.abs(table / rows[:, None]).max(axis=0))
    return quantise(table, noise, input_scale=columns, equalise=equalise)


def quantise_group(
    weight: FloatMatrix,
    parameters: HintParameters,
    *,
    embedding: bool = False,
    members: Sequence[int] = (),
    input_scale: FloatMatrix | None = None,
    rotation: int = 1,
    max_error: float = DEFAULT_MAX_ERROR,
    equalise: bool = True,
) -> QuantisedMatrix:
    """Quantise with the smallest number of parts whose predicted noise stays within `max_error` of a typical output.

    Input scale and rotation are for linear groups; an embedding has its own scales, and its inputs are one-hot.

    Raises:
        UnsupportedModelError: no number of parts up to 64 is enough.
        QuantisationError: as `quantise`.
    """
    inputs = weight.shape[1]
    fewest = -(-inputs // parameters.max_inputs)
    best = math.inf
    for count in range(fewest, min(MAX_PARTS, inputs) + 1):
        noise = NoiseModel(parameters, cut(inputs, count), embedding)
        if embedding:
            result = quantise_embedding(weight, noise, equalise=equalise)
        else:
            result = quantise(
                weight,
                noise,
                members=members,
                input_scale=input_scale,
                rotation=rotation,
                equalise=equalise,
            )
        if result.noise_error <= max_error:
            return result
        best = min(best, result.noise_error)
    raise UnsupportedModelError(
        f"A matrix of {weight.shape[0]} x {inputs} cannot be served within an error of "
        f"{100 * max_error:.1f} %: {100 * best:.1f} % is the best.",
        "Allow more with --max-error, or keep the layer local with --local.",
    )


def _or_one(scale: NDArray[Any]) -> FloatMatrix:
    """Float32 scales, 1 in place of those that cannot be divided by."""
    usable = scale > np.finfo(np.float32).tiny
    return np.where(usable, scale, 1).astype(np.float32)


def _check_finite(weight: FloatMatrix) -> None:
    if weight.ndim != 2 or not weight.size:
        raise QuantisationError(f"A weight of shape {weight.shape} is not a matrix.")
    if not np.isfinite(weight).all():
        raise QuantisationError(
            "A weight is not a finite number.", "The checkpoint is damaged; fetch it again."
        )


def _prepared(weight: FloatMatrix, input_scale: FloatMatrix | None) -> FloatMatrix:
    """The matrix that is rounded: W without its input scale."""
    _check_finite(weight)
    if input_scale is None:
        return np.ascontiguousarray(weight, dtype=np.float32)
    positive = np.isfinite(input_scale) & (input_scale > 0)
    if input_scale.shape != weight.shape[1:] or not positive.all():
        raise QuantisationError("Input scales must be positive numbers, one for every input.")
    return np.ascontiguousarray(weight / input_scale, dtype=np.float32)


def _importance(scaled: FloatMatrix, members: Sequence[int]) -> NDArray[np.float64]:
    """a, (m,): one over the squared norm of the row's module."""
    squares = np.einsum("ij,ij->i", scaled, scaled, dtype=np.float64)
    edges = np.cumsum([0, *(members or [len(scaled)])])
    if edges[-1] != len(scaled):
        raise QuantisationError("The rows of the members do not add up to those of the matrix.")
    importance = np.zeros(len(scaled))
    for start, stop in pairwise(edges):
        total = squares[start:stop].sum()
        importance[start:stop] = 1 / total if total > 0 else 0
    return importance


def _norms(scaled: FloatMatrix, slices: Slices) -> NDArray[np.float64]:
    """L2 norm of every row in every part: (m, p)."""
    parts = [scaled[:, a:b] for a, b in slices]
    squares = [np.einsum("ij,ij->i", part, part, dtype=np.float64) for part in parts]
    norms: NDArray[np.float64] = np.sqrt(np.stack(squares, axis=1))
    return norms


def _best_cap(norms: NDArray[np.float64], cost: NDArray[np.float64], noise: NoiseModel) -> float:
    """The cap of smallest predicted error.

    Args:
        norms: of the int8 rows at a peak of 127, (m, p).
        cost: a_i r_i^2, (m,).
    """
    longest = norms.max(axis=1)
    if not longest.max() > 0:
        return math.inf
    caps = np.geomspace(longest.max(), max(PEAK, longest.max() / 32), _CAPS)
    errors = []
    for cap in caps:
        shrink = np.minimum(1, cap / np.maximum(longest, 1e-9))
        bounds = (norms * shrink[:, None]).max(axis=0)
        variance = noise.variance(bounds, PEAK * float(shrink.max()))
        errors.append(float((cost / shrink**2).sum()) * (_ROUNDING_VARIANCE + variance))
    return float(caps[int(np.argmin(errors))])


def _rounded(scaled: FloatMatrix, row_scale: NDArray[np.float32]) -> NDArray[np.int8]:
    inverse = np.divide(1, row_scale, out=np.zeros_like(row_scale), where=row_scale > 0)
    return np.clip(np.rint(scaled * inverse[:, None]), -PEAK, PEAK).astype(np.int8)


def _plant(weights: NDArray[np.int8], row_scale: NDArray[np.float32], slices: Slices) -> None:
    """Give every part a weight that is not zero, where it harms least."""
    for start, stop in slices:
        if not weights[:, start:stop].any():
            weights[int(np.argmin(row_scale)), start] = 1


def _errors(
    weights: NDArray[np.int8], cost: NDArray[np.float64], noise: NoiseModel
) -> tuple[float, float]:
    """Predicted errors over a typical output, ||W v|| ~ ||W||_F ||v|| / sqrt(n): by decryption noise, by rounding."""
    norms = row_norms(weights, noise.slices)
    signal = float((cost * (norms**2).sum(axis=1)).sum()) / weights.shape[1]
    if signal <= 0:
        return 0.0, 0.0
    peak = float(np.abs(weights).max())
    total = float(cost.sum()) / signal
    variance = noise.variance(norms.max(axis=0), peak)
    return math.sqrt(total * variance), math.sqrt(total * _ROUNDING_VARIANCE)
