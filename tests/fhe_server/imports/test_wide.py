"""Wide arithmetic over weights that stay as they are stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fhe_server.imports import wide
from fhe_server.imports.wide import widened
from tests.tiny_models import tiny_model

IDS = torch.tensor([[5, 17, 80, 200, 3]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "opt", "phi3", "gpt_neox"])
@pytest.mark.parametrize("block", [wide.BLOCK, 1000])
def test_half_precision_weights_are_computed_with_in_float64(
    family: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide, "BLOCK", block)
    model = tiny_model(family)
    for parameter in model.parameters():  # rounded to half precision, but kept in float32
        parameter.data = parameter.data.to(torch.bfloat16).float()
    due = logits(model.double())
    for parameter in model.float().parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    with widened(torch.float64):
        found = logits(model)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, due, rtol=1e-4, atol=1e-5)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_large_matrices_are_widened_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "BLOCK", 256)
    seen: list[int] = []
    for name in ("_widen", "_buffered"):
        original = getattr(wide._Widening, name)

        def note(self: Any, value: Any, original: Any = original) -> Any:
            if isinstance(value, torch.Tensor):
                seen.append(value.numel())
            return original(self, value)

        monkeypatch.setattr(wide._Widening, name, note)
    linear = torch.nn.Linear(64, 100, dtype=torch.float16)
    table = torch.nn.Embedding(500, 32, dtype=torch.float16)
    x = torch.randn(2, 64)
    with torch.no_grad(), widened(torch.float32):
        y = linear(x)
        rows = table(torch.tensor([3, 499]))
    assert max(seen) <= 256
    torch.testing.assert_close(y, x @ linear.weight.float().T + linear.bias.float())
    torch.testing.assert_close(rows, table.weight[[3, 499]].float())


def test_the_default_type_is_put_back_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), widened(torch.float64):
        raise ZeroDivisionError
    assert torch.get_default_dtype() == torch.float32
