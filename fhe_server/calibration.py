"""Input scales for quantisation, from what a model's layers are fed on a text.

The model reads the text once, in the clear, at import; nothing of any user is involved. Of every input of a group the
root mean square is kept, each token scaled to norm 1: decryption noise is relative to a token's norm, and one token
with outlier activations must not outweigh all others.

**The scales.** Both errors of an output, weight rounding and decryption noise, grow with the norm of the row that is
rounded times the norm of the input, |W_i / c| |c x|. Averaged over rows and tokens the product is smallest for

    c_j = sqrt(norm of column j of W / root mean square of x_j)

with every module of a group scaled to norm 1 first.

**The same digests everywhere.** Another processor adds in another order. The pass is therefore run in float64, also
where a model asks for float32 (norms, softmax), and the scales are put on powers of 2^(1/4). An artefact then changes
only if a value lies within about 1e-12 of the edge of its grid cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from fhe_server.errors import CheckpointError, QuantisationError
from fhe_server.tracing import TracedGroup

MAX_TOKENS = 512

_SCALE_STEPS = 4  # per factor of two
_SCALE_LIMIT = 8.0  # in factors of two
_FLOOR = 1e-4


def input_scale(
    weight: NDArray[np.float32], members: Sequence[int], rms: NDArray[np.float64]
) -> NDArray[np.float32]:
    """c, float32 (n,), powers of 2^(1/4) around 1.

    Args:
        weight: the group's matrix, (m, n).
        members: rows of each module of the group, in order.
        rms: of every input, from `observe`, (n,).
    """
    # An input that is hardly ever used here may be used elsewhere: neither side gets an extreme scale.
    columns, inputs = _floored(_column_norms(weight, members)), _floored(rms)
    logs = np.log2(columns / inputs) / 2
    steps = np.rint((logs - logs.mean()) * _SCALE_STEPS) / _SCALE_STEPS
    scale: NDArray[np.float32] = np.exp2(np.clip(steps, -_SCALE_LIMIT, _SCALE_LIMIT)).astype("f4")
    return scale


def _floored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = float(values.max())
    return np.maximum(values, _FLOOR * largest) if largest > 0 else np.ones_like(values)


def observe(
    model: Any, tokenizer: Any, groups: Sequence[TracedGroup], text: str
) -> dict[str, NDArray[np.float64]]:
    """Read `text` with the model and keep the root mean square of the inputs of every linear group.

    Returns:
        float64 (n,) by group name; every token is scaled to norm 1 first.

    Raises:
        CheckpointError: the tokenizer makes no tokens of it that the model has.
        QuantisationError: the model computes values that are not finite.
    """
    tokens = _tokens(model, tokenizer, text)
    seen: dict[str, NDArray[np.float64]] = {}
    linear = [group for group in groups if group.kind == "linear"]
    with ExitStack() as stack:
        for group in linear:
            module = model.get_submodule(group.members[0].module)
            keep = _keeper(group.name, seen, len(linear))
            stack.callback(module.register_forward_pre_hook(keep, with_kwargs=True).remove)
        with torch.no_grad(), _double_precision(), suppress(_AllSeen):
            model(input_ids=tokens, use_cache=False)
    return seen


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


def _keeper(name: str, seen: dict[str, NDArray[np.float64]], due: int) -> Callable[..., None]:
    def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = next(iter((*args, *kwargs.values())))
        rows = x.reshape(-1, x.shape[-1]).numpy()
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            raise QuantisationError(
                "The model computes values that are not finite on the calibration text.",
                "The checkpoint may be damaged; --calibrate none imports it all the same.",
            )
        shares = np.square(rows / np.where(norms > 0, norms, 1))
        seen[name] = np.sqrt(shares.mean(axis=0))
        if len(seen) == due:
            raise _AllSeen

    return keep


class _Double(TorchFunctionMode):
    """Runs every operation in float64, whatever the tensors are stored in or the model asks for."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") == "__get__":  # an attribute; no need to convert for it
            return func(*args, **(kwargs or {}))
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args, kwargs = tree_map(_widened, (args, kwargs or {}))
        return func(*args, **kwargs)


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in _NARROW:
        return value.double()
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROW else value


_NARROW = (torch.float32, torch.float16, torch.bfloat16)


@contextmanager
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Double():
            yield
    finally:
        torch.set_default_dtype(before)


def _column_norms(weight: NDArray[np.float32], members: Sequence[int]) -> NDArray[np.float64]:
    """Norms of the columns, every module scaled to norm 1: (n,)."""
    total = np.zeros(weight.shape[1])
    for start, stop in pairwise(np.cumsum([0, *members])):
        piece = weight[start:stop]
        squares = np.einsum("ij,ij->j", piece, piece, dtype=np.float64)
        total += squares / (squares.sum() or 1)
    norms: NDArray[np.float64] = np.sqrt(total)
    return norms
