"""Input scales for quantisation, from what a model's layers are fed on a text.

The model reads the text once, in the clear, at import; nothing of any user is involved. Of every input of a group the
root mean square is kept, each token scaled to norm 1: decryption noise is relative to a token's norm, and one token
with outlier activations must not outweigh all others.

**The scales.** Both errors of an output, weight rounding and decryption noise, grow with the norm of the row that is
rounded times the norm of the input, |W_i / c| |c x|. Averaged over rows and tokens the product is smallest for

    c_j = sqrt(norm of column j of W / root mean square of x_j)

with every module of a group scaled to norm 1 first. The sizes of what is fed in, c_j x_j, then tell rounding where an
error costs most (imports/rounding.py).

**The same digests everywhere.** Another processor adds in another order. The pass is therefore run in float64, also
where a model asks for float32 (norms, softmax), and scales and sizes are put on powers of 2^(1/4). An artefact then
changes only if a value lies within about 1e-12 of the edge of its grid cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fhe_server.errors import CheckpointError, QuantisationError
from fhe_server.imports.memory import give_back
from fhe_server.imports.tracing import TracedGroup
from fhe_server.imports.wide import widened

MAX_TOKENS = 512


@dataclass(frozen=True)
class Observed:
    """What a group was fed and what it made of it, over the tokens of the calibration text.

    Attributes:
        rms: root mean square of every input, each token scaled to norm 1: float64 (n,).
        gains: mean of ||W x||^2 / ||x||^2 of every member; empty where the product was not computed.
    """

    rms: NDArray[np.float64]
    gains: tuple[float, ...] = ()


_GRID = 4  # steps per factor of two
_SCALE_LIMIT = 8.0  # in factors of two
_FLOOR = 1e-4
_UNSEEN = 0.3
"""An input counts as if it had, besides what the text showed, this part of a typical input's energy."""


def calibrated(
    weight: NDArray[np.float32], members: Sequence[int], seen: Observed
) -> dict[str, Any]:
    """What the text has to say to `quantise_group`."""
    scale = input_scale(weight, members, seen.rms)
    return {
        "input_scale": scale,
        "energies": scaled_energies(seen.rms, scale),
        "gains": scaled_gains(weight, members, seen, scale),
    }


def input_scale(
    weight: NDArray[np.float32], members: Sequence[int], rms: NDArray[np.float64]
) -> NDArray[np.float32]:
    """c, float32 (n,), powers of 2^(1/4) around 1.

    Args:
        weight: the group's matrix, (m, n).
        members: rows of each module of the group, in order.
        rms: of every input, from `observe`, (n,).
    """
    columns, inputs = _floored(_column_norms(weight, members)), np.sqrt(_energies(rms))
    logs = np.log2(columns / inputs) / 2
    steps = np.rint((logs - logs.mean()) * _GRID) / _GRID
    scale: NDArray[np.float32] = np.exp2(np.clip(steps, -_SCALE_LIMIT, _SCALE_LIMIT)).astype("f4")
    return scale


