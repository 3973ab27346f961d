"""The two schemes and Concrete ML itself in one run: seconds, bytes, keys and hints, memory, fidelity, for one token.

    python -m benchmarks.against_concrete [--model gpt2] [--outputs 512] [--repeat 3] [--json FILE]

A whole GLWE token of these models takes many minutes, so each distinct layer shape is measured once, on random
weights, and the token is the SUM over all layers. Under `glwe` and in Concrete ML --outputs outputs of a shape are
computed and the time is scaled to all: it is proportional to the outputs. Each system runs in a process of its own,
client and server together, without a network (`benchmarks.glwe_route` has the network); Concrete ML in the
environment that `make conformance` makes, left out where that is missing. Fidelity is the error over a typical output
of float32 with the same weights and inputs, quantisation of the weights included.

Concrete ML leaves its fast path for the whole model where one layer has fewer than 512 inputs or outputs (SmolLM2's k
and v): its figures there are those it would have if it did not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import upstream
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

LEAST_OUTPUTS = 512
"""Fewer, and Concrete ML leaves its fast path."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """A group: its inputs, the outputs of its layers, how many of it a token needs."""

    inputs: int
    layers: tuple[int, ...]
    count: int

    @property
    def outputs(self) -> int:
        return sum(self.layers)

    def __str__(self) -> str:
        return f"{self.count} x {self.inputs} -> {self.outputs}"


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
    """One system on one shape, for one row. Seconds; bytes; error over a typical output of float32."""

    wall: float
    cpu: float
    up: int
    down: int
    error: float


@dataclass
class Report:
    """One system on a model.

    Attributes:
        once: what is made, sent or kept once: bytes and seconds by name.
        peak_memory: bytes of its process.
    """

    shapes: list[Measured]
    token: Measured
    once: dict[str, float]
    peak_memory: int


def example(shape: Shape, outputs: int) -> tuple[Matrix, Matrix]:
    """Weights (outputs, inputs) and an input (1, inputs), the same for every system."""
    rng = np.random.default_rng([shape.inputs, shape.outputs])
    x = rng.normal(size=(1, shape.inputs)).astype(np.float32)
    weights = rng.normal(size=(outputs, shape.inputs)).astype(np.float32)
    return weights * np.float32(shape.inputs**-0.5), x


def quantised(weights: Matrix) -> QuantisedGroups:
    """One group of one layer."""
    layer = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(weights)
    return quantise_groups({"layer": layer}, [["layer"]], 8)


def fidelity(found: NDArray[Any], weights: Matrix, x: Matrix) -> float:
    """Error of a layer's float output over a typical one."""
    due = x.astype(np.float64) @ weights.T.astype(np.float64)
    return float((found - due).std() / due.std())


def timed(work: Callable[[], Matrix], repeat: int) -> tuple[float, float, Matrix]:
    """Medians of wall and CPU seconds, and the last result."""
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), result


class Kernels(LocalHintServer):
    """The local server with the real kernel in the place of its float64 product."""

    def __init__(self, groups: QuantisedGroups) -> None:
        super().__init__(groups)
        group = groups.manifest.groups[0]
        self._kernels = [
            LinearKernel(np.ascontiguousarray(groups.weights[0][:, p.start : p.stop]))
            for p in group.parts
        ]

    def _answer(self, group: Any, part: int, values: NDArray[np.uint32]) -> NDArray[np.uint16]:
        return self._kernels[part].answer(to_planes(np.ascontiguousarray(values)))


def measure_hint(shape: Shape, key: MasterKey, repeat: int) -> Measured:
    """Online cost of one token; pads are prepared before the clock starts."""
    weights, x = example(shape, shape.outputs)
    groups = quantised(weights)
    group, scale = groups.manifest.groups[0], groups.scales[0].row_scale.numpy()
    server = Kernels(groups)
    with InferenceSession(groups.manifest, server, server, key, window_slots=64) as session:
        session.prepare()

        def token() -> Matrix:
            session.begin_pass(1)
            return session.run_group(group, x) * scale

        token()
        wall, cpu, found = timed(token, repeat)
    sizes = wire.query_size(group, 1), wire.answer_size(group, 1)
    return Measured(wall, cpu, *sizes, fidelity(found, weights, x))


def measure_glwe(shape: Shape, keys: GlweKeys, outputs: int, repeat: int) -> Measured:
    """One token, computed for some of the outputs and scaled to all."""
    computed = min(outputs, shape.outputs)
    weights, x = example(shape, computed)
    groups = quantised(weights)
    channel = LocalGlweChannel(groups.manifest, lambda k: groups.weights[k], keys.compression_key)
    session = GlweSession(groups.manifest, channel, keys)
    group, row_scale = groups.manifest.groups[0], groups.scales[0].row_scale.numpy()
    wall, cpu, found = timed(lambda: session.run_group(group, x) * row_scale, repeat)
    scale = shape.outputs / computed
    up = wire.HEADER.size + glwe.matrix_size(1, shape.inputs)
    down = wire.HEADER.size + result_bytes(shape.outputs)
    return Measured(wall * scale, cpu * scale, up, down, fidelity(found, weights, x))


def result_bytes(outputs: int) -> int:
    """Bytes of the results of one row, in blocks."""
    return sum(glwe.result_size(1, stop - start) for start, stop in glwe.output_blocks(outputs))


