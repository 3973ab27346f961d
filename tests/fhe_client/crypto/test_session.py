"""A session against an honest server in this process: right results, slots in lock-step, clean ends."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fhe_client.crypto import session as session_module
from fhe_client.crypto import window_maker
from fhe_client.crypto.errors import (
    CryptoError,
    ModelTooLargeError,
    SecretWipedError,
    SessionClosedError,
    SlotError,
)
from fhe_client.crypto.session import InferenceSession, RoundReport, window_bytes
from fhe_protocol.wire import MAX_ROWS, parse_query
from tests.security.world import Arrays, Channel, World, key, make_world

WORLD = make_world()
LINEAR, TABLE, SPLIT = WORLD.manifest.groups
PATIENCE_S = 60


def open_session(channel: Channel | None = None, **options: Any) -> InferenceSession:
    options = {"window_slots": 16, "hints": WORLD, **options}
    hints = options.pop("hints")
    link = channel or Channel(WORLD.answer)
    return InferenceSession(WORLD.manifest, link, hints, key(), **options)


def inputs(group: Any, rows: int, seed: int = 3, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, group.inputs)) * scale).astype(np.float32)


def is_close(world: World, group: Any, x: Any, found: Any) -> bool:
    off = np.abs(found.astype(np.float64) - world.clear(group, x))
    return bool((off <= world.bound(group, x)).all())


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("group", [LINEAR, SPLIT], ids=["whole", "split"])
def test_products_come_back_to_within_eight_sigma(group: Any, rows: int, scale: float) -> None:
    x = inputs(group, rows, scale=scale)
    with open_session() as session:
        session.begin_pass(rows)
        found = session.run_group(group, x)
    assert found.shape == (rows, group.outputs)
    assert found.dtype == np.float32
    assert is_close(WORLD, group, x, found)
    # And the bound says something: it is a small part of a typical product.
    assert WORLD.bound(group, x).max() < 0.5 * np.abs(WORLD.clear(group, x)).max()


@pytest.mark.parametrize("scaled", [False, True])
def test_rows_of_a_table_come_back(scaled: bool) -> None:
    ids = np.array([0, 29, 30, 49, 7])
    scale = np.linspace(0.0, -3.0, 50, dtype=np.float32) if scaled else None
    one_hot = np.zeros((5, 50), dtype=np.float32)
    one_hot[np.arange(5), ids] = 1.0 if scale is None else scale[ids]
    heights = one_hot.sum(axis=1)
    bound = np.zeros(5)
    for part in TABLE.parts:  # only the part that holds the token lets noise in
        guard = WORLD.manifest.parameters.guard(part.w_norm)
        held = (ids >= part.start) & (ids < part.stop)
        bound += held * guard * part.peak * np.abs(heights) / (2.0**23 - guard)
    with open_session() as session:
        session.begin_pass(5)
        found = session.run_embedding(TABLE, ids, scale)
    off = np.abs(found - WORLD.clear(TABLE, one_hot))
    silent = heights == 0  # no scale to hide behind: pure noise, which the caller's scale removes
    assert (off[~silent] <= bound[~silent, None] + 1e-6).all()


def test_inputs_that_are_no_numbers_count_as_zero() -> None:
    x = inputs(LINEAR, 3)
    spoiled = x.copy()
    spoiled[0, 3], spoiled[1, 5], spoiled[2, 7] = np.nan, np.inf, -np.inf
    x[0, 3] = x[1, 5] = x[2, 7] = 0
    with open_session() as session:
        session.begin_pass(3)
        assert is_close(WORLD, LINEAR, x, session.run_group(LINEAR, spoiled))


def test_no_number_makes_a_warning_or_ends_a_pass() -> None:
    rows = [np.nan, np.inf, 3.4e38, -3.4e38, 1e-45, 0.0]
    x = np.repeat(np.array(rows, dtype=np.float32)[:, None], SPLIT.inputs, axis=1)
    with warnings.catch_warnings(), open_session() as session:
        warnings.simplefilter("error")
        session.begin_pass(6)
        assert session.run_group(SPLIT, x).shape == (6, SPLIT.outputs)
        scale = np.full(50, np.nan, dtype=np.float32)
        assert session.run_embedding(TABLE, np.arange(6), scale).shape == (6, TABLE.outputs)


def test_slots_advance_in_lock_step() -> None:
    with open_session() as session:
        assert session.rows_until_window_end() == 16
        assert session.tokens_left_in_epoch == 1024
        session.begin_pass(5)
        session.run_group(LINEAR, inputs(LINEAR, 5))
        session.run_group(SPLIT, inputs(SPLIT, 1))  # fewer rows than reserved: the others are lost
        assert session.tokens_left_in_epoch == 1019
        session.begin_pass(2)
        assert is_close(WORLD, SPLIT, inputs(SPLIT, 2), session.run_group(SPLIT, inputs(SPLIT, 2)))
        assert session.rows_until_window_end() == 9
        assert session.rounds == 3


def test_a_group_is_computed_once_in_a_pass() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        session.begin_pass(4)
        session.run_group(LINEAR, inputs(LINEAR, 2))
        for rows in (1, 2, 4):
            with pytest.raises(SlotError, match="one plaintext, ever"):
                session.run_group(LINEAR, inputs(LINEAR, rows))
        assert len(channel.frames) == 1


def test_a_group_needs_a_pass_that_is_large_enough() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        with pytest.raises(SlotError, match="inside a pass"):
            session.run_group(LINEAR, inputs(LINEAR, 1))
        session.prepare()
        with pytest.raises(SlotError, match="inside a pass"):
            session.run_group(LINEAR, inputs(LINEAR, 1))
        session.begin_pass(2)
        with pytest.raises(SlotError, match="inside a pass"):
            session.run_group(LINEAR, inputs(LINEAR, 3))
        assert channel.frames == []


@pytest.mark.parametrize("rows", [0, -1, 17])
def test_a_pass_fits_its_window(rows: int) -> None:
    with open_session() as session:
        with pytest.raises(SlotError, match="fit into its window"):
            session.begin_pass(rows)
        session.begin_pass(16)


def test_an_input_of_the_wrong_width_is_never_sent() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        session.begin_pass(1)
        with pytest.raises(ValueError, match="pad of its own"):
            session.run_group(LINEAR, np.ones((1, 1), dtype=np.float32))
        assert channel.frames == []


@pytest.mark.parametrize("window_slots", [512, 1024])
def test_a_pass_fits_a_frame_whatever_the_window(
    window_slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_maker, "FIRST_SLOTS", 1024)
    world = make_world((("linear", 2, (0, 3)),))
    channel = Channel(world.answer)
    with InferenceSession(
        world.manifest, channel, world, key(), window_slots=window_slots
    ) as session:
        assert session.rows_until_window_end() == MAX_ROWS
        session.begin_pass(MAX_ROWS)
        x = inputs(world.manifest.groups[0], MAX_ROWS)
        assert is_close(
            world, world.manifest.groups[0], x, session.run_group(world.manifest.groups[0], x)
        )
        assert session.rows_until_window_end() == MAX_ROWS


@pytest.mark.parametrize("window_slots", [0, -1, 3, 2048])
def test_a_window_divides_the_epoch(window_slots: int) -> None:
    with pytest.raises(ValueError, match="must divide 1024"):
        open_session(window_slots=window_slots)


@pytest.mark.parametrize("window_slots", [1, 64, 256])
def test_any_window_gives_right_results_across_its_end(window_slots: int) -> None:
    world = make_world((("linear", 3, (0, 4)),))
    group = world.manifest.groups[0]
    channel = Channel(world.answer)
    session = InferenceSession(world.manifest, channel, world, key(), window_slots=window_slots)
    with session:
        for step in range(4):
            rows = min(48, session.rows_until_window_end())
            session.begin_pass(rows)
            x = inputs(group, rows, seed=step)
            assert is_close(world, group, x, session.run_group(group, x))


def test_an_epoch_ends_and_the_next_has_other_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_maker, "FIRST_SLOTS", 256)
    world = make_world((("linear", 3, (0, 4)),))
    group = world.manifest.groups[0]
    channel = Channel(world.answer)
    with InferenceSession(world.manifest, channel, world, key(), window_slots=256) as session:
        left = []
        for step in range(5):
            assert session.rows_until_window_end() == 256
            session.begin_pass(256)
            x = inputs(group, 256, seed=step)
            assert is_close(world, group, x, session.run_group(group, x))
            left.append(session.tokens_left_in_epoch)
        assert left == [768, 512, 256, 0, 768]
        assert session.epochs_used >= 2
    # The same slots of two epochs, the same plaintext shape: nothing of the first comes back.
    first, fifth = channel.frames[0][12:], channel.frames[4][12:]
    assert np.mean(np.frombuffer(first, np.uint8) == np.frombuffer(fifth, np.uint8)) < 0.05


def test_zero_inputs_are_sent_as_noise() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        session.begin_pass(8)
        session.run_group(LINEAR, np.zeros((8, LINEAR.inputs), dtype=np.float32))
    payload = np.frombuffer(channel.frames[0][12:], dtype=np.uint8)
    assert len(np.unique(payload)) > 200


def test_a_round_report_is_what_was_sent() -> None:
    reports: list[RoundReport] = []
    channel = Channel(WORLD.answer)
    with open_session(channel, on_round=reports.append) as session:
        session.begin_pass(2)
        session.run_group(SPLIT, inputs(SPLIT, 2))
    assert [(r.group, r.rows, r.frame) for r in reports] == [(SPLIT, 2, channel.frames[0])]


def test_request_ids_follow_each_other() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        for _ in range(3):
            session.begin_pass(1)
            session.run_group(LINEAR, inputs(LINEAR, 1))
    ids = [parse_query(frame, WORLD.manifest)[0].request_id for frame in channel.frames]
    assert all((b - a) % (1 << 32) == 1 for a, b in pairwise(ids))


def test_prepare_tells_its_progress() -> None:
    steps: list[tuple[int, int]] = []
    with open_session() as session:
        session.prepare(lambda done, total: steps.append((done, total)))
        session.prepare(lambda done, total: steps.append((done, total)))
        assert steps == [(k, 5) for k in range(1, 6)]
        assert session.epochs_used == 1


def test_prepare_can_be_cancelled_and_begun_again() -> None:
    def cancel(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with open_session() as session:
        with pytest.raises(KeyboardInterrupt):
            session.prepare(cancel)
        session.begin_pass(2)
        # The slots of the cancelled window are lost: they are not prepared a second time.
        assert session.tokens_left_in_epoch == 1024 - 16 - 2
        assert is_close(
            WORLD, LINEAR, inputs(LINEAR, 2), session.run_group(LINEAR, inputs(LINEAR, 2))
        )


def test_a_lost_answer_costs_the_slot() -> None:
    def fail(_frame: bytes) -> bytes:
        raise ConnectionError

    with open_session(Channel(fail)) as session:
        session.begin_pass(1)
        with pytest.raises(ConnectionError):
            session.run_group(LINEAR, inputs(LINEAR, 1))
        with pytest.raises(SlotError, match="one plaintext, ever"):
            session.run_group(LINEAR, inputs(LINEAR, 1))
        assert session.rounds == 0


class Flaky(Arrays):
    """Hints that cannot be read while `broken`."""

    broken: type[Exception] | None = None

    def read(self, part_index: int) -> Any:
        if self.broken is not None:
            raise self.broken("the disk is gone")
        return super().read(part_index)


def spend_window(session: InferenceSession) -> None:
    session.begin_pass(session.rows_until_window_end())


def test_background_work_that_failed_is_done_again_in_the_foreground() -> None:
    hints = Flaky(list(WORLD.hints))
    with open_session(hints=hints) as session:
        hints_at_first = hints.reads
        session.prepare()
        assert hints_at_first
        hints.broken = OSError
        spend_window(session)
        join_maker(session)
        hints.broken = None
        assert session.rows_until_window_end() == 16
        session.begin_pass(1)
        x = inputs(LINEAR, 1)
        assert is_close(WORLD, LINEAR, x, session.run_group(LINEAR, x))


def test_a_failure_that_stays_is_shown() -> None:
    hints = Flaky(list(WORLD.hints))
    with open_session(hints=hints) as session:
        session.prepare()
        hints.broken = OSError
        spend_window(session)
        join_maker(session)
        # Either the window made before the disk went, or the error; at the latest the one after.
        with pytest.raises(OSError, match="the disk is gone"):
            spend_windows(session, 3)


def spend_windows(session: InferenceSession, count: int) -> None:
    for _ in range(count):
        spend_window(session)
        join_maker(session)


def join_maker(session: InferenceSession) -> None:
    """Wait until the background thread has done what it was going to do."""
    maker = session._maker
    maker._urgent.set()
    thread = maker._thread
    if thread is not None:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_closed_session_refuses_everything_and_holds_nothing() -> None:
    session = open_session()
    session.begin_pass(4)
    window = session._window
    session.close()
    session.close()
    calls: list[Callable[[], object]] = [
        lambda: session.begin_pass(1),
        lambda: session.run_group(LINEAR, inputs(LINEAR, 1)),
        lambda: session.run_embedding(TABLE, np.array([1]), None),
        session.rows_until_window_end,
        session.prepare,
    ]
    for call in calls:
        with pytest.raises(SessionClosedError):
            call()
    assert window is not None
    assert not any(pads.any() for pads in (*window._query_pads, *window._hint_products))
    maker = session._maker
    assert maker._secrets is None or maker._secrets._wiped
    assert maker._ready is None or maker._ready._wiped


def test_a_session_never_used_can_be_closed() -> None:
    open_session().close()


def test_close_from_another_thread_while_a_round_waits() -> None:
    """The answer that comes later is not opened: its pads are gone."""
    asked, go_on = threading.Event(), threading.Event()

    def slow(frame: bytes) -> bytes:
        asked.set()
        assert go_on.wait(PATIENCE_S)
        return WORLD.answer(frame)

    session = open_session(Channel(slow))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            session.begin_pass(1)
            session.run_group(LINEAR, inputs(LINEAR, 1))
        except CryptoError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(PATIENCE_S)
    session.close()
    go_on.set()
    thread.join(PATIENCE_S)
    assert [type(f) for f in failures] == [SecretWipedError]


def test_close_from_another_thread_while_pads_are_prepared() -> None:
    reading, go_on = threading.Event(), threading.Event()

    class Slow(Arrays):
        def read(self, part_index: int) -> Any:
            if part_index == 2:
                reading.set()
                assert go_on.wait(PATIENCE_S)
            return super().read(part_index)

    session = open_session(hints=Slow(list(WORLD.hints)))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            session.prepare()
        except CryptoError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert reading.wait(PATIENCE_S)
    session.close()
    go_on.set()
    thread.join(PATIENCE_S)
    assert [type(f) for f in failures] == [SessionClosedError]
    assert session._maker._secrets is not None
    assert session._maker._secrets._wiped
    assert session._window is None


def test_close_waits_for_the_background_and_leaves_no_thread() -> None:
    for _ in range(5):
        session = open_session()
        session.begin_pass(1)
        session.close()
        thread = session._maker._thread
        assert thread is None or not thread.is_alive()


def test_a_model_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = window_bytes(WORLD.manifest, 16)
    assert needed == 16 * sum(
        4 * g.parts[k].inputs + 2 * g.outputs for g, k in WORLD.manifest.parts
    )
    monkeypatch.setattr(session_module, "MAX_WINDOW_BYTES", needed)
    open_session().close()
    monkeypatch.setattr(session_module, "MAX_WINDOW_BYTES", needed - 1)
    with pytest.raises(ModelTooLargeError, match="memory"):
        open_session()
