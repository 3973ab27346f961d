"""The two schemes side by side in one run: seconds, bytes, keys and hints, noise, for one token of a model.

    python -m benchmarks.against_concrete [--model gpt2] [--outputs 128] [--repeat 3] [--json FILE]

A whole GLWE token of these models takes many minutes, so each distinct layer shape is measured once, on random
weights, and the token is the SUM over all groups. Under `glwe` at most --outputs outputs of a shape are computed and
the time is scaled by the rest: it is proportional to the outputs (BASELINE.md: 7.5-8.2 CPU ms each with library
0.1.9). Both schemes run in this process, client and server, without a network. The bytes of the original are its
formula: it encrypts the input of every layer apart, where a group here encrypts it once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fhe_client.concrete.quantised import QuantisedGroups, quantise_groups
from fhe_client.concrete.runners import LocalHintServer
from fhe_client.crypto.session import InferenceSession
from fhe_client.glwe.keys import GlweKeys
from fhe_client.glwe.local_channel import LocalGlweChannel
from fhe_client.glwe.session import GlweSession
from fhe_client.keys import MasterKey
from fhe_protocol import glwe, wire
from fhe_protocol.planes import to_planes
from fhe_server.kernel import LinearKernel


@dataclass(frozen=True)
class Shape:
    """A group: its inputs, the outputs of its layers, how many of it a token needs."""

    inputs: int
    layers: tuple[int, ...]
    count: int

    @property
    def outputs(self) -> int:
        return sum(self.layers)


MODELS: dict[str, tuple[Shape, ...]] = {
    "gpt2": (
        Shape(768, (2304,), 12),
        Shape(768, (768,), 12),
        Shape(768, (3072,), 12),
        Shape(3072, (768,), 12),
        Shape(768, (50257,), 1),
    ),
    "smollm2-135m": (
        Shape(576, (576, 192, 192), 30),
        Shape(576, (576,), 30),
        Shape(576, (1536, 1536), 30),
        Shape(1536, (576,), 30),
        Shape(576, (49152,), 1),
    ),
    "llama-3.2-1b": (
        Shape(2048, (2048, 512, 512), 16),
        Shape(2048, (2048,), 16),
        Shape(2048, (8192, 8192), 16),
        Shape(8192, (2048,), 16),
        Shape(2048, (128256,), 1),
    ),
}


@dataclass
class Measured:
    """One scheme on one shape, for one row. Seconds; bytes; error over a typical output."""

    wall: float
    cpu: float
    up: int
    down: int
    error: float


class _Kernels(LocalHintServer):
    """The local server with the real kernel in the place of its float64 product."""

    def __init__(self, quantised: QuantisedGroups) -> None:
        super().__init__(quantised)
        group = quantised.manifest.groups[0]
        self._kernels = [
            LinearKernel(np.ascontiguousarray(quantised.weights[0][:, p.start : p.stop]))
            for p in group.parts
        ]

    def _answer(self, group: Any, part: int, values: NDArray[np.uint32]) -> NDArray[np.uint16]:
        return self._kernels[part].answer(to_planes(np.ascontiguousarray(values)))


def _quantised(inputs: int, outputs: int) -> QuantisedGroups:
    torch.manual_seed(1)
    layer = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=inputs**-0.5)
    return quantise_groups({"layer": layer}, [["layer"]], 8)


def _timed(work: Callable[[], NDArray[np.float32]], repeat: int) -> tuple[float, float, Any]:
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), result


def _error(found: NDArray[np.float32], x: NDArray[np.float32], groups: QuantisedGroups) -> float:
    due = x.astype(np.float64) @ groups.weights[0].T.astype(np.float64)
    return float((found - due).std() / due.std())


def measure_hint(shape: Shape, x: NDArray[np.float32], key: MasterKey, repeat: int) -> Measured:
    """Online cost of one token; pads are prepared before the clock starts."""
    groups = _quantised(shape.inputs, shape.outputs)
    group = groups.manifest.groups[0]
    server = _Kernels(groups)
    with InferenceSession(groups.manifest, server, server, key, window_slots=64) as session:
        session.prepare()

        def token() -> NDArray[np.float32]:
            session.begin_pass(1)
            return session.run_group(group, x)

        token()
        wall, cpu, found = _timed(token, repeat)
    sizes = wire.query_size(group, 1), wire.answer_size(group, 1)
    return Measured(wall, cpu, *sizes, _error(found, x, groups))


def measure_glwe(
    shape: Shape, x: NDArray[np.float32], keys: GlweKeys, outputs: int, repeat: int
) -> Measured:
    """One token, computed for some of the outputs and scaled to all."""
    computed = min(outputs, shape.outputs)
    groups = _quantised(shape.inputs, computed)
    channel = LocalGlweChannel(groups.manifest, lambda k: groups.weights[k], keys.compression_key)
    session = GlweSession(groups.manifest, channel, keys)
    group = groups.manifest.groups[0]
    wall, cpu, found = _timed(lambda: session.run_group(group, x), repeat)
    scale = shape.outputs / computed
    up = wire.HEADER.size + glwe.matrix_size(1, shape.inputs)
    down = wire.HEADER.size + _results(shape.outputs)
    return Measured(wall * scale, cpu * scale, up, down, _error(found, x, groups))


def _results(outputs: int) -> int:
    return sum(glwe.result_size(1, stop - start) for start, stop in glwe.output_blocks(outputs))


def original_bytes(shapes: tuple[Shape, ...]) -> tuple[int, int]:
    """What Concrete ML moves for a token, by the formulas that were exact on twelve shapes: every layer apart."""
    up = sum(s.count * len(s.layers) * glwe.matrix_size(1, s.inputs) for s in shapes)
    down = sum(s.count * sum(map(_results, s.layers)) for s in shapes)
    return up, down


def total(shapes: tuple[Shape, ...], measured: list[Measured]) -> Measured:
    """The token: the sum over all groups; of the errors the mean over groups."""
    weights = [s.count for s in shapes]
    pairs = list(zip(weights, measured, strict=True))
    return Measured(
        sum(c * m.wall for c, m in pairs),
        sum(c * m.cpu for c, m in pairs),
        sum(c * m.up for c, m in pairs),
        sum(c * m.down for c, m in pairs),
        sum(c * m.error for c, m in pairs) / sum(weights),
    )


def hint_bytes(shapes: tuple[Shape, ...]) -> int:
    """Hints of all groups, each in the parts that this benchmark makes (1,024 inputs at most)."""
    return sum(s.count * s.outputs * 2048 * -(-s.inputs // 1024) for s in shapes)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all shapes of a model."""
    shapes = MODELS[options.model]
    started = time.perf_counter()
    keys = GlweKeys()
    key_seconds = time.perf_counter() - started
    rng = np.random.default_rng(1)
    found: dict[str, list[Measured]] = {"hint": [], "glwe": []}
    with MasterKey.generate(origin="session") as master:
        for shape in shapes:
            x = rng.normal(size=(1, shape.inputs)).astype(np.float32)
            found["hint"].append(measure_hint(shape, x, master, max(21, options.repeat)))
            found["glwe"].append(measure_glwe(shape, x, keys, options.outputs, options.repeat))
            print_row(f"{shape.count:3} x {shape.inputs} -> {shape.outputs}", found)
    totals = {name: [total(shapes, rows)] for name, rows in found.items()}
    print_row("token (summed)", totals)
    up, down = original_bytes(shapes)
    report = {
        "model": options.model,
        "cores": os.cpu_count(),
        "shapes": [asdict(s) for s in shapes],
        "measured": {name: [asdict(m) for m in rows] for name, rows in found.items()},
        "token": {name: asdict(rows[0]) for name, rows in totals.items()},
        "ratio_cpu": totals["glwe"][0].cpu / totals["hint"][0].cpu,
        "ratio_wall": totals["glwe"][0].wall / totals["hint"][0].wall,
        "original_up": up,
        "original_down": down,
        "hint_bytes": hint_bytes(shapes),
        "key_bytes": len(keys.compression_key),
        "key_seconds": key_seconds,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    keys.close()
    return report


def print_row(name: str, found: dict[str, list[Measured]]) -> None:
    """The last measurement of both schemes."""
    cells = [
        f"{scheme} {m.wall:10.4f} s wall {m.cpu:10.4f} s CPU {m.up / 1e6:7.3f} MB up "
        f"{m.down / 1e6:7.3f} MB down error {100 * m.error:6.3f} %"
        for scheme, rows in found.items()
        for m in rows[-1:]
    ]
    print(f"{name:>22}  {'  |  '.join(cells)}", flush=True)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="gpt2")
    parser.add_argument("--outputs", type=int, default=128, help="computed of each shape (glwe)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(
        1
    )  # as the server does for small rounds; the other library has threads of its own
    report = run(options)
    print(
        f"one token: glwe takes {report['ratio_cpu']:,.0f} times the CPU time of hint "
        f"({report['ratio_wall']:,.0f} times by the clock), summed over shapes measured once\n"
        f"Concrete ML itself would move {report['original_up'] / 1e6:.2f} MB up and "
        f"{report['original_down'] / 1e6:.2f} MB down (formula)\n"
        f"once: hints {report['hint_bytes'] / 1e6:.0f} MB; keys {report['key_bytes'] / 1e6:.0f} MB, "
        f"made in {report['key_seconds']:.1f} s; peak memory {report['peak_memory'] / 1e6:.0f} MB"
    )
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
