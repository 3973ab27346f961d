"""Groups of a model, found by watching forward passes: linear layers that are fed the very same tensor.

No table of model names: whatever transformers can run is watched at work. Two passes (a prompt, then one token on top
of its cache) must call the same layers in the same groups and order; a model whose calls depend on the text would tell
the server about it, and is refused.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fhe_server.errors import UnsupportedModelError
from fhe_server.imports.wide import BLOCK, widened

MAX_NAME = 400
LOCAL_ALIASES = ("embed", "lm_head")
_PROMPT_TOKENS = 5
_MAX_LOCAL_BYTES = 256 << 20
_TOLERANCE = 1e-4
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.+-]")


@dataclass(frozen=True)
class TracedMember:
    """A module to be computed by the server: its dotted name and its number of outputs."""

    module: str
    outputs: int


@dataclass(frozen=True)
class TracedGroup:
    """Members fed by the same tensor, in call order. `kind` is "linear" or "embedding"."""

    name: str
    kind: str
    inputs: int
    members: tuple[TracedMember, ...]

    @property
    def outputs(self) -> int:
        """m, the sum over members."""
        return sum(member.outputs for member in self.members)


@dataclass
class _Call:
    """One call of a module. Holds the input so that its identity stays unique during the trace."""

    module: str
    tensor: torch.Tensor
    version: int

    def identity(self) -> tuple[int, ...]:
        """Equal for the same values in the same memory: some models reshape a shared input once for each layer."""
        tensor = self.tensor
        if tensor.is_contiguous():
            return (tensor.data_ptr(), tensor.numel(), tensor.shape[-1], self.version)
        return (id(tensor), self.version)


@dataclass
class _Trace:
    calls: list[_Call] = field(default_factory=list)

    def groups(self) -> list[list[str]]:
        """Names of modules fed by the same tensor, in order of the first call."""
        grouped: dict[tuple[int, ...], list[str]] = {}
        for call in self.calls:
            grouped.setdefault(call.identity(), []).append(call.module)
        return list(grouped.values())


def trace_groups(model: Any, local: Collection[str] = ()) -> list[TracedGroup]:
    """The model's groups in call order.

    Args:
        model: a causal language model in eval mode.
        local: what stays on the client: "embed", "lm_head", or patterns of module names.

    Raises:
        UnsupportedModelError: calls depend on the text, a layer is used twice in a pass, the model looks ahead, or
            something large is neither linear nor an embedding.
    """
    _check_class(model)
    remote = _remote_modules(model, local)
    calls = _watch(model, remote)
    if not calls:
        raise UnsupportedModelError(
            "No layer of this model would be computed by the server.", "Keep fewer layers local."
        )
    groups = list(_named(model, calls))
    _check_local_size(model, {member.module for group in groups for member in group.members})
    return groups


def _check_class(model: Any) -> None:
    """What the client's side needs of a model class: keys and values as the only state, and scores on demand."""
    if getattr(type(model), "_is_stateful", False):
        raise UnsupportedModelError(
            "This model carries a recurrent state from token to token.",
            "Choose a model with ordinary attention.",
        )
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise UnsupportedModelError(
            "This model cannot leave out the scores of earlier tokens.",
            "Choose another model.",
        )


def _remote_modules(model: Any, local: Collection[str]) -> dict[str, nn.Module]:
    """Linear layers and the input embedding by name, without what the policy keeps local."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    named = {n: m for n, m in model.named_modules() if m is embedding or is_linear(m)}
    kept = {n for n, m in named.items() if "embed" in local and m is embedding}
    kept |= {n for n, m in named.items() if "lm_head" in local and m is head}
    for pattern in set(local) - set(LOCAL_ALIASES):
        matched = {n for n in named if fnmatchcase(n, pattern)}
        if not matched:
            raise UnsupportedModelError(
                f"No layer of this model is called {pattern!r}.",
                f"Use {', '.join(LOCAL_ALIASES)}, or a pattern such as *.o_proj.",
            )
        kept |= matched
    return {n: m for n, m in named.items() if n not in kept}


def is_linear(module: nn.Module) -> bool:
    """Whether the module computes x W^T + b: torch's Linear or transformers' Conv1D (GPT-2)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def weight_matrix(module: nn.Module) -> torch.Tensor:
    """The (m, n) float32 matrix that a traced module multiplies with.

    For an embedding it is the transposed table as the model sees it (scaled, if it scales): (hidden, vocabulary).
    """
    return torch.from_numpy(group_matrix([module]))


def group_matrix(modules: Sequence[nn.Module]) -> NDArray[np.float32]:
    """The matrices of a group's modules on top of each other, float32 (m, n), the only copy that is made."""
    shapes = [weight_shape(module) for module in modules]
    matrix = np.empty((sum(m for m, _ in shapes), shapes[0][1]), dtype=np.float32)
    rows = torch.from_numpy(matrix).split([m for m, _ in shapes])
    with torch.no_grad():
        for module, target in zip(modules, rows, strict=True):
            _copy_weight(module, target)
    return matrix


