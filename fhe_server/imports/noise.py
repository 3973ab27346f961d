"""The decryption noise that import reckons with, and the cuts that make it smaller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.parameters import HintParameters

DEFAULT_MAX_ERROR = 0.02
"""What noise and rounding may add to a product, relative to its norm, where an import is not told otherwise."""
PEAK = 127
"""Largest absolute value of a weight."""


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
            bound = peak if self.embedding else w
            total += (stop - start) / inputs * (bound * self.parameters.noise_sigma(w) / room) ** 2
        return total


def cut(inputs: int, count: int) -> tuple[tuple[int, int], ...]:
    """`count` contiguous slices of nearly equal length that cover `inputs`."""
    edges = [inputs * k // count for k in range(count + 1)]
    return tuple(pairwise(edges))
