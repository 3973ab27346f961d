from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from app.events import Meter, Status
from app.views.meter_bar import GAP_S, POINTS, MeterBar, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_second() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.rate(5_000) is None  # one total is no rate
    rates = []
    for step in range(1, 41):
        clock.now += 0.1
        moved = 1_000 * min(step, 20) + 4_000 * max(0, step - 20)
        rates.append(pace.rate(5_000 + moved))
    assert rates[10] == pytest.approx(10_000)
    assert rates[-1] == pytest.approx(40_000)


def test_a_pause_or_a_fresh_engine_begins_anew() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.rate(1_000)
    clock.now += GAP_S + 1
    assert pace.rate(2_000) is None
    clock.now += 1
    assert pace.rate(3_000) == pytest.approx(1_000)
    clock.now += 1
    assert pace.rate(10) is None


def test_the_bar_shows_rate_and_speed_with_their_lines(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = MeterBar()
    qtbot.addWidget(bar)
    bar.resize(1_200, 40)
    bar.show_status(Status("token", 1))
    clock = Clock()
    monkeypatch.setattr(bar, "_pace", Pace(clock))
    for step in range(POINTS + 5):
        clock.now += 0.5
        bar.show_meter(Meter(300_000 * step, 400_000 * step, 0, 0.25, 1_000 - step, 121 * step + 1))
    assert bar.rate.text() == "1.40 MB/s"
    assert bar.speed.text() == "0.25 s per token"
    assert len(bar.sparkline.values) == len(bar.rate_sparkline.values) == POINTS
    assert bar.rate_sparkline.values[-1] == pytest.approx(1_400_000)
    shown = [bar.rate_sparkline, bar.rate, bar.sparkline, bar.speed, bar.up, bar.down, bar.left]
    assert [widget.isHidden() for widget in shown] == [False] * 7
    assert all(widget.accessibleName() for widget in shown)
    bar.show_status(Status("ready"))
    assert bar.rate.isHidden()  # nothing moves any more
    assert not bar.speed.isHidden()
    bar.resize(420, 40)
    bar.show_meter(Meter(1, 1, 0, 0.25, 5, 1))
    assert not bar.up.isHidden()
    assert bar.rate_sparkline.isHidden()
