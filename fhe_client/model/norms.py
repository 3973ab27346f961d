"""RMS norms in one operation instead of six.

Most models bring a class of their own for it. Which modules are one is not told by a name: a module qualifies if, on
values of all sizes, it gives the very bits that torch's operation gives.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import torch
from torch import nn

_SIZES = (0.0, 1e-6, 1e-3, 1.0, 1e3, 1e6)
_EPSILONS = ("variance_epsilon", "eps", "epsilon")

Norm = Callable[[torch.Tensor], torch.Tensor]


def quicken(model: nn.Module) -> int:
    """Let every RMS norm of a loaded model run as one operation. Its class, name and weight stay.

    Returns:
        How many there were.
    """
    found = [(module, norm) for module in model.modules() if (norm := _quick(module)) is not None]
    for module, norm in found:
        module.forward = norm
    return len(found)


def _quick(module: nn.Module) -> Norm | None:
    """A norm with the same results as the module's, or None."""
    weight = _only_weight(module)
    if weight is None or not _takes_one_tensor(module):
        return None
    for norm in _candidates(module, weight):
        if _agree(module, norm, weight.numel()):
            return norm
    return None


def _only_weight(module: nn.Module) -> torch.Tensor | None:
    """The module's vector, if it has nothing else."""
    parameters, buffers = list(module.parameters()), list(module.buffers())
    if isinstance(module, nn.LayerNorm) or list(module.children()) or buffers:
        return None
    if len(parameters) != 1 or parameters[0].ndim != 1 or parameters[0].numel() < 2:
        return None
    return parameters[0].detach() if parameters[0].dtype == torch.float32 else None


def _takes_one_tensor(module: nn.Module) -> bool:
    return len(inspect.signature(module.forward).parameters) == 1


def _candidates(module: nn.Module, weight: torch.Tensor) -> Iterator[Norm]:
    """With the weight as it is, and with one added to it: both are common."""
    for name in _EPSILONS:
        epsilon = getattr(module, name, None)
        if isinstance(epsilon, float):
            yield _norm(weight, epsilon)
            yield _norm(1.0 + weight, epsilon)


def _norm(weight: torch.Tensor, epsilon: float) -> Norm:
    shape, apply = (weight.numel(),), torch.rms_norm

    def norm(x: torch.Tensor) -> torch.Tensor:
        return apply(x, shape, weight, epsilon)

    return norm


def _agree(module: nn.Module, norm: Norm, inputs: int) -> bool:
    generator = torch.Generator().manual_seed(1)
    try:
        with torch.no_grad():
            for size in _SIZES:
                for rows in (1, 3):
                    x = size * torch.randn((1, rows, inputs), generator=generator)
                    if not torch.equal(module(x), norm(x)):
                        return False
    except Exception:  # whatever a module raises that wanted something else
        return False
    return True
