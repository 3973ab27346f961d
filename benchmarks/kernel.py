"""The server's kernel for one token and for many: our two engines, the other order of the product, and reading
alone.

    python -m benchmarks.kernel [--rows 1 16 256] [--threads 1]

Every figure is the sum over all matrices of a SmolLM2-135M token (30 blocks and lm_head; distinct memory, so
that caches do not flatter it), best of three. "read" only sums the weights once: the memory bound of one row.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fhe_protocol.planes import PLANES
from fhe_server.kernel import LinearKernel

BLOCK = ((576, 960), (576, 576), (576, 3072), (1536, 576))
SHAPES = (*(BLOCK * 30), (576, 49152))


def best_of_three(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of three runs, after one that is not counted."""
    run()
    seconds: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds) * 1e3


def activations_first(
    matrices: list[NDArray[np.int8]], planes: list[NDArray[np.int8]]
) -> Callable[[], None]:
    """The same three products as x @ W.T instead of W @ x.T."""
    turned = [torch.from_numpy(w).t() for w in matrices]
    flat = [torch.from_numpy(p.reshape(-1, p.shape[-1])) for p in planes]

    def run() -> None:
        for weights, rows in zip(turned, flat, strict=True):
            torch._int_mm(rows, weights)

    return run


def through(kernels: list[LinearKernel], planes: list[NDArray[np.int8]]) -> Callable[[], None]:
    """The kernel itself, rounding and all."""

    def run() -> None:
        for kernel, rows in zip(kernels, planes, strict=True):
            kernel.answer(rows)

    return run


def measure(rows: int, matrices: list[NDArray[np.int8]]) -> dict[str, float]:
    """Milliseconds for a pass of `rows` tokens, by way of computing it."""
    rng = np.random.default_rng(0)
    planes = [rng.integers(-128, 128, (PLANES, rows, w.shape[1]), dtype=np.int8) for w in matrices]
    found = {"read": best_of_three(lambda: [w.view(np.int64).sum() for w in matrices])}
    for engine in ("int8", "float32"):
        kernels = [LinearKernel(w, engine=engine) for w in matrices]
        found[engine] = best_of_three(through(kernels, planes))
    found["int8, activations first"] = best_of_three(activations_first(matrices, planes))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(1)
    matrices = [rng.integers(-127, 128, (m, n), dtype=np.int8) for n, m in SHAPES]
    columns = ("read", "int8", "float32", "int8, activations first")
    print(f"| rows | {' ms | '.join(columns)} ms |\n|---|{'---|' * len(columns)}")
    for rows in options.rows:
        found = measure(rows, matrices)
        print(f"| {rows} | {' | '.join(f'{found[name]:.1f}' for name in columns)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
