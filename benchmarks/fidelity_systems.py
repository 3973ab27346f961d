"""The contenders of benchmarks.fidelity: ways to run one model, behind one interface.

`Clear` is a Hugging Face model (fp32, or after `quantise_dynamically`); `Hybrid` is Tacita's own client model over a
runner: the clear int8 twin, the twin with simulated decryption noise, or a real encrypted session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import GenerationConfig

from fhe_client.crypto import hint_scheme
from fhe_client.crypto.session import InferenceSession
from fhe_client.keys import MasterKey
from fhe_client.model.hybrid import HybridModel
from fhe_client.model.runner import LinearRunner
from fhe_protocol.manifest import Group, Manifest
from fhe_server.artefact import Artefact
from fhe_server.imports.tracing import is_linear, weight_matrix
from fhe_server.service.app import ServedModel

WINDOW = 256


class System(Protocol):
    """One way to run the model."""

    def scores(self, tokens: Sequence[int]) -> Iterator[torch.Tensor]:
        """Scores after each token of a text, float32 (rows, vocabulary) at a time."""
        ...


class Clear:
    """A Hugging Face model as it is."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def scores(self, tokens: Sequence[int]) -> Iterator[torch.Tensor]:
        with torch.no_grad():
            yield self._model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0]

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The most likely continuation, at most `count` tokens."""
        rule = GenerationConfig(do_sample=False, max_new_tokens=count, pad_token_id=0)
        ids = torch.tensor([list(prompt)])
        whole = self._model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=rule
        )
        return [int(token) for token in whole[0, len(prompt) :]]


class Hybrid:
    """Tacita's client model. Every text begins with an empty cache; a pass is at most what its window has left."""

    def __init__(self, hybrid: HybridModel) -> None:
        self._hybrid = hybrid

    def scores(self, tokens: Sequence[int]) -> Iterator[torch.Tensor]:
        self._hybrid.forget()
        left = list(tokens)
        while left:
            rows = min(len(left), self._hybrid.runner.rows_until_window_end(), WINDOW)
            yield self._hybrid.logits(left[:rows], rows)
            left = left[rows:]


def continues(system: System, prompt: Sequence[int], due: Sequence[int]) -> int:
    """For how many tokens the system's greedy continuation of `prompt` is `due`.

    One pass over both: as long as the two agree, the system would have read the same tokens.
    """
    scores = torch.cat(list(system.scores([*prompt, *due[:-1]])))[len(prompt) - 1 :]
    same = scores.argmax(-1) == torch.tensor(list(due))
    return int(same.long().cumprod(0).sum())


