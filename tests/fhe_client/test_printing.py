"""What the command line writes: no control characters, one live line on a terminal, few lines elsewhere."""

from __future__ import annotations

import io

import pytest

from fhe_client.chat_events import Status
from fhe_client.failures import Failure
from fhe_client.printing import StatusLine, clean, megabytes, write_error


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b]0;title\x07", "]0;title"),
        ("\x9b31mred", "31mred"),
        ("over\rwritten\x08", "overwritten"),
        ("left\u202eright\u2066", "leftright"),
        ("naïve 你好 👩‍👩‍👧", "naïve 你好 👩‍👩‍👧"),
    ],
)
def test_clean_text_commands_no_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_terminal_gets_one_line_that_is_rewritten_and_taken_away() -> None:
    stream = Terminal()
    line = StatusLine(stream)
    line(Status("downloading_hints", 0, 4_000_000, "bytes"))
    line(Status("downloading_hints", 4_000_000, 4_000_000, "bytes"))
    line(Status("preparing_keys", 1, 2))
    assert "\n" not in stream.getvalue()
    assert "4 of 4 MB" in stream.getvalue()
    assert stream.getvalue().endswith("preparing keys 50 %")
    line(Status("ready"))
    assert stream.getvalue().endswith("\r\x1b[K")
    length = len(stream.getvalue())
    line.clear()
    assert len(stream.getvalue()) == length


def test_elsewhere_only_long_work_gets_a_line() -> None:
    stream = io.StringIO()
    line = StatusLine(stream)
    for done in range(5):
        line(Status("connecting"))
        line(Status("preparing_keys", done, 5))
    for done in range(5):
        line(Status("downloading_hints", done, 420_000_000, "bytes"))
    assert stream.getvalue() == "downloading hints (once) 420 MB ...\n"


def test_errors_are_two_lines() -> None:
    stream = io.StringIO()
    write_error(Failure("x", "It\x1b[2J broke.", "Mend it.", "details"), stream)
    assert stream.getvalue() == "tacita: It[2J broke.\n  Mend it.\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.00 MB"), (850_000, "0.85 MB"), (12_345_678, "12.3 MB")]
)
def test_megabytes_have_the_digits_that_matter(count: int, text: str) -> None:
    assert megabytes(count) == text
