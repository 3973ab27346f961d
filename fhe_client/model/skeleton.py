"""Builds a Hugging Face model from an untrusted config without allocating what stays on the server.

Parameters with two or more dimensions go to torch's meta device, which has shapes but no memory. Everything else
(norms, biases, rotary tables, mask buffers) is real, and each operation's outputs are sized on the meta device before
it runs, so that a config cannot ask for gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers.initialization import no_init_weights
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from fhe_client.model.errors import ModelError, ModelFilesError, UnsupportedModelError
from fhe_client.model.lean_imports import without_compiler

MEMORY_LIMIT = 512 << 20
"""Bytes that building a model may allocate, all intermediate results added up."""

_OPERATIONS_PER_GROUP = 400
_OPERATIONS_BASE = 20_000


class _BuildGuard(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
    """Sends matrices to the meta device and stops a build that takes too much memory or too many steps."""

    def __init__(self, memory_limit: int, operation_limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._memory_left = memory_limit
        self._operations_left = operation_limit

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._operations_left -= 1
        if self._operations_left < 0:
            raise ModelFilesError("The model's config describes far more parts than its manifest.")
        if func is torch.ops.aten.empty.memory_format and len(args[0]) >= 2:
            return func(*args, **{**kwargs, "device": torch.device("meta")})
        self._charge(func, args, kwargs)
        return func(*args, **kwargs)

    def _charge(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        leaves = tree_leaves((args, kwargs))
        tensors = [t for t in leaves if isinstance(t, torch.Tensor)]
        if tensors and all(t.is_meta for t in tensors):
            return
        if all(t.numel() <= 1 for t in tensors) and tensors:
            return
        if (known := _bytes_at_most(func, args, tensors)) is not None:
            self._take(known)
            return
        try:
            shadow = func(*tree_map(_to_meta, args), **_meta_keywords(kwargs, bool(tensors)))
        except (
            Exception
        ):  # an operation whose result depends on data has no shape on the meta device
            shadow = None
        for leaf in tree_leaves(shadow):
            if isinstance(leaf, torch.Tensor):
                self._take(leaf.numel() * leaf.element_size())

    def _take(self, size: int) -> None:
        self._memory_left -= size
        if self._memory_left < 0:
            raise ModelFilesError(
                "The model's config asks for more memory than a model of its size needs."
            )


def _bytes_at_most(func: Any, args: tuple[Any, ...], tensors: Sequence[torch.Tensor]) -> int | None:
    """A bound of the result's size, for operations whose own meta functions would import sympy for a quarter second."""
    if func.overloadpacket is torch.ops.aten.arange:
        start, end, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
        count = (end - start) / step if step else 0.0
        return 8 * (int(min(max(count, 0.0), MEMORY_LIMIT)) + 1)
    if tensors and torch.Tag.pointwise in func.tags:
        shape = np.broadcast_shapes(*(t.shape for t in tensors))
        return math.prod(shape) * max(4, *(t.element_size() for t in tensors))
    return None


def _to_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _meta_keywords(kwargs: dict[str, Any], has_tensors: bool) -> dict[str, Any]:
    moved: dict[str, Any] = tree_map(_to_meta, kwargs)
    if "device" in moved or not has_tensors:
        moved["device"] = torch.device("meta")
    moved.pop("pin_memory", None)
    return moved


def _model_class(config_class: type) -> Any:
    try:
        with without_compiler():
            return MODEL_FOR_CAUSAL_LM_MAPPING[config_class]
    except ImportError:  # one that wants more of torch's compiler than decorators
        return MODEL_FOR_CAUSAL_LM_MAPPING[config_class]


def build_skeleton(config: Any, groups: int) -> Any:
    """The causal language model of `config`, float32, with every matrix on the meta device.

    Args:
        config: a checked Hugging Face config.
        groups: number of groups of the manifest, which bounds the number of building steps.

    Raises:
        UnsupportedModelError: no causal language model of this type, or one with other state than keys and values.
        ModelFilesError: the config cannot be built, or asks for too much.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UnsupportedModelError(f"Models of type {config.model_type[:60]!r} do not write text.")
    model_class = _model_class(type(config))
    if getattr(model_class, "_is_stateful", False) or config.is_encoder_decoder:
        raise UnsupportedModelError("Only decoder models with ordinary attention can be used.")
    attention = "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"
    guard = _BuildGuard(MEMORY_LIMIT, _OPERATIONS_BASE + _OPERATIONS_PER_GROUP * groups)
    try:
        with torch.no_grad(), no_init_weights(), without_compiler(), guard:
            model = model_class._from_config(
                config, dtype=torch.float32, attn_implementation=attention
            )
    except ModelError:
        raise
    except Exception as error:  # model classes raise whatever they like
        reason = f"The model's config cannot be built ({type(error).__name__})."
        raise ModelFilesError(reason) from error
    return model.eval().requires_grad_(False)
