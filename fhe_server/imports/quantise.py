"""Float matrices to int8: symmetric, one scale per output row, weight rounding balanced against decryption noise.

    y = r * (Wq @ R (c * x))      Wq int8 in [-127, 127], r row scale, c input scale, R rotation (1 if there is none)

**The balance.** Two errors meet in y_i, both relative to the norm of v = R (c * x), which is that of c * x. With w the
largest row norm of Wq, sigma(w) the decryption noise in units of Z_q and gamma = (2^23 - guard(w)) / (w ||v||):

    weight rounding     variance r_i^2 ||v||^2 f / 12           (each entry is off by a uniform value, variance 1/12;
                        f = 1, or less where errors are handed on: imports/rounding.py)
    decryption noise    variance r_i^2 (sigma(w) / gamma)^2 = r_i^2 ||v||^2 K(w)
                        K(w) = (w sigma(w) / (2^23 - guard(w)))^2

So one long row makes the noise of every row larger. `quantise` may shrink int8 rows that are longer than a cap below a
peak of 127 (r_i grows by the same factor): their rounding gets coarser, everyone's noise smaller. It tries caps and
keeps the one with the smallest predicted total  sum_i a_i r_i^2 (f/12 + K(w)),  a_i = 1 / (M g),  where M is the
number of modules of the group and g is the gain of the row's module, ||W v||^2 / ||v||^2: so a small module (v)
counts as much as a large one (k). The gain is what a calibration text showed, or that of random inputs, ||W||_F^2 / n.
If every row is at the cap, the optimum is w = (2^46 / (12 (Var e + 1/12)))^(1/4), about 1,230, whatever n is.

**Parts.** With the inputs cut into p parts, part k has a norm bound w_k and, on average, the share n_k/n of ||v||^2:
K = sum_k (n_k/n) (w_k sigma(w_k) / (2^23 - guard(w_k)))^2. Each part has an answer of its own, so parts are traffic:
`quantise_group` takes as few as the limit on a group's error allows.

**Rotation.** An int8 row spends its range on its largest entry, so r_i = peak_i / 127, and outliers make it coarse. R
mixes every b inputs in a row by the Hadamard matrix of order b over sqrt(b), orthogonal and its own inverse; rows of
W / c are multiplied by it before rounding. Norms stay, and the entries of a row become all but normally distributed:
the peak falls to about three and a half times the root mean square. That matters most together with input scales,
which lower the product of norms but raise the peaks.

**Embeddings.** x is one-hot, so |W v| <= peak * v, far below w * v: gamma = (2^23 - guard) / (peak * v), and the client
lets in only the noise of the part that holds the token: K = sum_k (n_k/n) (peak sigma(w_k) / (2^23 - guard(w_k)))^2.
Each token has an input scale of its own, so that an outlier token does not coarsen the others.

**Memory.** There is one float32 copy of the matrix, which the caller gives away, and the int8 one. All else is done in
blocks of rows that fit a processor's cache.

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
from fhe_server.imports.noise import DEFAULT_MAX_ERROR, PEAK, NoiseModel, cut
from fhe_server.imports.rotation import FloatMatrix, rotate, rotated, row_blocks
from fhe_server.imports.rounding import Feedback, nearest

MAX_PARTS = 64
_ROUNDING_VARIANCE = 1 / 12
_HOPELESS = 4
"""Noise of this part of the limit adds 3 % to an error at the limit: if that is too much, rounding is."""
_CAPS = 48


@dataclass(frozen=True)
class QuantisedMatrix:
    """An int8 matrix and its scales.

    Attributes:
        weights: Wq, int8 (m, n), every entry in [-127, 127].
        row_scale: r, float32 (m,); 0 for a row of zeros.
        input_scale: c, float32 (n,), or None.
        rotation: b, or 1.
        slices: the parts, of the rotated inputs.
        noise_error, rounding_error: predicted error over the output's norm, by cause.
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
        pieces = [self.weights[:, a:b] for a, b in self.slices]
        peaks = [max(int(piece.max()), -int(piece.min())) for piece in pieces]
        return [(float(w), peak) for w, peak in zip(norms, peaks, strict=True)]

    def dequantised(self) -> FloatMatrix:
        """r * Wq R * c, float32 (m, n)."""
        matrix = rotated(self.weights * self.row_scale[:, None], self.rotation)
        return matrix if self.input_scale is None else matrix * self.input_scale


