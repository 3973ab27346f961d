"""The client's model side on what the server's importer writes: both sides of the artefact folder agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fhe_client.model.encrypted_layers import rotated
from fhe_client.model.files import ModelFiles, read_model_files
from fhe_client.model.hybrid import HybridModel, build_hybrid
from fhe_client.text.chat import Chat
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message
from fhe_server.imports.importing import ImportOptions, import_model
from tests.clear_runner import ClearRunner
from tests.tiny_models import FAMILIES, save_tiny

TOKENS = [5, 80, 33, 210, 7, 7, 99, 150, 12, 40, 41, 42, 250, 3]


def imported(
    root: Path, family: str, options: ImportOptions | None = None
) -> tuple[HybridModel, ModelFiles, Any, ClearRunner]:
    model = save_tiny(root / "checkpoint", family)
    report = import_model(str(root / "checkpoint"), root / "models", "tiny", options)
    runner = ClearRunner(report.folder)
    files = read_model_files(report.folder / "client", report.manifest)
    return build_hybrid(report.manifest, files, runner), files, model, runner


def dequantise(model: Any, files: ModelFiles, runner: ClearRunner) -> Any:
    """The model with the weights that the folder holds: diag(row_scale) Wq R diag(input_scale)."""
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())  # quantised apart from the input table
    for group in runner.manifest.groups:
        scales = files.scales[group.index]
        weight = torch.from_numpy(runner.weights(group)) * scales.row_scale[:, None]
        weight = rotated(weight, scales.rotation)
        if scales.input_scale is not None:
            weight = weight * scales.input_scale
        pieces = weight.split([member.outputs for member in group.members])
        for member, piece in zip(group.members, pieces, strict=True):
            put_weight(model.get_submodule(member.module), piece)
    return model


def put_weight(module: Any, weight: torch.Tensor) -> None:
    if isinstance(module, nn.Embedding):
        module.weight.data = (weight.T / getattr(module, "embed_scale", 1.0)).contiguous()
    else:
        module.weight.data = (weight if isinstance(module, nn.Linear) else weight.T).contiguous()


@pytest.mark.parametrize("family", list(FAMILIES))
def test_imported_model_computes_what_its_weights_say(family: str, tmp_path: Path) -> None:
    hybrid, files, model, runner = imported(tmp_path, family)
    twin = dequantise(model, files, runner)
    with torch.no_grad():
        due = twin(input_ids=torch.tensor([TOKENS]), use_cache=False).logits[0]
    logits = [hybrid.next_logits(TOKENS[:10])]
    logits += [hybrid.next_logits([token]) for token in TOKENS[10:]]
    torch.testing.assert_close(torch.stack(logits), due[9:], rtol=0, atol=1e-3)
    assert float(due.std()) > 0.05


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_imported_model_chats(family: str, tmp_path: Path) -> None:
    hybrid, files, _, runner = imported(tmp_path, family, ImportOptions(local=("embed",)))
    chat = Chat(hybrid, files)
    try:
        options = GenerationOptions(max_tokens=8, temperature=0)
        talk = [Message("user", "the cat sat")]
        reply = chat.ask(talk, options)
        assert reply.prompt_tokens + reply.reply_tokens - 1 == sum(runner.passes)
        assert reply.rounds == len(runner.rounds)
        talk += [Message("assistant", reply.text), Message("user", "where")]
        assert chat.ask(talk, options).reused_tokens >= reply.prompt_tokens
    finally:
        chat.close()
