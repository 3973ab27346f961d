from __future__ import annotations

import pytest
import torch
from torch import nn

from fhe_client.model.norms import quicken


class Plain(nn.Module):
    """As most models write it. The name says nothing about it."""

    def __init__(self, inputs: int = 48, shift: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 2, inputs), requires_grad=False)
        self.eps = 1e-5
        self.shift = shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.pow(2).mean(-1, keepdim=True)
        return (self.weight + self.shift) * (x * torch.rsqrt(mean + self.eps))


class Centred(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(-1, keepdim=True))


class OtherEpsilon(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 2 * self.eps))


class Clamped(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.clamp(-1000, 1000))


class Gated(Plain):
    def forward(self, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        y = super().forward(x)
        return y if gate is None else y * gate


@pytest.mark.parametrize("norm", [Plain(), Plain(shift=1.0), nn.RMSNorm(48, eps=1e-5)])
def test_what_is_an_rms_norm_gives_the_same_bits_in_one_operation(norm: nn.Module) -> None:
    holder = nn.Sequential(norm, nn.Linear(48, 4))
    values = torch.randn((1, 5, 48), generator=torch.Generator().manual_seed(7))
    before, names = norm(values), list(holder.state_dict())
    assert quicken(holder) == 1
    assert torch.equal(norm(values), before)
    assert list(holder.state_dict()) == names, "nothing about its weight has changed"
    assert holder[0] is norm


@pytest.mark.parametrize(
    "module",
    [Centred(), OtherEpsilon(), Clamped(), Gated(), nn.LayerNorm(48), nn.PReLU(48), nn.Identity()],
    ids=lambda module: type(module).__name__,
)
def test_what_only_looks_like_one_stays_as_it_is(module: nn.Module) -> None:
    assert quicken(nn.Sequential(module)) == 0
    assert "forward" not in vars(module)


def test_a_norm_of_a_real_model_is_found() -> None:
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    for norm in (LlamaRMSNorm(32), Gemma3RMSNorm(32)):
        assert quicken(norm.requires_grad_(False)) == 1, type(norm).__name__
