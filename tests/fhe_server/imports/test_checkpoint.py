"""Reading checkpoints: formats, damage, and the models that are refused before a weight is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from fhe_server.errors import CheckpointError, UnsupportedModelError
from fhe_server.imports.checkpoint import check_config, find_source, load_checkpoint
from tests.tiny_models import REFUSED, save_tiny, save_tiny_gguf, tiny_config, tiny_model


def same_logits(one: Any, other: Any) -> bool:
    ids = torch.tensor([[5, 17, 80, 200]])
    with torch.no_grad():
        return torch.allclose(one(input_ids=ids).logits, other(input_ids=ids).logits, atol=1e-4)


def test_a_folder_of_safetensors_is_read_as_float32(tmp_path: Path) -> None:
    model = tiny_model("llama")
    save_tiny(tmp_path, "llama")
    loaded = load_checkpoint(find_source(str(tmp_path)))
    assert same_logits(loaded.model, model)
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.tokenizer.chat_template
    assert loaded.config.model_type == "llama"


def test_half_precision_is_widened(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama").to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load_checkpoint(find_source(str(tmp_path)))
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "qwen2", shard="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert same_logits(load_checkpoint(find_source(str(tmp_path))).model, model)


def test_a_gguf_file_is_read(tmp_path: Path) -> None:
    model = tiny_model("llama")
    save_tiny_gguf(tmp_path / "tiny.gguf", model)
    source = find_source(str(tmp_path / "tiny.gguf"))
    assert (source.label, source.gguf) == ("tiny", "tiny.gguf")
    loaded = load_checkpoint(source)
    assert same_logits(loaded.model, model)
    assert loaded.tokenizer.decode(loaded.tokenizer("the cat").input_ids) == "the cat"
    assert find_source(str(tmp_path)).gguf == "tiny.gguf"


def as_pickle(folder: Path, state: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")


def test_pickled_weights_are_read_with_the_restricted_unpickler(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "gpt2")
    as_pickle(tmp_path, model.state_dict())
    assert same_logits(load_checkpoint(find_source(str(tmp_path))).model, model)


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    folder, target = tmp_path / "model", tmp_path / "executed"
    model = save_tiny(folder, "gpt2")
    as_pickle(folder, {**model.state_dict(), "extra": Payload(target)})
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(find_source(str(folder)))
    assert not target.exists()


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder, target = tmp_path / "model", tmp_path / "executed"
    save_tiny(folder, "llama")
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(target)!r})\n")
    auto_map = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    edit_config(folder, model_type="own_type", auto_map=auto_map)
    with pytest.raises(UnsupportedModelError, match="never run"):
        load_checkpoint(find_source(str(folder)))
    assert not target.exists()


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    edit_config(tmp_path, model_type="no_such_type")
    with pytest.raises(
        (UnsupportedModelError, CheckpointError), match=r"no_such_type|not a causal"
    ):
        load_checkpoint(find_source(str(tmp_path)))


@pytest.mark.parametrize(
    ("family", "reason"), [("mixtral", "mixture of experts"), ("t5", "encoder-decoder")]
)
def test_what_would_leak_or_cannot_work_is_refused(family: str, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        check_config(tiny_config(family))


def test_cross_attention_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="cross-attention"):
        check_config(tiny_config("gpt2", add_cross_attention=True))


def test_experts_are_found_in_nested_configurations() -> None:
    class Nested:
        def to_dict(self) -> dict[str, Any]:
            return {"text_config": {"n_routed_experts": 64}}

    with pytest.raises(UnsupportedModelError, match="n_routed_experts = 64"):
        check_config(Nested())
    check_config(tiny_config("mixtral", num_local_experts=1, num_experts_per_tok=1))


def test_bidirectional_models_are_among_the_refused() -> None:
    from fhe_server.imports.tracing import trace_groups

    assert "bert" in REFUSED
    with pytest.raises(UnsupportedModelError, match="not causal"):
        trace_groups(tiny_model("bert"))


def test_missing_weights_are_not_replaced_by_random_ones(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks weights"):
        load_checkpoint(find_source(str(tmp_path)))


def test_truncated_weights_are_reported_as_damage(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        load_checkpoint(find_source(str(tmp_path)))
    assert caught.value.next_step


def test_a_file_that_is_no_gguf_is_reported_as_damage(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"rubbish" * 100)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(find_source(str(tmp_path / "bad.gguf")))


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(CheckpointError):
        load_checkpoint(find_source(str(tmp_path)))


def test_what_is_not_there_says_what_may_be_named(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.gguf"), str(tmp_path / "a" / "b"), "../up"):
        with pytest.raises(CheckpointError, match="no checkpoint"):
            find_source(name)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        find_source(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"not a \.gguf"):
        find_source(str(tmp_path / "notes.txt"))


def test_an_id_is_looked_up_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def offline(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(CheckpointError, match="could not be reached"):
        find_source("someone/some-model")
    assert asked[0][0] == "someone/some-model"
    assert not any("bin" in pattern or "py" in pattern for pattern in asked[0][1])


def test_an_id_in_the_hub_cache_becomes_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    source = find_source("someone/some-model")
    assert (source.label, source.folder) == ("someone/some-model", tmp_path)


def test_the_digest_follows_contents_and_names_only(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        save_tiny(tmp_path / folder, "llama")
    one, two = (find_source(str(tmp_path / f)) for f in ("one", "two"))
    assert one.digest() == two.digest()
    (tmp_path / "two" / "README.md").write_text("not part of the model")
    assert one.digest() == two.digest()
    edit_config(tmp_path / "two", rms_norm_eps=1e-4)
    assert one.digest() != two.digest()
