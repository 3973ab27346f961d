"""The one kernel of the server: an int8 weight matrix times 24-bit integers mod 2^24, rounded to 16 bits.

    answer = round16(Wq . v),   v = d0 + 256*d1 + 65536*d2  (mod 2^24),   d balanced digits (fhe_protocol.planes)

Wq . v mod 2^24 = S0 + 256*S1 + 65536*S2 with S_i = Wq . d_i, three int8 products accumulated in int32.
Wrap-around of int32 is harmless: 2^24 divides 2^32. Hints and answers both come from here: a hint is the answer
to the masks.

Two CPU engines compute the same integers. `int8` is `torch._int_mm`, at the hardware's int8 speed where the
processor has VNNI or AMX and a slow loop elsewhere; `float32` is an ordinary matrix product over slices of
1,024 inputs, exact because 1024 * 127 * 128 < 2^24. Which is faster is measured once at start-up, and both must
pass a self-test first: int8 kernels without VNNI may saturate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fhe_protocol.planes import PLANES, round_answer
from fhe_server.errors import KernelError

_FLOAT_SLICE = 1024
_MANY = 48
"""Rows of planes from which the other order of the product is faster (benchmarks/kernel.py)."""
_BLOCK_SUMS = 1 << 17
"""Sums that are made at a time for many rows: half a megabyte of int32 stays in the cache until it is rounded."""
_LEAST_BLOCK = 64
_CUDA_ROWS = 32
_CUDA_MULTIPLE = 8
_BYTE, _HALF = np.uint32(8), np.uint32(128)

Product = Callable[[torch.Tensor, int, int], torch.Tensor]
"""(3*rows, n) int8, start, stop -> int32 sums of outputs start..stop: (3*rows, stop - start), possibly a transposed
view."""


class LinearKernel:
    """The int8 weights of one group part on one device, ready to answer.

    Args:
        weights: int8 (m, n), every entry in [-127, 127].
        device: "cpu" or "cuda".
        engine: "int8" or "float32" on the CPU; None picks the faster one of this machine.
    """

    def __init__(
        self, weights: NDArray[np.int8], device: str = "cpu", engine: str | None = None
    ) -> None:
        if weights.dtype != np.int8 or weights.ndim != 2:
            raise KernelError("weights must be an int8 matrix")
        self.outputs: int
        self.inputs: int
        self.outputs, self.inputs = weights.shape
        self._product = _make_product(torch.from_numpy(weights), device, engine)
        self._in_blocks = device == "cpu"

    def answer(self, planes: NDArray[np.int8]) -> NDArray[np.uint16]:
        """The rounded products.

        Args:
            planes: int8 (3, rows, n).

        Returns:
            uint16 (rows, m).
        """
        count, rows, inputs = planes.shape
        if count != PLANES or inputs != self.inputs:
            raise KernelError(f"planes of shape {planes.shape} do not fit n = {self.inputs}")
        flat = _as_tensor(planes.reshape(PLANES * rows, inputs))
        answer = np.empty((rows, self.outputs), dtype=np.uint16)
        step = self._step(PLANES * rows)
        if step >= self.outputs:
            sums = self._product(flat, 0, self.outputs).numpy()
            _combine(sums.reshape(PLANES, rows, self.outputs), answer)
            return answer
        for start in range(0, self.outputs, step):
            stop = min(start + step, self.outputs)
            sums = self._product(flat, start, stop).numpy()
            _combine(sums.reshape(PLANES, rows, stop - start), answer[:, start:stop])
        return answer

    def _step(self, plane_rows: int) -> int:
        """Outputs to compute at a time."""
        if not self._in_blocks or plane_rows < _MANY:
            return self.outputs
        return max(_LEAST_BLOCK, _BLOCK_SUMS // plane_rows)


def reference_answer(weights: NDArray[np.int8], values: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The clear twin of the kernel, in int64 without planes: (m, n) and (rows, n) to (rows, m)."""
    exact = values.astype(np.int64) @ weights.astype(np.int64).T
    return round_answer(exact & 0xFFFFFF)


def _as_tensor(array: NDArray[np.int8]) -> torch.Tensor:
    # Views of received bytes are read-only, and torch has no read-only tensors: copy those.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _combine(sums: NDArray[np.int32], answer: NDArray[np.uint16]) -> None:
    """(3, rows, m) sums of the planes to (rows, m) rounded answers. The sums are used up."""
    digits = sums.view(np.uint32)
    # Sums of few rows lie interleaved: what is packed at the first step is read faster in the others.
    total = np.left_shift(digits[2], _BYTE, out=digits[2] if sums.flags.c_contiguous else None)
    total += digits[1]
    total <<= _BYTE
    total += digits[0]
    total += _HALF
    total >>= _BYTE
    answer[...] = total  # the low 16 of the 24 bits that are left


