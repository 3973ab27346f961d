from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fhe_client.model.errors import ModelFilesError, PassError, UnsupportedModelError
from fhe_client.model.files import read_model_files
from fhe_client.model.hybrid import HybridModel, build_hybrid
from fhe_client.model.passes import StopRequestedError
from fhe_protocol.manifest import Group, parse_manifest
from tests.clear_runner import ClearRunner
from tests.small_artefacts import FAMILIES, write_artefact

TOKENS = [int(t) for t in np.random.default_rng(5).integers(3, 250, size=40)]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, write_artefact(folder, request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama-only")
    write_artefact(folder, "llama")
    return folder


def build(folder: Path, runner: ClearRunner | None = None) -> HybridModel:
    runner = runner or ClearRunner(folder)
    return build_hybrid(
        runner.manifest, read_model_files(folder / "client", runner.manifest), runner
    )


def twin_logits(twin: Any, tokens: Sequence[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = twin(input_ids=torch.tensor([tokens]), use_cache=False).logits
    return logits[0]


def test_logits_equal_those_of_the_twin(family: Any) -> None:
    """Over a prompt in two passes and ten single tokens behind it, past the sliding window of those that have one."""
    folder, twin = family
    hybrid = build(folder)
    hybrid.prefill(TOKENS[:20])
    logits = [hybrid.next_logits(TOKENS[20:30])]
    logits += [hybrid.next_logits([token]) for token in TOKENS[30:]]
    due = twin_logits(twin, TOKENS)[29:]
    assert float(due.std()) > 0.1, "a model that says nothing proves nothing"
    torch.testing.assert_close(torch.stack(logits), due, rtol=0, atol=2e-4)
    assert hybrid.take_warning() is None


def test_rounds_follow_from_the_number_of_tokens_alone(family: Any) -> None:
    folder, _ = family
    runner = ClearRunner(folder)
    hybrid = build(folder, runner)
    hybrid.prefill(TOKENS[:7])
    hybrid.next_logits(TOKENS[7:10])
    hybrid.next_logits(TOKENS[10:11])
    body = [g.index for g in runner.manifest.groups][:-1]
    head = runner.manifest.groups[-1].index
    due = [(g, 7) for g in body] + [(g, 3) for g in body] + [(head, 1)]
    due += [(g, 1) for g in body] + [(head, 1)]
    assert runner.rounds == due
    assert runner.passes == [7, 3, 1]
    assert hybrid.state.rounds == len(due)


def test_no_large_matrix_is_left(family: Any) -> None:
    folder, twin = family
    hybrid = build(folder)
    remote = {m.module for g in hybrid.runner.manifest.groups for m in g.members}
    names = {n for n, _ in hybrid.model.named_parameters()}
    assert not names & {f"{module}.weight" for module in remote}
    assert len(remote) == len({n for n, m in twin.named_modules() if n in remote})
    matrices = {n: p for n, p in hybrid.model.named_parameters() if p.ndim >= 2}
    assert all("wpe" in n or "embed_positions" in n for n in matrices)
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in hybrid.model.parameters())
    assert not hybrid.model.training


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text"])
def test_embedding_may_stay_local(name: str, tmp_path: Path) -> None:
    twin = write_artefact(tmp_path / "m", name, local_embedding=True)
    runner = ClearRunner(tmp_path / "m")
    assert all(g.kind == "linear" for g in runner.manifest.groups)
    hybrid = build(tmp_path / "m", runner)
    due = twin_logits(twin, TOKENS)[-1]
    torch.testing.assert_close(hybrid.next_logits(TOKENS), due, rtol=0, atol=2e-4)


def test_input_scale_is_applied(folder: Path, tmp_path: Path) -> None:
    """Scaling inputs by c and the weights' columns by 1/c changes nothing; here c is a power of two, so exactly."""
    from safetensors.torch import load_file, save_file

    client = tmp_path / "client"
    client.mkdir()
    for path in (folder / "client").iterdir():
        (client / path.name).write_bytes(path.read_bytes())
    manifest = ClearRunner(folder).manifest
    tensors = load_file(client / "client.safetensors")
    for group in manifest.groups:
        tensors[f"group/{group.index}/input_scale"] = torch.full((group.inputs,), 0.25)
        tensors[f"group/{group.index}/row_scale"] *= 4
    save_file(tensors, client / "client.safetensors")
    scaled = build_hybrid(manifest, read_model_files(client, manifest), ClearRunner(folder))
    assert torch.equal(scaled.next_logits(TOKENS), build(folder).next_logits(TOKENS))


def test_noise_of_decryption_does_not_spoil_the_logits(folder: Path) -> None:
    exact = build(folder).next_logits(TOKENS)
    noisy = build(folder, ClearRunner(folder, noise_seed=3)).next_logits(TOKENS)
    error = float((noisy - exact).norm() / exact.norm())
    assert 0 < error < 0.05


class FaultyRunner(ClearRunner):
    """Answers one group with a chosen value in one place."""

    fault: tuple[int, float] | None = None

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = super().run_group(group, x)
        if self.fault is not None and group.index == self.fault[0]:
            answer[-1, 0] = self.fault[1]
        return answer


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e38])
@pytest.mark.parametrize("position", [1, 4, -1])
def test_answers_that_are_not_finite_change_nothing_visible(
    folder: Path, value: float, position: int
) -> None:
    """Invariant 5: the pass is finished with the same rounds, the caller learns of it once afterwards."""
    clean_runner, runner = ClearRunner(folder), FaultyRunner(folder)
    runner.fault = (runner.manifest.groups[position].index, value)
    clean, hybrid = build(folder, clean_runner), build(folder, runner)
    for model in (clean, hybrid):
        model.next_logits(TOKENS[:4])
        model.next_logits(TOKENS[4:5])
    assert runner.rounds == clean_runner.rounds
    assert torch.isfinite(hybrid.next_logits(TOKENS[5:6])).all()
    warning = hybrid.take_warning()
    assert warning is not None
    assert "server" in warning
    assert hybrid.take_warning() is None
    runner.fault = None
    hybrid.forget()
    assert torch.equal(hybrid.next_logits(TOKENS[:6]), build(folder).next_logits(TOKENS[:6]))
    assert hybrid.take_warning() is None


