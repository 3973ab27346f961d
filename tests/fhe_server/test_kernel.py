"""The kernel: every engine computes exactly the integers of the reference, at the edges and in odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_protocol.planes import from_planes, round_answer, to_planes
from fhe_server import kernel
from fhe_server.errors import KernelError
from fhe_server.kernel import LinearKernel, default_engine, engine_is_exact, reference_answer

ENGINES = [e for e in ("int8", "float32") if engine_is_exact(e)]
SHAPES = [(1, 1, 1), (1, 3, 1), (5, 1, 3), (7, 13, 2), (33, 65, 1), (16, 1024, 4), (9, 1025, 3)]
SHAPES += [(3, 2049, 17), (130, 31, 40)]


def random_case(m: int, n: int, rows: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(m * 10_007 + n * 101 + rows)
    weights = rng.integers(-127, 128, size=(m, n)).astype(np.int8)
    planes = rng.integers(-128, 128, size=(3, rows, n), dtype=np.int8)
    return weights, planes


def test_this_machine_has_an_exact_engine() -> None:
    assert ENGINES
    assert default_engine() in ENGINES
    assert default_engine() == default_engine()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("m", "n", "rows"), SHAPES)
def test_the_kernel_is_the_reference(engine: str, m: int, n: int, rows: int) -> None:
    weights, planes = random_case(m, n, rows)
    answer = LinearKernel(weights, engine=engine).answer(planes)
    assert answer.shape == (rows, m)
    assert answer.dtype == np.uint16
    assert np.array_equal(answer, reference_answer(weights, from_planes(planes)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weight", [-128, -127, 127])
@pytest.mark.parametrize("digit", [-128, 127])
@pytest.mark.parametrize("n", [1, 1023, 1024, 4096])
def test_extreme_products_do_not_saturate(engine: str, weight: int, digit: int, n: int) -> None:
    weights = np.full((3, n), weight, dtype=np.int8)
    planes = np.full((3, 2, n), digit, dtype=np.int8)
    answer = LinearKernel(weights, engine=engine).answer(planes)
    exact = weight * digit * n * (1 + 256 + 65536)  # plain integers, no array arithmetic
    assert set(answer.ravel().tolist()) == {((exact % (1 << 24)) + 128 >> 8) & 0xFFFF}


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_wrap_in_32_bits_without_harm(engine: str) -> None:
    """A row so long that one plane's sum passes 2^31."""
    n = 140_000
    weights = np.full((1, n), 127, dtype=np.int8)
    planes = np.full((3, 1, n), -128, dtype=np.int8)
    assert 127 * 128 * n > 1 << 31
    exact = 127 * -128 * n * (1 + 256 + 65536)
    answer = LinearKernel(weights, engine=engine).answer(planes)
    assert int(answer[0, 0]) == ((exact % (1 << 24)) + 128 >> 8) & 0xFFFF


@pytest.mark.parametrize("engine", ENGINES)
def test_read_only_planes_are_taken_and_left_alone(engine: str) -> None:
    weights, planes = random_case(6, 40, 3)
    received = np.frombuffer(planes.tobytes(), dtype=np.int8).reshape(planes.shape)
    assert not received.flags.writeable
    answer = LinearKernel(weights, engine=engine).answer(received)
    assert np.array_equal(answer, reference_answer(weights, from_planes(planes)))
    assert np.array_equal(received, planes)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 9), st.integers(0, 10_000))
def test_engines_agree_on_any_shape(m: int, n: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, size=(m, n)).astype(np.int8)
    values = rng.integers(0, 1 << 24, size=(rows, n)).astype(np.uint32)
    expected = reference_answer(weights, values)
    for engine in ENGINES:
        assert np.array_equal(
            LinearKernel(weights, engine=engine).answer(to_planes(values)), expected
        )


def test_the_reference_is_plain_arithmetic() -> None:
    weights, planes = random_case(4, 9, 2)
    values = from_planes(planes)
    for r in range(2):
        for i in range(4):
            exact = sum(int(weights[i, j]) * int(values[r, j]) for j in range(9)) % (1 << 24)
            expected = ((exact + 128) >> 8) & 0xFFFF
            assert int(reference_answer(weights, values)[r, i]) == expected


def test_rounding_at_half() -> None:
    values = np.array([127, 128, 255, 256, (1 << 24) - 129, (1 << 24) - 128], dtype=np.int64)
    assert round_answer(values).tolist() == [0, 1, 1, 1, 0xFFFF, 0]


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.int16), np.zeros(4, np.int8)])
def test_weights_must_be_an_int8_matrix(bad: Any) -> None:
    with pytest.raises(KernelError, match="int8 matrix"):
        LinearKernel(bad)


@pytest.mark.parametrize("shape", [(2, 1, 4), (3, 1, 5), (4, 2, 4)])
def test_planes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(KernelError, match="do not fit"):
        LinearKernel(np.zeros((2, 4), np.int8)).answer(np.zeros(shape, np.int8))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rows", [15, 16, 17, 100])
def test_many_rows_are_computed_in_blocks(
    engine: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that do not divide the outputs, on both sides of the limit where they begin."""
    monkeypatch.setattr(kernel, "_BLOCK_SUMS", 3 * 16 * 70)
    rng = np.random.default_rng(8)
    weights = rng.integers(-127, 128, (331, 40), dtype=np.int8)
    planes = rng.integers(-128, 128, (3, rows, 40), dtype=np.int8)
    found = LinearKernel(weights, engine=engine).answer(planes)
    assert np.array_equal(found, reference_answer(weights, from_planes(planes)))


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(KernelError, match="use cpu or cuda"):
        LinearKernel(np.zeros((2, 4), np.int8), device="tpu")


def test_a_saturating_engine_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What int8 instructions without VNNI do: unsigned times signed, pairs added in 16 bits and clipped."""

    def pairwise(weights: torch.Tensor, saturates: bool = True) -> kernel.Product:
        def product(planes: torch.Tensor, start: int, stop: int) -> torch.Tensor:
            left = weights[start:stop].int().unflatten(1, (-1, 2)).unsqueeze(1)
            right = planes.int().unflatten(1, (-1, 2)) + 128
            limit = 32767 if saturates else 1 << 30
            sums = (left * right).sum(-1).clamp(-limit - 1, limit).sum(-1)
            return (sums - 128 * weights[start:stop].int().sum(1, keepdim=True)).to(torch.int32).t()

        return product

    def broken(_weights: torch.Tensor) -> kernel.Product:
        raise RuntimeError("not on this machine")

    engines = {"saturating": pairwise, "broken": broken}
    exact = {"exact": lambda weights: pairwise(weights, saturates=False)}
    monkeypatch.setattr(kernel, "_CPU_ENGINES", engines | exact)
    assert engine_is_exact("exact")  # so it is the clipping that is found
    assert not engine_is_exact("saturating")
    assert not engine_is_exact("broken")
    monkeypatch.setattr(kernel, "_CPU_ENGINES", engines)
    kernel._measure_engines.cache_clear()
    try:
        with pytest.raises(KernelError, match="no CPU engine"):
            default_engine()
    finally:
        kernel._measure_engines.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("m", "n", "rows"), SHAPES)
def test_cuda_is_the_reference(m: int, n: int, rows: int) -> None:
    weights, planes = random_case(m, n, rows)
    answer = LinearKernel(weights, device="cuda").answer(planes)
    assert np.array_equal(answer, reference_answer(weights, from_planes(planes)))
