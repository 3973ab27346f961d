"""What it costs the client where the two largest layers are: the token table and the output layer.

Both can be served like every other layer, or stay on the client (`--local embed,lm_head`), which downloads them once
and keeps them in memory instead of sending their inputs and outputs for each token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fhe_protocol.manifest import HINT_BYTES
from fhe_protocol.parameters import HintParameters
from fhe_server.imports.calibration_text import NONE
from fhe_server.imports.import_options import ImportOptions
from fhe_server.imports.quantise import fewest_parts
from fhe_server.imports.rotation import rotation_order
from fhe_server.imports.tracing import LOCAL_ALIASES, TracedGroup, weight_shape

QUERY_BYTES = 3
ANSWER_BYTES = 2
WINDOW_SLOTS = 256
_PAD_BYTES = 4
_FLOAT_BYTES = 4

CHOICES = (
    ("everything remote", frozenset[str]()),
    ("embedding local", frozenset({"embed"})),
    ("lm_head local", frozenset({"lm_head"})),
    ("both local", frozenset({"embed", "lm_head"})),
)


@dataclass(frozen=True)
class Layer:
    """A group as far as it costs something.

    Attributes:
        alias: "embed" or "lm_head" if it is one of these two, else "".
        scales: float32 values that the client gets if the group is served.
        movable: whether it is that layer alone, so that it can be elsewhere.
    """

    inputs: int
    outputs: int
    parts: int
    scales: int
    alias: str = ""
    movable: bool = False


@dataclass(frozen=True)
class Cost:
    """Bytes of one placement.

    Attributes:
        query, answer: per token, without framing.
        hints: downloaded once.
        tensors: in client.safetensors, without its header.
        memory: the client's tensors and the pads of one window.
    """

    label: str
    query: int
    answer: int
    hints: int
    tensors: int
    memory: int

    def line(self) -> str:
        """A row of the table."""
        return (
            f"  {self.label:<18} {(self.query + self.answer) / 1e6:>9.3f} MB {self.hints / 1e6:>9.0f} MB "
            f"{self.tensors / 1e6:>9.1f} MB {self.memory / 1e6:>9.0f} MB"
        )


HEADER = f"  {'placement':<18} {'per token':>12} {'hints':>12} {'client files':>12} {'client memory':>12}"


def costs(
    layers: Sequence[Layer], kept: int, local: frozenset[str], parameters: HintParameters
) -> Iterator[Cost]:
    """The cost of every placement that is possible for this model.

    Args:
        layers: all groups of the model with its two large layers, wherever these are now.
        kept: float32 values of the client's tensors besides scales and the weights of the two layers.
        local: which of the two are local now; a layer that shares its input with others cannot move.
    """
    fixed = {x.alias for x in layers if x.alias and not x.movable}
    for label, choice in CHOICES:
        if fixed & (choice ^ local):
            continue
        remote = [layer for layer in layers if layer.alias not in choice or not layer.alias]
        weights = [layer.inputs * layer.outputs for layer in layers if layer not in remote]
        tensors = _FLOAT_BYTES * (kept + sum(weights) + sum(layer.scales for layer in remote))
        inputs = sum(layer.inputs for layer in remote)
        answers = sum(layer.outputs * layer.parts for layer in remote)
        yield Cost(
            label,
            QUERY_BYTES * inputs,
            ANSWER_BYTES * answers,
            HINT_BYTES * parameters.ring_degree * answers,
            tensors,
            tensors + WINDOW_SLOTS * (_PAD_BYTES * inputs + ANSWER_BYTES * answers),
        )


@dataclass(frozen=True)
class Planned:
    """A model that is being imported, as far as its two large layers go."""

    model: Any
    parameters: HintParameters
    options: ImportOptions

    def costs(self, groups: Sequence[tuple[TracedGroup, int, int]], kept: int) -> Iterator[Cost]:
        """The cost of every placement.

        Args:
            groups: with their number of parts and of float32 values in scales.
            kept: float32 values of the client's tensors that are no scales.
        """
        unserved = self._names()
        layers = []
        for group, parts, scales in groups:
            own = [unserved.pop(member.module, "") for member in group.members]
            alias, alone = next((a for a in own if a), ""), len(own) == 1
            layers.append(Layer(group.inputs, group.outputs, parts, scales, alias, alone))
        linear = any(group.kind == "linear" for group, _, _ in groups)
        for name, alias in unserved.items():
            layer = self._if_served(self.model.get_submodule(name), alias, linear)
            kept -= layer.inputs * layer.outputs
            layers.append(layer)
        return costs(layers, kept, frozenset(unserved.values()), self.parameters)

    def _names(self) -> dict[str, str]:
        """Module name to alias of the two layers."""
        large = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        aliases = {id(m): alias for alias, m in zip(LOCAL_ALIASES, large, strict=True)}
        named = self.model.named_modules()
        return {name: aliases[id(module)] for name, module in named if id(module) in aliases}

    def _if_served(self, module: Any, alias: str, calibrated: bool) -> Layer:
        """A layer that stays local now, as it would be served."""
        outputs, inputs = weight_shape(module)
        scales = outputs
        if alias == "embed" or (calibrated and self.options.calibrate != NONE):
            scales += inputs
        if alias != "embed" and self.options.rotate and rotation_order(inputs) != 1:
            scales += 1
        parts = fewest_parts(inputs, self.parameters)
        return Layer(inputs, outputs, parts, scales, alias, movable=True)
