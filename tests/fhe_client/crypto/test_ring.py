"""Products in the ring against the naive definition, at the largest values that occur."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fhe_client.crypto.ring import multiply_approximate, multiply_exact, transform

DEGREE = 1024
LARGEST = 1 << 23


def naive(rows: Any, secret: Any) -> Any:
    """sum over k of s_k * (X^k * a): shift, negate what comes round, in int64."""
    total = np.zeros(rows.shape, dtype=np.int64)
    wide = rows.astype(np.int64)
    for k in np.flatnonzero(secret):
        turned = np.roll(wide, k, axis=1)
        turned[:, :k] *= -1
        total += int(secret[k]) * turned
    return total


def ternary(seed: int) -> Any:
    return np.random.default_rng(seed).integers(-1, 2, size=DEGREE).astype(np.int8)


def test_the_naive_product_is_the_definition() -> None:
    rng = np.random.default_rng(3)
    a, s = rng.integers(-9, 9, size=(1, 8)), rng.integers(-1, 2, size=8)
    expected = [0] * 8
    for i in range(8):
        for j in range(8):
            sign = -1 if i + j >= 8 else 1
            expected[(i + j) % 8] += sign * int(a[0, i]) * int(s[j])
    assert naive(a, s)[0].tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_multiplied_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-LARGEST, LARGEST, size=(40, DEGREE)).astype(np.int32)
    secret = ternary(seed + 100)
    assert np.array_equal(multiply_exact(rows, transform(secret)), naive(rows, secret))


EXTREMES = {
    "all lowest": np.full(DEGREE, -LARGEST),
    "all highest": np.full(DEGREE, LARGEST - 1),
    "alternating": np.where(np.arange(DEGREE) % 2, LARGEST - 1, -LARGEST),
    "halves": np.where(np.arange(DEGREE) < DEGREE // 2, -LARGEST, LARGEST - 1),
    "one": np.eye(DEGREE, dtype=np.int64)[-1] * -LARGEST,
}
SECRETS = {
    "all one": np.ones(DEGREE),
    "all minus one": -np.ones(DEGREE),
    "alternating": np.where(np.arange(DEGREE) % 2, 1, -1),
    "zero": np.zeros(DEGREE),
    "last": np.eye(DEGREE)[-1],
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_masks_are_multiplied_exactly(name: str, kind: str) -> None:
    rows = EXTREMES[name].astype(np.int32)[None]
    secret = SECRETS[kind].astype(np.int8)
    assert np.array_equal(multiply_exact(rows, transform(secret)), naive(rows, secret))


@pytest.mark.parametrize("seed", range(3))
def test_hints_are_multiplied_to_within_one_unit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-(1 << 15), 1 << 15, size=(40, DEGREE)).astype(np.int16)
    secret = ternary(seed + 200)
    error = np.abs(multiply_approximate(rows, transform(secret)) - naive(rows, secret))
    assert error.max() <= 1


@pytest.mark.parametrize("kind", SECRETS)
def test_hints_of_a_servers_choosing_stay_below_the_noise(kind: str) -> None:
    """At worst the sum passes 2^24, where single precision counts in twos; eight sigma of noise are 60 units."""
    rows = np.full((1, DEGREE), -(1 << 15), dtype=np.int16)
    secret = SECRETS[kind].astype(np.int8)
    error = np.abs(multiply_approximate(rows, transform(secret)) - naive(rows, secret))
    assert error.max() <= 16


def test_read_only_rows_are_taken_and_left_alone() -> None:
    rows = np.arange(DEGREE, dtype=np.int16)[None].copy()
    rows.flags.writeable = False
    assert multiply_approximate(rows, transform(ternary(1))).shape == (1, DEGREE)
    wide = rows.astype(np.int32)
    wide.flags.writeable = False
    assert np.array_equal(multiply_exact(wide, transform(ternary(1))), naive(rows, ternary(1)))
    assert rows[0].tolist() == list(range(DEGREE))


def test_a_wiped_transform_is_zero() -> None:
    turned = transform(ternary(1))
    assert bool(turned.double.abs().sum() > 0)
    turned.wipe()
    assert not bool(turned.double.any())
    assert not bool(turned.single.any())


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_transform_cannot_be_copied(act: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        act(transform(ternary(1)))


def test_a_transform_does_not_print_the_secret() -> None:
    torch.set_printoptions(threshold=10_000)
    try:
        assert repr(transform(ternary(1))) == "Transform()"
    finally:
        torch.set_printoptions(profile="default")