class TwinRunner:
    """The int8 products in the clear; with a generator, plus the noise that decryption is predicted to add.

    Attributes:
        values: products that got noise.
        wrapped: those that would not have fitted into Z_q, noise included.
        fullest: the largest absolute value that was seen, over q/2.
    """

    def __init__(self, artefact: Artefact, noise: np.random.Generator | None = None) -> None:
        self.manifest: Manifest = artefact.manifest
        self._artefact = artefact
        self._noise = noise
        self.values = 0
        self.wrapped = 0
        self.fullest = 0.0

    def begin_pass(self, rows: int) -> None:
        """Nothing to reserve."""

    def rows_until_window_end(self) -> int:
        return WINDOW

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        total = np.zeros((x.shape[0], group.outputs), dtype=np.float32)
        for k, part in enumerate(group.parts):
            piece = x[:, part.start : part.stop]
            product = piece @ self._artefact.weights(group.first_part + k).astype(np.float32).T
            if self._noise is not None:
                gamma = hint_scheme.choose_gamma(
                    self.manifest.parameters, part, piece.astype(np.float64)
                )
                product += self._noise_of(part.w_norm, gamma, total.shape)
                self._look(product, gamma)
            total += product
        return total

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        height = np.ones(ids.shape) if scale is None else scale[ids].astype(np.float64)
        total = np.zeros((ids.size, group.outputs), dtype=np.float32)
        for k, part in enumerate(group.parts):
            here = (ids >= part.start) & (ids < part.stop)
            weights = self._artefact.weights(group.first_part + k)
            total[here] = weights[:, ids[here] - part.start].T * height[here, None]
            if self._noise is not None:
                gamma = hint_scheme.gamma_of_one_hot(self.manifest.parameters, part, height)
                opening = np.where(here, gamma, np.inf)[:, None]  # as the client's session
                total += self._noise_of(part.w_norm, opening, total.shape)
        return total

    def _look(self, product: NDArray[np.float32], gamma: NDArray[np.float64]) -> None:
        half = self.manifest.parameters.modulus / 2
        share = np.maximum(product.max(axis=1), -product.min(axis=1)) * gamma[:, 0] / half
        self.values += product.size
        self.fullest = max(self.fullest, float(share.max()))
        over = product[share >= 1] * (gamma[share >= 1] / half)
        self.wrapped += int((np.abs(over) >= 1).sum())

    def _noise_of(
        self, w_norm: float, gamma: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        assert self._noise is not None
        sigma = (self.manifest.parameters.noise_sigma(w_norm) / gamma).astype(np.float32)
        return self._noise.standard_normal(shape, dtype=np.float32) * sigma


@dataclass
class _Channel:
    """Rounds to a served model in this process: the same frames as over the network."""

    served: ServedModel
    bytes_moved: int = 0

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        answer = self.served.answer(frame)
        self.bytes_moved += len(frame) + len(answer)
        return answer


@dataclass(frozen=True)
class _Hints:
    artefact: Artefact

    def read(self, part_index: int) -> NDArray[np.uint16]:
        manifest = self.artefact.manifest
        group, _ = manifest.parts[part_index]
        degree = manifest.parameters.ring_degree
        offset = manifest.hint_offsets[part_index]
        flat = np.fromfile(
            self.artefact.hints_path, dtype="<u2", count=group.outputs * degree, offset=offset
        )
        return flat.reshape(group.outputs, degree)


@contextmanager
def encrypted_runner(artefact: Artefact) -> Iterator[tuple[InferenceSession, _Channel]]:
    """A real session against the real server code, without HTTP between them."""
    channel = _Channel(ServedModel(artefact))
    key = MasterKey.generate(origin="session")
    with InferenceSession(artefact.manifest, channel, _Hints(artefact), key) as session:
        yield session, channel


def quantise_dynamically(model: Any) -> None:
    """Concrete-style 8-bit, in place: weights symmetric per output channel, activations symmetric per token."""
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())  # the token table stays as it is
    for module in model.modules():
        if is_linear(module):
            matrix = _to_8_bits(weight_matrix(module))
            module.weight.data = matrix if isinstance(module, nn.Linear) else matrix.T.contiguous()
            module.register_forward_pre_hook(lambda _, args: (_to_8_bits(args[0]), *args[1:]))


def _to_8_bits(values: torch.Tensor) -> torch.Tensor:
    step = values.abs().amax(dim=-1, keepdim=True).clamp(min=1e-30) / 127
    return (values / step).round() * step


@dataclass
class GroupError:
    """Squared errors of a group over some tokens, each relative to its member's signal, averaged over members."""

    noise: float = 0.0
    rounding: float = 0.0
    passes: int = 0


@dataclass
class MeasuringRunner:
    """Passes everything on to `inner` and compares it with the product of the original weights.

    Attributes:
        exact: float32 (m, n) by group: the original matrix in the units of the int8 one.
        row_scale: float32 (m,) by group.
    """

    inner: LinearRunner
    twin: TwinRunner
    exact: Any
    row_scale: dict[int, NDArray[np.float32]]
    errors: dict[str, GroupError] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        return self.inner.manifest

    def begin_pass(self, rows: int) -> None:
        self.inner.begin_pass(rows)

    def rows_until_window_end(self) -> int:
        return self.inner.rows_until_window_end()

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = self.inner.run_group(group, x)
        self._compare(group, answer, self.twin.run_group(group, x), x @ self.exact(group).T)
        return answer

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        answer = self.inner.run_embedding(group, ids, scale)
        height = 1.0 if scale is None else scale[ids][:, None]
        due = self.exact(group)[:, ids].T * height
        self._compare(group, answer, self.twin.run_embedding(group, ids, scale), due)
        return answer

    def _compare(
        self,
        group: Group,
        answer: NDArray[np.float32],
        twin: NDArray[np.float32],
        due: NDArray[np.float32],
    ) -> None:
        error = self.errors.setdefault(group.name, GroupError())
        scale, start = self.row_scale[group.index], 0
        for member in group.members:
            rows = slice(start, start := start + member.outputs)
            signal = _energy(due[:, rows] * scale[rows]) or 1.0
            share = 1 / (signal * len(group.members))
            error.noise += share * _energy((answer - twin)[:, rows] * scale[rows])
            error.rounding += share * _energy((twin - due)[:, rows] * scale[rows])
        error.passes += 1


def _energy(values: NDArray[np.float32]) -> float:
    return float(np.square(values, dtype=np.float64).sum())
