"""Pads of one window, by both ways: seconds, and milliseconds for each of its tokens.

    python -m benchmarks.pads [--slots 256] [--rounds 3]

The shapes are those of SmolLM2-135M (30 blocks, embedding, output layer); hints are zeros, which cost the same.
The two ways take turns; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the product does, before torch is imported

import numpy as np

from fhe_client.crypto.products import HINT_ROWS, MASK_ROWS, FourierProducts, MatrixProducts
from fhe_protocol.masks import MaskName
from fhe_protocol.parameters import HINT_1024_24

BLOCK = ((576, 960), (576, 576), (576, 3072), (1536, 576))
SHAPES = ((49152, 576), *(BLOCK * 30), (576, 49152))
Way = type[MatrixProducts] | type[FourierProducts]


def window_seconds(way: Way, slots: int) -> float:
    """Seconds for the products of all parts: masks expanded and multiplied, hints multiplied."""
    public = (np.arange(HINT_1024_24.ring_degree) % 3 - 1).astype(
        np.int8
    )  # a stand-in for a secret
    hint = np.zeros((HINT_ROWS, HINT_1024_24.ring_degree), dtype=np.uint16)
    started = time.perf_counter()
    for index, (inputs, outputs) in enumerate(SHAPES):
        products = way(public, np.arange(slots))
        name = MaskName(bytes(32), index, "benchmark", inputs, outputs)
        for start in range(0, inputs, MASK_ROWS):
            products.of_mask(HINT_1024_24, name, start, min(start + MASK_ROWS, inputs))
        for start in range(0, outputs, HINT_ROWS):
            products.of_hint(hint[: min(HINT_ROWS, outputs - start)])
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    seconds: dict[str, list[float]] = {"int8 matrix product": [], "FFT": []}
    for _ in range(options.rounds):
        seconds["int8 matrix product"].append(window_seconds(MatrixProducts, options.slots))
        seconds["FFT"].append(window_seconds(FourierProducts, options.slots))
    print("| way | window, s | ms a token |\n|---|---|---|")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {median / options.slots * 1e3:.1f} |")
    print(f"\nFFT / matrix product: {medians['FFT'] / medians['int8 matrix product']:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
