"""The documentation's script of Concrete ML with one import changed, in all four modes and under both schemes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from fhe_client.concrete_api import HybridFHEModel, UsageError
from fhe_client.glwe.keys import GlweKeys
from fhe_client.model.errors import PassError, UnsupportedModelError
from tests.glwe_keys import client_keys
from tests.glwe_world import SHAPES, glwe_artefact, glwe_server
from tests.tiny_models import tiny_model

INPUT = torch.tensor([[5, 33]])
SCHEMES = ("glwe", "hint")


@pytest.fixture(autouse=True)
def one_key_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making keys takes seconds; tests of the keys make their own."""

    def shared() -> GlweKeys:
        keys = client_keys()
        keys.close = lambda: None  # type: ignore[method-assign]
        return keys

    for place in ("fhe_client.concrete.backends", "fhe_client.glwe.opening"):
        monkeypatch.setattr(f"{place}.GlweKeys", shared)


def remote_names(model: nn.Module) -> list[str]:
    """As the documentation's script collects them."""
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)]


def tiny(family: str) -> Any:
    return tiny_model(family, vocab_size=40, **SHAPES[family])


@contextmanager
def compiled(model: Any, scheme: str, **more: Any) -> Iterator[HybridFHEModel]:
    hybrid = HybridFHEModel(model, module_names=remote_names(model), scheme=scheme, **more)
    hybrid.compile_model(INPUT, n_bits=8, use_dynamic_quantization=True)
    with hybrid:
        yield hybrid


def generate(hybrid: HybridFHEModel) -> list[int]:
    mask = torch.ones_like(INPUT)
    tokens = hybrid.model.generate(INPUT, attention_mask=mask, max_new_tokens=2, do_sample=False)
    return list(tokens[0].tolist())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_documentations_script_writes_the_same_in_every_mode(family: str, scheme: str) -> None:
    model = tiny(family)
    with torch.no_grad():
        due = model(INPUT).logits
    with compiled(model, scheme) as hybrid:
        assert hybrid.fhe_mode == "disable"
        clear = hybrid(INPUT).logits
        texts = []
        for mode in ("disable", "simulate", "execute"):
            hybrid.set_fhe_mode(mode)
            texts.append(generate(hybrid))
            assert (hybrid(INPUT).logits - clear).std() < 0.05 * clear.std()
    assert (clear - due).std() < 0.05 * due.std()
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0]) == 4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_remote_computes_what_the_server_holds(scheme: str) -> None:
    folder = glwe_artefact("gpt2")
    checkpoint = folder.parent.parent / "checkpoint"
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    with torch.no_grad():
        due = model(INPUT).logits
    names = [name for name in remote_names(model) if name != "lm_head"]  # stays at home there
    with glwe_server(folder) as server:
        hybrid = HybridFHEModel(model, names, server.url, "tiny", scheme=scheme)
        hybrid.compile_model(INPUT)
        with hybrid:
            clear = generate(hybrid)
            hybrid.set_fhe_mode("remote")
            logits = hybrid(INPUT).logits
            assert (logits - due).std() < 0.05 * due.std()
            assert generate(hybrid) == clear
        assert server.counters.rounds > 4


def test_simulate_adds_the_noise_of_execute() -> None:
    """A layer alone, and the order of magnitude; `concrete/test_simulate.py` compares the distributions."""
    torch.manual_seed(3)
    layer = nn.Sequential(nn.Linear(20, 2, bias=False))
    x = torch.randn(16, 20)
    hybrid = HybridFHEModel(layer, "0", scheme="glwe")
    hybrid.compile_model(x)
    with hybrid:
        clear = hybrid(x).numpy()
        spread = {}
        for mode in ("simulate", "execute"):
            hybrid.set_fhe_mode(mode)
            gap = hybrid(x).numpy() - clear
            spread[mode] = float(np.sqrt((gap**2).mean()))
            assert np.abs(gap).max() > 0
    assert 0.25 < spread["execute"] / spread["simulate"] < 4


def test_modes_and_arguments_are_checked() -> None:
    model = tiny("gpt2")
    with pytest.raises(UsageError, match="no layer"):
        HybridFHEModel(model, ["nowhere"])
    with pytest.raises(UsageError, match="no layer"):
        HybridFHEModel(model, [])
    with pytest.raises(UsageError, match="scheme"):
        HybridFHEModel(model, remote_names(model), scheme="rot13")
    with pytest.raises(UnsupportedModelError, match="Embedding"):
        HybridFHEModel(model, ["transformer.wte"])
    hybrid = HybridFHEModel(model, remote_names(model))
    with pytest.raises(UsageError, match="compile_model"):
        hybrid.set_fhe_mode("disable")
    with pytest.raises(UsageError, match="n_bits"):
        hybrid.compile_model(INPUT, n_bits=9)
    with pytest.raises(UsageError, match="dynamic"):
        hybrid.compile_model(INPUT, use_dynamic_quantization=False)
    hybrid.compile_model(INPUT)
    with pytest.raises(UsageError, match="compiled already"):
        hybrid.compile_model(INPUT)
    with pytest.raises(UsageError, match="no mode 'calibrate'"):
        hybrid.set_fhe_mode("calibrate")
    with pytest.raises(UsageError, match="server_remote_address"):
        hybrid.set_fhe_mode("remote")
    assert hybrid.fhe_mode == "disable"  # a mode that cannot be set leaves the old one
    hybrid(INPUT, fhe="simulate")  # as the original has it
    assert hybrid.fhe_mode == "simulate"
    hybrid.init_client("clients", "keys")
    with pytest.raises(UsageError, match="imports the model itself"):
        hybrid.save_and_clear_private_info("folder")
    hybrid(INPUT)
    hybrid.close()
    with pytest.raises(PassError, match="set_fhe_mode"):
        hybrid(INPUT)


def test_the_weights_are_gone_from_the_model_and_tied_tables_stay() -> None:
    model = tiny("gpt2")
    table = model.transformer.wte.weight.detach().clone()
    with compiled(model, "glwe") as hybrid:
        left = dict(hybrid.model.named_parameters())
        assert not [n for n in left if n.endswith(("c_attn.weight", "lm_head.weight"))]
        assert "transformer.h.0.attn.c_attn.bias" in left
        torch.testing.assert_close(hybrid.model.transformer.wte.weight.detach(), table)


def test_a_call_longer_than_all_slots_is_refused_under_hint() -> None:
    torch.manual_seed(3)
    layer = nn.Sequential(nn.Linear(4, 2))
    hybrid = HybridFHEModel(layer, "0", scheme="hint")
    hybrid.compile_model(torch.randn(3, 4))
    with hybrid:
        hybrid.set_fhe_mode("execute")
        hybrid(torch.randn(200, 4))
        hybrid(torch.randn(100, 4))  # the rest of the window is too short: the next one
        with pytest.raises(PassError, match="256"):
            hybrid(torch.randn(257, 4))
