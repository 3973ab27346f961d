"""The benchmark of long conversations on a tiny model: the contexts asked for, epochs counted, overflow said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import long_context
from tests.tiny_models import save_tiny
from tests.tiny_world import MODEL, install_tiny


def test_contexts_are_read_and_what_does_not_fit_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_tiny(tmp_path)
    save_tiny(tmp_path / "checkpoint", "llama")
    monkeypatch.setenv("TACITA_HOME", str(tmp_path))
    figures = tmp_path / "figures.json"
    arguments = ["--model", MODEL, "--checkpoint", str(tmp_path / "checkpoint"), "--overflow"]
    arguments += ["--contexts", "40", "60", "--tokens", "4", "--json", str(figures)]
    assert long_context.main(arguments) == 0
    found = json.loads(figures.read_text())
    for row, asked in zip(found["contexts"], (40, 60), strict=True):
        assert asked - 12 <= row["prompt_tokens"] <= asked
        assert 1 <= row["reply_tokens"] <= 4
        assert min(row["first_s"], row["clear_first_s"], row["clear_token_s"]) > 0
        assert row["prompt_mb"] > 0
    past = found["overflow"]
    assert 0 < past["truncated_turns"] < past["turns"]
    assert past["prompt_tokens"] <= past["window"]
    assert "Shorten the message" in past["too_long"]
    printed = capsys.readouterr().out
    assert "were left out" in printed
    assert f"| {found['contexts'][0]['prompt_tokens']} + " in printed
