"""Keys of the native library: products come back, noise is what `simulate` adds, hostile answers become NaN."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fhe_client.crypto.errors import SecretWipedError
from fhe_client.glwe import scheme
from fhe_client.glwe.errors import GlweUnavailableError
from fhe_client.glwe.keys import GlweKeys, load_library
from fhe_protocol.glwe import GLWE_2048_27, KEY_SIZE, result_size
from tests.glwe_keys import RealKeys, client_keys, real_keys


@pytest.fixture(scope="module")
def helper() -> RealKeys:
    return real_keys()


@pytest.fixture(scope="module")
def keys(helper: RealKeys) -> Iterator[GlweKeys]:
    made = client_keys()
    yield made
    made.close()


def test_the_spread_of_real_noise_is_the_simulated_one(keys: GlweKeys, helper: RealKeys) -> None:
    """Whatever is multiplied: small and large integers, near the end of the range, too."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-127, 128, size=(3, 30)).astype(np.int8)
    x = rng.integers(-10, 10, size=(60, 30)).astype(np.int64)
    x[30:] *= 8000
    exact = x @ weights.astype(np.int64).T
    assert GLWE_2048_27.half_range / 4 < np.abs(exact).max() < GLWE_2048_27.half_range
    result = helper.multiply(keys.encrypt(x), weights)
    error = keys.decrypt(result, 60, 3) - exact
    simulated = scheme.noise(rng, 2000, 3)
    assert np.abs(error).max() < GLWE_2048_27.guard
    assert 0.7 < error.std() / simulated.std() < 1.3
    # Neighbouring outputs share an offset, in reality as in simulation.
    shared = error.mean(axis=1).std() / simulated.mean(axis=1).std()
    assert 0.65 < shared < 1.35


def test_encryption_is_fresh_every_time(keys: GlweKeys) -> None:
    x = np.zeros((1, 5), dtype=np.int64)
    first, second = keys.encrypt(x), keys.encrypt(x)
    assert len(first) == len(second)
    same = np.frombuffer(first, np.uint64) == np.frombuffer(second, np.uint64)
    assert same.sum() < 20


def test_answers_that_cannot_be_read_are_nan_and_no_crash(keys: GlweKeys) -> None:
    assert np.isnan(keys.decrypt(b"", 1, 4)).all()
    assert np.isnan(keys.decrypt(bytes(result_size(1, 4)), 1, 4)).all()


def test_random_ciphertext_words_only_spoil_the_values(keys: GlweKeys, helper: RealKeys) -> None:
    weights = np.ones((5, 3), dtype=np.int8)
    data = bytearray(helper.multiply(keys.encrypt(np.ones((1, 3), dtype=np.int64)), weights))
    data[24:-80] = os.urandom(len(data) - 104)
    values = keys.decrypt(bytes(data), 1, 5)
    assert values.shape == (1, 5)
    assert np.isfinite(values).all()


def test_new_keys_work_once_and_closed_ones_do_not() -> None:
    real_keys()
    made = GlweKeys()
    assert len(made.compression_key) == KEY_SIZE
    assert len(made.encrypt(np.ones((1, 4), dtype=np.int64))) == 10112
    made.close()
    made.close()
    assert made.compression_key == b""
    with pytest.raises(SecretWipedError):
        made.encrypt(np.ones((1, 4), dtype=np.int64))


def test_keys_do_not_work_in_a_forked_child(
    keys: GlweKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)
    with pytest.raises(SecretWipedError):
        keys.encrypt(np.ones((1, 4), dtype=np.int64))


@pytest.mark.parametrize(
    ("platform", "version", "told"),
    [
        ("win32", (3, 12), "Windows"),
        ("linux", (3, 13), "Python 3.13"),
        ("linux", (3, 12), "pip install"),
    ],
)
def test_a_missing_library_is_explained(
    platform: str, version: tuple[int, int], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(GlweUnavailableError, match=told) as caught:
        load_library()
    assert "--scheme hint" in caught.value.next_step


def test_a_library_that_does_not_load_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "concrete_ml_extensions":
            raise ImportError("GLIBC_2.34 not found")
        return real_import(name, *rest)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(GlweUnavailableError, match="cannot be loaded"):
        load_library()
