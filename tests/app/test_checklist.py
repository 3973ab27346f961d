"""The release checklist names tests that exist, and has a line for every item."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKLIST = ROOT / "docs" / "release-checklist.md"
MUST_HAVES = 15


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/[^`]+\.py)::(\w+)`", CHECKLIST.read_text(encoding="utf-8"))
    assert len(named) > 50
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file()
        or not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_every_must_have_has_a_line_with_a_proof() -> None:
    text = CHECKLIST.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) [^|]*\| ([^|]+) \|$", text, re.MULTILINE))
    assert sorted(map(int, rows)) == list(range(1, MUST_HAVES + 1))
    assert all("::" in proof for proof in rows.values())
