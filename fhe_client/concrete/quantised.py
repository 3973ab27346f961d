"""Groups of a model in this process: found by one forward pass, quantised, described by a manifest of their own.

y_i = r_i * sum_j Wq_ij x_j + b_i       Wq int, |Wq| <= 2^(n_bits - 1) - 1, one scale r_i per output
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from fhe_client.model.errors import UnsupportedModelError
from fhe_client.model.files import GroupScales
from fhe_protocol.manifest import Manifest, canonical_json, parse_manifest

PART_INPUTS = 1024
"""Inputs of one part under `hint`: more would cost accuracy, fewer cost bytes."""


@dataclass(frozen=True)
class QuantisedGroups:
    """Groups with their integers.

    Attributes:
        manifest: describes them; has no files, and digests of hints only as placeholders.
        weights: int8 (m, n) by group.
        scales: by group.
    """

    manifest: Manifest
    weights: tuple[NDArray[np.int8], ...]
    scales: tuple[GroupScales, ...]


def layer_sizes(module: nn.Module, name: str) -> tuple[int, int]:
    """(inputs, outputs) of a layer that can run encrypted.

    Raises:
        UnsupportedModelError: it is neither a Linear nor a Conv1D.
    """
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    raise UnsupportedModelError(
        f"{name!r} is a {type(module).__name__}; only Linear and Conv1D can run encrypted.",
        "Leave it out of module_names.",
    )


def weight_of(module: nn.Module) -> NDArray[np.float32]:
    """float32 (outputs, inputs), a copy."""
    weight: Any = module.weight
    matrix = weight if isinstance(module, nn.Linear) else weight.T
    return np.array(matrix.detach().float().numpy(), order="C")


def trace_groups(layers: dict[str, nn.Module], run: Callable[[], object]) -> list[list[str]]:
    """Names of the layers, those fed by one tensor together, in the order of their first call.

    Args:
        run: calls the model once.

    Raises:
        UnsupportedModelError: a layer was not called.
    """
    calls: dict[tuple[int, int, int], list[str]] = {}
    kept: list[torch.Tensor] = []  # so that no address is used twice
    seen: set[str] = set()

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, args: Any) -> None:
            x = args[0]
            kept.append(x)
            if name not in seen:
                calls.setdefault((x.data_ptr(), x._version, x.numel()), []).append(name)
            seen.add(name)

        return hook

    handles = [m.register_forward_pre_hook(watch(name)) for name, m in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    missing = sorted(layers.keys() - seen)
    if missing:
        raise UnsupportedModelError(
            f"The model did not use {missing[0]!r} with this input.",
            "Leave it out of module_names, or compile with an input that uses it.",
        )
    return list(calls.values())


def quantise_rows(
    weight: NDArray[np.float32], n_bits: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric, one scale per row: (m, n) to int8 (m, n) and float32 (m,)."""
    top = 2 ** (n_bits - 1) - 1
    scale = (np.abs(weight).max(axis=1) / top).astype(np.float32)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    quantised = np.clip(np.rint(weight * inverse[:, None]), -top, top).astype(np.int8)
    return quantised, scale


def quantise_groups(
    layers: dict[str, nn.Module], groups: Sequence[Sequence[str]], n_bits: int
) -> QuantisedGroups:
    """All groups of a model."""
    entries, weights, scales = [], [], []
    for index, names in enumerate(groups):
        matrices = [weight_of(layers[name]) for name in names]
        quantised, scale = quantise_rows(np.concatenate(matrices), n_bits)
        if not quantised.any():  # the manifest knows no group of zeros; its scale stays zero
            quantised[0, :] = 1
        members = [
            {"module": name, "outputs": len(matrix)}
            for name, matrix in zip(names, matrices, strict=True)
        ]
        entries.append(_entry(index, quantised, members))
        weights.append(quantised)
        scales.append(GroupScales(torch.from_numpy(scale), None))
    return QuantisedGroups(_manifest(entries), tuple(weights), tuple(scales))


def _entry(index: int, weights: NDArray[np.int8], members: list[Any]) -> dict[str, Any]:
    outputs, inputs = weights.shape
    count = -(-inputs // PART_INPUTS)
    edges = [inputs * k // count for k in range(count + 1)]
    return {
        "name": f"group.{index}",
        "kind": "linear",
        "inputs": inputs,
        "outputs": outputs,
        "members": members,
        "parts": [_part(weights, start, stop) for start, stop in pairwise(edges)],
    }


def _part(weights: NDArray[np.int8], start: int, stop: int) -> dict[str, Any]:
    piece = weights[:, start:stop].astype(np.int64)
    peak = max(1, int(np.abs(piece).max()))
    norm = float(np.sqrt((piece**2).sum(axis=1).max()))
    digest = hashlib.sha256(np.ascontiguousarray(weights[:, start:stop]).data).hexdigest()
    return {
        "start": start,
        "stop": stop,
        "w_norm": max(norm, float(peak)),
        "peak": peak,
        "weights_sha256": digest,
    }


def _manifest(entries: list[Any]) -> Manifest:
    model = {
        "name": "in-process",
        "parameters": "hint-1024-24",
        "architecture": "in-process",
        "model_type": "in-process",
        "context_length": 1,
        "vocabulary": 1,
        "groups": entries,
        "files": [],
    }
    hints = ["0" * 64 for entry in entries for _ in entry["parts"]]
    document = {"format": "tacita-manifest", "version": 1, "model": model, "hints": hints}
    return parse_manifest(canonical_json(document))
