"""Epoch secrets: many, independent, the same when asked again, gone when wiped."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from fhe_client.crypto import secrets
from fhe_client.crypto.errors import SecretWipedError
from fhe_client.crypto.secrets import EpochSecrets
from fhe_protocol.parameters import HINT_1024_24
from tests.security.world import key

DEGREE = 1024


def epoch() -> EpochSecrets:
    return EpochSecrets(key(), HINT_1024_24)


def test_a_secret_is_ternary_and_the_same_when_asked_again() -> None:
    made = epoch()
    secret = made.secret(3)
    assert secret.dtype == np.int8
    assert sorted(set(secret.tolist())) == [-1, 0, 1]
    assert secret.shape == (DEGREE,)
    assert np.array_equal(secret, made.secret(3))


def test_secrets_of_parts_and_epochs_are_unrelated() -> None:
    first, second = epoch(), epoch()
    drawn = [first.secret(k) for k in range(6)] + [second.secret(k) for k in range(6)]
    for one, other in combinations(drawn, 2):
        agree = float((one == other).mean())
        assert 0.2 < agree < 0.47  # 1/3 expected; nine standard deviations either side
        correlation = float((one.astype(int) * other.astype(int)).mean())
        assert abs(correlation) < 0.19


def test_the_same_key_and_nonce_would_be_needed_to_repeat_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nonce comes from the operating system and lives in memory only."""
    monkeypatch.setattr(secrets.os, "urandom", lambda n: b"n" * n)
    assert np.array_equal(epoch().secret(0), epoch().secret(0))
    monkeypatch.undo()
    assert not np.array_equal(epoch().secret(0), epoch().secret(0))


def test_the_master_key_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weak operating system alone does not give the secrets away."""
    monkeypatch.setattr(secrets.os, "urandom", lambda n: b"n" * n)
    other = EpochSecrets(key(8), HINT_1024_24)
    assert not np.array_equal(epoch().secret(0), other.secret(0))


def test_errors_belong_to_their_slot() -> None:
    made = epoch()
    errors = made.errors(1, np.array([7]), 501)[0]
    assert np.array_equal(errors, made.errors(1, np.array([7]), 501)[0])
    together = made.errors(1, np.array([5, 6, 7, 8, 1000]), 501)
    assert np.array_equal(errors, together[2])
    assert len({row.tobytes() for row in together}) == 5
    for part, slot in ((1, 8), (2, 7), (7, 1)):
        assert not np.array_equal(errors, made.errors(part, np.array([slot]), 501)[0])
    assert abs(int(errors.max())) <= 5


def test_a_wiped_epoch_gives_nothing() -> None:
    made = epoch()
    made.wipe()
    made.wipe()
    assert bytes(made._key) == bytes(32)
    for act in (lambda: made.secret(0), lambda: made.errors(0, np.array([0]), 4)):
        with pytest.raises(SecretWipedError):
            act()
    assert repr(made) == "EpochSecrets(wiped)"


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_epoch_cannot_be_copied(act: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        act(epoch())


def test_an_epoch_does_not_print_its_key() -> None:
    made = epoch()
    assert repr(made) == "EpochSecrets(alive)"
    assert bytes(made._key).hex() not in str(vars(made)["_parameters"])


def test_wiping_while_others_ask_never_gives_a_zero_key() -> None:
    """Whoever asks gets either the true secret or an error, never one derived from zeros."""
    for _ in range(20):
        made = epoch()
        true = made.secret(0)
        seen: list[bool] = []
        start = threading.Barrier(4)

        def ask(
            made: EpochSecrets, start: threading.Barrier, seen: list[bool], true: object
        ) -> None:
            start.wait()
            for _ in range(20):
                try:
                    seen.append(bool(np.array_equal(made.secret(0), true)))
                except SecretWipedError:
                    return

        threads = [threading.Thread(target=ask, args=(made, start, seen, true)) for _ in range(3)]
        for thread in threads:
            thread.start()
        start.wait()
        made.wipe()
        for thread in threads:
            thread.join()
        assert all(seen)
