"""The arithmetic of the `glwe` scheme on plain arrays: how inputs become integers so that results cannot wrap.

    X = round(gamma * x)        |W_i . X| < 2^26 - guard for every row i of the int8 weights, proved
    W.x ~= decrypted / gamma

The library's results live in [-2^26, 2^26) and wrap silently. For a group in parts k with the manifest's bounds
w_k = max_i ||W_ik||_2 and peak_k = max |W_ik|:

    |W_i . gamma x| <= gamma * sum_k min(w_k ||x_k||_2, peak_k ||x_k||_1)          Cauchy-Schwarz, Hoelder
    |W_i . (X - gamma x)| <= sum_k w_k sqrt(n_k) / 2                               each entry is off by 1/2 at most

gamma makes the sum of both at most 2^26 - guard (guard: 8 sigma of the decryption noise, which depends on nothing). It
is chosen per row of x, that is per token, and never leaves the client. So the inner dimension need not be split, and
inputs use all the bits that the range has room for instead of eight: at n = 768 they get 13 to 14. A server that
publishes too small a bound spoils its own results and learns nothing: no message's size or time depends on gamma.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.errors import CryptoError
from fhe_protocol.glwe import GLWE_2048_27, output_blocks
from fhe_protocol.manifest import Group


def choose_scale(
    group: Group, x: NDArray[np.float64], activation_bits: int | None = None
) -> NDArray[np.float64]:
    """gamma of every row.

    Args:
        x: float64 (rows, n), finite.
        activation_bits: no integer of X gets more bits than this, sign included; None for all that fit.

    Returns:
        float64 (rows, 1), positive and finite; 1 where the row is zero.
    """
    slack = sum(part.w_norm * math.sqrt(part.inputs) for part in group.parts) / 2
    return _scale(_room(group, slack), _bound(group, x), np.abs(x).max(axis=1), activation_bits)


def scale_of_one_hot(group: Group, height: NDArray[np.float64]) -> NDArray[np.float64]:
    """gamma for vectors whose one entry is `height`, float64 (rows,): |W_i . X| <= peak * |X|."""
    peak = max(part.peak for part in group.parts)
    return _scale(_room(group, peak / 2), peak * np.abs(height), np.abs(height), None)


def to_integers(x: NDArray[np.float64], gamma: NDArray[np.float64]) -> NDArray[np.int64]:
    """X = round(gamma * x)."""
    return np.rint(x * gamma).astype(np.int64)


def noise(rng: np.random.Generator, rows: int, outputs: int) -> NDArray[np.float64]:
    """Simulated decryption noise, (rows, outputs): what `simulate` adds. For tests and forecasts, never for secrecy.

    Within one ciphertext a common offset and a part that looks independent; see GlweParameters.
    """
    total = rng.normal(size=(rows, outputs)) * GLWE_2048_27.noise_white_sigma
    for start, stop in output_blocks(outputs):
        total[:, start:stop] += rng.normal(size=(rows, 1)) * GLWE_2048_27.noise_offset_sigma
    return np.rint(total)


def _bound(group: Group, x: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros(x.shape[0])
    for part in group.parts:
        piece = x[:, part.start : part.stop]
        euclid = part.w_norm * np.sqrt(np.einsum("rn,rn->r", piece, piece))
        total += np.minimum(euclid, part.peak * np.abs(piece).sum(axis=1))
    return total


def _room(group: Group, slack: float) -> float:
    room = GLWE_2048_27.half_range - GLWE_2048_27.guard - slack
    if room < GLWE_2048_27.half_range / 64:
        raise CryptoError(
            f"The layer {group.name!r} has too many inputs for this scheme.", "Use --scheme hint."
        )
    return room


def _scale(
    room: float,
    bound: NDArray[np.float64],
    largest: NDArray[np.float64],
    activation_bits: int | None,
) -> NDArray[np.float64]:
    gamma = np.where(bound > 1e-250, room / np.maximum(bound, 1e-250), 1.0)
    if activation_bits is not None:
        top = 2 ** (activation_bits - 1) - 1
        gamma = np.minimum(
            gamma, np.where(largest > 1e-250, top / np.maximum(largest, 1e-250), 1.0)
        )
    return gamma[:, None]