def test_scales_that_overflow_warn_nobody(folder: Path) -> None:
    """A server chooses the scales, too. No line on a terminal may tell what they made of decrypted values."""
    runner = FaultyRunner(folder)
    group = runner.manifest.groups[4]
    runner.fault = (group.index, 3e38)
    files = read_model_files(folder / "client", runner.manifest)
    files.scales[group.index].row_scale.fill_(1e30)
    hybrid = build_hybrid(runner.manifest, files, runner)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.isfinite(hybrid.next_logits(TOKENS[:4])).all()
    assert hybrid.take_warning() is not None


def test_wrong_shape_of_an_answer_is_refused(folder: Path) -> None:
    class ShortRunner(ClearRunner):
        def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
            return super().run_group(group, x)[:, :-1]

    with pytest.raises(PassError, match="size"):
        build(folder, ShortRunner(folder)).next_logits(TOKENS)


def test_stop_in_the_middle_of_a_pass_leaves_a_usable_cache(folder: Path) -> None:
    runner = ClearRunner(folder)
    hybrid = build(folder, runner)
    hybrid.next_logits(TOKENS[:5])
    runner.rounds.clear()
    hybrid.state.should_stop = lambda: len(runner.rounds) >= 5
    with pytest.raises(StopRequestedError):
        hybrid.next_logits(TOKENS[5:8])
    assert len(runner.rounds) == 5, "no round after the wish to stop"
    hybrid.state.should_stop = lambda: False
    hybrid.cache.trim()
    assert hybrid.cache.tokens == tuple(TOKENS[:5])
    again = hybrid.next_logits(TOKENS[5:8])
    torch.testing.assert_close(again, build(folder).next_logits(TOKENS[:8]), rtol=0, atol=1e-5)


def first_layer(hybrid: HybridModel) -> Any:
    return hybrid.model.model.layers[0].self_attn


def open_pass(hybrid: HybridModel, rows: int) -> torch.Tensor:
    """Begin a pass whose next due group is that of the first attention. Returns an input for it."""
    hybrid.state.begin(rows)
    hybrid.model.get_input_embeddings()(torch.zeros(1, rows, dtype=torch.int64))
    return torch.randn(1, rows, 32, generator=torch.Generator().manual_seed(1))


def test_members_of_a_group_share_one_round(folder: Path) -> None:
    runner = ClearRunner(folder)
    hybrid = build(folder, runner)
    attention, x = first_layer(hybrid), None
    x = open_pass(hybrid, 2)
    parts = [attention.q_proj(x), attention.k_proj(x), attention.v_proj(x.view(1, 2, 32))]
    assert [p.shape for p in parts] == [(1, 2, 32), (1, 2, 16), (1, 2, 16)]
    assert len(runner.rounds) == 2


