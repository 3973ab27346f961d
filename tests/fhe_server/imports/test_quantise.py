"""int8 rows, their scales and parts, and the error that is predicted for them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fhe_client.model.encrypted_layers import rotated as client_rotated
from fhe_protocol.parameters import HINT_1024_24
from fhe_server.errors import QuantisationError, UnsupportedModelError
from fhe_server.imports.noise import NoiseModel, cut
from fhe_server.imports.quantise import quantise, quantise_group
from fhe_server.imports.rotation import rotated, rotation_order


def normal(rows: int, columns: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def noise(inputs: int, parts: int = 1, embedding: bool = False) -> NoiseModel:
    return NoiseModel(HINT_1024_24, cut(inputs, parts), embedding)


@pytest.mark.parametrize("equalise", [False, True])
def test_rounding_stays_within_half_a_unit_and_never_reaches_minus_128(equalise: bool) -> None:
    weight = normal(40, 300)
    weight[3] *= 1000
    result = quantise(weight, noise(300), equalise=equalise)
    assert result.weights.dtype == np.int8
    assert result.weights.min() >= -127
    off = np.abs(result.dequantised() - weight)
    assert (off <= 0.5001 * result.row_scale[:, None]).all()


def test_without_equalisation_every_row_has_a_peak_of_127() -> None:
    result = quantise(normal(20, 100), noise(100), equalise=False)
    assert (np.abs(result.weights.astype(int)).max(axis=1) == 127).all()
    assert result.input_scale is None


def test_bounds_of_the_parts_are_exact() -> None:
    result = quantise(normal(7, 50), noise(50, parts=3))
    assert result.slices == ((0, 16), (16, 33), (33, 50))
    for (start, stop), (w_norm, peak) in zip(result.slices, result.part_bounds(), strict=True):
        part = result.weights[:, start:stop].astype(np.int64)
        assert w_norm == math.sqrt(max(int((row**2).sum()) for row in part))
        assert peak == np.abs(part).max()


def total(result: Any) -> float:
    return math.hypot(result.noise_error, result.rounding_error)


def test_equalisation_shortens_the_rows_that_set_w_and_lowers_the_total_error() -> None:
    weight = normal(200, 2048)
    weight[0] = np.sign(weight[0])  # flat: its int8 row is three times as long as the others
    plain = quantise(weight, noise(2048), equalise=False)
    better = quantise(weight, noise(2048))
    assert better.part_bounds()[0][0] < 0.5 * plain.part_bounds()[0][0]
    assert total(better) < 0.6 * total(plain)
    others = np.abs(better.weights[1:].astype(int)).max(axis=1)
    assert np.median(others) > 60


def test_the_best_common_row_norm_is_the_one_of_the_formula() -> None:
    result = quantise(normal(64, 16384), noise(16384))
    optimum = (2**46 / (12 * (2.5 + 1 / 12))) ** 0.25
    assert result.part_bounds()[0][0] == pytest.approx(optimum, rel=0.1)


@pytest.mark.parametrize("parts", [1, 4])
def test_the_predicted_noise_is_that_of_simulated_decryption(parts: int) -> None:
    n, m, rows = 512, 96, 64
    weight, rng = normal(m, n), np.random.default_rng(2)
    result = quantise(weight, noise(n, parts))
    x = rng.normal(size=(rows, n))
    error = np.zeros((rows, m))
    for (start, stop), (w, _) in zip(result.slices, result.part_bounds(), strict=True):
        room = 2**23 - HINT_1024_24.guard(w)
        gamma = room / (w * np.linalg.norm(x[:, start:stop], axis=1, keepdims=True))
        error += rng.normal(size=error.shape) * HINT_1024_24.noise_sigma(w) / gamma
    y = x @ weight.T
    relative = np.linalg.norm(error * result.row_scale) / np.linalg.norm(y)
    assert relative == pytest.approx(result.noise_error, rel=0.1)
    rounding = np.linalg.norm(x @ result.dequantised().T - y) / np.linalg.norm(y)
    assert rounding == pytest.approx(result.rounding_error, rel=0.1)


def test_a_small_module_of_a_group_counts_as_much_as_a_large_one() -> None:
    weight = normal(128, 4096)
    weight[:64] *= 100
    weight[64:] = np.sign(weight[64:])  # the small module has the long int8 rows
    together = quantise(weight, noise(4096))
    apart = quantise(weight, noise(4096), members=[64, 64])
    small = slice(64, 128)
    assert apart.row_scale[small].max() <= together.row_scale[small].max()
    with pytest.raises(QuantisationError, match="add up"):
        quantise(weight, noise(4096), members=[64, 65])


def test_an_input_scale_is_taken_out_before_rounding() -> None:
    weight = normal(16, 64)
    weight[:, 5] *= 500
    scale = np.ones(64, dtype=np.float32)
    scale[5] = 500
    plain, scaled = quantise(weight, noise(64)), quantise(weight, noise(64), input_scale=scale)
    columns = np.arange(64) != 5
    off = [np.abs(r.dequantised() - weight)[:, columns].max() for r in (plain, scaled)]
    assert off[1] < 0.05 * off[0]
    with pytest.raises(QuantisationError, match="positive"):
        quantise(weight, noise(64), input_scale=-scale)


def test_an_outlier_token_does_not_coarsen_the_rest_of_the_table() -> None:
    table = normal(32, 400)
    table[:, 7] *= 1000
    result = quantise(table, noise(400, embedding=True))
    relative = np.linalg.norm(result.dequantised() - table, axis=0) / np.linalg.norm(table, axis=0)
    assert relative.max() < 0.02
    assert result.input_scale is not None
    assert result.input_scale.shape == (400,)


def test_a_one_hot_input_is_bounded_by_the_peak_so_its_noise_is_small() -> None:
    table = normal(64, 30_000)
    assert quantise(table, noise(30_000, embedding=True)).noise_error < 0.01
    assert quantise(table, noise(30_000)).noise_error > 0.05


def test_a_zero_row_gives_exactly_zero() -> None:
    weight = normal(5, 40)
    weight[2] = 0
    result = quantise(weight, noise(40))
    assert result.row_scale[2] == 0
    assert not result.weights[2].any()


def test_a_matrix_of_zeros_has_bounds_and_gives_exactly_zero() -> None:
    result = quantise_group(np.zeros((3, 8), dtype=np.float32), HINT_1024_24)
    assert not result.row_scale.any()
    assert result.part_bounds() == [(1.0, 1)]
    table = quantise_group(np.zeros((3, 8), dtype=np.float32), HINT_1024_24, embedding=True)
    assert not table.dequantised().any()


def test_a_part_of_zeros_costs_one_unit_of_rounding_at_most() -> None:
    weight = normal(4, 32)
    weight[:, 16:] = 0
    result = quantise(weight, noise(32, parts=2))
    assert result.part_bounds()[1] == (1.0, 1)
    off = np.abs(result.dequantised() - weight)[:, 16:]
    assert np.count_nonzero(off) == 1
    assert off.max() == result.row_scale.min()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("embedding", [False, True])
def test_a_weight_that_is_not_finite_is_refused(bad: float, embedding: bool) -> None:
    weight = normal(4, 8)
    weight[1, 2] = bad
    with pytest.raises(QuantisationError, match="finite"):
        quantise_group(weight, HINT_1024_24, embedding=embedding)


def test_wide_matrices_are_split_until_the_noise_is_small_enough() -> None:
    weight = normal(48, 8192)
    loose = quantise_group(weight, HINT_1024_24, max_error=0.2)
    tight = quantise_group(weight, HINT_1024_24, max_error=0.02)
    assert len(loose.slices) == 1 < len(tight.slices)
    assert tight.noise_error <= 0.02 < loose.noise_error
    assert quantise_group(normal(48, 1536), HINT_1024_24).slices == ((0, 1536),)


def test_a_token_table_is_split_until_noise_and_rounding_together_fit() -> None:
    table = np.random.default_rng(3).normal(size=(256, 12_000)).astype(np.float32)
    rounding, noise_error = (
        quantise(table, noise(12_000, embedding=True)).rounding_error,
        [quantise(table, noise(12_000, p, True)).noise_error for p in (1, 2)],
    )
    assert noise_error[1] < 0.8 * noise_error[0]
    limit = 0.5 * (math.hypot(rounding, noise_error[0]) + math.hypot(rounding, noise_error[1]))
    assert noise_error[0] < limit / 2  # good enough by itself, yet not together
    found = quantise_group(table, HINT_1024_24, embedding=True, max_error=limit)
    assert len(found.slices) == 2
    assert math.hypot(found.noise_error, found.rounding_error) <= limit


def test_where_rounding_alone_is_too_much_parts_are_not_spent_on_it() -> None:
    weight = np.random.default_rng(3).standard_t(3, size=(64, 512)).astype(np.float32)
    limit = 0.99 * quantise(weight, noise(512, 8)).rounding_error
    assert quantise(weight, noise(512)).noise_error <= limit / 2
    found = quantise_group(weight, HINT_1024_24, max_error=limit)
    assert len(found.slices) == 1
    assert found.rounding_error > limit


def test_what_no_split_makes_good_enough_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="cannot be served") as caught:
        quantise_group(normal(2, 64), HINT_1024_24, max_error=1e-6)
    assert "--local" in caught.value.next_step


def test_no_part_has_more_samples_than_the_security_figure_covers() -> None:
    wide = HINT_1024_24.max_inputs + 2
    result = quantise_group(normal(2, wide), HINT_1024_24, embedding=True, max_error=0.5)
    assert len(result.slices) == 2
    assert max(stop - start for start, stop in result.slices) <= HINT_1024_24.max_inputs


def test_a_row_too_long_for_any_signal_is_not_taken_for_a_good_one() -> None:
    small = dataclasses.replace(noise(4))
    assert small.variance(np.array([1e6])) == math.inf


@pytest.mark.parametrize(
    ("inputs", "order"), [(576, 64), (1536, 256), (300, 4), (7, 1), (4096, 256)]
)
def test_the_rotation_is_the_largest_power_of_two_that_divides_the_inputs(
    inputs: int, order: int
) -> None:
    assert rotation_order(inputs) == order


def test_a_rotation_undoes_itself_and_keeps_products() -> None:
    weight, x = normal(5, 96), normal(3, 96, seed=2)
    turned = rotated(weight, 32)
    np.testing.assert_allclose(rotated(turned, 32), weight, atol=1e-5)
    np.testing.assert_allclose(rotated(x, 32) @ turned.T, x @ weight.T, atol=1e-4)
    assert (rotated(weight, 1) == weight).all()


def test_client_and_server_rotate_alike() -> None:
    x = normal(3, 96)
    theirs = client_rotated(torch.from_numpy(x), 32).numpy()
    np.testing.assert_allclose(theirs, rotated(x, 32), atol=1e-5)


def test_a_rotation_evens_out_outliers_and_lowers_the_rounding_error() -> None:
    weight = normal(64, 512)
    weight[:, ::37] *= 12
    plain = quantise(weight, noise(512))
    better = quantise(weight, noise(512), rotation=256)
    assert better.rotation == 256
    assert better.rounding_error < 0.5 * plain.rounding_error
    errors = [np.linalg.norm(r.dequantised() - weight) for r in (plain, better)]
    assert errors[1] < 0.5 * errors[0]
