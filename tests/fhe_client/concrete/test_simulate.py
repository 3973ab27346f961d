"""`simulate` against `execute`: the noise of real encryption has the mean and the variances that simulation gives it.

Real encryption cannot be seeded, so every bound is a confidence interval of five standard errors (one false alarm in a
million): for a sum of k squares by Wilson and Hilferty, for a mean the usual one. What is simulated is drawn so often
that its own uncertainty does not count.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from fhe_client.concrete.quantised import QuantisedGroups, quantise_groups
from fhe_client.concrete.runners import ClearRunner, LocalHintServer, hint_spread
from fhe_client.crypto.hint_scheme import choose_gamma
from fhe_client.crypto.session import InferenceSession
from fhe_client.glwe.local_channel import LocalGlweChannel
from fhe_client.glwe.scheme import choose_scale
from fhe_client.glwe.session import GlweSession
from fhe_client.keys import MasterKey
from fhe_client.model.runner import LinearRunner
from fhe_protocol.glwe import GLWE_2048_27, MAX_ROWS
from tests.glwe_keys import client_keys

STANDARD_ERRORS = 5.0
Noise = NDArray[np.float64]


def assert_same_variance(found: float, due: float, freedom: int) -> None:
    """`found` is a mean of `freedom` squares of normal values with variance `due`, or hardly anything is."""
    step = 2 / (9 * freedom)
    low, high = ((1 - step + sign * STANDARD_ERRORS * step**0.5) ** 3 for sign in (-1, 1))
    assert low < found / due < high, (found, due, freedom)


def assert_centred(noise: Noise) -> None:
    """The mean is zero to within the standard error of the rows' means: outputs of one row may share an offset."""
    means = noise.mean(axis=1)
    assert abs(means.mean()) < STANDARD_ERRORS * means.std(ddof=1) / len(means) ** 0.5


def within(noise: Noise) -> float:
    """Variance inside a row, its mean left out."""
    return float(noise.var(axis=1, ddof=1).mean())


def among(noise: Noise) -> float:
    """Variance of the rows' means."""
    return float(noise.mean(axis=1).var(ddof=1))


def layer(inputs: int, outputs: int) -> QuantisedGroups:
    return quantise_groups({"a": nn.Linear(inputs, outputs)}, [["a"]], 8)


def noise_of(runner: LinearRunner, clear: LinearRunner, x: NDArray[np.float32], step: int) -> Noise:
    """What a runner adds to the clear twin's values, (rows, m), before any scale of the weights."""
    group = clear.manifest.groups[0]
    pieces = [x[k : k + step] for k in range(0, len(x), step)]
    gaps = []
    for piece in pieces:
        runner.begin_pass(len(piece))
        gap = runner.run_group(group, piece).astype(np.float64) - clear.run_group(group, piece)
        gaps.append(gap)
    return np.concatenate(gaps)


def test_glwe_noise_and_the_offset_that_neighbours_share() -> None:
    quantised = layer(20, 3)
    group = quantised.manifest.groups[0]
    clear = ClearRunner(quantised, "glwe", 8)
    keys = client_keys()
    channel = LocalGlweChannel(
        quantised.manifest, lambda k: quantised.weights[k], keys.compression_key
    )
    session = GlweSession(quantised.manifest, channel, keys, activation_bits=8)
    simulation = ClearRunner(quantised, "glwe", 8, np.random.default_rng(3))

    def integers(runner: LinearRunner, rows: int) -> Noise:
        x = np.random.default_rng(rows).normal(size=(rows, 20)).astype(np.float32)
        gamma = choose_scale(group, x.astype(np.float64), 8)
        return noise_of(runner, clear, x, MAX_ROWS) * gamma

    real, simulated = integers(session, 112), integers(simulation, 6000)
    # Float32 values times gamma: integers but for the last bits.
    assert np.abs(real - np.rint(real)).max() < 0.1
    assert_centred(real)
    assert_same_variance(within(real), within(simulated), 112 * 2)
    assert_same_variance(among(real), among(simulated), 111)
    # The simulation itself is what decision 0010 derives: an offset, and what looks independent.
    white, offset = GLWE_2048_27.noise_white_sigma, GLWE_2048_27.noise_offset_sigma
    assert_same_variance(within(simulated), white**2, 6000 * 2)
    assert_same_variance(among(simulated), offset**2 + white**2 / 3, 5999)


def test_hint_noise_is_independent_and_each_outputs_own() -> None:
    quantised = layer(500, 24)
    quantised.weights[0][:12] //= 8  # rows of different length: their noise differs
    group = quantised.manifest.groups[0]
    clear = ClearRunner(quantised, "hint", None)
    simulation = ClearRunner(quantised, "hint", None, np.random.default_rng(3))
    server = LocalHintServer(quantised)
    due = hint_spread(quantised.manifest.parameters, quantised.weights[0].astype(np.float64))
    assert due[12:].min() > 1.1 * due[:12].max()

    def normalised(runner: LinearRunner, rows: int) -> Noise:
        x = np.random.default_rng(rows).normal(size=(rows, 500)).astype(np.float32)
        gamma = choose_gamma(quantised.manifest.parameters, group.parts[0], x.astype(np.float64))
        return noise_of(runner, clear, x, 64) * gamma / due

    with (
        MasterKey.generate(origin="session") as key,
        InferenceSession(quantised.manifest, server, server, key, window_slots=64) as session,
    ):
        real = normalised(session, 256)
    simulated = normalised(simulation, 4000)
    assert_centred(real)
    for rows in (slice(None, 12), slice(12, None)):
        assert_same_variance(within(real[:, rows]), within(simulated[:, rows]), 256 * 11)
        assert_same_variance(among(real[:, rows]), among(simulated[:, rows]), 255)
        assert_same_variance(within(simulated[:, rows]), 1.0, 4000 * 11)


@pytest.mark.parametrize("factor", [0.7, 1.45])
def test_the_bounds_would_notice_another_spread(factor: float) -> None:
    noise = np.random.default_rng(1).normal(size=(112, 3)) * factor
    with pytest.raises(AssertionError):
        assert_same_variance(within(noise), 1.0, 112 * 2)
