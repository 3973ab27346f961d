"""Small random models and their artefact folders (without hints), written by hand for tests of the model side.

Independent of the importer on purpose: one scale a row, groups from a hook that watches which layers share an input.
`clear_model` is the dequantised twin: the same Hugging Face model whose matrices are row_scale * Wq.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from fhe_protocol.manifest import canonical_json

VOCABULARY = 288
CONTEXT = 512
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**_DECODER, "tie_word_embeddings": True},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
    "qwen2": {**_DECODER},
    "qwen3": {**_DECODER, "head_dim": 8},
    "gemma2": {**_DECODER, "head_dim": 8, "sliding_window": 16},
    "gemma3_text": {**_DECODER, "head_dim": 8, "sliding_window": 16},
    "mistral": {**_DECODER, "sliding_window": 16},
    "phi3": {**_DECODER, "pad_token_id": 0},
    "gpt_neox": {k: v for k, v in _DECODER.items() if k != "num_key_value_heads"},
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
    },
    "falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "new_decoder_architecture": False,
    },
}


def small_model(family: str, seed: int = 1) -> Any:
    """A random causal language model of a family, float32, with weights large enough to give varied text."""
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 2}
    config = CONFIG_MAPPING[family](**{"pad_token_id": None, **FAMILIES[family], **tokens})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.mul_(8.0)
            elif "norm" not in name and "ln" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def small_tokenizer() -> Any:
    """A byte-level tokenizer: 3 special tokens, then the 256 bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate([*SPECIAL, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=SPECIAL[0], eos_token=SPECIAL[2]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [SPECIAL[1]]})
    return tokenizer


def write_artefact(
    folder: Path,
    family: str,
    *,
    local_embedding: bool = False,
    template: str | None = CHAT_TEMPLATE,
) -> Any:
    """Write the artefact folder of a small model.

    Returns:
        The dequantised twin: a Hugging Face model with the very weights of the folder.
    """
    model = small_model(family)
    groups = _trace(model, local_embedding)
    client = folder / "client"
    client.mkdir(parents=True)
    tensors: dict[str, torch.Tensor] = {}
    entries, blobs, quantised = [], [], {}
    for index, names in enumerate(groups):
        entry, blob = _group(model, index, names, tensors, quantised)
        entries.append(entry)
        blobs.append(blob)
    (folder / "weights.bin").write_bytes(b"".join(blobs))
    remote = {f"{n}.weight" for names in groups for n in names}
    for name, value in model.state_dict().items():
        if name not in remote:
            tensors[f"state/{name}"] = value.float().clone().contiguous()
    save_file(tensors, client / "client.safetensors")
    _write_files(model, client, template)
    write_manifest(folder, model.config, entries)
    return _dequantised(model, quantised)


def write_manifest(folder: Path, config: Any, groups: list[dict[str, Any]]) -> None:
    """Write manifest.json over the files that lie in `folder`/client."""
    files = [
        {
            "path": p.name,
            "size": p.stat().st_size,
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in sorted((folder / "client").iterdir())
    ]
    model = {
        "name": "small",
        "parameters": "hint-1024-24",
        "architecture": type(config).__name__,
        "model_type": config.model_type,
        "context_length": CONTEXT,
        "vocabulary": VOCABULARY,
        "groups": groups,
        "files": files,
    }
    hints = ["0" * 64 for g in groups for _ in g["parts"]]
    document = {"format": "tacita-manifest", "version": 1, "model": model, "hints": hints}
    (folder / "manifest.json").write_bytes(canonical_json(document))


def _write_files(model: Any, client: Path, template: str | None) -> None:
    (client / "config.json").write_text(json.dumps(model.config.to_dict()))
    (client / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    tokenizer = small_tokenizer()
    tokenizer.backend_tokenizer.save(str(client / "tokenizer.json"))
    settings = {"bos_token": SPECIAL[0], "eos_token": {"content": SPECIAL[2]}}
    (client / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (client / "chat_template.jinja").write_text(template)


def _trace(model: Any, local_embedding: bool) -> list[list[str]]:
    """Names of the remote modules, grouped by the tensor that feeds them, in call order."""
    table = model.get_input_embeddings()
    calls: dict[int, list[str]] = {}
    kept, handles = [], []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) or (module is table and not local_embedding):

            def hook(_m: Any, args: Any, kwargs: Any, name: str = name) -> None:
                tensor = next(iter((*args, *kwargs.values())))
                kept.append(tensor)
                calls.setdefault(id(tensor), []).append(name)

            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        model(input_ids=torch.tensor([[3, 4, 5]]), use_cache=False)
    for handle in handles:
        handle.remove()
    return list(calls.values())


def _group(
    model: Any,
    index: int,
    names: list[str],
    tensors: dict[str, torch.Tensor],
    quantised: dict[str, torch.Tensor],
) -> tuple[dict[str, Any], bytes]:
    modules = [model.get_submodule(n) for n in names]
    matrices = [_matrix(m) for m in modules]
    weight = torch.cat(matrices).numpy()
    row_scale, weights = _quantise(weight)
    tensors[f"group/{index}/row_scale"] = torch.from_numpy(row_scale)
    pieces = torch.from_numpy(weights * row_scale[:, None]).split([len(m) for m in matrices])
    quantised.update(zip(names, pieces, strict=True))
    embedding = isinstance(modules[0], nn.Embedding)
    blobs, parts = [], []
    for start, stop in _slices(weights.shape[1], index):
        blob = weights[:, start:stop].tobytes()
        wide = weights[:, start:stop].astype(np.int64)
        part = {"start": start, "stop": stop, "w_norm": float(np.sqrt((wide**2).sum(1).max()))}
        part |= {
            "peak": int(np.abs(wide).max()),
            "weights_sha256": hashlib.sha256(blob).hexdigest(),
        }
        parts.append(part)
        blobs.append(blob)
    entry = {
        "name": f"g{index}." + names[0],
        "kind": "embedding" if embedding else "linear",
        "inputs": weights.shape[1],
        "outputs": weights.shape[0],
        "members": [{"module": n, "outputs": len(m)} for n, m in zip(names, matrices, strict=True)],
        "parts": parts,
    }
    return entry, b"".join(blobs)


def _slices(inputs: int, index: int) -> list[tuple[int, int]]:
    """Every third group comes in two parts."""
    return [(0, inputs)] if index % 3 else [(0, inputs // 2), (inputs // 2, inputs)]


def _matrix(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        if isinstance(module, nn.Embedding):
            return module(torch.arange(module.num_embeddings)).T.clone()
        weight: Any = module.weight
        return (weight if isinstance(module, nn.Linear) else weight.T).detach().clone()


def _quantise(weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    row_scale = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
    return row_scale, np.rint(weight / row_scale[:, None]).astype(np.int8)


def _dequantised(model: Any, quantised: dict[str, torch.Tensor]) -> Any:
    """The twin. Tied tables are untied first: input and output table are quantised apart."""
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())
    for name, value in quantised.items():
        module = model.get_submodule(name)
        if isinstance(module, nn.Embedding):
            scale = getattr(module, "embed_scale", 1.0)
            module.weight.data = (value.T / scale).contiguous()
        else:
            module.weight.data = value if isinstance(module, nn.Linear) else value.T.contiguous()
    return model
