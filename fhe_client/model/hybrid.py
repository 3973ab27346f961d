"""The hybrid model: a Hugging Face causal language model whose large matrices are somewhere else.

Every module that the manifest names is replaced by one that asks the runner; what is left (norms, biases, attention,
activations) runs here on float32, with keys and values kept in a `TokenCache`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.generation.configuration_utils import GenerationConfig
from transformers.pytorch_utils import Conv1D

from fhe_client.model.encrypted_layers import EncryptedEmbedding, EncryptedLinear, GroupCall
from fhe_client.model.errors import ModelError, ModelFilesError, PassError, UnsupportedModelError
from fhe_client.model.files import ModelFiles
from fhe_client.model.norms import quicken
from fhe_client.model.passes import PassState
from fhe_client.model.runner import LinearRunner
from fhe_client.model.skeleton import build_skeleton
from fhe_client.model.token_cache import TokenCache
from fhe_protocol.manifest import Group, Manifest


class HybridModel:
    """A model whose remote layers go through a runner. Build with `build_hybrid`.

    Attributes:
        model: the Hugging Face model; its forward makes exactly one pass.
        state: the bookkeeping of passes; holds the runner.
        cache: the tokens seen so far.
        cache_keyword: the name under which `forward` takes a cache.
    """

    def __init__(self, model: Any, state: PassState) -> None:
        self.model = model
        self.state = state
        self.cache = TokenCache()
        self.cache_keyword = _cache_keyword(model)
        self._pending: list[int] = []
        model.register_forward_pre_hook(self._before_pass, with_kwargs=True)
        model.register_forward_hook(self._after_pass)

    @property
    def runner(self) -> LinearRunner:
        """Who computes the remote layers."""
        return self.state.runner

    def prefill(self, tokens: Sequence[int]) -> None:
        """One pass over `tokens` behind those in the cache, without the output layer."""
        ids = torch.tensor([list(tokens)], dtype=torch.int64)
        self._begin(ids)
        with torch.no_grad():
            self.model.base_model(
                input_ids=ids, use_cache=True, **{self.cache_keyword: self.cache.layers}
            )
        self._end(with_head=False)

    def logits(self, tokens: Sequence[int], rows: int, fillers: int = 0) -> torch.Tensor:
        """One pass over `tokens` behind those in the cache.

        Args:
            rows: how many of the last tokens to score what follows them; 1 to the number of tokens.
            fillers: tokens at the end that do not count as these last ones. The caller cuts them from the cache.

        Returns:
            float32 (rows, vocabulary), for each of these tokens the scores of the one that follows.
        """
        ids = torch.tensor([list(tokens)], dtype=torch.int64)
        end = len(tokens) - fillers
        with torch.no_grad():
            output = self.model(
                input_ids=ids,
                use_cache=True,
                logits_to_keep=torch.arange(end - rows, end) if fillers else rows,
                **{self.cache_keyword: self.cache.layers},
            )
        scores: torch.Tensor = output.logits[0, -rows:]
        return scores

    def next_logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """One pass over `tokens` behind those in the cache.

        Returns:
            float32 (vocabulary,), the scores of the token that follows.
        """
        return self.logits(tokens, 1)[0]

    def take_warning(self) -> str | None:
        """What to tell the user about values that could not be right, or None. Asked once after a reply."""
        return self.state.take_warning()

    def forget(self) -> None:
        """Drop keys and values of the conversation so far."""
        self.cache.clear()

    def _before_pass(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if (
            not isinstance(ids, torch.Tensor)
            or kwargs.get(self.cache_keyword) is not self.cache.layers
        ):
            raise PassError("The model must be called with tokens and its own cache.", "")
        self._begin(ids)

    def _after_pass(self, _module: Any, _args: Any, _output: Any) -> None:
        self._end(with_head=True)

    def _begin(self, ids: torch.Tensor) -> None:
        if ids.ndim != 2 or ids.shape[0] != 1:
            raise PassError("One conversation at a time: the batch must be 1.", "")
        self.state.begin(ids.shape[1])
        self._pending = ids[0].tolist()

    def _end(self, with_head: bool) -> None:
        self.state.finish(with_head)
        self.cache.commit(self._pending)
        self._pending = []


def build_hybrid(manifest: Manifest, files: ModelFiles, runner: LinearRunner) -> HybridModel:
    """The hybrid model of a manifest, without ever allocating the remote weights.

    Raises:
        ModelFilesError: config, manifest and tensors contradict each other.
        UnsupportedModelError: this architecture cannot be run with encrypted layers.
    """
    model = build_skeleton(files.config, len(manifest.groups))
    state = PassState(runner, _head_groups(model, manifest))
    for group in manifest.groups:
        _replace_members(model, group, files, state)
    _load_state(model, files)
    quicken(model)
    # Only settings that generation.py chose may count, not those a config smuggled in.
    model.generation_config = GenerationConfig()
    hybrid = HybridModel(model, state)
    _rehearse(hybrid, manifest)
    return hybrid


class _Rehearsal:
    """A runner that knows nothing and answers zeros."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def begin_pass(self, rows: int) -> None:
        """Nothing to reserve."""

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros((x.shape[0], group.outputs), dtype=np.float32)

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        return np.zeros((len(ids), group.outputs), dtype=np.float32)

    def rows_until_window_end(self) -> int:
        return 2


