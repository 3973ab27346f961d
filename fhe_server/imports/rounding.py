"""Rounding that hands errors on: what one weight is rounded by, its neighbours take back where the inputs are large.

Rounding of a row w to integers q costs (w - q) S (w - q)^T on average, S = E[v^T v] of the rotated inputs. Rounded one
by one, that is trace(S) / 12. Here entries are rounded in order, and after each the ones not rounded yet are moved to
where the cost is smallest given what has been done: Babai's nearest plane, the step of GPTQ. With 1/S = L L^T (L lower)

    off_j = w_j - q_j        w_k -= off_j L_kj / L_jj   for k > j        cost = sum_j 1 / (12 L_jj^2)

and the cost falls from the arithmetic to about the geometric mean of S's eigenvalues. S is taken from the sizes of
single inputs alone, S = R diag(d) R: one number for each, which another text shares. Second moments of pairs of inputs
fit the text they come from and nothing else (docs/decisions/0007). R mixes blocks of b inputs, so blocks are
independent and go side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fhe_server.imports.rotation import FloatMatrix, rotated, row_blocks

_PANEL = 16
"""Columns whose errors reach the columns behind them in one matrix product."""
_ENTRIES = 1 << 20
"""Entries that are worked on at a time, in float64: another order of additions must not change an integer."""


@dataclass(frozen=True)
class Feedback:
    """What rounding errors do to the entries behind them.

    Attributes:
        passed: L_kj / L_jj, float64 (n / b, b, b).
        share: cost of rounding with it over that of rounding one by one.
    """

    passed: torch.Tensor
    share: float

    @classmethod
    def of(cls, energies: NDArray[np.float64], order: int) -> Feedback:
        """For inputs of these mean squares, positive (n,), that are rotated in blocks of `order`."""
        hadamard = rotated(np.eye(order, dtype=np.float32), order).astype(np.float64)
        inverse = np.stack([hadamard / block @ hadamard for block in energies.reshape(-1, order)])
        factor = np.linalg.cholesky(inverse)
        diagonal = np.einsum("kjj->kj", factor)
        share = float((1 / diagonal**2).sum() / energies.sum())
        return cls(torch.from_numpy(factor / diagonal[:, None, :]), share)

    def round(
        self, matrix: FloatMatrix, row_scale: NDArray[np.float32], peak: int
    ) -> NDArray[np.int8]:
        """float32 (m, n) over row_scale (m,), to integers in [-peak, peak]; rows of scale 0 become 0."""
        blocks, order, _ = self.passed.shape
        scale = row_scale.astype(np.float64)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
        weights = np.empty(matrix.shape, dtype=np.int8)
        step = max(1, _ENTRIES // matrix.shape[1])
        for start in range(0, len(matrix), step):
            rows = slice(start, start + step)
            units = torch.from_numpy((matrix[rows] * inverse[rows, None]).T.copy())
            self._round(units.view(blocks, order, -1), peak)
            weights[rows] = units.numpy().T
        return weights

    def _round(self, units: torch.Tensor, peak: int) -> None:
        """In place, (n / b, b, rows): a panel of columns, then what it does to all columns behind it."""
        order = units.shape[1]
        for start in range(0, order, _PANEL):
            stop = min(start + _PANEL, order)
            panel = units[:, start:stop]
            off = torch.empty_like(panel)
            for j in range(stop - start):
                due = panel[:, j].clone()
                panel[:, j].round_().clamp_(-peak, peak)
                torch.sub(due, panel[:, j], out=off[:, j])
                passed = self.passed[:, start + j + 1 : stop, start + j, None]
                panel[:, j + 1 :].sub_(passed * off[:, j : j + 1])
            units[:, stop:].baddbmm_(self.passed[:, stop:, start:stop], off, alpha=-1)


def nearest(matrix: FloatMatrix, row_scale: NDArray[np.float32], peak: int) -> NDArray[np.int8]:
    """Every entry of (m, n) over row_scale (m,), to the nearest integer; rows of scale 0 become 0."""
    inverse = np.divide(1, row_scale, out=np.zeros_like(row_scale), where=row_scale > 0)[:, None]
    weights = np.empty(matrix.shape, dtype=np.int8)
    for rows in row_blocks(weights):
        weights[rows] = np.clip(np.rint(matrix[rows] * inverse[rows]), -peak, peak)
    return weights
