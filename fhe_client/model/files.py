"""The client's part of a model, read from a folder whose files were checked against the manifest's digests.

Digests say only that the files are the server's. The server is not trusted, so every value is checked for what it could
do here: no code is loaded, nothing is unpickled, sizes are known before memory is taken, and numbers are finite.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from fhe_client.model.errors import ModelFilesError, UnsupportedModelError
from fhe_protocol.manifest import Group, Manifest

MAX_JSON_BYTES = 4 << 20
MAX_TOKENIZER_BYTES = 128 << 20
MAX_TEMPLATE_CHARACTERS = 256 << 10
MAX_STATE_BYTES = 3 << 30
"""Local parameters: norms, biases, position tables, and the token table where it stays on the client."""

MAX_ROTATION = 1024
"""Inputs that one rotation may mix: its matrix takes the square of it in memory."""

MAX_SCALE = 1e12
"""Input scales are positive and small numbers; what a larger one multiplies would overflow."""

_MAX_CONFIG_INTEGER = 1 << 24
_MAX_CONFIG_ITEMS = 200_000
_MAX_DEPTH = 8
_TENSORS = "client.safetensors"
# Keys of a config that would load code, fetch something, or choose an implementation for us.
_DROPPED = frozenset(
    {
        "auto_map",
        "quantization_config",
        "compression_config",
        "attn_implementation",
        "experts_implementation",
        "trust_remote_code",
        "custom_pipelines",
        "custom_generate",
        "torch_dtype",
        "dtype",
        "name_or_path",
        "transformers_version",
        "torchscript",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "use_cache",
    }
)
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class GroupScales:
    """What turns a group's int8 product into the layer's: y = row_scale * (Wq @ rotated(input_scale * x)).

    Attributes:
        row_scale: float32 (m,).
        input_scale: float32 (n,), or None for 1.
        rotation: b, a power of two that divides n: every b inputs in a row are mixed by the Hadamard matrix of
            order b over sqrt(b). 1 leaves them as they are.
    """

    row_scale: torch.Tensor
    input_scale: torch.Tensor | None
    rotation: int = 1


@dataclass(frozen=True)
class GenerationDefaults:
    """The few generation settings that a model may choose; everything else in its file is ignored."""

    stop_tokens: tuple[int, ...] = ()
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class ModelFiles:
    """The client's part of a model, checked.

    Attributes:
        config: a Hugging Face config of the manifest's model type.
        tokenizer: a fast tokenizer, built from `tokenizer.json` alone.
        chat_template: Jinja source, or None.
        defaults: generation settings.
        state: float32 tensors by name, for every parameter and buffer that is not a remote weight.
        scales: by group index.
    """

    config: Any
    tokenizer: Any
    chat_template: str | None
    defaults: GenerationDefaults
    state: Mapping[str, torch.Tensor] = field(repr=False)
    scales: Mapping[int, GroupScales] = field(repr=False)


def read_model_files(folder: Path, manifest: Manifest) -> ModelFiles:
    """Read and check the client's part of a model.

    Args:
        folder: holds the files that the manifest names, digests already checked.

    Raises:
        ModelFilesError: a file is missing, malformed, hostile, or contradicts the manifest.
        UnsupportedModelError: this version of transformers does not know the model type.
    """
    config = build_config(_read_json(folder, "config.json"), manifest)
    settings = _read_json(folder, "tokenizer_config.json", required=False)
    tokenizer = _read_tokenizer(folder, settings, manifest)
    generation = _read_json(folder, "generation_config.json", required=False)
    state, scales = _read_tensors(folder / _TENSORS, manifest)
    return ModelFiles(
        config=config,
        tokenizer=tokenizer,
        chat_template=_read_template(folder, settings),
        defaults=generation_defaults(generation, config, tokenizer, manifest.vocabulary),
        state=state,
        scales=scales,
    )


def build_config(values: Mapping[str, Any], manifest: Manifest) -> Any:
    """A config object from untrusted values.

    Raises:
        ModelFilesError: values are out of range or contradict the manifest.
        UnsupportedModelError: unknown model type.
    """
    _check_values(values)
    if values.get("model_type") != manifest.model_type:
        raise ModelFilesError("The model's config is of another type than its manifest says.")
    if manifest.model_type not in CONFIG_MAPPING:
        raise UnsupportedModelError(
            f"Models of type {manifest.model_type[:60]!r} are not known here."
        )
    clean = _without_dropped(values)
    try:
        config = CONFIG_MAPPING[manifest.model_type].from_dict(clean)
        text = config.get_text_config()
        layers, vocabulary = int(text.num_hidden_layers), int(text.vocab_size)
        positions = int(getattr(text, "max_position_embeddings", None) or manifest.context_length)
    except Exception as error:  # config classes raise whatever they like
        raise ModelFilesError(
            f"The model's config was refused ({type(error).__name__})."
        ) from error
    if not 1 <= layers <= len(manifest.groups):
        raise ModelFilesError("The model's config has more layers than its manifest has groups.")
    if vocabulary != manifest.vocabulary:
        raise ModelFilesError("The model's config and manifest name different vocabulary sizes.")
    if positions < manifest.context_length:
        raise ModelFilesError("The manifest names a longer context than the model's config.")
    return config


def generation_defaults(
    values: Mapping[str, Any], config: Any, tokenizer: Any, vocabulary: int
) -> GenerationDefaults:
    """The allowed settings of a generation config; values that make no sense are left at their default."""
    found: list[Any] = []
    for source in (values.get("eos_token_id"), getattr(config, "eos_token_id", None)):
        found += source if isinstance(source, list) else [source]
    found.append(tokenizer.eos_token_id)
    stop = sorted({t for t in found if type(t) is int and 0 <= t < vocabulary})
    return GenerationDefaults(
        stop_tokens=tuple(stop),
        sample=values.get("do_sample") is True,
        temperature=_number(values.get("temperature"), 0.01, 10.0, 1.0),
        top_p=_number(values.get("top_p"), 0.01, 1.0, 1.0),
        top_k=int(_number(values.get("top_k"), 0, vocabulary, 50)),
        repetition_penalty=_number(values.get("repetition_penalty"), 0.5, 5.0, 1.0),
    )


def _number(value: object, low: float, high: float, default: float) -> float:
    if type(value) in (int, float) and low <= value <= high:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    return default


def _read_json(folder: Path, name: str, required: bool = True) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        if required:
            raise ModelFilesError(f"The model has no {name}.")
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelFilesError(f"{name} is larger than {MAX_JSON_BYTES >> 20} MB.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelFilesError(f"{name} is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ModelFilesError(f"{name} is not a JSON object.")
    return value


def _check_values(values: Mapping[str, Any]) -> None:
    """Bound nesting, number of items, and every integer, so that no loop over them can run away."""
    count = 0
    pending: list[tuple[Any, int]] = [(values, 0)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if depth > _MAX_DEPTH or count > _MAX_CONFIG_ITEMS:
            raise ModelFilesError("The model's config is too large or too deeply nested.")
        if isinstance(value, dict):
            pending += [(v, depth + 1) for v in value.values()]
        elif isinstance(value, list):
            pending += [(v, depth + 1) for v in value]
        elif isinstance(value, int) and abs(value) > _MAX_CONFIG_INTEGER:
            raise ModelFilesError("The model's config holds an impossibly large number.")


def _without_dropped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_dropped(v)
            for k, v in value.items()
            if k not in _DROPPED and not k.startswith("_")
        }
    if isinstance(value, list):
        return [_without_dropped(v) for v in value]
    return value


def _read_tokenizer(folder: Path, settings: Mapping[str, Any], manifest: Manifest) -> Any:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFilesError("The model has no tokenizer.json.")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ModelFilesError(f"tokenizer.json is larger than {MAX_TOKENIZER_BYTES >> 20} MB.")
    special = {key: text for key in _SPECIAL_TOKENS if (text := _token_text(settings.get(key)))}
    try:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(path), clean_up_tokenization_spaces=False, **special
        )
        size = len(tokenizer)
    except Exception as error:  # the Rust library raises plain Exception
        raise ModelFilesError("tokenizer.json cannot be read.") from error
    if size > 2 * manifest.vocabulary + 1024:
        raise ModelFilesError("The tokenizer has far more tokens than the model.")
    return tokenizer


def _token_text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and 0 < len(value) <= 200 else None


def _read_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > 4 * MAX_TEMPLATE_CHARACTERS:
            raise ModelFilesError("The model's chat template is too long.")
        try:
            text: object = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ModelFilesError("The model's chat template is not valid UTF-8.") from error
    else:
        text = _named_template(settings.get("chat_template"))
    if not isinstance(text, str) or not text.strip():
        return None
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        raise ModelFilesError("The model's chat template is too long.")
    return text


def _named_template(value: object) -> object:
    """Older files hold a list of named templates; the one called "default" is meant for chat."""
    if not isinstance(value, list):
        return value
    named = {t.get("name"): t.get("template") for t in value if isinstance(t, dict)}
    return named.get("default")


def _read_tensors(
    path: Path, manifest: Manifest
) -> tuple[dict[str, torch.Tensor], dict[int, GroupScales]]:
    if not path.is_file():
        raise ModelFilesError(f"The model has no {_TENSORS}.")
    if path.stat().st_size > MAX_STATE_BYTES:
        raise ModelFilesError(f"{_TENSORS} is larger than {MAX_STATE_BYTES >> 30} GB.")
    try:
        with safe_open(str(path), framework="pt") as file:
            names = set(file.keys())
            scales = {g.index: _scales(file, names, g) for g in manifest.groups}
            state = dict(_state(file, names))
    except (SafetensorError, OSError) as error:
        raise ModelFilesError(f"{_TENSORS} cannot be read.") from error
    used = {f"state/{name}" for name in state}
    used |= {f"group/{i}/row_scale" for i in scales}
    used |= {f"group/{i}/input_scale" for i, s in scales.items() if s.input_scale is not None}
    used |= {f"group/{i}/rotation" for i, s in scales.items() if s.rotation != 1}
    if extra := names - used:
        raise ModelFilesError(f"{_TENSORS} holds {len(extra)} tensors that do not belong there.")
    return state, scales


def _scales(file: Any, names: set[str], group: Group) -> GroupScales:
    row_name, input_name = f"group/{group.index}/row_scale", f"group/{group.index}/input_scale"
    if row_name not in names:
        raise ModelFilesError(f"{_TENSORS} lacks {row_name}.")
    row_scale = _tensor(file, row_name, (group.outputs,))
    input_scale = _tensor(file, input_name, (group.inputs,)) if input_name in names else None
    if input_scale is not None and not bool(((input_scale > 0) & (input_scale <= MAX_SCALE)).all()):
        raise ModelFilesError(
            f"{input_name} in {_TENSORS} holds values that are not positive or too large."
        )
    return GroupScales(row_scale, input_scale, _rotation(file, names, group))


def _rotation(file: Any, names: set[str], group: Group) -> int:
    name = f"group/{group.index}/rotation"
    if name not in names:
        return 1
    size = float(_tensor(file, name, (1,)))
    possible = (1 << k for k in range(1, MAX_ROTATION.bit_length()))
    if group.kind != "linear" or not any(size == b and group.inputs % b == 0 for b in possible):
        raise ModelFilesError(f"{name} in {_TENSORS} is not a rotation that this group can have.")
    return int(size)


def _state(file: Any, names: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for name in sorted(names):
        if name.startswith("state/"):
            yield name.removeprefix("state/"), _tensor(file, name, None)


def _tensor(file: Any, name: str, shape: tuple[int, ...] | None) -> torch.Tensor:
    view = file.get_slice(name)
    if view.get_dtype() != "F32":
        raise ModelFilesError(f"{name} in {_TENSORS} is not float32.")
    if shape is not None and tuple(view.get_shape()) != shape:
        raise ModelFilesError(f"{name} in {_TENSORS} has the wrong shape.")
    tensor: torch.Tensor = file.get_tensor(name)
    if not bool(torch.isfinite(tensor).all()):
        raise ModelFilesError(f"{name} in {_TENSORS} holds values that are not finite.")
    return tensor
