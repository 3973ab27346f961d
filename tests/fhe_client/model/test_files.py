from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fhe_client.model.errors import ModelFilesError, UnsupportedModelError
from fhe_client.model.files import ModelFiles, build_config, read_model_files
from fhe_client.model.hybrid import build_hybrid
from fhe_client.model.skeleton import build_skeleton
from fhe_protocol.manifest import Manifest, parse_manifest
from tests.clear_runner import ClearRunner
from tests.small_artefacts import CHAT_TEMPLATE, VOCABULARY, write_artefact

GOOD_CONFIG = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artefact(tmp_path / "small", "llama")
    return tmp_path / "small"


def read(folder: Path) -> ModelFiles:
    return read_model_files(folder / "client", manifest_of(folder))


def manifest_of(folder: Path) -> Manifest:
    return parse_manifest((folder / "manifest.json").read_bytes())


def change_json(folder: Path, name: str, **values: Any) -> None:
    path = folder / "client" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "client" / "client.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_everything_is_read(folder: Path) -> None:
    files = read(folder)
    assert files.config.model_type == "llama"
    assert files.tokenizer.decode(files.tokenizer.encode("hé")) == "hé"
    assert files.tokenizer.eos_token_id == 2
    assert files.chat_template == CHAT_TEMPLATE
    assert files.defaults.stop_tokens == (2,)
    assert "model.norm.weight" in files.state
    assert len(files.scales) == len(manifest_of(folder).groups)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "client.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / "client" / name).unlink()
    with pytest.raises(ModelFilesError, match=name):
        read(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "client.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"null"])
def test_damaged_file(folder: Path, name: str, content: bytes) -> None:
    (folder / "client" / name).write_bytes(content)
    with pytest.raises(ModelFilesError, match=name):
        read(folder)


def test_optional_files_may_be_missing(folder: Path) -> None:
    for name in ("generation_config.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / "client" / name).unlink()
    files = read(folder)
    assert files.chat_template is None
    assert files.defaults.stop_tokens == (2,), "from the config"


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_pickle_is_never_loaded(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (folder / "client" / "client.safetensors").write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(ModelFilesError):
        read(folder)
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"quantization_config": {"quant_method": "nothing"}},
        {"auto_map": {"AutoConfig": "evil/repo--x.Y"}},
    ],
)
def test_settings_that_load_code_are_ignored(folder: Path, value: dict[str, Any]) -> None:
    change_json(folder, "config.json", **value, _attn_implementation="evil/kernel", dtype="int4")
    change_json(
        folder,
        "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil/repo--x.Y", None]},
        tokenizer_class="EvilTokenizer",
    )
    files = read(folder)
    assert not hasattr(files.config, next(iter(value)))
    manifest = manifest_of(folder)
    hybrid = build_hybrid(manifest, files, ClearRunner(folder))
    assert hybrid.model.config._attn_implementation == "sdpa"
    assert hybrid.model.dtype == torch.float32


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gpt2"},
        {"model_type": None},
        {"vocab_size": VOCABULARY + 1},
        {"num_hidden_layers": 10_000},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": "two"},
        {"hidden_size": 1 << 40},
        {"max_position_embeddings": 100},
        {"rope_parameters": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}},
        {"more": list(range(300_000))},
    ],
)
def test_hostile_config_values_are_refused(folder: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFilesError):
        build_config({**GOOD_CONFIG, **changes}, manifest_of(folder))


def test_unknown_model_type(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["model"]["model_type"] = "no_such_type"
    manifest = parse_manifest(json.dumps(document).encode())
    with pytest.raises(UnsupportedModelError, match="no_such_type"):
        build_config({**GOOD_CONFIG, "model_type": "no_such_type"}, manifest)


def test_matrices_cost_no_memory(folder: Path) -> None:
    """64 layers of a size that would take 100 GB."""
    manifest = manifest_of(folder)
    values = {"hidden_size": 1 << 14, "intermediate_size": 1 << 15, "num_attention_heads": 128}
    config = build_config({**GOOD_CONFIG, **values}, manifest)
    config.num_hidden_layers = 64
    model = build_skeleton(config, groups=300)
    assert sum(p.numel() for p in model.parameters()) > 2e10
    real = [p for p in model.parameters() if not p.is_meta]
    assert max(p.ndim for p in real) == 1
    assert sum(p.numel() for p in real) < 1e7


def test_config_cannot_ask_for_gigabytes() -> None:
    from transformers import CONFIG_MAPPING

    # Its table of positions is a buffer, not a parameter: (positions, dim) float32, here 4 GB.
    config = CONFIG_MAPPING["gptj"](
        vocab_size=32, n_embd=64, n_layer=1, n_head=1, rotary_dim=64, n_positions=1 << 24
    )
    with pytest.raises(ModelFilesError, match="memory"):
        build_skeleton(config, groups=10)


def test_config_cannot_ask_for_endless_building() -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING["llama"](
        vocab_size=32, hidden_size=8, num_attention_heads=1, num_hidden_layers=1 << 20
    )
    with pytest.raises(ModelFilesError, match="parts"):
        build_skeleton(config, groups=10)


@pytest.mark.parametrize("model_type", ["t5", "mamba"])
def test_other_architectures_are_refused(model_type: str) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type](vocab_size=32, num_hidden_layers=1)
    with pytest.raises(UnsupportedModelError):
        build_skeleton(config, groups=10)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_tensors(folder, lambda t: t["state/model.norm.weight"].__setitem__(3, value))
    with pytest.raises(ModelFilesError, match=r"model\.norm\.weight.*finite"):
        read(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t.pop("group/1/row_scale"), "lacks"),
        (lambda t: t.update({"group/1/row_scale": torch.ones(3)}), "shape"),
        (lambda t: t.update({"group/1/input_scale": torch.ones(3)}), "shape"),
        (lambda t: t.update({"group/999/row_scale": torch.ones(3)}), "belong"),
        (lambda t: t.update({"state/x": torch.ones(3, dtype=torch.float64)}), "float32"),
    ],
)
def test_wrong_tensors_are_refused(folder: Path, change: Any, word: str) -> None:
    change_tensors(folder, change)
    with pytest.raises(ModelFilesError, match=word):
        read(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t.pop("state/model.norm.weight"), "lack"),
        (lambda t: t.update({"state/model.norm.weight": torch.ones(31)}), "shape"),
        (lambda t: t.update({"state/extra": torch.ones(3)}), "too many"),
    ],
)
def test_state_is_loaded_strictly(folder: Path, change: Any, word: str) -> None:
    change_tensors(folder, change)
    with pytest.raises(ModelFilesError, match=word):
        build_hybrid(manifest_of(folder), read(folder), ClearRunner(folder))


