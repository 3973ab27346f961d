"""The script of Concrete ML's documentation for GPT-2, with one import changed, in all four modes.

Its weights come from a config, because no hub is in reach, and it is told the mode; the rest is as it stands there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fhe_client import concrete_api
from fhe_client.glwe.keys import GlweKeys
from fhe_server.imports.importing import ImportOptions, import_model
from tests.glwe_keys import client_keys
from tests.glwe_world import SHAPES, glwe_server
from tests.tiny_models import save_tiny

ORIGINAL_IMPORT = "from concrete.ml.torch.hybrid_model import HybridFHEModel"
SCRIPT = f"""
import torch
from transformers import GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D
{ORIGINAL_IMPORT}

model = GPT2LMHeadModel.from_pretrained(model_name)

# Determine which layers run with FHE (all linear ones)
remote_names = []
for name, module in model.named_modules():
    if isinstance(module, (torch.nn.Linear, Conv1D)):
        remote_names.append(name)

# Create the HybridFHEModel with the specified remote modules
hybrid_model = HybridFHEModel(model, module_names=remote_names, **server)

# Prepare input data for calibration
input_tensor = torch.randint(0, model.config.vocab_size, (256, 32), dtype=torch.long)

# Calibrate and compile the model
hybrid_model.compile_model(input_tensor, n_bits=8, use_dynamic_quantization=True)

hybrid_model.set_fhe_mode(fhe_mode)

with torch.no_grad():
    output_ids = hybrid_model.model.generate(
        input_ids, attention_mask=torch.ones_like(input_ids), max_new_tokens=2, do_sample=False
    )
"""
VOCABULARY = 24
"""Few words: each output costs 20 ms, and every layer is remote here, the last one, too."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A checkpoint, and the address of a server that has imported it."""
    root = tmp_path_factory.mktemp("documentation")
    checkpoint = root / "checkpoint"
    save_tiny(checkpoint, "gpt2", vocab_size=VOCABULARY, **SHAPES["gpt2"])
    options = ImportOptions(local=("embed",), max_error=0.9, calibrate="none")
    imported = import_model(str(checkpoint), root / "models", "model", options)
    with glwe_server(imported.folder) as server:
        yield checkpoint, server.url


@pytest.fixture(autouse=True)
def one_key_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making keys takes seconds; tests of the keys make their own."""

    def shared() -> GlweKeys:
        keys = client_keys()
        keys.close = lambda: None  # type: ignore[method-assign]
        return keys

    for place in ("fhe_client.concrete.backends", "fhe_client.glwe.opening"):
        monkeypatch.setattr(f"{place}.GlweKeys", shared)


def run(checkpoint: Path, mode: str, url: str | None) -> list[int]:
    """The script's greedy tokens."""
    ours = SCRIPT.replace(ORIGINAL_IMPORT, "from fhe_client.concrete_api import HybridFHEModel")
    names: dict[str, Any] = {
        "model_name": str(checkpoint),
        "fhe_mode": mode,
        "server": {} if url is None else {"server_remote_address": url},
        "input_ids": torch.tensor([[21]]),  # clear winners: no quantisation decides these tokens
    }
    exec(ours, names)  # the script itself is what is tested
    names["hybrid_model"].close()
    tokens: list[int] = names["output_ids"][0].tolist()
    return tokens


@pytest.mark.parametrize("scheme", ["glwe", "hint"])
def test_the_script_writes_the_same_in_all_four_modes(
    scheme: str, world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, url = world
    chosen = partial(concrete_api.HybridFHEModel, scheme=scheme)
    monkeypatch.setattr(concrete_api, "HybridFHEModel", chosen)
    written = {mode: run(checkpoint, mode, None) for mode in ("disable", "simulate", "execute")}
    written["remote"] = run(checkpoint, "remote", url)
    assert len(written["disable"]) == 3
    assert written == dict.fromkeys(written, written["disable"])
