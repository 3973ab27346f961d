from __future__ import annotations

from pytestqt.qtbot import QtBot

from app.views.elided import ElidedLabel


def test_a_long_title_ends_in_an_ellipsis_and_stays_whole_for_a_screen_reader(qtbot: QtBot) -> None:
    label = ElidedLabel("strong", "title")
    qtbot.addWidget(label)
    label.setText("a title that is far too long for so little room")
    label.resize(120, 30)
    assert label.shown().endswith("…")
    assert label.text().endswith("room")
    assert label.minimumSizeHint().width() == 0
    label.resize(2_000, 30)
    assert label.shown() == label.text()
    assert not label.grab().isNull()
