from __future__ import annotations

import pytest
from PySide6.QtCore import QLocale
from pytestqt.qtbot import QtBot

from app import figures, sentences
from app.events import ConnectionReport, Failure, Meter, ServerView, Status
from app.resources import resource
from tests.app.fake_engine import OUTCOMES


@pytest.fixture(autouse=True)
def english(qtbot: QtBot) -> None:
    QLocale.setDefault(QLocale("en"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status("offline"), "Offline"),
        (Status("ready"), "Ready"),
        (Status("downloading_hints", 120_000_000, 420_000_000, "bytes"),
         "Downloading hints · 120 MB of 420 MB"),
        (Status("preparing_keys", 3, 121), "Preparing keys · 3 of 121"),
        (Status("prompt", 3, 12, "tokens"), "Reading the prompt · 3 of 12"),
        (Status("token", 7, 256, "tokens"), "Writing · token 7"),
        (Status("something new"), "Working"),
    ],
)  # fmt: skip
def test_status_words(status: Status, words: str) -> None:
    assert sentences.status_words(status) == words


def test_every_status_has_an_icon_that_exists() -> None:
    for name in sentences.STATUS_ICONS.values():
        assert resource(f"icons/{name}.svg").is_file()


@pytest.mark.parametrize("outcome", sorted(outcome for outcome, _ in OUTCOMES.values()))
def test_every_outcome_is_a_sentence_with_a_next_step(outcome: str) -> None:
    what, step = sentences.connection_words(ConnectionReport(outcome))
    assert what.endswith(".")
    assert step.endswith(".")
    others = [sentences.connection_words(ConnectionReport(o))[0] for o, _ in OUTCOMES.values()]
    assert others.count(what) == 1


def test_a_good_connection_has_its_figures() -> None:
    report = ConnectionReport("ok", "", 12.4, ("a",), 0.31, 0.7)
    what, step = sentences.connection_words(report)
    assert what == "Connected: round trip 12 ms."
    assert step == "Expect about 0.31 s and 0.70 MB per token."


def test_figures() -> None:
    assert [figures.megabytes(n) for n in (0, 2_345_678, 23_456_789, 420_000_000)] == [
        "0.00 MB", "2.35 MB", "23.5 MB", "420 MB",
    ]  # fmt: skip
    assert [figures.seconds(s) for s in (0.256, 42.4, 300, 9_000)] == [
        "0.26 s", "42 s", "5 min", "2.5 h",
    ]  # fmt: skip


def test_the_line_under_a_reply_tells_what_was_not_as_usual() -> None:
    stats = {"bytes_up": 1_000_000, "bytes_down": 2_000_000, "reply_tokens": 3}
    assert figures.reply_line(stats) == "1.00 MB up · 2.00 MB down · 3 tokens"
    line = figures.reply_line({**stats, "truncated_turns": 4, "warned": True})
    assert "the oldest 4 messages were left out" in line
    assert line.endswith("the server's answers had impossible values: do not rely on this")


def test_what_the_engine_sends_is_checked() -> None:
    assert Meter.parse({"bytes_up": "x", "bytes_down": -1, "tokens_left_in_epoch": None}) == Meter()
    assert Status.parse({}) == Status("")
    assert ServerView.parse({"group": "g", "head": "!!"}).head == b""
    assert Failure.parse({}).message == "Something went wrong."
    assert ConnectionReport.parse({"models": "abc", "rtt_ms": float("inf")}).models == ()
