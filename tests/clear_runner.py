"""The clear twin of InferenceSession: the same int8 products without encryption, for tests only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fhe_client.model.files import read_model_files
from fhe_client.model.hybrid import HybridModel, build_hybrid
from fhe_protocol.manifest import Group, Manifest, parse_manifest


class ClearRunner:
    """Multiplies the int8 weights of an artefact folder in the clear and keeps count.

    Args:
        folder: holds manifest.json and weights.bin.
        noise_seed: None computes exactly; a number adds noise of the size that decryption has.
        window: slots of one window, as `rows_until_window_end` counts them.
    """

    def __init__(self, folder: Path, noise_seed: int | None = None, window: int = 256) -> None:
        self.manifest: Manifest = parse_manifest((folder / "manifest.json").read_bytes())
        self._weights = _read_weights(folder / "weights.bin", self.manifest)
        self._noise = None if noise_seed is None else np.random.default_rng(noise_seed)
        self._window = window
        self.slots = 0
        self.passes: list[int] = []
        self.rounds: list[tuple[int, int]] = []

    def weights(self, group: Group) -> NDArray[np.float32]:
        """The group's Wq, float32 (m, n)."""
        return self._weights[group.index]

    def begin_pass(self, rows: int) -> None:
        assert 1 <= rows <= self.rows_until_window_end()
        self.slots += rows
        self.passes.append(rows)

    def rows_until_window_end(self) -> int:
        return self._window - self.slots % self._window

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        assert group.kind == "linear"
        assert x.dtype == np.float32
        assert x.ndim == 2
        assert x.shape[1] == group.inputs
        assert 1 <= x.shape[0] <= self.passes[-1]
        assert np.isfinite(x).all()
        self.rounds.append((group.index, x.shape[0]))
        return (x @ self._weights[group.index].T + self._noise_for(group, x)).astype(np.float32)

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        assert group.kind == "embedding"
        one_hot = np.zeros((len(ids), group.inputs), dtype=np.float32)
        one_hot[np.arange(len(ids)), ids] = 1.0 if scale is None else scale[ids]
        self.rounds.append((group.index, len(ids)))
        product = one_hot @ self._weights[group.index].T
        return (product + self._noise_for(group, one_hot)).astype(np.float32)

    def _noise_for(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float64]:
        total = np.zeros((x.shape[0], group.outputs))
        if self._noise is None:
            return total
        parameters = self.manifest.parameters
        for part in group.parts:
            norm = np.linalg.norm(x[:, part.start : part.stop], axis=1, keepdims=True)
            room = 2.0**23 - parameters.guard(part.w_norm)
            sigma = parameters.noise_sigma(part.w_norm) * part.w_norm * norm / room
            total += self._noise.normal(size=total.shape) * sigma
        return total


def _read_weights(path: Path, manifest: Manifest) -> list[NDArray[np.float32]]:
    flat = np.fromfile(path, dtype=np.int8)
    matrices = []
    offset = 0
    for group in manifest.groups:
        columns = []
        for part in group.parts:
            count = group.outputs * part.inputs
            columns.append(flat[offset : offset + count].reshape(group.outputs, part.inputs))
            offset += count
        matrices.append(np.concatenate(columns, axis=1).astype(np.float32))
    assert offset == len(flat)
    return matrices


class ClearSetting:
    """A hybrid model over a clear runner, with everything that `generate` needs."""

    def __init__(self, folder: Path, runner: ClearRunner | None = None) -> None:
        self.runner = runner or ClearRunner(folder)
        manifest = self.runner.manifest
        self.files = read_model_files(folder / "client", manifest)
        self.hybrid: HybridModel = build_hybrid(manifest, self.files, self.runner)
