"""The fidelity benchmark on a tiny model: all contenders run, and the simulation agrees with the real protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fidelity import main
from fhe_server.imports.importing import import_model
from tests.tiny_models import save_tiny


def test_every_contender_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny(tmp_path / "tiny", "llama")
    import_model(str(tmp_path / "tiny"), tmp_path / "models")
    arguments = ["--models", str(tmp_path / "models"), "--source", str(tmp_path / "tiny")]
    small = ["--tokens", "120", "--prompts", "1", "--greedy-tokens", "4", "--group-tokens", "120"]
    assert main(["tiny", *arguments, *small, "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    systems = {name: texts["all"] for name, texts in report["systems"].items()}
    assert systems["fp32"]["kl"] == pytest.approx(0, abs=1e-6)
    assert systems["fp32"]["greedy_tokens"] == 4
    assert 0 < systems["int8"]["kl"] < systems["real"]["kl"] < 0.1
    assert systems["dynamic8"]["kl"] > systems["int8"]["kl"]
    assert report["agreement"]["median"] == pytest.approx(1, abs=0.1)
    assert set(report["groups"]["real"]) == set(report["groups"]["simulated"])
    assert report["wrapping"]["values"] > 1e5
    assert report["wrapping"]["wrapped"] == 0
    assert 0.01 < report["wrapping"]["fullest"] < 1
    printed = capsys.readouterr().out
    assert "worst groups (real)" in printed


def test_another_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny(tmp_path / "tiny", "llama")
    save_tiny(tmp_path / "other", "llama", seed=2)
    import_model(str(tmp_path / "tiny"), tmp_path / "models")
    arguments = ["--models", str(tmp_path / "models"), "--source", str(tmp_path / "other")]
    assert main(["tiny", *arguments]) == 1
    assert "another checkpoint" in capsys.readouterr().err
