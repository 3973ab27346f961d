"""The online half of the `hint` scheme, on plain arrays: scale, mask, unmask.

    X      = round(gamma * x)
    query  = X + query_pad                                   mod 2^24
    answer = round16(Wq . query)                             at the server
    Wq.x  ~= centred(answer - hint_product mod 2^16) * 2^8 / gamma

gamma is chosen per row and never leaves the client. No wrap-around: |W_i . x| is at most w*||x||_2
(Cauchy-Schwarz) and at most peak*||x||_1 (Hoelder), so gamma = (2^23 - guard(w)) / min(w*||x||_2, peak*||x||_1)
keeps the signal below q/2 - guard. The second bound is the tight one for one-hot vectors
(docs/decisions/0004-two-bounds-for-gamma.md).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.manifest import GroupPart
from fhe_protocol.parameters import HintParameters
from fhe_protocol.planes import write_planes

_TINY = 1e-100
"""Bounds below this count as zero: squares of smaller entries lose digits or underflow, and gamma would be too
large. The smallest positive float32 is 1.4e-45, so no activation is affected."""


def choose_gamma(
    parameters: HintParameters, part: GroupPart, x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The scale of every row.

    Args:
        x: float64 (rows, n), finite.

    Returns:
        float64 (rows, 1), finite and positive; 1 where the row is zero.
    """
    if x.shape[0] == 1:
        return np.array([[_gamma_of_row(_room(parameters, part.w_norm), part, x[0])]])
    euclid = part.w_norm * np.sqrt(np.einsum("rn,rn->r", x, x))
    bound = np.minimum(euclid, part.peak * np.add.reduce(np.abs(x), axis=1))
    return _gamma(parameters, part, bound)[:, None]


def gamma_of_one_hot(
    parameters: HintParameters, part: GroupPart, height: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The scale for vectors with a single entry `height`, float64 (rows,): |W_i . x| <= peak * |height|."""
    return _gamma(parameters, part, part.peak * np.abs(height))


def _gamma(
    parameters: HintParameters, part: GroupPart, bound: NDArray[np.float64]
) -> NDArray[np.float64]:
    room = _room(parameters, part.w_norm)
    return room / np.where(bound > _TINY, bound, room)


def _gamma_of_row(room: float, part: GroupPart, row: NDArray[np.float64]) -> float:
    """As above for one token, where arrays of one element take longer than the sums."""
    euclid = part.w_norm * math.sqrt(row.dot(row))
    bound = min(euclid, part.peak * float(np.add.reduce(np.abs(row))))
    return room / bound if bound > _TINY else 1.0


@lru_cache(maxsize=4096)
def _room(parameters: HintParameters, w_norm: float) -> float:
    return parameters.modulus / 2 - parameters.guard(w_norm)


def scale(x: NDArray[np.float64], gamma: NDArray[np.float64]) -> NDArray[np.uint32]:
    """X = round(gamma * x) as residues mod 2^32: uint32 of the shape of x."""
    product = x * gamma
    np.rint(product, out=product)
    return product.astype(np.int32).view(np.uint32)


def mask_query(
    scaled: NDArray[np.uint32], query_pad: NDArray[np.uint32], planes: NDArray[np.int8]
) -> None:
    """Write the digit planes of X + query_pad into `planes`, int8 (3, rows, n). The pad carries their offset already.

    Raises:
        ValueError: the shapes differ. Broadcasting would put one pad on two values.
    """
    if scaled.shape != query_pad.shape:
        raise ValueError("every value needs a pad of its own")
    if planes.shape[1:] != scaled.shape:
        raise ValueError("every value needs a place of its own")
    write_planes(scaled + query_pad, planes)


def open_answer(
    parameters: HintParameters,
    answer: NDArray[np.uint16],
    hint_product: NDArray[np.uint16],
    gamma: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Decrypt: uint16 (rows, m) twice and gamma (rows, 1) to float32 (rows, m).

    Huge inputs may open to infinity, without a warning: nothing that can be seen depends on decrypted values.
    """
    centred = (answer - hint_product).view(np.int16)
    with np.errstate(all="ignore"):
        worth = (parameters.step / gamma).astype(np.float32)
        opened: NDArray[np.float32] = centred * worth
    return opened
