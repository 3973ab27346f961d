"""The same weights and inputs through Concrete ML's `HybridFHEModel` and through ours: as near as theory says.

Quantisation error of a layer, predicted: each entry of x is off by a uniform value of +-step_x/2, each weight by
+-step_w/2, so that an output is off by sigma^2 = sum_j (w_ij^2 step_x^2 + x_j^2 step_w^2) / 12. Noise of the scheme: an
integer of standard deviation 19 on every product, whoever computes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fhe_client.concrete.quantised import quantise_rows
from fhe_protocol.glwe import GLWE_2048_27
from fhe_protocol.wire import HEADER
from tests.conformance.models import FAMILIES, Comparison, Layer, compare

pytestmark = pytest.mark.timeout(1500)
Wide = NDArray[np.float64]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def both(request: pytest.FixtureRequest) -> Comparison:
    return compare(request.param)


def error(found: NDArray[Any], due: NDArray[Any]) -> float:
    """Standard deviation of the difference, over that of what is due."""
    return float((found - due).std() / due.std())


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt((values.astype(np.float64) ** 2).mean()))


def their_steps(x: Wide, weights: Wide) -> tuple[float, Wide]:
    """Steps of Concrete ML's 8 bits between least and largest: of the row x, and of every output's weights."""
    spread = weights.max(axis=1) - weights.min(axis=1)
    return float(x.max() - x.min()) / 255, spread / 255


def our_steps(x: Wide, weights: Wide) -> tuple[float, Wide]:
    """Ours: the scale of every output's weights; of x, whose bits fill the range, a step that hardly counts."""
    quantised, scales = quantise_rows(weights.astype(np.float32), 8)
    norms = np.sqrt((quantised.astype(np.float64) ** 2).sum(axis=1))
    room = GLWE_2048_27.half_range * 0.9
    return float(norms.max() * np.linalg.norm(x)) / room, scales.astype(np.float64)


def predicted(x: Wide, weights: Wide, steps: tuple[float, Wide]) -> float:
    """Root mean square over the outputs of a layer's quantisation error."""
    step_x, step_w = steps
    square = (weights**2).sum(axis=1) * step_x**2 + (x**2).sum() * step_w**2
    return float(np.sqrt(square.mean() / 12))


def integer_noise(layer: Layer, unit: Wide) -> Wide:
    """What decryption added, in units of the integer product."""
    return (layer.execute - layer.disable).astype(np.float64)[0] / unit


def test_both_read_the_same_model(both: Comparison) -> None:
    np.testing.assert_allclose(both.theirs.logits["float"], both.due, atol=2e-5)
    assert both.due.std() > 0.1
    assert set(both.theirs.layers) == set(both.ours.layers) == set(both.weights)


def test_logits_agree_to_quantisation_error_in_disable(both: Comparison) -> None:
    ours, theirs = both.ours.logits["disable"], both.theirs.logits["disable"]
    apart = error(theirs, both.due), error(ours, both.due)
    assert max(apart) < 0.03
    assert error(ours, theirs) < 1.15 * float(np.hypot(*apart))
    assert error(ours, both.due) < 1.1 * error(theirs, both.due)  # no worse than the original
    assert ours.argmax() == theirs.argmax() == both.due.argmax()


def test_every_layer_agrees_to_the_predicted_quantisation_error(both: Comparison) -> None:
    for name, layer in both.theirs.layers.items():
        x, weights = layer.x[0].astype(np.float64), both.weights[name].astype(np.float64)
        due = x @ weights.T + both.biases[name]
        theirs = predicted(x, weights, their_steps(x, weights))
        ours = predicted(x, weights, our_steps(x, weights))
        assert 0.6 * theirs < rms(layer.disable[0] - due) < 1.4 * theirs, name
        assert 0.6 * ours < rms(both.ours.on_their_inputs[name][0] - due) < 1.4 * ours, name
        gap = rms(both.ours.on_their_inputs[name] - layer.disable)
        assert gap < 1.3 * float(np.hypot(ours, theirs)), name


def test_encryption_adds_the_schemes_noise_and_nothing_else(both: Comparison) -> None:
    sigma, collected = GLWE_2048_27.noise_sigma, {"ours": [], "theirs": []}
    for name, layer in both.theirs.layers.items():
        x, weights = layer.x[0].astype(np.float64), both.weights[name].astype(np.float64)
        step_x, step_w = their_steps(x, weights)
        collected["theirs"].append(integer_noise(layer, step_x * step_w))
    for names in both.ours.up:
        collected["ours"].append(our_noise(both, names))
    for who, pieces in collected.items():
        noise = np.concatenate(pieces)
        assert np.abs(noise).max() < GLWE_2048_27.guard, who
        # An offset that all outputs of a row share makes the spread of a few rows uncertain.
        assert 0.7 * sigma < rms(noise) < 1.4 * sigma, who


def our_noise(both: Comparison, names: tuple[str, ...]) -> Wide:
    """The integers' noise of one round of ours; gamma is recomputed as the session chose it."""
    from torch import from_numpy, nn

    from fhe_client.concrete.quantised import quantise_groups
    from fhe_client.glwe.scheme import choose_scale

    layers: dict[str, nn.Module] = {}
    for name in names:
        outputs, inputs = both.weights[name].shape
        layers[name] = nn.Linear(inputs, outputs, bias=False)
        layers[name].weight.data = from_numpy(both.weights[name])  # type: ignore[assignment]
    quantised = quantise_groups(layers, [list(names)], 8)
    x = both.ours.layers[names[0]].x.astype(np.float64)
    gamma = float(choose_scale(quantised.manifest.groups[0], x)[0, 0])
    units = np.split(
        quantised.scales[0].row_scale.numpy().astype(np.float64) / gamma,
        np.cumsum([len(both.weights[n]) for n in names])[:-1],
    )
    return np.concatenate(
        [integer_noise(both.ours.layers[n], u) for n, u in zip(names, units, strict=True)]
    )


def test_logits_agree_to_the_noise_in_execute(both: Comparison) -> None:
    ours, theirs = both.ours.logits, both.theirs.logits
    for who in (
        ours,
        theirs,
    ):  # noise is less than quantisation, though it makes later layers round anew
        assert error(who["execute"], who["disable"]) < error(who["disable"], both.due)
    assert error(ours["execute"], ours["disable"]) < error(theirs["execute"], theirs["disable"])
    apart = error(theirs["execute"], both.due), error(ours["execute"], both.due)
    assert error(ours["execute"], theirs["execute"]) < 1.15 * float(np.hypot(*apart))
    assert ours["execute"].argmax() == theirs["execute"].argmax() == both.due.argmax()


def test_no_layer_costs_more_bytes_and_a_group_costs_fewer(both: Comparison) -> None:
    headers = HEADER.size  # what Tacita puts around the very same objects
    for names in both.ours.up:
        up = sum(both.theirs.up[(name,)] for name in names)
        down = sum(both.theirs.down[(name,)] for name in names)
        assert both.ours.up[names] - headers == up / len(names), names
        assert both.ours.down[names] - headers <= down, names
        if len(names) > 1:
            assert both.ours.up[names] + both.ours.down[names] < 0.75 * (up + down), names
    assert sum(map(len, both.ours.up)) == len(both.theirs.up)
