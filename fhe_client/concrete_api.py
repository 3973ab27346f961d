"""Concrete ML's hybrid models under their own names: its documentation's scripts run with one import changed.

    from fhe_client.concrete_api import HybridFHEModel       # was: concrete.ml.torch.hybrid_model

    hybrid = HybridFHEModel(model, module_names=names)
    hybrid.compile_model(input_ids, n_bits=8, use_dynamic_quantization=True)
    hybrid.set_fhe_mode("execute")                           # or "disable", "simulate", "remote"
    hybrid.model.generate(input_ids, max_new_tokens=5)

Differences from the original: layers fed by one tensor are one group and encrypt it once; small layers do not turn the
fast path off; results cannot wrap; `simulate` really simulates; `remote` exists; no weights are written to disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fhe_client.concrete.backends import (
    HINT_WINDOW,
    Address,
    Backend,
    clear_backend,
    execute_backend,
    remote_backend,
)
from fhe_client.concrete.layers import RemoteLinear, connect_layers
from fhe_client.concrete.quantised import (
    QuantisedGroups,
    layer_sizes,
    quantise_groups,
    trace_groups,
)
from fhe_client.concrete.runners import SCHEMES
from fhe_client.errors import TacitaError
from fhe_client.model.errors import PassError

MODES = ("disable", "simulate", "execute", "remote")


class UsageError(TacitaError):
    """The calls make no sense in this order, or an argument is not one of those there are."""

    code = "usage"


class HybridFHEModel:
    """A model whose named layers are computed on encrypted inputs.

    Args:
        model: any torch module; it is changed in place by `compile_model`.
        module_names: dotted names of `torch.nn.Linear` and transformers' `Conv1D` layers.
        server_remote_address: where mode "remote" computes; the server must have imported the same model.
        model_name: the name it is served under.
        verbose: accepted for the original's sake; nothing is printed.
        token: access token, if the server asks for one.
        scheme: "glwe", the original's, or "hint", Tacita's own.

    Attributes:
        model: the model, for `model(...)` and `model.generate(...)`.
        fhe_mode: the mode that is set, None before the first `set_fhe_mode`.
    """

    def __init__(
        self,
        model: nn.Module,
        module_names: str | Sequence[str],
        server_remote_address: str | None = None,
        model_name: str = "model",
        verbose: int = 0,
        *,
        token: str | None = None,
        scheme: str = "glwe",
    ) -> None:
        del verbose
        if scheme not in SCHEMES:
            raise UsageError(f"There is no scheme {scheme!r}.", f"Choose one of {SCHEMES}.")
        names = [module_names] if isinstance(module_names, str) else list(module_names)
        modules = dict(model.named_modules())
        unknown = [name for name in names if name not in modules]
        if unknown or not names:
            raise UsageError(f"The model has no layer {(unknown or [''])[0]!r}.")
        self.model: Any = model
        self.scheme = scheme
        self.fhe_mode: str | None = None
        self._originals = {name: modules[name] for name in names}
        self._sizes = {name: layer_sizes(m, name) for name, m in self._originals.items()}
        self._address = (
            None
            if server_remote_address is None
            else Address(server_remote_address, model_name, token)
        )
        self._activation_bits: int | None = None
        self._quantised: QuantisedGroups | None = None
        self._layers: dict[str, RemoteLinear] = {}
        self._backend: Backend | None = None

    def compile_model(
        self,
        x: torch.Tensor,
        n_bits: int = 8,
        rounding_threshold_bits: int | None = None,
        p_error: float | None = None,
        device: str = "cpu",
        configuration: object = None,
        use_dynamic_quantization: bool = True,
        *,
        activation_bits: int | None = None,
    ) -> None:
        """Find the groups with one forward pass over `x`, quantise, and put the new layers in place.

        Args:
            x: an input of the model, such as token ids (batch, tokens).
            n_bits: bits of a weight, 2 to 8.
            use_dynamic_quantization: must be true: inputs are quantised per token, never by calibration.
            activation_bits: bits of an input; None gives them all that the scheme's range has room for.
            rounding_threshold_bits, p_error, device, configuration: accepted for the original's sake; they concern
                circuits that these schemes do not have.

        Raises:
            UnsupportedModelError: a layer is not used, or of another kind.
        """
        del rounding_threshold_bits, p_error, device, configuration
        if not 2 <= n_bits <= 8 or not use_dynamic_quantization:
            raise UsageError("n_bits must be 2 to 8, with use_dynamic_quantization=True.")
        if self._quantised is not None:
            raise UsageError("The model is compiled already.", "Make a new HybridFHEModel.")
        self._activation_bits = activation_bits
        self.model.eval()
        with torch.no_grad():
            groups = trace_groups(self._originals, lambda: self.model(x))
            self._quantised = quantise_groups(self._originals, groups, n_bits)
        for name, module in self._originals.items():
            self._layers[name] = RemoteLinear(self._sizes[name], getattr(module, "bias", None))
            _replace(self.model, name, self._layers[name])
        self._originals.clear()
        self.model.register_forward_pre_hook(self._before_pass, with_kwargs=True)
        self.set_fhe_mode("disable")

    def set_fhe_mode(self, hybrid_fhe_mode: str) -> None:
        """Choose how layers are computed from now on.

        Args:
            hybrid_fhe_mode: "disable" (quantised, in the clear), "simulate" (with the noise of decryption), "execute"
                (encrypted, both sides in this process) or "remote" (encrypted, at the server).

        Raises:
            UsageError: there is no such mode, or it lacks what it needs.
            TacitaError: the backend cannot be opened, with the reason.
        """
        mode = str(getattr(hybrid_fhe_mode, "value", hybrid_fhe_mode))
        if mode not in MODES:
            raise UsageError(f"There is no mode {mode!r}.", f"Choose one of {MODES}.")
        backend = self._open(mode)
        try:
            groups, scales = backend.groups, backend.scales
            connect_layers(self._layers, groups, scales, backend.runner, backend.rows_at_once)
        except BaseException:
            backend.closing.close()
            raise
        self._close_backend()
        self._backend, self.fhe_mode = backend, mode

    def init_client(self, path_to_clients: object = None, path_to_keys: object = None) -> None:
        """For the original's sake: keys are made and uploaded by `set_fhe_mode("remote")`, and never lie on a disk."""
        del path_to_clients, path_to_keys

    def save_and_clear_private_info(self, path: object, via_mlir: bool = True) -> None:
        """Not needed here: the server makes its own part.

        Raises:
            UsageError: always, with what to run instead.
        """
        del path, via_mlir
        raise UsageError(
            "There is nothing to save for a server: it imports the model itself.",
            "On the server: tacita-server import FOLDER_OR_HUB_ID, then tacita-server serve.",
        )

    def __call__(self, *args: Any, fhe: str | None = None, **kwargs: Any) -> Any:
        """Call the model.

        Args:
            fhe: a mode to set first, as the original has it; None keeps the one that is set.
        """
        if fhe is not None and fhe != self.fhe_mode:
            self.set_fhe_mode(fhe)
        with torch.no_grad():
            return self.model(*args, **kwargs)

    forward = __call__

    def close(self) -> None:
        """Drop keys and connections. Safe to call twice."""
        self._close_backend()
        self.fhe_mode = None
        for layer in self._layers.values():
            layer.route = None

    def __enter__(self) -> HybridFHEModel:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self, mode: str) -> Backend:
        if self._quantised is None:
            raise UsageError("The model is not compiled.", "Call compile_model first.")
        if mode in ("disable", "simulate"):
            simulate = mode == "simulate"
            return clear_backend(self._quantised, self.scheme, self._activation_bits, simulate)
        if mode == "execute":
            return execute_backend(self._quantised, self.scheme, self._activation_bits)
        if self._address is None:
            raise UsageError("There is no server.", "Give HybridFHEModel server_remote_address.")
        return remote_backend(self._address, self.scheme, self._activation_bits)

    def _close_backend(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.closing.close()

    def _before_pass(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Reserve slots for a forward pass; a window's rest that is too short for it is given up."""
        if self._backend is None or self._backend.rows_at_once is not None:
            return
        runner, rows = self._backend.runner, _rows(args, kwargs)
        if rows > HINT_WINDOW:
            raise PassError(f"One call may have at most {HINT_WINDOW} tokens.", "Split the input.")
        while (left := runner.rows_until_window_end()) < rows:  # the first windows are short
            runner.begin_pass(left)
        runner.begin_pass(rows)


def _rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Rows that a layer sees of a call: batch times tokens."""
    if isinstance(embedded := kwargs.get("inputs_embeds"), torch.Tensor):
        return embedded.numel() // embedded.shape[-1]
    found = kwargs.get("input_ids", args[0] if args else None)
    if not isinstance(found, torch.Tensor):
        raise PassError("The model must be called with a tensor.", "")
    if found.is_floating_point():
        return found.numel() // found.shape[-1]
    return found.numel()


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new.eval())
