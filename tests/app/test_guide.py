"""The user's guide says what the window says, and its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import sentences
from app.events import ConnectionReport
from tests.app.guide_pictures import PICTURES

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
OUTCOMES = (
    "name_not_found",
    "refused",
    "timeout",
    "tls",
    "not_tacita",
    "wrong_version",
    "unauthorised",
    "no_such_model",
)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_guide_has_every_sentence_of_test_connection(outcome: str) -> None:
    found, step = sentences.connection_words(ConnectionReport(outcome))
    assert f"| {found} | {step} |" in GUIDE.read_text(encoding="utf-8")


def test_the_pictures_of_the_guide_are_there_and_small() -> None:
    named = re.findall(r"\]\((images/[^)]+)\)", GUIDE.read_text(encoding="utf-8"))
    assert {Path(name).name for name in named} == {f"{name}.png" for name in PICTURES}
    for name in named:
        assert (GUIDE.parent / name).read_bytes().startswith(b"\x89PNG\r\n")
    everything = (GUIDE.parent / "images").iterdir()
    assert sum(path.stat().st_size for path in everything) < 2_000_000
