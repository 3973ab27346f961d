"""gamma, masking and opening on plain arrays: two proofs as properties, at the inputs that come closest to wrapping."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_client.crypto import hint_scheme
from fhe_protocol.manifest import GroupPart
from fhe_protocol.parameters import HINT_1024_24 as PARAMETERS
from fhe_protocol.planes import OFFSET, from_planes

HALF = PARAMETERS.modulus // 2
SLACK = 1e-6  # of float64 itself, in units of the guard


def part_of(weights: Any) -> GroupPart:
    wide = weights.astype(np.int64)
    norm = float(np.sqrt((wide**2).sum(axis=1).max()))
    return GroupPart(0, weights.shape[1], norm, int(np.abs(wide).max()), "0" * 64)


def signal(weights: Any, x: Any) -> Any:
    """|W_i . gamma x| for every row, before rounding."""
    gamma = hint_scheme.choose_gamma(PARAMETERS, part_of(weights), x)
    return np.abs((x * gamma) @ weights.astype(np.float64).T)


def room(weights: Any) -> float:
    return HALF - PARAMETERS.guard(part_of(weights).w_norm)


def worst_inputs(weights: Any) -> dict[str, Any]:
    """Rows for which one of the two inequalities is an equality, or close to it."""
    n = weights.shape[1]
    row = weights[np.argmax((weights.astype(np.int64) ** 2).sum(1))].astype(np.float64)
    peak = np.zeros(n)
    peak[np.argmax(np.abs(weights).max(0))] = 1.0
    return {
        "Cauchy-Schwarz: x along the longest row": row,
        "Hoelder: x on the largest weight": peak,
        "signs of the longest row": np.sign(row),
        "one entry": np.eye(n)[0],
        "constant": np.ones(n),
        "one outlier": np.where(np.arange(n) == n // 2, 1e4, 1e-2),
        "two entries": np.eye(n)[0] - np.eye(n)[-1],
    }


def matrices() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    heavy = np.clip(np.rint(rng.standard_t(2, size=(30, 300)) * 9), -127, 127)
    return {
        "uniform": rng.integers(-127, 128, size=(40, 128)).astype(np.int8),
        "heavy tails": heavy.astype(np.int8),
        "all 127": np.full((2, 64), 127, dtype=np.int8),
        "all -128": np.full((2, 64), -128, dtype=np.int8),
        "one entry": np.array([[127, 0, 0], [0, -1, 0]], dtype=np.int8),
        "one by one": np.array([[-127]], dtype=np.int8),
    }


@pytest.mark.parametrize("scale", [1e-30, 1.0, 3e38])
@pytest.mark.parametrize("name", matrices())
def test_the_signal_never_leaves_its_room(name: str, scale: float) -> None:
    weights = matrices()[name]
    x = np.stack(list(worst_inputs(weights).values())) * scale
    assert signal(weights, x).max() <= room(weights) + SLACK
    for row in x:  # a single token has a way of its own
        assert signal(weights, row[None]).max() <= room(weights) + SLACK


@pytest.mark.parametrize("name", matrices())
def test_the_worst_inputs_fill_their_room(name: str) -> None:
    """Otherwise the bound would be wasteful, and this test would not notice a smaller gamma."""
    weights = matrices()[name]
    inputs = worst_inputs(weights)
    for kind in ("Cauchy-Schwarz: x along the longest row", "Hoelder: x on the largest weight"):
        assert signal(weights, inputs[kind][None]).max() >= 0.999 * room(weights)


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.lists(
                st.lists(st.integers(-128, 127), min_size=n, max_size=n), min_size=1, max_size=5
            ).filter(lambda rows: any(any(r) for r in rows)),
            st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=n, max_size=n),
        )
    )
)
def test_no_input_leaves_its_room(case: tuple[list[list[int]], list[float]]) -> None:
    weights, x = np.array(case[0], dtype=np.int8), np.array([case[1]], dtype=np.float64)
    gamma = hint_scheme.choose_gamma(PARAMETERS, part_of(weights), x)
    assert np.isfinite(gamma).all()
    assert (gamma > 0).all()
    assert signal(weights, x).max() <= room(weights) + SLACK
    scaled = hint_scheme.scale(x, gamma).view(np.int32).astype(np.int64)
    exact = np.abs(scaled @ weights.astype(np.int64).T)
    assert exact.max() < HALF  # what is really sent: rounding included


def test_one_hot_vectors_use_the_tighter_bound() -> None:
    """Decision 0004: w of a table of 49,152 rows is fifty times its peak, and so would be the noise."""
    weights = matrices()["uniform"]
    part = part_of(weights)
    x = np.eye(weights.shape[1])[:3] * 2.5
    direct = hint_scheme.gamma_of_one_hot(PARAMETERS, part, np.full(3, 2.5))
    assert np.allclose(hint_scheme.choose_gamma(PARAMETERS, part, x)[:, 0], direct, rtol=1e-12)
    assert direct[0] > 3 * room(weights) / (part.w_norm * 2.5)


@pytest.mark.parametrize("height", [0.0, -2.0, 1e-45, 3e38])
def test_any_height_of_a_one_hot_vector_is_safe(height: float) -> None:
    weights = matrices()["heavy tails"]
    gamma = hint_scheme.gamma_of_one_hot(PARAMETERS, part_of(weights), np.array([height]))
    assert np.isfinite(gamma).all()
    assert abs(height) * gamma[0] * part_of(weights).peak <= room(weights) + SLACK


def test_gamma_is_chosen_row_by_row() -> None:
    """Otherwise one token's size would show in the noise of another."""
    weights = matrices()["uniform"]
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4, 128)) * np.array([[1e-3], [1.0], [0.0], [1e3]])
    together = hint_scheme.choose_gamma(PARAMETERS, part_of(weights), x)
    alone = [hint_scheme.choose_gamma(PARAMETERS, part_of(weights), x[k : k + 1]) for k in range(4)]
    assert np.allclose(together, np.concatenate(alone), rtol=1e-12)
    assert together[2, 0] == 1.0


