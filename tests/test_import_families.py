"""Every family through import and into the client's hybrid model: the same text scores as the dequantised model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fhe_client.model.encrypted_layers import rotated
from fhe_client.model.files import read_model_files
from fhe_client.model.hybrid import build_hybrid
from fhe_server.artefact import Artefact
from fhe_server.imports.importing import import_model
from tests.clear_runner import ClearRunner
from tests.tiny_models import FAMILIES, save_tiny

TOKENS = [5, 17, 80, 200, 44]


def dequantised(model: Any, folder: Path) -> Any:
    """`model` with the very matrices of an artefact folder in place of its own."""
    artefact, tensors = Artefact(folder), load_file(folder / "client" / "client.safetensors")
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())  # no longer tied to the input table
    for group in artefact.manifest.groups:
        parts = [artefact.weights(group.first_part + k) for k in range(len(group.parts))]
        matrix = torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))
        matrix = matrix * tensors[f"group/{group.index}/row_scale"][:, None]
        if (rotation := tensors.get(f"group/{group.index}/rotation")) is not None:
            matrix = rotated(matrix, int(rotation))
        if (scale := tensors.get(f"group/{group.index}/input_scale")) is not None:
            matrix = matrix * scale
        pieces = matrix.split([member.outputs for member in group.members])
        for member, piece in zip(group.members, pieces, strict=True):
            put(model.get_submodule(member.module), piece)
    return model


def put(module: Any, matrix: torch.Tensor) -> None:
    """Let a module multiply with `matrix` (m, n)."""
    if isinstance(module, nn.Embedding):
        factor = getattr(module, "embed_scale", torch.tensor(1.0))
        module.weight = nn.Parameter((matrix.T / factor).contiguous())
    else:
        weight = matrix if isinstance(module, nn.Linear) else matrix.T
        module.weight = nn.Parameter(weight.contiguous())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_imported_model_scores_text_as_the_dequantised_one(family: str, tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "source", family)
    with torch.no_grad():
        full = model(input_ids=torch.tensor([TOKENS])).logits[0, -1]
    report = import_model(str(tmp_path / "source"), tmp_path / "models")
    manifest = report.manifest
    files = read_model_files(report.folder / "client", manifest)
    hybrid = build_hybrid(manifest, files, ClearRunner(report.folder))
    ours = hybrid.next_logits(TOKENS)
    twin = dequantised(model, report.folder)
    with torch.no_grad():
        theirs = twin(input_ids=torch.tensor([TOKENS])).logits[0, -1]
    assert torch.allclose(ours, theirs, atol=1e-3 * float(theirs.abs().max()))
    assert float((ours - full).norm() / full.norm()) < 0.2
