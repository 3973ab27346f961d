"""A real client without a language model: it encrypts random vectors, decrypts the answers and checks every value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.session import InferenceSession, RoundChannel
from fhe_client.keys.master_key import MasterKey
from fhe_client.network.hint_store import HintFile
from fhe_protocol.manifest import Group
from fhe_server.artefact import Artefact


class WrongAnswerError(Exception):
    """A decrypted value is further from the clear product than noise can explain."""


class HonestClient:
    """One session of the real client over a channel.

    Args:
        folder: the artefact folder of the model, for its hints and for the clear product.
    """

    def __init__(self, folder: Path, channel: RoundChannel, seed: int = 0, slots: int = 64) -> None:
        self._artefact = Artefact(folder)
        self.manifest = self._artefact.manifest
        hints = HintFile(folder / "hints.bin", self.manifest)
        key = MasterKey.generate(origin="benchmark")
        self.session = InferenceSession(self.manifest, channel, hints, key, window_slots=slots)
        self._rng = np.random.default_rng(seed)
        self.checked = 0

    def run_pass(self, rows: int = 1) -> None:
        """One pass over all groups, every answer decrypted and compared.

        Raises:
            WrongAnswerError: one is wrong.
        """
        self.session.begin_pass(rows)
        for group in self.manifest.groups:
            x, got = self._round(group, rows)
            off = np.abs(got - self._clear(group, x))
            if not bool((off <= self._bound(group, x)).all()):
                raise WrongAnswerError(f"group {group.index} is off by {off.max():.3g}")
            self.checked += got.size

    def close(self) -> None:
        """Forget the secrets."""
        self.session.close()

    def _round(self, group: Group, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if group.kind == "embedding":
            ids = self._rng.integers(0, group.inputs, rows)
            one_hot = np.zeros((rows, group.inputs), dtype=np.float32)
            one_hot[np.arange(rows), ids] = 1
            return one_hot, self.session.run_embedding(group, ids, None)
        x = self._rng.standard_normal((rows, group.inputs)).astype(np.float32)
        return x, self.session.run_group(group, x)

    def _clear(self, group: Group, x: NDArray[Any]) -> NDArray[np.float32]:
        total = np.zeros((len(x), group.outputs), dtype=np.float32)
        for k, part in enumerate(group.parts):
            weights = self._artefact.weights(group.first_part + k).astype(np.float32)
            total += x[:, part.start : part.stop] @ weights.T
        return total

    def _bound(self, group: Group, x: NDArray[Any]) -> NDArray[np.float64]:
        """Ten standard deviations of the decryption noise, (rows, 1), and a little for float32."""
        total = np.zeros((len(x), 1))
        parameters = self.manifest.parameters
        for part in group.parts:
            euclid = np.sqrt((x[:, part.start : part.stop].astype(np.float64) ** 2).sum(axis=1))
            guard = parameters.guard(part.w_norm)  # eight standard deviations
            signal = part.w_norm * euclid
            total += (1.25 * guard * signal / (2.0**23 - guard) + 1e-4 * signal)[:, None]
        return total


class RecordingChannel:
    """A RoundChannel that answers from a function and keeps what passed.

    Attributes:
        frames: (query frame, answer frame) in order.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self.frames: list[tuple[bytes, bytes]] = []

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        """See RoundChannel."""
        answer = self._answer(bytes(frame))
        assert len(answer) == answer_size
        self.frames.append((bytes(frame), answer))
        return answer

    def close(self) -> None:
        """Nothing to close."""
