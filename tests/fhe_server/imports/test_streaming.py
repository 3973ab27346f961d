"""Checkpoints are imported without being read into memory: the precision they are stored in, and the peak it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fhe_server.imports.checkpoint import find_source, load_checkpoint, open_checkpoint
from fhe_server.imports.importing import import_model
from fhe_server.imports.wide import widened
from tests.tiny_models import save_tiny, save_tiny_gguf, tiny_model

IDS = torch.tensor([[5, 17, 80, 200]])


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("llama", torch.bfloat16),
        ("llama", torch.float32),
        ("gemma3_text", torch.bfloat16),
        ("gpt2", torch.float16),
    ],
)
def test_weights_keep_the_precision_they_are_stored_in_and_compute_as_if_widened(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    save_tiny(tmp_path, family).to(dtype).save_pretrained(tmp_path)
    source = find_source(str(tmp_path))
    checkpoint = open_checkpoint(source, tmp_path / "scratch")
    assert {p.dtype for p in checkpoint.model.parameters()} == {dtype}
    assert not checkpoint.model.training
    with torch.no_grad():
        due = load_checkpoint(source).model(input_ids=IDS).logits
        with widened(torch.float32):
            found = checkpoint.model(input_ids=IDS).logits
    torch.testing.assert_close(found, due, rtol=1e-5, atol=1e-5)


def test_half_precision_and_its_float32_copy_give_the_same_weights(tmp_path: Path) -> None:
    half = save_tiny(tmp_path / "half", "llama").to(torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    save_tiny(tmp_path / "wide", "llama")
    half.float().save_pretrained(tmp_path / "wide")
    reports = [import_model(str(tmp_path / n), tmp_path / "models") for n in ("half", "wide")]
    one, other = ([p.weights_sha256 for g in r.manifest.groups for p in g.parts] for r in reports)
    assert one == other


def test_mixed_precision_is_read_without_loss(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    norms = {n: t for n, t in weights.items() if "norm" in n}
    mixed = {n: t.to(torch.bfloat16) for n, t in weights.items()} | norms
    save_file(mixed, tmp_path / "model.safetensors", {"format": "pt"})
    model = open_checkpoint(find_source(str(tmp_path)), tmp_path / "scratch").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()["model.norm.weight"], norms["model.norm.weight"])


def test_a_gguf_file_is_unpacked_to_disk_as_transformers_unpacks_it(tmp_path: Path) -> None:
    import gguf

    reader = gguf.GGUFReader
    save_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    source = find_source(str(tmp_path / "tiny.gguf"))
    model = open_checkpoint(source, tmp_path / "scratch").model
    due = load_checkpoint(source).model.state_dict()
    assert model.state_dict().keys() == due.keys()
    assert all(torch.equal(tensor, due[name]) for name, tensor in model.state_dict().items())
    size = sum(p.numel() * 4 for p in model.parameters())
    assert (tmp_path / "scratch").stat().st_size == size
    assert gguf.GGUFReader is reader


_MEASURE = """
import json, sys, threading, time
from pathlib import Path
from fhe_server.imports.importing import import_model

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

models = Path(sys.argv[1])
import_model(sys.argv[2], models)  # libraries, their caches, and what one layer takes
before, peak, done = anonymous(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.005)

watcher = threading.Thread(target=watch)
watcher.start()
report = import_model(sys.argv[3], models)
done = True
watcher.join()
print(json.dumps([peak - before, len(report.manifest.groups)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_memory_does_not_grow_with_the_number_of_layers(tmp_path: Path) -> None:
    shape = {"hidden_size": 384, "intermediate_size": 1536}
    sizes = {}
    for name, layers in (("shallow", 1), ("deep", 10)):
        model = save_tiny(tmp_path / name, "llama", num_hidden_layers=layers, **shape)
        sizes[name] = sum(4 * p.numel() for p in model.parameters())
        model.to(torch.bfloat16).save_pretrained(tmp_path / name)
    arguments = [str(tmp_path / name) for name in ("models", "shallow", "deep")]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments],
        capture_output=True, text=True, timeout=600, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    growth, groups = json.loads(done.stdout)
    assert groups == 4 * 10 + 2
    assert sizes["deep"] - sizes["shallow"] > 75 << 20
    assert growth < 0.75 * (sizes["deep"] - sizes["shallow"])