def _rehearse(hybrid: HybridModel, manifest: Manifest) -> None:
    """Two passes without a server: a config that cannot work fails here, and the order of the groups is fixed
    before the first real token."""
    state, runner = hybrid.state, hybrid.state.runner
    state.runner = _Rehearsal(manifest)
    try:
        shapes = [hybrid.next_logits([0, 0]).shape, hybrid.next_logits([0]).shape]
    except ModelError:
        raise
    except Exception as error:  # model classes raise whatever they like
        reason = f"A model of this config does not work ({type(error).__name__})."
        raise ModelFilesError(reason) from error
    finally:
        state.runner = runner
    if any(shape != (manifest.vocabulary,) for shape in shapes):
        raise ModelFilesError("The model's scores do not match its vocabulary.")
    hybrid.forget()
    state.rounds = 0
    state.take_warning()


def _cache_keyword(model: Any) -> str:
    parameters = inspect.signature(model.forward).parameters
    if "logits_to_keep" not in parameters or model.base_model is model:
        raise UnsupportedModelError(
            "This kind of model cannot leave out the scores of earlier tokens."
        )
    for name in ("cache", "past_key_values"):  # the latter before transformers 5.2x
        if name in parameters:
            return name
    raise UnsupportedModelError("This kind of model keeps no keys and values between tokens.")


def _head_groups(model: Any, manifest: Manifest) -> frozenset[int]:
    """Groups none of whose members lie in the model's body."""
    body = {id(module) for module in model.base_model.modules()}
    names = dict(model.named_modules())
    head = set()
    for group in manifest.groups:
        members = [names.get(m.module) for m in group.members]
        if all(m is not None and id(m) not in body for m in members):
            head.add(group.index)
    return frozenset(head)


def _replace_members(model: nn.Module, group: Group, files: ModelFiles, state: PassState) -> None:
    scales = files.scales[group.index]
    call = GroupCall(group, scales, state)
    for position, member in enumerate(group.members):
        parent, name, old = _find(model, member.module)
        new: nn.Module
        if group.kind == "embedding":
            _check_table(old, group)
            new = EncryptedEmbedding(group, scales, state)
        else:
            sizes = _linear_sizes(old)
            if sizes != (group.inputs, member.outputs):
                raise _contradiction(member.module)
            has_bias = getattr(old, "bias", None) is not None
            new = EncryptedLinear(call, position, sizes, has_bias)
        setattr(parent, name, new.eval())


def _find(model: nn.Module, path: str) -> tuple[nn.Module, str, nn.Module]:
    parent_path, _, name = path.rpartition(".")
    try:
        parent = model.get_submodule(parent_path)
        return parent, name, model.get_submodule(path)
    except AttributeError as error:
        raise ModelFilesError(
            f"The model has no layer {path[:100]!r} as its manifest says."
        ) from error


def _linear_sizes(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs). Import has checked that subclasses, too, compute a matrix product and a bias only."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    raise UnsupportedModelError(f"Layers of type {type(module).__name__} cannot run encrypted.")


def _check_table(module: nn.Module, group: Group) -> None:
    if not isinstance(module, nn.Embedding) or len(group.members) != 1:
        raise UnsupportedModelError(f"Layers of type {type(module).__name__} are not token tables.")
    if (module.num_embeddings, module.embedding_dim) != (group.inputs, group.outputs):
        raise _contradiction(group.members[0].module)


def _contradiction(module: str) -> ModelFilesError:
    return ModelFilesError(f"Config and manifest give layer {module[:100]!r} different sizes.")


def _load_state(model: nn.Module, files: ModelFiles) -> None:
    """Put the local tensors in place, strictly: each one due must be there, with its shape, and no other."""
    due = model.state_dict()
    _check_state(due, files)
    values = {name: tensor.to(due[name].dtype) for name, tensor in files.state.items()}
    model.load_state_dict(values, strict=True, assign=True)
    left = [n for n, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]
    if left:
        raise UnsupportedModelError(
            f"The model computes {left[0]!r} in a way that is not supported."
        )
    model.requires_grad_(False)


def _check_state(due: dict[str, torch.Tensor], files: ModelFiles) -> None:
    missing = sorted(due.keys() - files.state.keys())
    extra = sorted(files.state.keys() - due.keys())
    if missing:
        raise ModelFilesError(
            f"The model's files lack {len(missing)} tensors, first {missing[0]!r}."
        )
    if extra:
        raise ModelFilesError(f"The model's files hold {len(extra)} tensors too many.")
    for name, tensor in due.items():
        if tensor.shape != files.state[name].shape:
            raise ModelFilesError(f"Tensor {name!r} of the model's files has the wrong shape.")