def _make_product(weights: torch.Tensor, device: str, engine: str | None) -> Product:
    if device == "cuda":
        return _cuda_product(weights)
    if device != "cpu":
        raise KernelError(f"unknown device {device!r}; use cpu or cuda")
    return _CPU_ENGINES[engine or default_engine()](weights)


def _int8_product(weights: torch.Tensor) -> Product:
    if weights.shape[1] == 1:  # torch 2.13 returns memory it never wrote for a single column
        return _float32_product(weights)

    def product(planes: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        if planes.shape[0] >= _MANY:
            sums: torch.Tensor = torch._int_mm(planes, turned[:, start:stop])
            return sums
        some = weights if stop - start == outputs else weights[start:stop]
        return torch._int_mm(some, planes.t()).t()  # reads the weights at memory speed

    outputs, turned = weights.shape[0], weights.t()
    return product


def _float32_product(weights: torch.Tensor) -> Product:
    slices = weights.float().split(_FLOAT_SLICE, dim=1)

    def product(planes: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        pieces = planes.float().split(_FLOAT_SLICE, dim=1)
        total: torch.Tensor = (slices[0][start:stop] @ pieces[0].t()).to(torch.int32)
        for columns, piece in zip(slices[1:], pieces[1:], strict=True):
            total = total + (columns[start:stop] @ piece.t()).to(torch.int32)
        return total.t()

    return product


def _cuda_product(weights: torch.Tensor) -> Product:
    """`torch._int_mm` on CUDA wants more than 16 rows and multiples of 8: pad with zeros, cut after."""
    outputs, inputs = weights.shape
    pad_n, pad_m = -inputs % _CUDA_MULTIPLE, -outputs % _CUDA_MULTIPLE
    on_device = torch.nn.functional.pad(weights, (0, pad_n, 0, pad_m)).cuda().t()

    def product(planes: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        rows = planes.shape[0]
        target = max(_CUDA_ROWS, rows + -rows % _CUDA_MULTIPLE)
        staged = planes.pin_memory().cuda(
            non_blocking=True
        )  # pinned blocks are kept and used again by torch
        padded = torch.nn.functional.pad(staged, (0, pad_n, 0, target - rows))
        sums: torch.Tensor = torch._int_mm(padded, on_device)[:rows, start:stop]
        back = torch.empty(sums.shape, dtype=torch.int32, pin_memory=True)
        back.copy_(sums, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return back

    return product


_CPU_ENGINES: dict[str, Callable[[torch.Tensor], Product]] = {
    "int8": _int8_product,
    "float32": _float32_product,
}
_choice_lock = threading.Lock()


def default_engine() -> str:
    """The faster CPU engine of this machine among those that pass the self-test; measured once.

    Raises:
        KernelError: no engine computes exactly here.
    """
    with _choice_lock:
        return _measure_engines()


@cache
def _measure_engines() -> str:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one token is too little work to share, and other cores may be busy
    try:
        speeds = {name: _seconds(name) for name in _CPU_ENGINES if engine_is_exact(name)}
    finally:
        torch.set_num_threads(threads)
    if not speeds:
        raise KernelError("no CPU engine multiplies int8 matrices exactly on this machine")
    return min(speeds, key=lambda name: speeds[name])


def bytes_per_weight(device: str) -> int:
    """Memory that a kernel takes for every weight: 1, or 4 where this machine needs the float32 engine."""
    return 4 if device == "cpu" and default_engine() == "float32" else 1


def engine_is_exact(name: str) -> bool:
    """Self-test against int64, with +-127 x -128 over long rows, where a saturating kernel shows."""
    generator = np.random.default_rng(1)  # public test values
    weights = generator.choice(np.array([-127, 127], dtype=np.int8), size=(48, 4096))
    weights[0], weights[1] = 127, -127
    planes = np.full((PLANES, 16, 4096), -128, dtype=np.int8)
    planes[:, 8:] = generator.integers(-128, 128, size=(PLANES, 8, 4096), dtype=np.int8)
    expected = planes.reshape(-1, 4096).astype(np.int64) @ weights.astype(np.int64).T
    try:
        product = _CPU_ENGINES[name](torch.from_numpy(weights))
        flat = torch.from_numpy(planes.reshape(-1, 4096))
        # Few rows and many go different ways.
        found: list[NDArray[Any]] = [product(x, 0, 48).numpy() for x in (flat, flat[: _MANY - 1])]
    except RuntimeError:
        return False
    return all(np.array_equal(x, expected[: len(x)]) for x in found)


def _seconds(name: str) -> float:
    """Best of a few runs of one token at a typical shape."""
    weights = torch.ones((2048, 576), dtype=torch.int8)
    planes = torch.ones((PLANES, 576), dtype=torch.int8)
    product = _CPU_ENGINES[name](weights)
    best = float("inf")
    for _ in range(12):
        started = time.perf_counter()
        product(planes, 0, 2048)
        best = min(best, time.perf_counter() - started)
    return best
