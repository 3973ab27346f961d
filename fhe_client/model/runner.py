"""What the hybrid model asks of whoever computes its large matrix products."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.manifest import Group, Manifest


class LinearRunner(Protocol):
    """Computes the int8 products of a model's groups.

    `InferenceSession` does it on ciphertexts at a server; tests use a twin that multiplies in the clear. A pass is one
    forward run over `rows` new tokens; inside it every group is computed at most once, in the model's order.
    """

    @property
    def manifest(self) -> Manifest:
        """The model that this runner serves."""
        ...

    def begin_pass(self, rows: int) -> None:
        """Reserve `rows` slots in every group. What the pass then leaves unused is lost, never used later."""
        ...

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The group's product.

        Args:
            group: a group of kind "linear".
            x: float32 (rows, n), finite; `rows` is at most that of the pass.

        Returns:
            float32 (rows, m), close to x @ Wq.T. Not to be trusted: it may hold NaN or infinity.
        """
        ...

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """The rows of a table, looked up by encrypted one-hot vectors.

        Args:
            group: a group of kind "embedding"; its inputs are the vocabulary.
            ids: int64 (rows,), each in [0, n).
            scale: float32 (n,), the group's input scale: the vector's one is scale[id]. None means 1.

        Returns:
            float32 (rows, m), close to scale[id] * Wq[:, id].
        """
        ...

    def rows_until_window_end(self) -> int:
        """The longest pass that may begin now, at least 1."""
        ...
