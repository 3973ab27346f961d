"""No wrap-around: a proof checked against exact integers, adversarial inputs included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fhe_client.crypto.errors import CryptoError
from fhe_client.glwe import scheme
from fhe_protocol.glwe import GLWE_2048_27
from fhe_protocol.manifest import Group, GroupPart, Member

LIMIT = GLWE_2048_27.half_range - GLWE_2048_27.guard


def group_of(weights: NDArray[np.int8], cuts: list[int]) -> Group:
    outputs, inputs = weights.shape
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, inputs], strict=True):
        wide = weights[:, start:stop].astype(np.int64)
        norm = float(np.sqrt((wide**2).sum(axis=1).max()))
        parts.append(GroupPart(start, stop, norm, int(np.abs(wide).max()), "0" * 64))
    return Group(0, "g", "linear", inputs, outputs, (Member("m", outputs),), tuple(parts), 0)


@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(2, 300),
    size=st.floats(1e-30, 1e30),
    kind=st.sampled_from(["normal", "heavy", "aligned", "one-hot", "zero"]),
    split=st.booleans(),
)
def test_no_row_can_wrap(seed: int, inputs: int, size: float, kind: str, split: bool) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, size=(6, inputs)).astype(np.int8)
    weights[0] = 127
    x = rng.normal(size=(3, inputs))
    if kind == "heavy":
        x[:, 0] *= 1e4
    elif kind == "aligned":  # Cauchy-Schwarz holds with equality
        x[0] = weights[1]
        x[1] = 1
    elif kind == "one-hot":
        x[:] = 0
        x[:, inputs // 2] = 1
    elif kind == "zero":
        x[:] = 0
    x *= size
    group = group_of(weights, [inputs // 2] if split else [])
    gamma = scheme.choose_scale(group, x)
    integers = scheme.to_integers(x, gamma)
    exact = integers @ weights.astype(np.int64).T
    assert np.isfinite(gamma).all()
    assert (gamma > 0).all()
    assert np.abs(exact).max() <= LIMIT
    assert np.abs(integers).max() < GLWE_2048_27.half_range
    if kind == "aligned":
        assert np.abs(exact).max() > 0.6 * LIMIT  # and the range is used


def test_inputs_that_wrapped_upstream_do_not_here() -> None:
    """Linear(8192, ...) with heavy tails: 3.9 % of columns were silently wrong (BASELINE.md)."""
    rng = np.random.default_rng(5)
    weights = np.clip(rng.standard_t(2, size=(64, 8192)) * 9, -127, 127).astype(np.int8)
    x = np.abs(rng.normal(size=(1, 8192)))
    x[0, 7] = 500
    gamma = scheme.choose_scale(group_of(weights, []), x)
    integers = scheme.to_integers(x, gamma)
    exact = integers @ weights.astype(np.int64).T
    assert np.abs(exact).max() <= LIMIT
    due = x @ weights.astype(np.float64).T
    error = (exact + scheme.noise(rng, 1, 64)) / gamma - due
    assert error.std() < 0.003 * due.std()


def test_activation_bits_bound_the_integers() -> None:
    rng = np.random.default_rng(6)
    weights = rng.integers(-127, 128, size=(6, 40)).astype(np.int8)
    x = rng.normal(size=(4, 40))
    group = group_of(weights, [])
    integers = scheme.to_integers(x, scheme.choose_scale(group, x, activation_bits=8))
    assert np.abs(integers).max(axis=1).tolist() == [127] * 4
    assert np.abs(scheme.to_integers(x, scheme.choose_scale(group, x))).max() > 1000


def test_one_hot_vectors_use_the_range() -> None:
    weights = np.full((3, 20), 100, dtype=np.int8)
    height = np.array([1e-3, 1.0, 2000.0])
    gamma = scheme.scale_of_one_hot(group_of(weights, [7]), height)
    products = 100 * scheme.to_integers(height, gamma[:, 0])
    assert (products <= LIMIT).all()
    assert (products > 0.99 * LIMIT).all()


def test_a_layer_too_wide_for_the_range_is_refused() -> None:
    part = GroupPart(0, 1 << 20, 127.0 * 1024, 127, "0" * 64)
    group = Group(0, "wide", "linear", 1 << 20, 1, (Member("m", 1),), (part,), 0)
    with pytest.raises(CryptoError, match="--scheme hint"):
        scheme.choose_scale(group, np.ones((1, 1 << 20)))


def test_simulated_noise_has_the_spread_of_the_parameters() -> None:
    values = scheme.noise(np.random.default_rng(7), 400, 60)
    assert (values == np.rint(values)).all()
    assert values.std() == pytest.approx(GLWE_2048_27.noise_sigma, rel=0.1)
    offsets = values.mean(axis=1)
    assert offsets.std() == pytest.approx(GLWE_2048_27.noise_offset_sigma, rel=0.15)
    two_blocks = scheme.noise(np.random.default_rng(8), 200, 4096)
    left, right = two_blocks[:, :2048].mean(axis=1), two_blocks[:, 2048:].mean(axis=1)
    assert abs(float(np.corrcoef(left, right)[0, 1])) < 0.3