def _copy_weight(module: nn.Module, target: torch.Tensor) -> None:
    if isinstance(module, nn.Embedding):
        step = max(1, BLOCK // module.embedding_dim)
        for start in range(0, module.num_embeddings, step):
            ids = torch.arange(start, min(start + step, module.num_embeddings))
            with widened(torch.float32):
                table = module(ids)
            target[:, start : start + len(ids)] = table.T
        return
    assert isinstance(module.weight, torch.Tensor)
    target.copy_(module.weight if isinstance(module, nn.Linear) else module.weight.T)


def _watch(model: Any, remote: dict[str, nn.Module]) -> list[list[str]]:
    """The modules called, in groups, after a look at what must not depend on what."""
    vocabulary = model.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(vocabulary, (1, _PROMPT_TOKENS + 1), generator=generator)
    prompt = tokens[:, :_PROMPT_TOKENS]
    with torch.no_grad(), widened(torch.float32):
        with _recording(remote) as first:
            output = model(input_ids=prompt, use_cache=True)
        longer = model(input_ids=tokens, use_cache=False)
        if not _close(output.logits, longer.logits[:, :_PROMPT_TOKENS]):
            raise UnsupportedModelError(
                "This model is not causal: earlier positions depend on later tokens.",
                "Choose a causal (decoder-only) language model.",
            )
        with _recording(remote) as second:
            model(input_ids=tokens[:, -1:], use_cache=True, **_cache_of(output))
    if first.groups() != second.groups():
        raise UnsupportedModelError(
            "Which layers this model calls depends on its input, which would tell the server about the text.",
            "Choose a model without data-dependent control flow.",
        )
    return first.groups()


def _cache_of(output: Any) -> dict[str, Any]:
    """The argument that hands a pass's cache to the next; transformers 5.24 renamed it."""
    for name in ("cache", "past_key_values"):
        cache = output.get(name)
        if cache is not None:
            return {name: cache}
    raise UnsupportedModelError(
        "This model keeps no key-value cache between tokens.", "Choose a transformer model."
    )


@contextmanager
def _recording(remote: dict[str, nn.Module]) -> Iterator[_Trace]:
    trace = _Trace()
    seen: set[str] = set()
    with ExitStack() as stack:
        for name, module in remote.items():
            handle = module.register_forward_hook(_hook(name, trace, seen), with_kwargs=True)
            stack.callback(handle.remove)
        yield trace


def _hook(name: str, trace: _Trace, seen: set[str]) -> Any:
    def record(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> None:
        tensor = next(iter((*args, *kwargs.values())))
        if name in seen:
            raise UnsupportedModelError(
                f"The layer {name} is used more than once per token, which cannot be served yet.",
                "Choose another model, or keep the layer local: --local " + name,
            )
        seen.add(name)
        if not _is_product(module, tensor, output):
            raise UnsupportedModelError(
                f"The layer {name} does more than a matrix product.",
                "Keep it local: --local " + name,
            )
        trace.calls.append(_Call(name, tensor, tensor._version))

    return record


def _is_product(module: nn.Module, tensor: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether the module computed what the server will compute: x W^T + b, or a row of the table."""
    if isinstance(module, nn.Embedding):
        return not tensor.is_floating_point()
    assert isinstance(module.weight, torch.Tensor)
    weight = module.weight if isinstance(module, nn.Linear) else module.weight.T
    bias = module.bias if isinstance(module.bias, torch.Tensor) else None
    return _close(output, nn.functional.linear(tensor, weight, bias))


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = float(other.abs().max().clamp(min=1e-30))
    return float((one - other).abs().max()) <= _TOLERANCE * scale


def _named(model: Any, calls: list[list[str]]) -> Iterator[TracedGroup]:
    modules = dict(model.named_modules())
    taken: set[str] = set()
    for names in calls:
        kind = "embedding" if isinstance(modules[names[0]], nn.Embedding) else "linear"
        matrices = [weight_shape(modules[name]) for name in names]
        members = tuple(TracedMember(n, m) for n, (m, _) in zip(names, matrices, strict=True))
        name = group_name(names, taken)
        taken.add(name)
        yield TracedGroup(name, kind, matrices[0][1], members)


def weight_shape(module: Any) -> tuple[int, int]:
    """(m, n) of `weight_matrix` without building it."""
    rows, columns = module.weight.shape
    return (rows, columns) if isinstance(module, nn.Linear) else (columns, rows)


def group_name(modules: Sequence[str], taken: Collection[str]) -> str:
    """The joined names of a group's modules, normalised to the manifest's alphabet, unique, at most 400 long.

    What the names share in front is written once: "layers.0.attn.q_proj+k_proj+v_proj".
    """
    paths = [m.split(".")[:-1] for m in modules]
    same = takewhile(lambda words: len(set(words)) == 1, zip(*paths, strict=False))
    shared = "".join(words[0] + "." for words in same)
    joined = _FORBIDDEN.sub("_", shared + "+".join(m[len(shared) :] for m in modules))
    if len(joined) <= MAX_NAME and joined not in taken:
        return joined
    digest = hashlib.sha256("\0".join(modules).encode()).hexdigest()[:16]
    return f"{joined[: MAX_NAME - 17]}-{digest}"


def _check_local_size(model: Any, remote: set[str]) -> None:
    """What is neither served nor kept local by policy must be small: the client downloads and holds it."""
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        owner = model.get_submodule(module)
        kept_on_purpose = is_linear(owner) or owner is model.get_input_embeddings()
        size = parameter.numel() * 4
        if module not in remote and not kept_on_purpose and size > _MAX_LOCAL_BYTES:
            raise UnsupportedModelError(
                f"The parameter {name} ({size >> 20} MB) is not the weight of a linear layer, and too "
                "large to be kept on the client.",
                "Choose another model.",
            )
