"""The modules that stand where a Linear, Conv1D or Embedding was: they own no weight and ask the runner.

y = row_scale * (Wq @ rotated(input_scale * x)) + bias          Wq stays at the server

The rotation mixes blocks of inputs by a Hadamard matrix: the weights were multiplied by its inverse at import, which
evens them out before they become int8 (docs/decisions/0007-input-scales-from-a-calibration-text.md).
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fhe_client.model.errors import PassError
from fhe_client.model.files import GroupScales
from fhe_client.model.passes import PassState
from fhe_protocol.manifest import Group

Floats = NDArray[np.float32]
"""Between the rounds a few thousand values are scaled, mixed and checked, which numpy starts sooner than torch does."""


@cache
def hadamard(order: int) -> Floats:
    """The symmetric, orthogonal Hadamard matrix: float32 (order, order), order a power of two."""
    if order == 1:
        return np.ones((1, 1), dtype=np.float32)
    half = hadamard(order // 2) * np.float32(0.5**0.5)
    return np.block([[half, half], [half, -half]])


def mixed(rows: Floats, order: int) -> Floats:
    """float32 (rows, n) with every `order` inputs in a row multiplied by `hadamard(order)`."""
    if order == 1:
        return rows
    turned: Floats = (rows.reshape(-1, order) @ hadamard(order)).reshape(rows.shape)
    return turned


def rotated(rows: torch.Tensor, order: int) -> torch.Tensor:
    """`mixed` for tensors."""
    return torch.from_numpy(mixed(rows.detach().numpy(), order))


class GroupCall:
    """One group's round, shared by its members: the first one called makes it, the others take their slice."""

    def __init__(self, group: Group, scales: GroupScales, state: PassState) -> None:
        self._group = group
        self._input_scale = None if scales.input_scale is None else scales.input_scale.numpy()
        self._rotation = scales.rotation
        self._row_scale = scales.row_scale.numpy()
        self._state = state
        ends = tuple(accumulate(m.outputs for m in group.members))
        self._places = tuple(map(slice, (0, *ends), ends))
        self._pass = -1
        self._input: torch.Tensor | None = None
        self._version = 0
        self._pieces: tuple[torch.Tensor, ...] = ()
        self._waiting: set[int] = set()

    def take(self, member: int, x: torch.Tensor) -> torch.Tensor:
        """The scaled product's slice that belongs to one member.

        Args:
            member: position among the group's members.
            x: float32 (1, rows, n), for all members of a group the same tensor.

        Returns:
            float32 (1, rows, outputs of the member), without bias.

        Raises:
            PassError: another tensor than the one due, or a second call in one pass.
        """
        if self._pass != self._state.passes:
            self._make_round(x)
        elif member not in self._waiting:
            raise PassError("The model used one layer twice in one pass.")
        elif not self._is_same(x):
            raise PassError("Layers that share their input were called with different inputs.")
        piece = self._pieces[member]
        self._waiting.discard(member)
        if not self._waiting:
            self._pieces, self._input = (), None
        return piece

    def _make_round(self, x: torch.Tensor) -> None:
        group = self._group
        if x.shape[-1] != group.inputs:
            raise PassError("The model gave a layer an input of the wrong size.")
        rows: Floats = x.numpy().reshape(-1, group.inputs)
        if self._input_scale is not None:
            rows = _times(rows, self._input_scale)
        rows = mixed(self._state.clean(rows), self._rotation)
        self._state.check_round(group, rows.shape[0])
        self._pass = self._state.passes
        self._waiting = set(range(len(self._places)))
        self._input, self._version = x, x._version
        product = self._state.runner.run_group(group, np.ascontiguousarray(rows))
        _check_shape(product, (rows.shape[0], group.outputs))
        answer = self._state.clean(_times(product, self._row_scale))
        shaped = answer.reshape(*x.shape[:-1], group.outputs)
        self._pieces = tuple([torch.from_numpy(shaped[..., place]) for place in self._places])

    def _is_same(self, x: torch.Tensor) -> bool:
        """The same values in the same memory: some models reshape a shared input once for each layer."""
        due = self._input
        if due is None or x._version != self._version:
            return False
        return x is due or (
            x.data_ptr() == due.data_ptr()
            and x.numel() == due.numel()
            and x.shape[-1] == due.shape[-1]
            and x.is_contiguous()
            and due.is_contiguous()
        )


class EncryptedLinear(nn.Module):
    """Stands for one Linear or Conv1D: its slice of the group's answer, plus its bias.

    The two sizes keep the names of `nn.Linear`, because a few models read them.
    """

    def __init__(self, call: GroupCall, member: int, sizes: tuple[int, int], bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = sizes
        self._call = call
        self._member = member
        # Real memory comes with the loaded state.
        empty = torch.empty(sizes[1], device="meta") if bias else None
        self.bias = nn.Parameter(empty, requires_grad=False) if empty is not None else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 (1, rows, in_features) to (1, rows, out_features)."""
        y = self._call.take(self._member, x)
        return y if self.bias is None else y + self.bias

    __call__ = (
        forward  # without hooks, which nobody hangs here: a token calls some hundreds of these
    )


class EncryptedEmbedding(nn.Module):
    """Stands for a token table: rows are looked up by encrypted one-hot vectors, never by id (invariant 7).

    Tables that multiply what they look up by a constant are imported with that constant in their weights.
    """

    def __init__(self, group: Group, scales: GroupScales, state: PassState) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = group.inputs, group.outputs
        self._group = group
        self._row_scale = scales.row_scale.numpy()
        self._input_scale = None if scales.input_scale is None else scales.input_scale.numpy()
        self._state = state

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """int64 (1, rows) to float32 (1, rows, hidden)."""
        flat = ids.reshape(-1)
        if not bool(((flat >= 0) & (flat < self.num_embeddings)).all()):
            raise PassError("A token is not in the model's vocabulary.")
        self._state.check_round(self._group, flat.shape[0])
        product = self._state.runner.run_embedding(
            self._group, flat.to(torch.int64).numpy(), self._input_scale
        )
        _check_shape(product, (flat.shape[0], self.embedding_dim))
        rows = torch.from_numpy(self._state.clean(_times(product, self._row_scale)))
        return rows.view(*ids.shape, self.embedding_dim)

    __call__ = forward


def _times(values: Floats, scale: Floats) -> Floats:
    """Their product, without a warning where it overflows: none may depend on decrypted values."""
    with np.errstate(all="ignore"):
        return values * scale


def _check_shape(product: Floats, shape: tuple[int, int]) -> None:
    if product.shape != shape:
        raise PassError("A layer's answer has the wrong size.", "Try again.")
