"""Running a model whose weights stay as they are stored, in wider numbers, without ever widening all of a matrix.

Weights of a checkpoint are views of its memory-mapped files: half-precision where the file is. `widened(dtype)` lets
every operation compute in `dtype` all the same. A large matrix is taken in blocks of rows, so what a pass holds at a
time is one block and the activations, however large the model is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

BLOCK = 1 << 22
"""Entries of a matrix that are widened at a time, into a buffer that serves all: as many small pieces that come and go
would leave the process with memory full of holes."""

_NARROW = (torch.float32, torch.float16, torch.bfloat16)
_LINEAR = (torch.nn.functional.linear, torch._C._nn.linear)
_EMBEDDING = (torch.nn.functional.embedding, torch.embedding)


@contextmanager
def widened(dtype: torch.dtype) -> Iterator[None]:
    """Every operation in `dtype` (float32 or float64), whatever tensors are stored in or a model asks for."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Widening(dtype):
            yield
    finally:
        torch.set_default_dtype(before)


class _Widening(TorchFunctionMode):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._narrow = tuple(kind for kind in _NARROW if kind != dtype)
        self._cast = torch.Tensor.double if dtype == torch.float64 else torch.Tensor.float
        self._buffer = torch.empty(0, dtype=dtype)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "__get__":  # an attribute; no need to convert for it
            return func(*args, **kwargs)
        if func in _LINEAR:
            return self._linear(*args, **kwargs)
        if func is torch.addmm and args[2].dtype in self._narrow:
            return self._linear(args[1], args[2].T, args[0])
        if func in _EMBEDDING:
            return self._widen(func(*args, **kwargs))
        if func is torch.Tensor.float:
            func = self._cast
        args, kwargs = tree_map(self._widen, (args, kwargs))
        return func(*args, **kwargs)

    def _linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, bias = self._widen(x), self._widen(bias)
        if weight.dtype not in self._narrow:
            return torch.nn.functional.linear(x, weight, bias)
        blocks = weight.split(max(1, BLOCK // weight.shape[1]))
        pieces = [torch.nn.functional.linear(x, self._buffered(block)) for block in blocks]
        y = pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)
        return y if bias is None else y + bias

    def _buffered(self, block: torch.Tensor) -> torch.Tensor:
        """The block, widened; good until the next call."""
        if self._buffer.numel() < block.numel():
            self._buffer = torch.empty(max(BLOCK, block.numel()), dtype=self._dtype)
        return self._buffer[: block.numel()].view(block.shape).copy_(block)

    def _widen(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(self._dtype) if value.dtype in self._narrow else value
        return self._dtype if isinstance(value, torch.dtype) and value in self._narrow else value