def report_hint(shapes: tuple[Shape, ...], _outputs: int, repeat: int) -> Report:
    """Tacita's own scheme. Hints in the parts that this benchmark makes: 1,024 inputs at most."""
    with MasterKey.generate(origin="session") as key:
        rows = [measure_hint(shape, key, max(21, repeat)) for shape in shapes]
    hints = sum(s.count * s.outputs * 2048 * -(-s.inputs // 1024) for s in shapes)
    return Report(rows, total(shapes, rows), {"hint_bytes": hints}, peak_memory())


def report_glwe(shapes: tuple[Shape, ...], outputs: int, repeat: int) -> Report:
    """Concrete ML's scheme as Tacita runs it."""
    started = time.perf_counter()
    keys = GlweKeys()
    once = {
        "key_seconds": time.perf_counter() - started,
        "key_bytes": float(len(keys.compression_key)),
    }
    rows = [measure_glwe(shape, keys, outputs, repeat) for shape in shapes]
    keys.close()
    return Report(rows, total(shapes, rows), once, peak_memory())


def report_upstream(shapes: tuple[Shape, ...], outputs: int, repeat: int) -> Report:
    """Concrete ML itself: every layer of a group apart, each with an upload of its own.

    Raises:
        UpstreamError: it is not installed, or it failed.
    """
    names, weights = [], {}
    for k, shape in enumerate(shapes):
        computed = min(max(outputs, LEAST_OUTPUTS), shape.outputs)
        weights[f"{k}"], weights[f"{k}.x"] = example(shape, computed)
        names.append(f"{k}")
    job = {"kind": "layers", "layers": names, "repeat": repeat}
    result = upstream.run(job, weights, 1800)
    rows = []
    for k, shape in enumerate(shapes):
        note, made = result.report["layers"][f"{k}"], weights[f"{k}"]
        if note["up"] != glwe.matrix_size(1, shape.inputs) or note["down"] != result_bytes(
            len(made)
        ):
            raise upstream.UpstreamError("The objects of Concrete ML have other sizes now.")
        scale = shape.outputs / len(made)
        up, down = len(shape.layers) * note["up"], sum(map(result_bytes, shape.layers))
        found = fidelity(result.arrays[f"execute/{k}"], made, weights[f"{k}.x"])
        rows.append(Measured(note["wall"] * scale, note["cpu"] * scale, up, down, found))
    key = result.report["layers"]["key"]
    once = {"key_bytes": float(key["bytes"]), "key_seconds": float(key["seconds"])}
    return Report(rows, total(shapes, rows), once, result.report["peak_memory"])


SYSTEMS: dict[str, Callable[[tuple[Shape, ...], int, int], Report]] = {
    "hint": report_hint,
    "glwe": report_glwe,
    "upstream": report_upstream,
}


def peak_memory() -> int:
    """Bytes, of this process since its start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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


def measure(system: str, model: str, outputs: int, repeat: int) -> Report:
    """One system, in the process that is meant for it alone."""
    # As the server does for small rounds; the other library has threads of its own.
    torch.set_num_threads(1)
    return SYSTEMS[system](MODELS[model], outputs, repeat)


def run(options: argparse.Namespace) -> dict[str, Report]:
    """Every system that is here, one after another."""
    found = {}
    for system in SYSTEMS:
        if system == "upstream" and upstream.interpreter() is None:
            print("upstream: Concrete ML is not installed; run: make conformance")
            continue
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            job = pool.submit(measure, system, options.model, options.outputs, options.repeat)
            found[system] = job.result()
        print_report(system, MODELS[options.model], found[system])
    return found


def print_report(system: str, shapes: tuple[Shape, ...], report: Report) -> None:
    """A system's shapes, its token, and what it needs once."""
    names = [*map(str, shapes), "token (summed)"]
    for name, m in zip(names, [*report.shapes, report.token], strict=True):
        print(
            f"{system:>9} {name:>20} {m.wall:10.4f} s wall {m.cpu:10.4f} s CPU {m.up / 1e6:7.3f} MB up "
            f"{m.down / 1e6:7.3f} MB down error {100 * m.error:6.3f} %"
        )
    once = "  ".join(f"{name} {value:,.1f}" for name, value in report.once.items())
    print(f"{system:>9} once: {once}  peak memory {report.peak_memory / 1e6:,.0f} MB", flush=True)


def print_ratios(found: dict[str, Report]) -> None:
    """How far the systems are apart."""
    hint = found["hint"].token
    for name in found.keys() - {"hint"}:
        other = found[name].token
        print(
            f"{name} / hint: {other.cpu / hint.cpu:,.0f} times the CPU seconds, "
            f"{other.wall / hint.wall:,.0f} times by the clock, "
            f"{(other.up + other.down) / (hint.up + hint.down):.2f} times the bytes"
        )
    print(f"hint: {(hint.up + hint.down) / 1e6:.3f} MB per token")


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="gpt2")
    parser.add_argument(
        "--outputs", type=int, default=512, help="computed of each shape (not hint)"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    found = run(options)
    print_ratios(found)
    if options.json is not None:
        document = {"model": options.model, "cores": os.cpu_count()}
        document |= {name: asdict(report) for name, report in found.items()}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
