"""Concrete ML itself, run for comparison. Started with the interpreter of an environment that has it:

    python -P benchmarks/upstream_child.py FOLDER

FOLDER holds `job.json` and `weights.npz`; `result.json` and `result.npz` are written beside them. Nothing of Tacita is
imported here, and nothing of Concrete ML is replaced: its native library is only watched, to learn times and sizes.

    {"kind": "model", "model_type": "gpt2", "config": {...}, "ids": [[1, 2]], "execute": true}
        weights: the state dict. Result: logits in float, `disable` and `execute`, and of each layer the input that it
        had under `execute`, with what it made of it in both modes.
    {"kind": "layers", "layers": ["a", "b"], "repeat": 3}
        weights: "a" (outputs, inputs) and "a.x" (rows, inputs), ... Each layer is a model of its own.
        Result: its output in both modes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from concrete.ml.torch.hybrid_model import HybridFHEModel
from torch import nn

Arrays = dict[str, Any]


class Watched:
    """The native library as Concrete ML calls it, with a note of every product's time and bytes."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.notes: list[dict[str, Any]] = []
        self._up = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def encrypt_matrix(self, **arguments: Any) -> Any:
        found = self._library.encrypt_matrix(**arguments)
        self._up = len(found.serialize())
        return found

    def matrix_multiplication(self, **arguments: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        found = self._library.matrix_multiplication(**arguments)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        self.notes.append({"up": self._up, "down": len(found.serialize()), **seconds})
        return found


def watch(hybrid: HybridFHEModel) -> Watched:
    """Put the watch between the executor and the library."""
    executor = hybrid.executor
    assert executor is not None, "Concrete ML did not choose its GLWE backend"
    watched = Watched(executor.fhext)
    executor.fhext = watched
    return watched


def build(job: dict[str, Any], weights: Arrays) -> Any:
    """The model of a config, with the weights given."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[job["model_type"]](**job["config"])
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"the weights do not fit: {missing} {unexpected}")
    model.tie_weights()
    return model.eval()


def remote_names(model: nn.Module) -> list[str]:
    """As the documentation's script collects them."""
    from transformers.pytorch_utils import Conv1D

    return [n for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D))]


def run_model(job: dict[str, Any], weights: Arrays) -> tuple[dict[str, Any], Arrays]:
    """A whole model; its layers one by one as well."""
    model, ids = build(job, weights), torch.tensor(job["ids"])
    arrays: Arrays = {}
    with torch.no_grad():
        arrays["float"] = model(ids).logits.numpy()
        hybrid = HybridFHEModel(model, module_names=remote_names(model))
        hybrid.compile_model(ids, n_bits=8, use_dynamic_quantization=True)
        hybrid.set_fhe_mode("disable")
        arrays["disable"] = hybrid.model(ids).logits.numpy()
        notes: dict[str, Any] = {}
        if job["execute"]:
            notes = _execute(hybrid, ids, arrays)
    return {"layers": notes}, arrays


def _execute(hybrid: HybridFHEModel, ids: torch.Tensor, arrays: Arrays) -> dict[str, Any]:
    watched = watch(hybrid)
    seen: dict[str, torch.Tensor] = {}
    notes: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, args: Any, found: torch.Tensor) -> None:
            seen[name] = args[0]
            arrays[f"execute/{name}"] = found.numpy()
            notes[name] = watched.notes[-1]

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in hybrid.remote_modules.items()]
    hybrid.set_fhe_mode("execute")
    arrays["execute"] = hybrid.model(ids).logits.numpy()
    for handle in handles:
        handle.remove()
    hybrid.set_fhe_mode("disable")
    for name, x in seen.items():
        arrays[f"x/{name}"] = x.numpy()
        arrays[f"disable/{name}"] = hybrid.remote_modules[name](x).numpy()
    return notes


class Alone(nn.Module):
    """A model of one layer."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight.data = torch.from_numpy(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def run_layers(job: dict[str, Any], weights: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Layers one by one, each timed as a whole call of the module: quantise, encrypt, multiply, decrypt."""
    arrays: Arrays = {}
    notes: dict[str, Any] = {}
    keys: Any = None
    for name in job["layers"]:
        x = torch.from_numpy(weights[f"{name}.x"])[None]
        with torch.no_grad():
            hybrid = HybridFHEModel(Alone(weights[name]), module_names="layer")
            hybrid.compile_model(x, n_bits=8, use_dynamic_quantization=True)
            watched = watch(hybrid)
            executor = hybrid.executor
            started = time.perf_counter()
            if keys is None:
                executor.keygen()
                keys = executor.private_key, executor.compression_key
                notes["key"] = {
                    "seconds": time.perf_counter() - started,
                    "bytes": len(executor.compression_key.serialize()),
                }
            executor.private_key, executor.compression_key = keys
            hybrid.set_fhe_mode("disable")
            arrays[f"disable/{name}"] = hybrid.model(x).numpy()[0]
            hybrid.set_fhe_mode("execute")
            spent = []
            for _ in range(job["repeat"]):
                wall, cpu = time.perf_counter(), time.process_time()
                arrays[f"execute/{name}"] = hybrid.model(x).numpy()[0]
                spent.append((time.perf_counter() - wall, time.process_time() - cpu))
            wall, cpu = np.median(spent, axis=0).tolist()
            notes[name] = {**watched.notes[-1], "wall": wall, "cpu": cpu}
    return {"layers": notes}, arrays


def main(folder: Path) -> None:
    """Do the job in `folder`."""
    job = json.loads((folder / "job.json").read_text())
    weights = dict(np.load(folder / "weights.npz"))
    torch.manual_seed(0)
    run = run_model if job["kind"] == "model" else run_layers
    report, arrays = run(job, weights)
    report["versions"] = {
        name: version(name)
        for name in ("concrete-ml", "concrete-ml-extensions", "torch", "transformers", "numpy")
    }
    report["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    np.savez(folder / "result.npz", **arrays)
    (folder / "result.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
