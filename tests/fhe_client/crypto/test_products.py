"""Two ways to the same integers: both against the definition, and against each other."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fhe_client.crypto import products
from fhe_client.crypto.products import (
    SPREAD_SLOTS,
    FourierProducts,
    MatrixProducts,
    make_products,
)
from fhe_protocol.masks import MaskName, expand_mask, expand_mask_digits
from fhe_protocol.parameters import HINT_1024_24
from fhe_protocol.planes import from_planes
from tests.fhe_client.crypto.test_ring import naive, ternary

NAME = MaskName(bytes(range(32)), 3, "group/0", 40, 24)
SLOTS = [
    np.arange(8),
    np.arange(1000, 1024),
    np.array([0]),
    np.array([1023]),
    np.array([5, 9, 700]),
    np.arange(300, 300 + SPREAD_SLOTS + 1),  # too many for spread rows
]
ROOT = Path(__file__).parents[3]
WAYS = [MatrixProducts, FourierProducts]
Way = type[MatrixProducts] | type[FourierProducts]


@pytest.mark.parametrize("slots", SLOTS, ids=lambda s: f"{s[0]}-{s[-1]}")
@pytest.mark.parametrize("way", WAYS)
def test_masks_are_multiplied_exactly(way: Way, slots: np.ndarray) -> None:
    secret = ternary(1)
    mask = expand_mask(HINT_1024_24, NAME).astype(np.int64)
    exact = naive(mask, secret)[:, slots].T % (1 << 24)
    found = way(secret, slots).of_mask(HINT_1024_24, NAME, 7, 40)
    assert np.array_equal(found, exact[:, 7:40])


@pytest.mark.parametrize("slots", SLOTS, ids=lambda s: f"{s[0]}-{s[-1]}")
def test_hints_by_matrix_are_exact(slots: np.ndarray) -> None:
    secret = ternary(2)
    hint = np.random.default_rng(4).integers(0, 1 << 16, (9, 1024)).astype(np.uint16)
    hint[0], hint[1], hint[2] = 0x7FFF, 0x8000, 0x8080
    exact = naive(hint.view(np.int16), secret)[:, slots].T % (1 << 16)
    assert np.array_equal(MatrixProducts(secret, slots).of_hint(hint), exact)
    off = FourierProducts(secret, slots).of_hint(hint).astype(np.int64) - exact
    assert np.abs((off + 0x8000) % 0x10000 - 0x8000).max() <= 1


def test_digits_of_a_mask_are_those_of_its_values_less_the_offset() -> None:
    digits = expand_mask_digits(HINT_1024_24, NAME, 3, 11)
    values = (from_planes(np.moveaxis(digits, 2, 0)) + np.uint32(0x808080)) & np.uint32(0xFFFFFF)
    assert np.array_equal(values, expand_mask(HINT_1024_24, NAME, 3, 11))
    with pytest.raises(ValueError, match="out of range"):
        expand_mask_digits(HINT_1024_24, NAME, 3, 41)


FORK = """
import os, sys
import numpy as np
import torch
from fhe_client.crypto import products

torch.set_num_threads(2)
torch.zeros(1 << 20).fill_(1)  # its threads are there from now on
secret = np.ones(1024, dtype=np.int8)
held = getattr(products, sys.argv[1])(secret, np.arange(256))
child = os.fork()
if child == 0:
    held.wipe_after_fork()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("way", WAYS)
def test_a_forked_child_wipes_without_the_threads_it_lost(way: Way) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, way.__name__]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        try:
            assert process.wait(timeout=120) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a hanging child, too


@pytest.mark.parametrize("way", WAYS)
def test_wiped_products_are_zero(way: Way) -> None:
    made = way(ternary(3), np.arange(16))
    made.wipe()
    assert not made.of_mask(HINT_1024_24, NAME, 0, 8).any()
    assert not made.of_hint(np.full((4, 1024), 77, dtype=np.uint16)).any()


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("way", WAYS)
def test_they_cannot_be_copied(way: Way, act: Callable[[object], object]) -> None:
    made = way(ternary(3), np.arange(4))
    with pytest.raises(TypeError, match="cannot be copied"):
        act(made)
    assert repr(made) == f"{way.__name__}()"


@pytest.mark.parametrize(("faster", "way"), [(True, MatrixProducts), (False, FourierProducts)])
def test_the_faster_way_is_taken(faster: bool, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_matrix_is_faster", lambda: faster)
    assert isinstance(make_products(ternary(5), np.arange(4)), way)


def test_an_inexact_matrix_product_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MatrixProducts, "of_hint", lambda self, hint: np.zeros((256, 8), np.uint16))
    monkeypatch.setattr(products, "_seconds", lambda made: isinstance(made, FourierProducts))
    assert products._matrix_is_faster.__wrapped__() is False


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_copy_of_the_secret_is_left_behind(count: int) -> None:
    """What is taken in between is erased or is the result itself: nothing of the result's size is given back unseen."""
    extended = np.ones(2 * 1024, dtype=np.int8)
    slots = np.arange(64)
    tracemalloc.start()
    try:
        rows = products._spread_rows(extended, slots, count)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows.all(axis=1).sum() == (rows.shape[0] if count == 1 else 0)
    assert rows.sum() == 64 * count * 1024
    assert peak < 1.5 * rows.nbytes
