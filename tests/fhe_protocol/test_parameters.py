"""The parameter sets: the frozen one is the one of the security estimate, unsafe ones cannot be made."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fhe_protocol.errors import ParameterError, ProtocolError
from fhe_protocol.parameters import (
    HINT_1024_24,
    MAX_SAMPLES,
    HintParameters,
    parameters_by_name,
)


def test_the_default_set_is_the_estimated_one() -> None:
    """docs/security/parameters.md quotes a run for exactly these numbers: changing one needs a new run."""
    assert dataclasses.asdict(HINT_1024_24) == {
        "name": "hint-1024-24",
        "ring_degree": 1024,
        "modulus_bits": 24,
        "error_eta": 5,
        "answer_bits": 16,
        "security_bits": 136.8,
    }
    assert HINT_1024_24.modulus == 2**24
    assert HINT_1024_24.step == 256
    assert HINT_1024_24.error_variance == 2.5
    assert HINT_1024_24.max_inputs * HINT_1024_24.ring_degree == MAX_SAMPLES == 2**27


@pytest.mark.parametrize(
    "change",
    [
        {"ring_degree": 256},
        {"ring_degree": 1000},
        {"modulus_bits": 32},
        {"modulus_bits": 16},
        {"error_eta": 0},
        {"error_eta": 9},
        {"answer_bits": 24},
        {"security_bits": 100.0},
        {"security_bits": math.nan},
    ],
)
def test_an_unsafe_set_cannot_be_made(change: dict[str, float]) -> None:
    values = dataclasses.asdict(HINT_1024_24) | change
    with pytest.raises(ParameterError):
        HintParameters(**values)


def test_a_set_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        HINT_1024_24.error_eta = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "hint-512-24", "HINT-1024-24", "x" * 10_000])
def test_a_server_cannot_propose_its_own_set(name: str) -> None:
    with pytest.raises(ParameterError) as raised:
        parameters_by_name(name)
    assert isinstance(raised.value, ProtocolError)
    assert len(str(raised.value)) < 200


def test_known_sets_are_found_by_name() -> None:
    assert parameters_by_name("hint-1024-24") is HINT_1024_24


@pytest.mark.parametrize("w_norm", [127.0, 3048.0, 11494.0])
def test_the_guard_is_the_formula_of_the_design(w_norm: float) -> None:
    design = 8 * math.sqrt(w_norm**2 * (2.5 + 1 / 12) + (256**2 / 12) * (1 + 2 * 1024 / 3))
    assert math.isclose(HINT_1024_24.guard(w_norm), design, rel_tol=1e-12)
    assert math.isclose(HINT_1024_24.noise_sigma(w_norm), design / 8, rel_tol=1e-12)


def test_the_guard_leaves_room_for_a_signal_up_to_the_widest_group() -> None:
    widest = 128 * math.sqrt(HINT_1024_24.max_inputs)
    assert HINT_1024_24.guard(widest) < HINT_1024_24.modulus / 2
