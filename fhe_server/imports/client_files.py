"""The client's part of an artefact: configuration, tokenizer, and the tensors that are not served."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fhe_server.errors import CheckpointError

# Paths of this machine, references to code, and the checkpoint's own quantisation.
_DROPPED = frozenset(
    (
        "auto_map",
        "_name_or_path",
        "_model_name_or_path",
        "quantization_config",
        "_commit_hash",
        "is_local",
        "local_files_only",
    )
)
_TOKENIZER_SUFFIXES = (".json", ".jinja", ".txt", ".model")


def clean_config(value: Any) -> Any:
    """A JSON value without paths of this machine, code references, or the checkpoint's own quantisation."""
    if isinstance(value, Mapping):
        return {str(k): clean_config(v) for k, v in value.items() if k not in _DROPPED}
    if isinstance(value, list | tuple):
        return [clean_config(item) for item in value]
    return value


def write_configs(model: Any, folder: Path) -> None:
    """config.json, with every field spelled out, and generation_config.json."""
    fields = clean_config(json.loads(model.config.to_json_string(use_diff=False)))
    fields["architectures"] = [type(model).__name__]
    fields["model_type"] = model.config.model_type
    fields["dtype"] = "float32"
    _write_json(folder / "config.json", fields)
    generation = model.generation_config
    kept = clean_config(generation.to_diff_dict()) if generation is not None else {}
    _write_json(folder / "generation_config.json", kept)


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files. Sub-folders (further chat templates) are left out: clients know flat names only."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="tokenizer-") as temporary:
        tokenizer.save_pretrained(temporary)
        for path in sorted(Path(temporary).iterdir()):
            if path.is_file() and path.suffix in _TOKENIZER_SUFFIXES:
                shutil.move(path, folder / path.name)
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        _write_json(settings, clean_config(json.loads(settings.read_text("utf-8"))))


def local_tensors(model: Any, remote: set[str]) -> dict[str, torch.Tensor]:
    """`state/<name>`, float32, for every parameter and persistent buffer; of remote modules only the bias.

    Raises:
        CheckpointError: a buffer cannot be kept as float32 without loss.
    """
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        module, _, leaf = name.rpartition(".")
        if module in remote and leaf != "bias":
            continue
        single = tensor.to(torch.float32, copy=True).contiguous()
        if not tensor.is_floating_point() and not torch.equal(single.to(tensor.dtype), tensor):
            raise CheckpointError(f"The buffer {name} does not fit into float32.")
        kept[f"state/{name}"] = single
    return kept


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
