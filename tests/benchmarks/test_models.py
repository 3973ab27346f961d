"""The benchmark of whole models, piece by piece: the random checkpoints, what is watched, the reply, the tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import models, random_models
from tests.tiny_world import MODEL, install_tiny, tiny_artefact

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
CHILD = "import time; held = b'x' * (90 << 20); time.sleep(2)"
WATCHED = f"""
import subprocess, sys
held = b"x" * (60 << 20)
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
print("done")
"""


def test_random_weights_have_heavy_tails_and_outlier_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_models, "_POOL", 1 << 14)
    monkeypatch.setitem(random_models.SHAPES, "small", ("llama", SHAPE))
    random_models.build("small", tmp_path / "heavy")
    random_models.build("small", tmp_path / "plain", plain=True)
    found = {}
    for name in ("heavy", "plain"):
        tensors: dict[str, Any] = {}
        for path in (tmp_path / name).glob("*.safetensors"):
            tensors |= load_file(path)
        assert "lm_head.weight" not in tensors
        assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
        found[name] = tensors
    gains = found["heavy"]["model.norm.weight"].float()
    assert int((gains >= 50).sum()) == random_models.OUTLIERS
    assert (found["plain"]["model.norm.weight"] == 1).all()
    norms = found["heavy"]["model.layers.0.mlp.up_proj.weight"].float().norm(dim=1)
    assert norms.max() > 20 * norms.median()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's notes on processes are Linux's")
def test_a_program_and_its_children_are_watched(tmp_path: Path) -> None:
    seen = models._watched([sys.executable, "-c", WATCHED], tmp_path)
    assert seen["output"] == "done\n"
    assert 60 << 20 <= seen["peak"] < 90 << 20
    assert seen["children_peak"] >= 90 << 20
    assert seen["resident"] >= seen["peak"]
    assert seen["seconds"] > 0
    assert seen["cpu"] > 0
    alone = models._watched([sys.executable, "-c", "print(1)"], tmp_path)
    assert alone["children_peak"] == alone["children_resident"] == 0
    with pytest.raises(SystemExit, match="status 3"):
        models._watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_a_reply_is_measured_and_written_into_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_tiny(tmp_path)
    monkeypatch.setenv("TACITA_HOME", str(tmp_path))
    asked = models.ask(MODEL, 3, "Hi.")
    assert 1 <= asked["reply_tokens"] <= 3
    assert 0 < asked["framing"] < 1
    assert asked["rounds"] > 0
    sizes = models._sizes(tiny_artefact())
    assert sizes["parts"] >= sizes["groups"] > 0
    watched = dict.fromkeys(("import_s", "import_cpu_s", "import_peak_resident"), 1e9)
    watched |= dict.fromkeys(("client_peak_resident", "server_peak_resident"), 2e9)
    row = {"name": MODEL, "checkpoint": "its own", **watched, **sizes, **asked}
    figures, document = tmp_path / "models.json", tmp_path / "models.md"
    figures.write_text(json.dumps([row]))
    document.write_text(f"before\n{models.BEGIN}\nold\n{models.END}\nafter\n")
    monkeypatch.setattr(models, "DOCUMENT", document)
    assert models.main(["--write", str(figures)]) == 0
    text = document.read_text()
    assert f"| {MODEL} | its own | {sizes['groups']} ({sizes['parts']}) |" in text
    assert "everything remote" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
