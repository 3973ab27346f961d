"""A slot carries one plaintext, ever: whatever a caller, a second thread, a fork or a pickle tries."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_client.crypto.errors import SecretWipedError, SlotError
from fhe_client.crypto.window import Window

SLOTS = 16
SHAPES = [(5, 3), (2, 4)]


def filled(shapes: list[tuple[int, int]] = SHAPES, count: int = SLOTS) -> Window:
    """Pads that say which slot they are: query_pad[t] = 1000 + t, hint_product[t] = 2000 + t."""
    window = Window(shapes, 0, count)
    for part in range(len(shapes)):
        query, product = window.fill(part)
        query[:] = 1000 + np.arange(count)[:, None]
        product[:] = 2000 + np.arange(count)[:, None]
    return window


def test_pads_come_out_once_in_order() -> None:
    window = filled()
    for start, rows in ((0, 1), (1, 4), (5, 11)):
        pads = window.take_query_pad(0, start, rows)
        assert pads.shape == (rows, 5)
        assert pads[:, 0].tolist() == [1000 + t for t in range(start, start + rows)]
        products = window.take_hint_product(0, start, rows)
        assert products[:, 0].tolist() == [2000 + t for t in range(start, start + rows)]


def test_a_slot_is_refused_the_second_time() -> None:
    window = filled()
    window.take_query_pad(0, 0, 4)
    for start, rows in ((0, 4), (0, 1), (3, 1), (3, 5), (2, 2)):
        with pytest.raises(SlotError, match="one plaintext, ever"):
            window.take_query_pad(0, start, rows)
    assert window.take_query_pad(0, 4, 1)[0, 0] == 1004
    assert window.take_query_pad(1, 0, 4)[0, 0] == 1000  # another part has a counter of its own


def test_skipped_slots_are_lost() -> None:
    window = filled()
    window.take_query_pad(0, 10, 1)
    with pytest.raises(SlotError):
        window.take_query_pad(0, 9, 1)
    assert window.take_query_pad(0, 11, 1)[0, 0] == 1011


def test_an_answer_is_opened_once_and_after_its_query() -> None:
    window = filled()
    with pytest.raises(SlotError, match="after its query was sent"):
        window.take_hint_product(0, 0, 1)
    window.take_query_pad(0, 0, 2)
    with pytest.raises(SlotError, match="after its query was sent"):
        window.take_hint_product(0, 1, 2)
    window.take_hint_product(0, 0, 2)
    with pytest.raises(SlotError, match="one plaintext, ever"):
        window.take_hint_product(0, 0, 2)


def test_what_was_handed_out_is_erased_inside() -> None:
    window = filled()
    pads = window.take_query_pad(0, 2, 3)
    products = window.take_hint_product(0, 2, 3)
    assert not window._query_pads[0][2:5].any()
    assert not window._hint_products[0][2:5].any()
    assert window._query_pads[0][5:].all()
    pads[:] = 7  # the caller's copy is its own
    products[:] = 7
    assert not window._query_pads[0][2:5].any()


@pytest.mark.parametrize(("start", "rows"), [(0, 0), (0, -1), (-1, 1), (16, 1), (0, 17), (15, 2)])
def test_slots_outside_are_refused(start: int, rows: int) -> None:
    window = filled()
    with pytest.raises(SlotError):
        window.take_query_pad(0, start, rows)
    assert window.take_query_pad(0, 0, 1)[0, 0] == 1000  # a refused call moves nothing


def test_a_part_without_pads_gives_none() -> None:
    window = Window(SHAPES, 0, SLOTS)
    with pytest.raises(SlotError, match="not prepared"):
        window.take_query_pad(0, 0, 1)


def test_pads_are_prepared_once() -> None:
    window = filled()
    with pytest.raises(SlotError, match="prepared once"):
        window.fill(0)


def test_a_wiped_window_gives_nothing() -> None:
    window = filled()
    window.take_query_pad(0, 0, 1)
    window.wipe()
    window.wipe()
    assert not any(pads.any() for pads in (*window._query_pads, *window._hint_products))
    for act in (
        lambda: window.take_query_pad(0, 1, 1),
        lambda: window.take_hint_product(0, 0, 1),
        lambda: window.fill(0),
    ):
        with pytest.raises(SecretWipedError):
            act()


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_window_cannot_be_copied(act: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        act(filled())


def test_a_window_does_not_print_its_pads() -> None:
    assert repr(filled()) == "Window(first=0, count=16)"


def test_threads_that_race_never_share_a_slot() -> None:
    count = 400
    window = filled([(1, 1)], count)
    start = threading.Barrier(4)
    got: list[list[int]] = [[] for _ in range(4)]

    def race(mine: list[int]) -> None:
        start.wait()
        for slot in range(count):
            try:
                mine.append(int(window.take_query_pad(0, slot, 1)[0, 0]))
            except SlotError:
                continue

    threads = [threading.Thread(target=race, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [pad for mine in got for pad in mine]
    assert len(taken) == len(set(taken))
    assert set(taken) <= set(range(1000, 1000 + count))


def test_a_wipe_that_races_never_gives_an_erased_pad() -> None:
    """A pad of zeros would send clear text."""
    for _ in range(20):
        window = filled([(50, 1)], 200)
        start = threading.Barrier(2)
        seen: list[bool] = []

        def take(window: Window, start: threading.Barrier, seen: list[bool]) -> None:
            start.wait()
            for slot in range(200):
                try:
                    seen.append(bool((window.take_query_pad(0, slot, 1) == 1000 + slot).all()))
                except SecretWipedError:
                    return

        thread = threading.Thread(target=take, args=(window, start, seen))
        thread.start()
        start.wait()
        window.wipe()
        thread.join()
        assert all(seen)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_takes_no_pad_along() -> None:
    window = filled()
    child = os.fork()
    if child == 0:  # no pytest in here: say it with the exit status
        status = 1
        try:
            window.take_query_pad(0, 0, 1)
        except SecretWipedError:
            erased = not any(a.any() for a in (*window._query_pads, *window._hint_products))
            status = 0 if erased else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert window.take_query_pad(0, 0, 1)[0, 0] == 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_the_lock_is_held_does_not_hang() -> None:
    window = filled()
    with window._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if not window._query_pads[0].any() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


CALLS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 1), st.integers(-1, 17), st.integers(-1, 17)),
    max_size=30,
)


@given(CALLS)
def test_whatever_is_called_no_slot_comes_out_twice(
    calls: list[tuple[bool, int, int, int]],
) -> None:
    window = filled()
    sent: dict[int, list[int]] = {0: [], 1: []}
    opened: dict[int, list[int]] = {0: [], 1: []}
    for is_query, part, start, rows in calls:
        take = window.take_query_pad if is_query else window.take_hint_product
        log, base = (sent, 1000) if is_query else (opened, 2000)
        try:
            taken = take(part, start, rows)
        except SlotError:
            continue
        log[part] += [int(v) - base for v in taken[:, 0]]
    for log in (sent, opened):
        for slots in log.values():
            assert slots == sorted(set(slots))
            assert all(0 <= s < SLOTS for s in slots)


def test_the_pads_of_a_window_are_one_piece_of_memory() -> None:
    """Or they stay in the heap of the thread that made them, and memory grows with every window."""
    window = Window([(5, 3), (7, 2)], 0, 4)
    for arrays in (window._query_pads, window._hint_products):
        bases = {id(array.base if array.base.base is None else array.base.base) for array in arrays}
        assert len(bases) == 1
    first, second = window._query_pads
    assert (first.shape, second.shape) == ((4, 5), (4, 7))
    assert not np.shares_memory(first, second)