@pytest.mark.parametrize("tiny", [0.0, 5e-324, 1e-162, 1.6e-162, 1e-160, 1e-155])
def test_entries_whose_squares_underflow_do_not_make_gamma_too_large(tiny: float) -> None:
    weights = np.full((1, 64), 127, dtype=np.int8)
    x = np.full((1, 64), tiny)
    gamma = hint_scheme.choose_gamma(PARAMETERS, part_of(weights), x)
    assert np.abs((x * gamma) @ weights.T.astype(np.float64)).max() <= room(weights)


def test_the_guard_is_subtracted() -> None:
    """gamma is (2^23 - guard) / bound exactly: without the guard, noise would wrap the largest values."""
    weights = matrices()["all 127"]
    x = np.ones((1, 64))
    gamma = float(hint_scheme.choose_gamma(PARAMETERS, part_of(weights), x)[0, 0])
    guard = 8 * math.sqrt((127 * 8) ** 2 * (2.5 + 1 / 12) + 256**2 / 12 * (1 + 2 * 1024 / 3))
    assert gamma * 127 * 64 == pytest.approx(2**23 - guard, rel=1e-12)


@given(st.lists(st.integers(-HALF, HALF - 1), min_size=1, max_size=20), st.integers(0, 2**24 - 1))
def test_masking_adds_the_pad_modulo_q(values: list[int], pad: int) -> None:
    scaled = np.array([values], dtype=np.int32).view(np.uint32)
    pads = np.full(scaled.shape, pad + OFFSET, dtype=np.uint32)
    planes = np.empty((3, *scaled.shape), dtype=np.int8)
    hint_scheme.mask_query(scaled, pads, planes)
    assert from_planes(planes).tolist() == [[(v + pad) % (1 << 24) for v in values]]


@pytest.mark.parametrize(
    ("scaled", "pad"), [((1, 4), (1, 1)), ((4, 3), (1, 3)), ((1, 3), (4, 3)), ((3,), (1, 3))]
)
def test_one_pad_is_never_spread_over_two_values(
    scaled: tuple[int, ...], pad: tuple[int, ...]
) -> None:
    """numpy would broadcast it, and the difference of two values would travel in the clear."""
    with pytest.raises(ValueError, match="pad of its own"):
        hint_scheme.mask_query(
            np.zeros(scaled, np.uint32), np.zeros(pad, np.uint32), np.empty((3, *scaled), np.int8)
        )


def test_opening_undoes_the_scale() -> None:
    gamma = np.array([[64.0], [0.5]])
    answer = np.array([[1000, 5], [0, 65535]], dtype=np.uint16)
    product = np.array([[900, 10], [1, 0]], dtype=np.uint16)
    opened = hint_scheme.open_answer(PARAMETERS, answer, product, gamma)
    assert opened.dtype == np.float32
    assert opened.tolist() == [[400.0, -20.0], [-512.0, -512.0]]


def test_opening_warns_of_nothing() -> None:
    """A warning is printed once: the log would depend on decrypted values (invariant 5)."""
    answer = np.array([[0x7FFF, 0x8000, 0]], dtype=np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gamma in (1e-300, 5e-324, 1e-45, 1e300):
            hint_scheme.open_answer(PARAMETERS, answer, np.zeros_like(answer), np.array([[gamma]]))


def test_noise_is_as_large_as_the_formula_says() -> None:
    """The whole scheme on arrays: sigma of what comes back lies within a few per cent of noise_sigma."""
    rng = np.random.default_rng(11)  # public: this is a simulation
    n, m, rows = 200, 64, 120
    weights = rng.integers(-127, 128, size=(m, n)).astype(np.int64)
    x_scaled = rng.integers(-3000, 3000, size=(rows, n))
    mask_product = rng.integers(0, 1 << 24, size=(rows, n))
    errors = rng.binomial(5, 0.5, size=(rows, n)) - rng.binomial(5, 0.5, size=(rows, n))
    roundings = rng.uniform(-0.5, 0.5, size=(rows, n))
    query = x_scaled + mask_product + errors
    answer = ((query @ weights.T + 128) >> 8) * 256
    hint_errors = rng.uniform(-128, 128, size=(rows, m, 16)).sum(axis=2) * math.sqrt(
        1024 * 2 / 3 / 16
    )
    off = answer - (x_scaled + mask_product) @ weights.T + roundings @ weights.T + hint_errors
    norms = np.sqrt((weights**2).sum(axis=1))
    expected = np.array([PARAMETERS.noise_sigma(float(w)) for w in norms])
    ratio = off.std(axis=0) / expected
    assert 0.95 < float(ratio.mean()) < 1.05


def test_matrices_are_what_they_are_called() -> None:
    bounds = [room(w) for w in (matrices()["one by one"], matrices()["uniform"])]
    assert all(a > b for a, b in pairwise(bounds))
