"""Input scales from a calibration text: what is observed, what follows from it, and that any machine finds the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fhe_server.errors import CheckpointError, QuantisationError, ServerError
from fhe_server.imports.calibration import (
    MAX_TOKENS,
    input_scale,
    observe,
    scaled_energies,
)
from fhe_server.imports.calibration_text import MAX_TEXT_BYTES, calibration_text
from fhe_server.imports.tracing import trace_groups
from tests.tiny_models import CONTEXT, tiny_model, tiny_tokenizer

TEXT = "the cat sat on the mat and the dog ran after the cat"


def inputs_of(model: Any, module: str, ids: list[int]) -> Any:
    kept = []
    hook = model.get_submodule(module).register_forward_pre_hook(lambda _, args: kept.append(args))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    hook.remove()
    x = kept[0][0]
    return x.reshape(-1, x.shape[-1]).numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "opt"])
def test_every_linear_group_is_observed_as_the_model_computes_it(family: str) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    groups = trace_groups(model)
    seen = observe(model, tokenizer, groups, TEXT)
    linear = [g for g in groups if g.kind == "linear"]
    assert set(seen) == {g.name for g in linear}
    for group in linear:
        x = inputs_of(model, group.members[0].module, tokenizer(TEXT).input_ids)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        rms = seen[group.name].rms
        assert rms.dtype == np.float64
        np.testing.assert_allclose(rms, np.sqrt((x**2).mean(axis=0)), rtol=1e-3, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("llama")
    groups = trace_groups(model)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    observe(model, tiny_tokenizer(), groups, TEXT)
    after = model.state_dict()
    assert all(
        torch.equal(before[n], after[n]) and after[n].dtype == t.dtype for n, t in before.items()
    )
    assert torch.get_default_dtype() == torch.float32
    assert not any(m._forward_pre_hooks for m in model.modules())


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox"])
def test_observations_carry_no_float32_noise(family: str) -> None:
    """Another order of additions moves float32 results by 1e-7 and more; the pass has to be float64 all through."""
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    groups = trace_groups(model)
    with threads(1):
        due = observe(model, tokenizer, groups, TEXT)
    exact = observe(model.double(), tokenizer, groups, TEXT)
    for name, observed in due.items():
        np.testing.assert_allclose(observed.rms, exact[name].rms, rtol=1e-11)
        np.testing.assert_allclose(observed.gains, exact[name].gains, rtol=1e-11)


def test_long_texts_are_cut_at_the_models_context() -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    groups = trace_groups(model)
    assert min(MAX_TOKENS, CONTEXT) == 512
    longer = observe(model, tokenizer, groups, "xyz " * 2000)
    assert all(np.isfinite(observed.rms).all() for observed in longer.values())


def test_a_tokenizer_that_does_not_fit_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(CheckpointError, match="do not fit"):
        observe(model, tiny_tokenizer(), trace_groups(model), "")


def test_a_model_that_computes_nan_is_refused() -> None:
    model = tiny_model("llama")
    groups = trace_groups(model)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight[3, 3] = float("nan")
    with pytest.raises(QuantisationError, match="not finite") as caught:
        observe(model, tiny_tokenizer(), groups, TEXT)
    assert "--calibrate none" in caught.value.next_step


def test_scales_minimise_the_product_of_norms() -> None:
    rng = np.random.default_rng(3)
    spread = np.exp(rng.normal(size=64))
    weight = (rng.normal(size=(48, 64)) / spread**0.3).astype(np.float32)
    rms = spread / np.linalg.norm(spread)
    # What the text showed, and a part of a typical input's energy for what another text may show.
    due = np.sqrt(rms**2 + 0.3 * np.exp(np.log(rms**2).mean()))

    def product(c: Any) -> float:
        return float(np.linalg.norm(weight / c) * np.linalg.norm(c * due))

    scale = input_scale(weight, [48], rms)
    best = float(np.linalg.norm(weight, axis=0) @ due)  # by Cauchy-Schwarz
    assert best <= product(scale) <= 1.01 * best < 0.9 * product(np.ones(64))


def test_scales_lie_on_a_coarse_grid_that_float_noise_does_not_cross() -> None:
    rng = np.random.default_rng(4)
    weight = rng.normal(size=(16, 300)).astype(np.float32)
    rms = np.abs(rng.normal(size=300)) + 0.01
    scale = input_scale(weight, [16], rms)
    assert scale.dtype == np.float32
    np.testing.assert_allclose(np.log2(scale) * 4, np.rint(np.log2(scale) * 4), atol=1e-5)
    noisy = rms * (1 + 1e-13 * rng.normal(size=300))
    assert (input_scale(weight, [16], noisy) == scale).all()


def test_sizes_of_scaled_inputs_lie_on_the_same_grid_and_are_never_zero() -> None:
    rng = np.random.default_rng(5)
    rms = np.exp(rng.normal(size=300))
    rms[7] = 0
    scale = np.exp2(np.rint(rng.normal(size=300))).astype(np.float32)
    energies = scaled_energies(rms, scale)
    np.testing.assert_allclose(np.log2(energies) * 4, np.rint(np.log2(energies) * 4), atol=1e-9)
    noisy = rms * (1 + 1e-13 * rng.normal(size=300))
    assert (scaled_energies(noisy, scale) == energies).all()
    large = rms > 3 * np.median(rms)
    due = (scale[large] * rms[large]) ** 2
    np.testing.assert_allclose(energies[large], due, rtol=0.15)
    assert energies.min() > 0
    assert (scaled_energies(0 * rms, scale) > 0).all()


def test_a_module_counts_by_its_columns_not_by_its_size() -> None:
    small, large = np.ones((4, 8), dtype=np.float32), np.ones((40, 8), dtype=np.float32)
    small[:, 0] *= 100
    weight = np.concatenate([small, 1000 * large])
    rms = np.ones(8)
    assert input_scale(weight, [4, 40], rms)[0] > input_scale(weight, [44], rms)[0]


def test_inputs_and_columns_of_zeros_get_usable_scales() -> None:
    weight = np.ones((4, 8), dtype=np.float32)
    weight[:, 2] = 0
    rms = np.ones(8)
    rms[5] = 0
    for scale in (input_scale(weight, [4], rms), input_scale(0 * weight, [4], 0 * rms)):
        assert np.isfinite(scale).all()
        assert (scale >= 2.0**-8).all()
        assert (scale <= 2.0**8).all()


def test_choices_of_text(tmp_path: Path) -> None:
    assert calibration_text("none") is None
    builtin = calibration_text("builtin")
    assert builtin is not None
    assert builtin.startswith("We the People")
    file = tmp_path / "own.txt"
    file.write_text("Grüße", "utf-8")
    assert calibration_text(str(file)) == "Grüße"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b" \n", "empty"),
        (b"\xff\xfe\xff", "UTF-8"),
        (b"x" * (MAX_TEXT_BYTES + 1), "1 MB"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "own.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ServerError, match=reason) as caught:
        calibration_text(str(file))
    assert caught.value.next_step