def scaled_energies(rms: NDArray[np.float64], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean squares of c * x, float64 (n,), powers of 2^(1/4)."""
    logs = np.log2(_energies(rms) * scale.astype(np.float64) ** 2)
    energies: NDArray[np.float64] = np.exp2(np.rint(logs * _GRID) / _GRID)
    return energies


def scaled_gains(
    weight: NDArray[np.float32],
    members: Sequence[int],
    seen: Observed,
    scale: NDArray[np.float32],
) -> tuple[float, ...]:
    """||W x||^2 / ||c x||^2 of every member, as the calibration text showed it.

    Where products were not computed, inputs count as independent of each other.
    """
    gains = seen.gains
    if not gains:
        edges = pairwise(np.cumsum([0, *members]))
        columns = [np.einsum("ij,ij->j", w, w, dtype="f8") for w in (weight[a:b] for a, b in edges)]
        gains = tuple(float(squares @ seen.rms**2) for squares in columns)
    size = float(np.square(scale * seen.rms).sum())
    return tuple(gain / size for gain in gains) if size > 0 else ()


def _energies(rms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares of rms; an input that this text hardly uses, another one may."""
    seen = np.square(_floored(rms))
    typical = np.exp(np.log(seen).mean())
    energies: NDArray[np.float64] = seen + _UNSEEN * typical
    return energies


def _floored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = float(values.max())
    return np.maximum(values, _FLOOR * largest) if largest > 0 else np.ones_like(values)


def observe(
    model: Any, tokenizer: Any, groups: Sequence[TracedGroup], text: str
) -> dict[str, Observed]:
    """Read `text` with the model and keep the sizes of inputs and outputs of every linear group.

    Returns:
        By group name. The last group, as a rule the output layer, has no gains.

    Raises:
        CheckpointError: the tokenizer makes no tokens of it that the model has.
        QuantisationError: the model computes values that are not finite.
    """
    tokens = _tokens(model, tokenizer, text)
    watched = [_Watched(group) for group in groups if group.kind == "linear"]
    with ExitStack() as stack:
        for number, group in enumerate(watched, 1):
            modules = [model.get_submodule(name) for name in group.members]
            look = group.look if number < len(watched) else group.look_and_leave
            before = modules[0].register_forward_pre_hook(look, with_kwargs=True)
            stack.callback(before.remove)
            for module in modules:
                stack.callback(module.register_forward_hook(group.weigh).remove)
        with torch.no_grad(), widened(torch.float64), suppress(_AllSeen):
            model(input_ids=tokens, use_cache=False)
    return {group.name: group.observed() for group in watched}


class _Watched:
    """One group during the pass; its methods are hooks."""

    def __init__(self, group: TracedGroup) -> None:
        self.name = group.name
        self.members = [member.module for member in group.members]
        self._rms: NDArray[np.float64] = np.zeros(0)
        self._squares = torch.zeros(0)
        self._gains: list[float] = []

    def look(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the first member is computed."""
        give_back()
        x = next(iter((*args, *kwargs.values())))
        rows = x.reshape(-1, x.shape[-1])
        squares = (rows * rows).sum(dim=1)
        if not bool(torch.isfinite(squares).all()):
            raise QuantisationError(
                "The model computes values that are not finite on the calibration text.",
                "The checkpoint may be damaged; --calibrate none imports it all the same.",
            )
        self._squares = torch.where(squares > 0, squares, 1.0)
        self._rms = (rows * rows / self._squares[:, None]).mean(dim=0).sqrt().numpy()

    def look_and_leave(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """`look`, and end the pass there."""
        self.look(module, args, kwargs)
        raise _AllSeen

    def weigh(self, module: Any, _args: tuple[Any, ...], output: torch.Tensor) -> None:
        """After a member was computed."""
        y = output if module.bias is None else output - module.bias
        energy = (y * y).reshape(-1, y.shape[-1]).sum(dim=1)
        self._gains.append(float((energy / self._squares).mean()))

    def observed(self) -> Observed:
        """What was seen."""
        return Observed(self._rms, tuple(self._gains))


class _AllSeen(Exception):  # noqa: N818 (no error)
    """Leaves the pass before the output layer's product, the largest of all, which nobody needs."""


def _tokens(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None) or MAX_TOKENS
    ids = tokenizer(text, verbose=False).input_ids[: min(MAX_TOKENS, int(longest))]
    if not ids or max(ids) >= model.get_input_embeddings().num_embeddings:
        raise CheckpointError(
            "The tokenizer and the model of this checkpoint do not fit together.",
            "Check its files, or import it with --calibrate none.",
        )
    return torch.tensor([ids])


def _column_norms(weight: NDArray[np.float32], members: Sequence[int]) -> NDArray[np.float64]:
    """Norms of the columns, every module scaled to norm 1: (n,)."""
    total = np.zeros(weight.shape[1])
    for start, stop in pairwise(np.cumsum([0, *members])):
        piece = weight[start:stop]
        squares = np.einsum("ij,ij->j", piece, piece, dtype=np.float64)
        total += squares / (squares.sum() or 1)
    norms: NDArray[np.float64] = np.sqrt(total)
    return norms
