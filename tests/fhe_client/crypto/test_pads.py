"""Preparing pads: the equations of the docstring, computed a second time in plain integers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from fhe_client.crypto import pads as pads_module
from fhe_client.crypto.errors import SecretWipedError
from fhe_client.crypto.pads import fill_part, part_shapes, prepare_window
from fhe_client.crypto.secrets import EpochSecrets
from fhe_client.crypto.window import Window
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import OFFSET
from tests.fhe_client.crypto.test_ring import naive
from tests.security.world import Arrays, key, make_world

WORLD = make_world()
PARAMETERS = WORLD.manifest.parameters


def epoch() -> EpochSecrets:
    return EpochSecrets(key(), PARAMETERS)


def expected_query_pads(secrets: EpochSecrets, index: int, slots: Any) -> Any:
    """A*s + e + OFFSET mod 2^24, (slots, n)."""
    group, part = WORLD.manifest.parts[index]
    mask = expand_mask(PARAMETERS, WORLD.manifest.mask_name(group, part)).astype(np.int64)
    product = naive(mask, secrets.secret(index))[:, slots].T
    errors = np.stack([secrets.errors(index, np.array([t]), mask.shape[0])[0] for t in slots])
    return (product + errors + OFFSET) % (1 << 24)


@pytest.mark.parametrize("slots", [[0], [1023], [3, 4, 5, 6], [9, 2, 700], [0, 2, 4]])
@pytest.mark.parametrize("index", [0, 2])
def test_pads_are_what_the_equations_say(slots: list[int], index: int) -> None:
    secrets = epoch()
    n, m = part_shapes(WORLD.manifest)[index]
    query = np.zeros((len(slots), n), dtype=np.uint32)
    product = np.zeros((len(slots), m), dtype=np.uint16)
    fill_part(WORLD.manifest, secrets, WORLD, index, np.array(slots), query, product)
    assert np.array_equal(query & 0xFFFFFF, expected_query_pads(secrets, index, slots))
    signed = WORLD.hints[index].view(np.int16)
    exact = naive(signed, secrets.secret(index))[:, slots].T
    off = (product.astype(np.int64) - exact + 0x8000) % 0x10000 - 0x8000
    assert np.abs(off).max() <= 1


def test_a_window_holds_all_parts() -> None:
    secrets = epoch()
    window = prepare_window(WORLD.manifest, secrets, WORLD, 512, 8)
    assert (window.first, window.count) == (512, 8)
    for index in range(len(WORLD.manifest.parts)):
        pads = window.take_query_pad(index, 0, 8)
        expected = expected_query_pads(secrets, index, np.arange(512, 520))
        assert np.array_equal(pads & 0xFFFFFF, expected)


def test_preparing_a_slot_again_draws_no_new_error() -> None:
    """Invariant 1: two errors over one plaintext's pad would average away."""
    secrets = epoch()
    once = prepare_window(WORLD.manifest, secrets, WORLD, 0, 16)
    again = prepare_window(WORLD.manifest, secrets, WORLD, 8, 8)
    for index in range(len(WORLD.manifest.parts)):
        pads = once.take_query_pad(index, 8, 8)
        assert np.array_equal(pads & 0xFFFFFF, again.take_query_pad(index, 0, 8) & 0xFFFFFF)


def test_progress_is_told_after_each_part() -> None:
    steps: list[tuple[int, int]] = []
    prepare_window(
        WORLD.manifest, epoch(), WORLD, 0, 1, lambda done, total: steps.append((done, total))
    )
    assert steps == [(k, 5) for k in range(1, 6)]


def windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    made: list[Window] = []

    class Watched(Window):
        def __init__(self, shapes: list[tuple[int, int]], first: int, count: int) -> None:
            super().__init__(shapes, first, count)
            made.append(self)

    monkeypatch.setattr("fhe_client.crypto.pads.Window", Watched)
    return made


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_work_that_ends_early_is_erased(
    failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = windows(monkeypatch)

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise failure

    with pytest.raises(failure):
        prepare_window(WORLD.manifest, epoch(), WORLD, 0, 4, stop)
    assert not any(pads.any() for pads in made[0]._query_pads)
    with pytest.raises(SecretWipedError):
        made[0].take_query_pad(0, 0, 1)


def test_the_work_can_be_ended_within_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    made, finished, checks = windows(monkeypatch), [], []

    def check() -> None:
        checks.append(len(finished))
        if len(checks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_window(
            WORLD.manifest, epoch(), WORLD, 0, 4, lambda done, _total: finished.append(done), check
        )
    assert checks == [0, 0, 0]
    assert not any(pads.any() for pads in made[0]._query_pads)


def test_hints_that_cannot_be_read_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    made = windows(monkeypatch)
    with pytest.raises(IndexError):
        prepare_window(WORLD.manifest, epoch(), Arrays(list(WORLD.hints[:2])), 0, 4)
    assert not any(pads.any() for pads in made[0]._query_pads)


def test_secrets_are_wiped_as_soon_as_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[Any] = []
    secrets = epoch()
    give = secrets.secret
    monkeypatch.setattr(secrets, "secret", lambda k: handed.append(give(k)) or handed[-1])
    prepare_window(WORLD.manifest, secrets, WORLD, 0, 1)
    assert len(handed) == 5
    assert not any(secret.any() for secret in handed)


def test_threads_share_the_parts_and_make_the_same_pads() -> None:
    secrets, told = epoch(), []
    alone = prepare_window(WORLD.manifest, secrets, WORLD, 64, 16)
    shared = prepare_window(
        WORLD.manifest, secrets, WORLD, 64, 16, lambda *n: told.append(n), threads=3
    )
    parts = len(WORLD.manifest.parts)
    assert told == [(k + 1, parts) for k in range(parts)]
    for index in range(parts):
        pads = [w.take_query_pad(index, 0, 16) for w in (alone, shared)]
        assert np.array_equal(*pads)
        products = [w.take_hint_product(index, 0, 16) for w in (alone, shared)]
        assert np.array_equal(*products)


def test_what_fails_in_one_thread_ends_the_others_and_erases_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Window] = []
    failed = threading.Event()

    class Kept(Window):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    class Hints:
        def read(self, part: int) -> Any:
            if not failed.is_set():
                failed.set()
                raise OSError("gone")
            return WORLD.read(part)

    monkeypatch.setattr(pads_module, "Window", Kept)
    before = threading.active_count()
    with pytest.raises(OSError, match="gone"):
        prepare_window(WORLD.manifest, epoch(), Hints(), 0, 4, threads=2)
    assert threading.active_count() <= before  # nobody is left who could write
    assert made[0]._wiped
    assert not any(pads.any() for pads in made[0]._query_pads + made[0]._hint_products)


def test_pads_look_uniform() -> None:
    window = prepare_window(WORLD.manifest, epoch(), WORLD, 0, 256)
    pads = window.take_query_pad(1, 0, 256) & 0xFFFFFF
    counts = np.bincount((pads >> 20).ravel(), minlength=16)
    expected = pads.size / 16
    assert (
        float(((counts - expected) ** 2 / expected).sum()) < 60
    )  # 15 degrees of freedom, p < 1e-6
