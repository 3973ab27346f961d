"""The clear twins: what `disable` and `simulate` compute, and the server's part of `hint` in this process."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from fhe_client.concrete.quantised import QuantisedGroups, quantise_groups
from fhe_client.concrete.runners import ClearRunner, LocalHintServer
from fhe_client.crypto.session import InferenceSession
from fhe_client.keys import MasterKey
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import round_answer


@pytest.fixture(scope="module")
def quantised() -> QuantisedGroups:
    return quantise_groups({"a": nn.Linear(1100, 24)}, [["a"]], 8)


def test_the_clear_runner_is_the_product(quantised: QuantisedGroups) -> None:
    group = quantised.manifest.groups[0]
    x = np.random.default_rng(2).normal(size=(3, 1100)).astype(np.float32)
    x[1] = 0
    due = x.astype(np.float64) @ quantised.weights[0].astype(np.float64).T
    for scheme in ("glwe", "hint"):
        found = ClearRunner(quantised, scheme, None).run_group(group, x)
        assert np.abs(found - due).max() < 0.01 * due.std()
        assert (found[1] == 0).all()
    coarse = ClearRunner(quantised, "glwe", 8).run_group(group, x)
    assert 0.002 < (coarse - due).std() / due.std() < 0.05


@pytest.mark.parametrize("scheme", ["glwe", "hint"])
def test_simulated_noise_is_fresh_and_of_the_schemes_size(
    scheme: str, quantised: QuantisedGroups
) -> None:
    group = quantised.manifest.groups[0]
    x = np.random.default_rng(2).normal(size=(60, 1100)).astype(np.float32)
    clear = ClearRunner(quantised, scheme, None).run_group(group, x)
    noisy = ClearRunner(quantised, scheme, None, np.random.default_rng(3))
    first, second = noisy.run_group(group, x) - clear, noisy.run_group(group, x) - clear
    assert first.std() == pytest.approx(second.std(), rel=0.2)
    assert not np.array_equal(first, second)
    assert 1e-7 < first.std() / clear.std() < 0.05


def test_simulated_hint_noise_is_that_of_real_encryption(quantised: QuantisedGroups) -> None:
    group = quantised.manifest.groups[0]
    x = np.random.default_rng(4).normal(size=(64, 1100)).astype(np.float32)
    clear = ClearRunner(quantised, "hint", None).run_group(group, x)
    simulated = ClearRunner(quantised, "hint", None, np.random.default_rng(5))
    server = LocalHintServer(quantised)
    with MasterKey.generate(origin="session") as key:
        session = InferenceSession(quantised.manifest, server, server, key, window_slots=64)
        with session:
            session.begin_pass(session.rows_until_window_end())
            encrypted = session.run_group(group, x)
    assert server.bytes_up > 64 * 3 * 1100
    ratio = (encrypted - clear).std() / (simulated.run_group(group, x) - clear).std()
    assert 0.8 < ratio < 1.25


def test_hints_are_the_answers_to_the_masks(quantised: QuantisedGroups) -> None:
    manifest = quantised.manifest
    group, part = manifest.parts[1]
    piece = group.parts[part]
    mask = expand_mask(manifest.parameters, manifest.mask_name(group, part)).astype(np.int64)
    weights = quantised.weights[0][:, piece.start : piece.stop].astype(np.int64)
    due = round_answer((weights @ mask) & 0xFFFFFF)
    np.testing.assert_array_equal(LocalHintServer(quantised).read(1), due)
