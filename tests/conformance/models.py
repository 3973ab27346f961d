"""Small models that Concrete ML's fast path accepts (no layer under 512), and both systems' results on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from benchmarks import upstream
from fhe_client.concrete_api import HybridFHEModel
from fhe_client.glwe.local_channel import LocalGlweChannel

IDS = [[5]]
"""One position: each costs both systems a minute."""

COMMON: dict[str, Any] = {
    "vocab_size": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {**COMMON, "n_embd": 512, "n_layer": 1, "n_head": 2, "n_inner": 512, "n_positions": 32},
    "llama": {
        **COMMON,
        "hidden_size": 512,
        "intermediate_size": 512,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    },
}


@dataclass
class Layer:
    """One layer in one system: what went in under `execute`, and what both modes make of it."""

    x: NDArray[np.float32]
    execute: NDArray[np.float32]
    disable: NDArray[np.float32]


@dataclass
class System:
    """One system's results on a model.

    Attributes:
        logits: by mode, of the last position.
        layers: by name.
        up, down: bytes of every round, by the names of the layers in it.
        on_their_inputs: what our layers make of Concrete ML's inputs in `disable`.
    """

    logits: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    up: dict[tuple[str, ...], int] = field(default_factory=dict)
    down: dict[tuple[str, ...], int] = field(default_factory=dict)
    on_their_inputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass
class Comparison:
    """Both systems on one model.

    Attributes:
        weights: float32 (outputs, inputs) of every layer.
        due: logits in float32 here.
    """

    weights: dict[str, NDArray[np.float32]]
    biases: dict[str, NDArray[np.float32]]
    due: NDArray[np.float32]
    ours: System
    theirs: System


def make_model(family: str) -> Any:
    """The model, from its config and a seed."""
    torch.manual_seed(3)
    config = CONFIG_MAPPING[family](**FAMILIES[family])
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def remote_layers(model: nn.Module) -> dict[str, nn.Module]:
    """As the documentation's script collects them."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}


def run_theirs(family: str, model: Any) -> System:
    """Concrete ML, in its own environment."""
    job = {
        "kind": "model",
        "model_type": family,
        "config": FAMILIES[family],
        "ids": IDS,
        "execute": True,
    }
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    result = upstream.run(job, state, 900)
    found = System()
    for mode in ("float", "disable", "execute"):
        found.logits[mode] = result.arrays[mode][0, -1]
    for name, note in result.report["layers"].items():
        x, execute, disable = (
            result.arrays[f"{k}/{name}"].reshape(1, -1) for k in ("x", "execute", "disable")
        )
        found.layers[name] = Layer(x, execute, disable)
        found.up[(name,)], found.down[(name,)] = note["up"], note["down"]
    return found


class RecordingChannel(LocalGlweChannel):
    """Notes the bytes of every round by group."""

    sizes: dict[int, tuple[int, int]]

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        answer = super().exchange(frame, answer_size)
        type(self).sizes[int.from_bytes(frame[8:10], "little")] = len(frame), len(answer)
        return answer


def run_ours(model: Any, theirs: System) -> System:
    """Tacita, in this process. `model` is changed."""
    ids = torch.tensor(IDS)
    hybrid = HybridFHEModel(model, list(remote_layers(model)))
    hybrid.compile_model(ids, n_bits=8, use_dynamic_quantization=True)
    found, seen = System(), dict[str, tuple[torch.Tensor, torch.Tensor]]()
    modules = {n: hybrid.model.get_submodule(n) for n in theirs.layers}
    with hybrid, torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        RecordingChannel.sizes = {}
        patch.setattr("fhe_client.concrete.backends.LocalGlweChannel", RecordingChannel)
        found.logits["disable"] = hybrid(ids).logits[0, -1].numpy()
        hybrid.set_fhe_mode("execute")
        handles = [m.register_forward_hook(_keep(seen, n)) for n, m in modules.items()]
        found.logits["execute"] = hybrid(ids).logits[0, -1].numpy()
        for handle in handles:
            handle.remove()
        groups = hybrid._backend.groups  # type: ignore[union-attr]
        hybrid.set_fhe_mode("disable")
        for name, (x, y) in seen.items():
            rows = x.reshape(1, -1)
            clear = modules[name](x).reshape(1, -1)
            found.layers[name] = Layer(rows.numpy(), y.reshape(1, -1).numpy(), clear.numpy())
        for name, layer in theirs.layers.items():
            found.on_their_inputs[name] = modules[name](torch.from_numpy(layer.x)).numpy()
    for group in groups:
        names = tuple(member.module for member in group.members)
        found.up[names], found.down[names] = RecordingChannel.sizes[group.index]
    return found


def _keep(seen: dict[str, Any], name: str) -> Any:
    def hook(_module: Any, args: Any, y: torch.Tensor) -> None:
        seen[name] = args[0], y

    return hook


@cache
def compare(family: str) -> Comparison:
    """Run both systems once."""
    model = make_model(family)
    layers = remote_layers(model)
    weights, biases = {}, {}
    for name, module in layers.items():
        matrix: Any = module.weight.detach().numpy()
        weights[name] = np.array(matrix if isinstance(module, nn.Linear) else matrix.T)
        bias: Any = module.bias
        zero = np.zeros(len(weights[name]), dtype=np.float32)
        biases[name] = zero if bias is None else bias.detach().numpy().copy()
    with torch.no_grad():
        due = model(torch.tensor(IDS)).logits[0, -1].numpy()
    theirs = run_theirs(family, model)
    return Comparison(weights, biases, due, run_ours(model, theirs), theirs)
