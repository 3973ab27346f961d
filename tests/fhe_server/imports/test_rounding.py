"""Rounding that hands errors on: cheaper where inputs are large, as cheap as predicted, the same on every machine."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fhe_protocol.parameters import HINT_1024_24
from fhe_server.imports.noise import NoiseModel, cut
from fhe_server.imports.quantise import quantise, quantise_group
from fhe_server.imports.rotation import rotated
from fhe_server.imports.rounding import Feedback, nearest


def spread(count: int, sigma: float = 1.0) -> NDArray[np.float64]:
    return np.exp(sigma * np.random.default_rng(2).normal(size=count))


def matrix(rows: int, columns: int, size: float = 15) -> NDArray[np.float32]:
    values = np.random.default_rng(1).normal(size=(rows, columns)) * size
    return values.astype(np.float32)


def cost(off: NDArray[np.float64], energies: NDArray[np.float64], order: int) -> float:
    """Mean of off S off^T over rows."""
    turned = rotated(off.astype(np.float32), order).astype(np.float64)
    return float((turned**2 @ energies).mean())


@pytest.mark.parametrize(("inputs", "order"), [(96, 32), (512, 256), (60, 4), (34, 2)])
def test_the_cost_is_the_predicted_one_and_below_that_of_the_nearest(
    inputs: int, order: int
) -> None:
    energies, weight, ones = spread(inputs), matrix(400, inputs), np.ones(400, dtype=np.float32)
    feedback = Feedback.of(energies, order)
    plain = cost(nearest(weight, ones, 127) - weight, energies, order)
    handed = cost(feedback.round(weight, ones, 127) - weight, energies, order)
    assert plain == pytest.approx(energies.sum() / 12, rel=0.05)
    assert handed == pytest.approx(feedback.share * energies.sum() / 12, rel=0.05)
    blocks = np.log(energies).reshape(-1, order)
    geometric = float(np.exp(blocks.mean(axis=1)).sum() * order / energies.sum())
    assert geometric - 1e-9 <= feedback.share < 0.95


def test_equal_inputs_leave_nothing_to_hand_on() -> None:
    weight, scale = matrix(30, 64), np.full(30, 0.7, dtype=np.float32)
    feedback = Feedback.of(np.full(64, 2.5), 16)
    assert feedback.share == pytest.approx(1)
    assert (feedback.round(weight, scale, 127) == nearest(weight, scale, 127)).mean() > 0.999


def test_two_entries_are_rounded_as_the_plane_says() -> None:
    """Exhaustively, for b = 2: the second entry is the best one, given the first."""
    energies, weight, ones = np.array([9.0, 1.0]), matrix(50, 2, 3), np.ones(50, dtype=np.float32)
    found = Feedback.of(energies, 2).round(weight, ones, 127)
    first = np.rint(weight[:, 0])
    assert (found[:, 0] == first).all()
    for row, (q, w) in enumerate(zip(found, weight, strict=True)):
        costs = {
            second: cost(np.array([[first[row] - w[0], second - w[1]]]), energies, 2)
            for second in range(-20, 21)
        }
        assert costs[int(q[1])] == min(costs.values())


def test_rows_of_scale_zero_are_zero_and_no_entry_leaves_its_range() -> None:
    weight = matrix(20, 64, 200)
    scale = np.ones(20, dtype=np.float32)
    scale[3] = 0
    found = Feedback.of(spread(64), 64).round(weight, scale, 127)
    assert not found[3].any()
    assert (np.abs(found.astype(int)).max(axis=1)[np.arange(20) != 3] == 127).all()


def test_blocks_of_rows_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, scale = matrix(65, 128), np.linspace(0.5, 2, 65).astype(np.float32)
    feedback = Feedback.of(spread(128), 64)
    due = feedback.round(weight, scale, 127)
    monkeypatch.setattr("fhe_server.imports.rounding._ENTRIES", 128 * 7)
    before = torch.get_num_threads()
    for threads, panel in product((1, 2), (5, 64)):
        monkeypatch.setattr("fhe_server.imports.rounding._PANEL", panel)
        torch.set_num_threads(threads)
        try:
            assert (feedback.round(weight, scale, 127) == due).all()
        finally:
            torch.set_num_threads(before)


def test_a_quantised_matrix_errs_as_predicted_on_inputs_of_these_sizes() -> None:
    weight, energies = matrix(96, 512, 0.1), spread(512, 1.5)
    model = NoiseModel(HINT_1024_24, cut(512, 1))
    scale = (energies**-0.25).astype(np.float32)
    sizes = energies * scale.astype(np.float64) ** 2
    x = np.random.default_rng(3).normal(size=(300, 512)) * np.sqrt(energies)
    gain = float(((x @ weight.T) ** 2).sum() / ((scale * x) ** 2).sum())
    found, errors = {}, {}
    for name, known in {"plain": None, "handed": sizes}.items():
        made = quantise(
            weight, model, gains=[gain], input_scale=scale, rotation=256, energies=known
        )
        off = x @ (made.dequantised() - weight).T.astype(np.float64)
        found[name] = float(np.linalg.norm(off) / np.linalg.norm(x @ weight.T))
        errors[name] = made.rounding_error
        assert found[name] == pytest.approx(made.rounding_error, rel=0.05)
    assert found["handed"] < 0.94 * found["plain"]
    group = quantise_group(
        weight, HINT_1024_24, gains=[gain], input_scale=scale, rotation=256, energies=sizes
    )
    assert group.rounding_error == errors["handed"]
