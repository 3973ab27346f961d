"""When a wait is spent awake: while rounds are quick, and while nobody else wants the processor."""

from __future__ import annotations

import itertools

import pytest

from fhe_protocol import waiting
from fhe_protocol.waiting import LONGEST_S, ShortWait


class World:
    """A clock that moves by a microsecond with each look, and a processor that nobody else wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.looks = 0
        self.due = float("inf")
        monkeypatch.setattr(waiting, "CAN_TELL", True)
        monkeypatch.setattr(waiting, "_pushed_off", lambda: 0)
        self.wait = ShortWait(lambda: self.now)

    def look(self) -> bool:
        self.looks += 1
        self.now += 1e-6
        return self.now >= self.due

    def round(self, seconds: float) -> tuple[bool, int]:
        """A wait that the other end needs so long for: whether it was awake to the end, and how often it looked."""
        self.looks, self.due = 0, self.now + seconds
        found = self.wait.poll(self.look)
        self.now = max(self.now, self.due)
        self.wait.waited()
        return found, self.looks


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_quick_answers_are_awaited_awake(world: World) -> None:
    assert all(world.round(0.0003)[0] for _ in range(50))


def test_a_wait_awake_has_an_end(world: World) -> None:
    for _ in range(100):
        world.round(0.0003)
    found, looks = world.round(10.0)
    assert not found
    assert looks <= 2 * 0.0004 / 1e-6


def test_slow_answers_are_awaited_asleep(world: World) -> None:
    for _ in range(100):
        world.round(0.02)
    assert world.round(0.02) == (False, 1)
    for _ in range(100):  # until they are quick again
        world.round(LONGEST_S / 10)
    assert world.round(LONGEST_S / 10)[0]


def pushed_off(world: World, away: float) -> float:
    """A wait during which another program has the processor; seconds until the next one is awake again."""
    while not world.round(0.0003)[0]:
        pass

    def look() -> bool:
        if world.looks == 1:
            world.now += away
        return world.look()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "_pushed_off", itertools.count().__next__)
        world.looks, world.due = 0, world.now + 0.0003
        world.wait.poll(look)
        world.wait.waited()
    began = world.now
    while world.round(0.0003)[1] == 1:
        pass
    return world.now - began


def test_whoever_is_pushed_off_the_processor_sleeps_for_ten_times_as_long_as_it_was_away(
    world: World,
) -> None:
    for away in (0.00002, 0.0005, 0.004):
        assert pushed_off(world, away) == pytest.approx(10 * away, abs=0.001)
        for _ in range(1000):
            world.round(0.0003)


def test_whoever_is_pushed_off_again_and_again_sleeps_longer_each_time(world: World) -> None:
    pauses = [pushed_off(world, 0.004) for _ in range(10)]
    assert [round(p, 2) for p in pauses] == sorted(round(p, 2) for p in pauses)
    assert pauses[1] == pytest.approx(2 * pauses[0], abs=0.002)
    assert 4 < pauses[-1] < 6


def test_moments_of_housekeeping_add_up_to_nothing(world: World) -> None:
    """An idle machine has one in every hundredth wait; whoever slept longer after each would never be awake again."""
    pauses = [pushed_off(world, 0.0002) for _ in range(20)]
    assert max(pauses) < 0.004


def test_where_the_system_does_not_count_nobody_waits_awake(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CAN_TELL", False)
    assert world.round(0.0003) == (False, 1)