@pytest.mark.parametrize(
    ("values", "name", "due"),
    [
        ({"eos_token_id": [2, 5, -1, 10**9, "x", None]}, "stop_tokens", (2, 5)),
        ({"temperature": float("nan")}, "temperature", 1.0),
        ({"temperature": "hot"}, "temperature", 1.0),
        ({"temperature": 0.6}, "temperature", 0.6),
        ({"top_k": -5}, "top_k", 50),
        ({"repetition_penalty": 1e9}, "repetition_penalty", 1.0),
        ({"do_sample": True}, "sample", True),
        ({"num_beams": 64, "prompt_lookup_num_tokens": 9}, "sample", False),
    ],
)
def test_generation_settings_are_bounded(
    folder: Path, values: dict[str, Any], name: str, due: object
) -> None:
    change_json(folder, "generation_config.json", **values)
    assert getattr(read(folder).defaults, name) == due


def test_template_from_the_tokenizer_settings(folder: Path) -> None:
    (folder / "client" / "chat_template.jinja").unlink()
    change_json(folder, "tokenizer_config.json", chat_template="A")
    assert read(folder).chat_template == "A"
    named = [{"name": "tools", "template": "B"}, {"name": "default", "template": "C"}]
    change_json(folder, "tokenizer_config.json", chat_template=named)
    assert read(folder).chat_template == "C"
    change_json(folder, "tokenizer_config.json", chat_template="x" * 300_000)
    with pytest.raises(ModelFilesError, match="template"):
        read(folder)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (0.0, "not positive"),
        (-0.0, "not positive"),
        (-1.0, "not positive"),
        (1e13, "too large"),
        (3.4e38, "too large"),
    ],
)
@pytest.mark.parametrize("group", [0, 1])
def test_an_input_scale_that_no_import_makes_is_refused(
    folder: Path, value: float, reason: str, group: int
) -> None:
    inputs = manifest_of(folder).groups[group].inputs
    name = f"group/{group}/input_scale"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        scale = torch.ones(inputs)
        scale[-1] = value
        tensors[name] = scale

    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(inputs)}))
    assert read(folder).scales[group].input_scale is not None
    change_tensors(folder, change)
    with pytest.raises(ModelFilesError, match=reason) as caught:
        read(folder)
    assert name in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (0.0, "rotation"),
        (-2.0, "rotation"),
        (1.0, "rotation"),
        (3.0, "rotation"),
        (2.5, "rotation"),
        (64.0, "rotation"),
        (2048.0, "rotation"),
        (2.0**60, "rotation"),
    ],
)
def test_a_rotation_that_the_group_cannot_have_is_refused(
    folder: Path, value: float, reason: str
) -> None:
    assert manifest_of(folder).groups[1].inputs == 32
    name = "group/1/rotation"
    change_tensors(folder, lambda tensors: tensors.update({name: torch.tensor([32.0])}))
    assert read(folder).scales[1].rotation == 32
    change_tensors(folder, lambda tensors: tensors.update({name: torch.tensor([value])}))
    with pytest.raises(ModelFilesError, match=reason) as caught:
        read(folder)
    assert name in caught.value.message
    assert caught.value.next_step


def test_a_rotation_of_the_wrong_shape_or_of_an_embedding_is_refused(folder: Path) -> None:
    for name, value in (("group/1/rotation", [2.0, 2.0]), ("group/0/rotation", [2.0])):
        change_tensors(folder, lambda t, n=name, v=value: t.update({n: torch.tensor(v)}))
        with pytest.raises(ModelFilesError, match=name):
            read(folder)
        change_tensors(folder, lambda t, n=name: t.pop(n))
    assert read(folder).scales[1].rotation == 1
