"""Runners in this process: in the clear, in the clear with the noise of decryption, and the server's part of `hint`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fhe_client.concrete.quantised import QuantisedGroups
from fhe_client.crypto import hint_scheme
from fhe_client.glwe import scheme as glwe_scheme
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.masks import expand_mask
from fhe_protocol.parameters import HintParameters
from fhe_protocol.planes import from_planes, round_answer
from fhe_protocol.wire import pack_answer, parse_query

SCHEMES = ("glwe", "hint")
_NO_WINDOW = 1 << 30


class ClearRunner:
    """Exactly what the scheme computes, without cryptography: quantised inputs times quantised weights.

    Args:
        noise: with it the noise of decryption is added (`simulate`), drawn from this public generator.
    """

    def __init__(
        self,
        quantised: QuantisedGroups,
        scheme: str,
        activation_bits: int | None,
        noise: np.random.Generator | None = None,
    ) -> None:
        self._quantised = quantised
        self._scheme = scheme
        self._activation_bits = activation_bits
        self._noise = noise

    @property
    def manifest(self) -> Manifest:
        """See `LinearRunner`."""
        return self._quantised.manifest

    def begin_pass(self, rows: int) -> None:
        """See `LinearRunner`: nothing to reserve."""

    def rows_until_window_end(self) -> int:
        """See `LinearRunner`."""
        return _NO_WINDOW

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """See `LinearRunner`. Token tables stay in the model here."""
        raise NotImplementedError("token tables are not remote in this interface")

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `LinearRunner`."""
        wide = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        weights = self._quantised.weights[group.index].astype(np.float64)
        if self._scheme == "glwe":
            return self._glwe(group, wide, weights)
        return self._hint(group, wide, weights)

    def _glwe(
        self, group: Group, x: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        gamma = glwe_scheme.choose_scale(group, x, self._activation_bits)
        product = glwe_scheme.to_integers(x, gamma) @ weights.T  # below 2^26: exact in float64
        if self._noise is not None:
            product = product + glwe_scheme.noise(self._noise, *product.shape)
        return (product / gamma).astype(np.float32)

    def _hint(
        self, group: Group, x: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        parameters = self._quantised.manifest.parameters
        total = np.zeros((x.shape[0], group.outputs))
        for part in group.parts:
            piece, matrix = x[:, part.start : part.stop], weights[:, part.start : part.stop]
            gamma = hint_scheme.choose_gamma(parameters, part, piece)
            product = np.rint(piece * gamma) @ matrix.T
            if self._noise is not None:
                spread = hint_spread(parameters, matrix)
                product = product + self._noise.normal(size=product.shape) * spread
            total += product / gamma
        return total.astype(np.float32)


def hint_spread(parameters: HintParameters, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of each output's decryption noise, (m,), without the rounding of the inputs.

    The parameters' own bound is that of the largest row, and counts the rounding as noise.
    """
    squares = (weights**2).sum(axis=1)
    spread: NDArray[np.float64] = np.sqrt(
        squares * parameters.error_variance + parameters.noise_sigma(0.0) ** 2
    )
    return spread


class LocalHintServer:
    """The server's part of `hint`: hints and answers from the integers in memory. A channel and a source of hints.

    Products of 24-bit values with int8 weights over at most 1,024 inputs stay below 2^41, exact in float64.
    """

    def __init__(self, quantised: QuantisedGroups) -> None:
        self._quantised = quantised
        self._hints: dict[int, NDArray[np.uint16]] = {}
        self.bytes_up = self.bytes_down = 0

    def read(self, part_index: int) -> NDArray[np.uint16]:
        """See `HintSource`: the answer to the mask."""
        if part_index not in self._hints:
            manifest = self._quantised.manifest
            group, part = manifest.parts[part_index]
            mask = expand_mask(manifest.parameters, manifest.mask_name(group, part))
            self._hints[part_index] = self._answer(group, part, mask.T).T.copy()
        return self._hints[part_index]

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        """See `RoundChannel`."""
        header, planes = parse_query(frame, self._quantised.manifest)
        group = self._quantised.manifest.groups[header.group]
        values = [from_planes(plane) for plane in planes]
        parts = [self._answer(group, k, v) for k, v in enumerate(values)]
        answer = pack_answer(header, parts)
        self.bytes_up += len(frame)
        self.bytes_down += len(answer)
        return answer

    def _answer(self, group: Group, part: int, values: NDArray[np.uint32]) -> NDArray[np.uint16]:
        """(rows, n) to (rows, m)."""
        piece = group.parts[part]
        weights = self._quantised.weights[group.index][:, piece.start : piece.stop]
        exact = values.astype(np.float64) @ weights.T.astype(np.float64)
        return round_answer(exact.astype(np.int64) & 0xFFFFFF)