def test_second_call_of_a_layer_in_one_pass_is_refused(folder: Path) -> None:
    hybrid = build(folder)
    attention, x = first_layer(hybrid), open_pass(hybrid, 2)
    attention.q_proj(x)
    with pytest.raises(PassError, match="twice"):
        attention.q_proj(x)
    attention.k_proj(x)
    attention.v_proj(x)
    with pytest.raises(PassError, match="twice"):
        attention.k_proj(x)


def test_another_tensor_than_the_one_due_is_refused(folder: Path) -> None:
    hybrid = build(folder)
    attention, x = first_layer(hybrid), open_pass(hybrid, 2)
    attention.q_proj(x)
    with pytest.raises(PassError, match="different inputs"):
        attention.k_proj(x.clone())
    x.add_(1)
    with pytest.raises(PassError, match="different inputs"):
        attention.k_proj(x)


def test_number_of_rows_must_not_depend_on_the_data(folder: Path) -> None:
    """What a mixture of experts would do: send a layer only some of the rows."""
    runner = ClearRunner(folder)
    hybrid = build(folder, runner)
    x = open_pass(hybrid, 3)
    with pytest.raises(PassError, match="rows"):
        first_layer(hybrid).q_proj(x[:, :2])
    assert len(runner.rounds) == 1


def test_layers_must_not_be_left_out_or_reordered(folder: Path) -> None:
    """The order is known before the first token: it was rehearsed without a server."""
    runner = ClearRunner(folder)
    hybrid = build(folder, runner)
    assert runner.passes == []
    assert hybrid.state.rounds == 0
    x = open_pass(hybrid, 2)
    with pytest.raises(PassError, match="order"):
        first_layer(hybrid).o_proj(x)
    assert len(runner.rounds) == 1
    with pytest.raises(PassError, match="left out"):
        hybrid.state.finish(with_head=True)


def test_config_that_cannot_work_is_refused_before_the_first_token(folder: Path) -> None:
    runner = ClearRunner(folder)
    files = read_model_files(folder / "client", runner.manifest)
    files.config.head_dim = 16
    files.config.num_attention_heads = 2
    files.config.num_key_value_heads = 1
    build_hybrid(runner.manifest, files, runner)  # 2 heads of 16 fit the same matrices as 4 of 8
    files.config.num_key_value_heads = 3
    with pytest.raises(ModelFilesError):
        build_hybrid(runner.manifest, files, runner)
    odd = read_model_files(folder / "client", runner.manifest)
    vars(odd.config)["rms_norm_eps"] = "small"  # past the checks of its own
    with pytest.raises(ModelFilesError, match="does not work"):
        build_hybrid(runner.manifest, odd, runner)
    assert runner.rounds == []


def test_one_conversation_at_a_time(folder: Path) -> None:
    hybrid = build(folder)
    with pytest.raises(PassError, match="batch"):
        hybrid.model(
            input_ids=torch.zeros(2, 3, dtype=torch.int64),
            cache=hybrid.cache.layers,
            logits_to_keep=1,
        )
    with pytest.raises(PassError, match="cache"):
        hybrid.model(input_ids=torch.zeros(1, 3, dtype=torch.int64))


def test_pass_must_fit_into_the_window(folder: Path) -> None:
    runner = ClearRunner(folder, window=8)
    hybrid = build(folder, runner)
    hybrid.prefill(TOKENS[:5])
    with pytest.raises(PassError, match="window"):
        hybrid.prefill(TOKENS[5:9])
    assert runner.passes == [5]


def test_unknown_token_is_refused_before_it_leaves(folder: Path) -> None:
    runner = ClearRunner(folder)
    with pytest.raises(PassError, match="vocabulary"):
        build(folder, runner).next_logits([3, 5000])
    assert runner.rounds == []


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("model.layers.7.mlp.up_proj", ModelFilesError),
        ("model.layers.0.mlp.nothing", ModelFilesError),
        ("model.layers.0.mlp.down_proj", ModelFilesError),  # (48, 32), where (32, 16) is due
        ("model.layers.0.mlp", UnsupportedModelError),
        ("model.norm", UnsupportedModelError),
    ],
)
def test_manifest_that_contradicts_the_config_is_refused(
    folder: Path, module: str, error: type[Exception]
) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    groups = document["model"]["groups"]
    groups[4]["members"][0]["module"] = "elsewhere"  # was down_proj: names must stay unique
    groups[1]["members"][2]["module"] = module
    manifest = parse_manifest(json.dumps(document).encode())
    files = read_model_files(folder / "client", manifest)
    with pytest.raises(error):
        build_hybrid(manifest, files, ClearRunner(folder))
