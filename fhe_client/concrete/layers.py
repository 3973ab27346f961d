"""The modules that stand in the place of Linear and Conv1D: they ask whatever backend the mode has chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fhe_client.model.encrypted_layers import rotated
from fhe_client.model.errors import PassError
from fhe_client.model.files import GroupScales
from fhe_client.model.runner import LinearRunner
from fhe_protocol.manifest import Group


class GroupCall:
    """One group under one backend: its first member to be called computes it, the others take their slice.

    Args:
        rows_at_once: most rows of one round; None for as many as come.
    """

    def __init__(
        self, group: Group, scales: GroupScales, runner: LinearRunner, rows_at_once: int | None
    ) -> None:
        self._group = group
        self._scales = scales
        self._runner = runner
        self._rows_at_once = rows_at_once
        self._input: torch.Tensor | None = None
        self._version = 0
        self._answer: torch.Tensor | None = None
        self._waiting: set[int] = set()

    def take(self, member: int, x: torch.Tensor) -> torch.Tensor:
        """The layer's product without its bias: float (..., n) to float32 (..., outputs of the member)."""
        if self._answer is None or member not in self._waiting or not self._is_same(x):
            self._answer = self._compute(x.reshape(-1, x.shape[-1]).float())
            self._input, self._version = x, x._version
            self._waiting = set(range(len(self._group.members)))
        answer = self._answer
        self._waiting.discard(member)
        if not self._waiting:
            self._answer = self._input = None
        start = sum(m.outputs for m in self._group.members[:member])
        piece = answer[:, start : start + self._group.members[member].outputs]
        return piece.reshape(*x.shape[:-1], piece.shape[-1])

    def _compute(self, rows: torch.Tensor) -> torch.Tensor:
        if rows.shape[1] != self._group.inputs:
            raise PassError("The model gave a layer an input of the wrong size.", "")
        scales = self._scales
        if scales.input_scale is not None:
            rows = rows * scales.input_scale
        wide = np.ascontiguousarray(rotated(rows, scales.rotation).detach().numpy())
        step = self._rows_at_once or len(wide)
        pieces = [
            self._runner.run_group(self._group, wide[start : start + step])
            for start in range(0, len(wide), step)
        ]
        return torch.from_numpy(np.concatenate(pieces)) * scales.row_scale

    def _is_same(self, x: torch.Tensor) -> bool:
        due = self._input
        return due is not None and (
            x is due
            or (
                x.data_ptr() == due.data_ptr()
                and x._version == self._version
                and x.shape == due.shape
                and x.stride() == due.stride()
            )
        )


@dataclass(frozen=True)
class Route:
    """Where a layer's product comes from: a group, and the layer's place in it."""

    call: GroupCall
    member: int


class RemoteLinear(nn.Module):
    """Stands for one Linear or Conv1D. The weights are gone; the bias stays.

    The two sizes keep the names of `nn.Linear`, because a few models read them.
    """

    def __init__(self, sizes: tuple[int, int], bias: torch.Tensor | None) -> None:
        super().__init__()
        self.in_features, self.out_features = sizes
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), False)
        self.route: Route | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (..., in_features) to float32 (..., out_features)."""
        if self.route is None:
            raise PassError("No mode is set.", "Call set_fhe_mode first.")
        y = self.route.call.take(self.route.member, x)
        return y if self.bias is None else y + self.bias


def connect_layers(
    layers: Mapping[str, RemoteLinear],
    groups: Sequence[Group],
    scales: Mapping[int, GroupScales],
    runner: LinearRunner,
    rows_at_once: int | None,
) -> None:
    """Point every layer at its group of a backend.

    Raises:
        PassError: the backend does not compute a layer, or gives it another size.
    """
    routes: dict[str, Route] = {}
    for group in groups:
        call = GroupCall(group, scales[group.index], runner, rows_at_once)
        for position, member in enumerate(group.members):
            layer = layers.get(member.module)
            if layer is not None:
                if (layer.in_features, layer.out_features) != (group.inputs, member.outputs):
                    raise PassError(f"The server's {member.module!r} has another size.")
                routes[member.module] = Route(call, position)
    missing = sorted(layers.keys() - routes.keys())
    if missing:
        raise PassError(f"The server's model has no layer {missing[0]!r}.")
    for name, layer in layers.items():
        layer.route = routes[name]