def row_norms(weights: NDArray[np.int8], slices: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """L2 norm of every row in every part, exact: (m, p)."""
    squares = np.empty((len(weights), len(slices)), dtype=np.int64)
    for rows in row_blocks(weights):
        wide = weights[rows].astype(np.int32)
        for k, (start, stop) in enumerate(slices):
            part = wide[:, start:stop]
            squares[rows, k] = np.einsum("ij,ij->i", part, part, dtype=np.int64)
    norms: NDArray[np.float64] = np.sqrt(squares)
    return norms


def quantise(
    weight: FloatMatrix,
    noise: NoiseModel,
    *,
    members: Sequence[int] = (),
    gains: Sequence[float] = (),
    input_scale: FloatMatrix | None = None,
    rotation: int = 1,
    energies: NDArray[np.float64] | None = None,
    equalise: bool = True,
) -> QuantisedMatrix:
    """Quantise a (m, n) matrix; see the module's text for the error that is minimised.

    Args:
        members: rows of each module of the group, in order; their sum is m. Empty: one module.
        gains: of each module, ||W v||^2 / ||v||^2 with v = c * x. Empty: those of random inputs.
        input_scale: c, positive, (n,). The matrix is divided by it before rounding.
        rotation: b, a power of two that divides n.
        energies: mean squares of c * x, positive, (n,), by which rounding errors are handed on; None: they are not.
        equalise: allow rows to be shrunk below a peak of 127.

    Raises:
        QuantisationError: a weight is not finite, or the shapes do not fit.
    """
    matrix = np.array(weight, dtype=np.float32)
    if noise.embedding:
        scaled = _scaled_table(matrix)
    else:
        scaled = _Scaled.of(matrix, input_scale, rotation, energies)
    return scaled.rounded(scaled.fit(noise, members, gains, equalise))


@dataclass(frozen=True)
class _Fit:
    """Row scales for one way to cut the inputs, and the errors they are predicted to give."""

    noise: NoiseModel
    row_scale: NDArray[np.float32]
    noise_error: float
    rounding_error: float


@dataclass(frozen=True)
class _Scaled:
    """What is rounded: W / c, rotated. `peak_scale` (m,) brings the largest entry of a row to 127."""

    matrix: FloatMatrix
    peak_scale: NDArray[np.float64]
    input_scale: FloatMatrix | None
    rotation: int
    feedback: Feedback | None

    @classmethod
    def of(
        cls,
        weight: FloatMatrix,
        input_scale: FloatMatrix | None,
        rotation: int,
        energies: NDArray[np.float64] | None = None,
    ) -> _Scaled:
        """Takes `weight`, float32 and contiguous, and changes it in place."""
        _check_finite(weight)
        if input_scale is not None:
            positive = np.isfinite(input_scale) & (input_scale > 0)
            if input_scale.shape != weight.shape[1:] or not positive.all():
                raise QuantisationError(
                    "Input scales must be positive numbers, one for every input."
                )
        peaks = np.empty(len(weight), dtype=np.float64)
        for rows in row_blocks(weight):
            block = weight[rows]
            if input_scale is not None:
                block /= input_scale
            rotate(block, rotation)
            peaks[rows] = np.abs(block).max(axis=1)
        feedback = None
        if energies is not None and rotation > 1:
            feedback = Feedback.of(energies, rotation)
        return cls(weight, peaks / PEAK, input_scale, rotation, feedback)

    @property
    def rounding_variance(self) -> float:
        """f / 12."""
        return _ROUNDING_VARIANCE * (self.feedback.share if self.feedback else 1)

    def fit(
        self, noise: NoiseModel, members: Sequence[int], gains: Sequence[float], equalise: bool
    ) -> _Fit:
        """The best row scales for the parts of `noise`."""
        importance = self._importance(members, gains)
        usable = np.where(self.peak_scale > 0, self.peak_scale, 1)
        norms = _norms(self.matrix, noise.slices) / usable[:, None]
        cost = importance * self.peak_scale**2
        cap = _best_cap(norms, cost, noise, self.rounding_variance) if equalise else math.inf
        stretch = np.maximum(1, norms.max(axis=1) / cap)
        row_scale = (self.peak_scale * stretch).astype(np.float32)
        cost = cost * stretch**2
        bounds = np.maximum(1, (norms / stretch[:, None]).max(axis=0))
        variance = noise.variance(bounds, PEAK / float(stretch.min()))
        total = float(cost.sum())
        errors = (
            math.sqrt(total * variance) if total else 0.0,
            math.sqrt(total * self.rounding_variance),
        )
        return _Fit(noise, row_scale, *errors)

    def rounded(self, fit: _Fit) -> QuantisedMatrix:
        """The int8 matrix of a fit."""
        scale = fit.row_scale
        round_rows = self.feedback.round if self.feedback else nearest
        weights = round_rows(self.matrix, scale, PEAK)
        _plant(weights, scale, fit.noise.slices)
        return QuantisedMatrix(
            weights, scale, self.input_scale, self.rotation, fit.noise.slices, fit.noise_error,
            fit.rounding_error,
        )  # fmt: skip

    def _importance(self, members: Sequence[int], gains: Sequence[float]) -> NDArray[np.float64]:
        """a, (m,): one over the gain of the row's module and the number of modules."""
        edges = np.cumsum([0, *(members or [len(self.matrix)])])
        if edges[-1] != len(self.matrix):
            raise QuantisationError("The rows of the members do not add up to those of the matrix.")
        squares = _norms(self.matrix, [(0, self.matrix.shape[1])])[:, 0] ** 2
        importance = np.zeros(len(self.matrix))
        for k, (start, stop) in enumerate(pairwise(edges)):
            gain = gains[k] if gains else float(squares[start:stop].sum()) / self.matrix.shape[1]
            importance[start:stop] = 1 / (gain * (len(edges) - 1)) if gain > 0 else 0
        return importance


def _scaled_table(table: FloatMatrix) -> _Scaled:
    """A (hidden, vocabulary) table with one scale per token, so that no token coarsens another.

    Rows are first brought to one root mean square over tokens of norm 1 (that is the row scale's share), then every
    token's column gets the scale that lets its largest entry be 127.
    """
    _check_finite(table)
    tokens = _or_one(np.sqrt(np.einsum("ij,ij->j", table, table, dtype=np.float64)))
    columns = np.zeros(table.shape[1], dtype=np.float32)
    for block in row_blocks(table):
        rows = _or_one(np.sqrt(np.mean(np.square(table[block] / tokens), axis=1)))
        columns = np.maximum(columns, np.abs(table[block] / rows[:, None]).max(axis=0))
    return _Scaled.of(table, _or_one(columns), 1)


def quantise_group(
    weight: FloatMatrix,
    parameters: HintParameters,
    *,
    embedding: bool = False,
    members: Sequence[int] = (),
    gains: Sequence[float] = (),
    input_scale: FloatMatrix | None = None,
    rotation: int = 1,
    energies: NDArray[np.float64] | None = None,
    max_error: float = DEFAULT_MAX_ERROR,
    equalise: bool = True,
    consume: bool = False,
) -> QuantisedMatrix:
    """Quantise with as few parts as the predicted error allows.

    Noise and rounding together must stay within `max_error` of the output. Rounding has a floor that no number of parts
    gets under: where it is too high for that, the fewest parts do whose noise is at most half the limit.

    Input scale, rotation, energies and gains are for linear groups; an embedding has its own scales, and its inputs are
    one-hot.

    Args:
        consume: `weight` is float32, contiguous and of no use to the caller any more.

    Raises:
        UnsupportedModelError: no number of parts up to 64 is enough.
        QuantisationError: as `quantise`.
    """
    matrix = weight if consume else np.array(weight, dtype=np.float32)
    if embedding:
        scaled = _scaled_table(matrix)
    else:
        scaled = _Scaled.of(matrix, input_scale, rotation, energies)
    inputs = weight.shape[1]
    best, tolerable = math.inf, None
    for count in range(fewest_parts(inputs, parameters), min(MAX_PARTS, inputs) + 1):
        fit = scaled.fit(
            NoiseModel(parameters, cut(inputs, count), embedding), members, gains, equalise
        )
        total = math.hypot(fit.noise_error, fit.rounding_error)
        if total <= max_error:
            return scaled.rounded(fit)
        if fit.noise_error <= max_error / 2:
            tolerable = tolerable or fit
        if tolerable and fit.noise_error <= max_error / _HOPELESS:
            break
        best = min(best, total)
    if tolerable:
        return scaled.rounded(tolerable)
    raise UnsupportedModelError(
        f"A matrix of {weight.shape[0]} x {inputs} cannot be served within an error of "
        f"{100 * max_error:.1f} %: {100 * best:.1f} % is the best.",
        "Allow more with --max-error, or keep the layer local with --local.",
    )


def fewest_parts(inputs: int, parameters: HintParameters) -> int:
    """Parts that n inputs need so that no mask has more samples than the security figure covers."""
    return -(-inputs // parameters.max_inputs)


def _or_one(scale: NDArray[Any]) -> FloatMatrix:
    """Float32 scales, 1 in place of those that cannot be divided by."""
    usable = scale > np.finfo(np.float32).tiny
    return np.where(usable, scale, 1).astype(np.float32)


def _check_finite(weight: FloatMatrix) -> None:
    if weight.ndim != 2 or not weight.size:
        raise QuantisationError(f"A weight of shape {weight.shape} is not a matrix.")
    if not all(np.isfinite(weight[rows]).all() for rows in row_blocks(weight)):
        raise QuantisationError(
            "A weight is not a finite number.", "The checkpoint is damaged; fetch it again."
        )


def _norms(scaled: FloatMatrix, slices: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """L2 norm of every row in every part: (m, p)."""
    parts = [scaled[:, a:b] for a, b in slices]
    squares = [np.einsum("ij,ij->i", part, part, dtype=np.float64) for part in parts]
    norms: NDArray[np.float64] = np.sqrt(np.stack(squares, axis=1))
    return norms


def _best_cap(
    norms: NDArray[np.float64], cost: NDArray[np.float64], noise: NoiseModel, rounding: float
) -> float:
    """The cap of smallest predicted error.

    Args:
        norms: of the int8 rows at a peak of 127, (m, p).
        cost: a_i r_i^2, (m,).
        rounding: f / 12.
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
        errors.append(float((cost / shrink**2).sum()) * (rounding + variance))
    return float(caps[int(np.argmin(errors))])


def _plant(
    weights: NDArray[np.int8], row_scale: NDArray[np.float32], slices: Sequence[tuple[int, int]]
) -> None:
    """Give every part a weight that is not zero, where it harms least."""
    for start, stop in slices:
        if not weights[:, start:stop].any():
            weights[int(np.argmin(row_scale)), start] = 1
