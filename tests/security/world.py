"""A small model, its server and its hints in memory: what tests of the cryptographic core play with.

The server here is the clear reference (int64, no kernel), so that a fault of the kernel cannot hide one of the client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_client.keys import MasterKey
from fhe_protocol.manifest import Group, Manifest, canonical_json, parse_manifest
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import from_planes, round_answer
from fhe_protocol.wire import pack_answer, parse_query

Answer = Callable[[bytes], bytes]

SHAPES: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("linear", 12, (0, 24)),
    ("embedding", 10, (0, 30, 50)),
    ("linear", 20, (0, 9, 16)),
)
"""(kind, outputs, cuts of the inputs) of the usual three groups."""


def key(byte: int = 7) -> MasterKey:
    """A master key that is the same in every run."""
    return MasterKey(bytes([byte]) * 32, origin="test")


@dataclass(frozen=True)
class World:
    """A model with everything both sides know of it.

    Attributes:
        weights: int8 (m, n_part) of every part.
        hints: uint16 (m, N) of every part.
    """

    manifest: Manifest
    weights: tuple[NDArray[np.int8], ...]
    hints: tuple[NDArray[np.uint16], ...]

    def read(self, part_index: int) -> NDArray[np.uint16]:
        """The world is its own `HintSource`; arrays are read-only, as a mapped file would be."""
        return self.hints[part_index]

    def answer(self, frame: bytes) -> bytes:
        """What an honest server answers."""
        header, planes = parse_query(frame, self.manifest)
        first = self.manifest.groups[header.group].first_part
        return pack_answer(
            header,
            [product(self.weights[first + k], from_planes(p)) for k, p in enumerate(planes)],
        )

    def clear(self, group: Group, x: NDArray[Any]) -> NDArray[np.float64]:
        """The twin: x @ Wq.T in float64."""
        total = np.zeros((x.shape[0], group.outputs))
        for k, part in enumerate(group.parts):
            weights = self.weights[group.first_part + k].astype(np.float64)
            total += x[:, part.start : part.stop].astype(np.float64) @ weights.T
        return total

    def bound(self, group: Group, x: NDArray[Any]) -> NDArray[np.float64]:
        """Eight standard deviations of what decryption may be off by, (rows, 1), from DESIGN.md's formulas."""
        total = np.zeros((x.shape[0], 1))
        parameters = self.manifest.parameters
        for part in group.parts:
            piece = np.abs(x[:, part.start : part.stop].astype(np.float64))
            euclid = part.w_norm * np.sqrt((piece**2).sum(axis=1))
            signal = np.minimum(euclid, part.peak * piece.sum(axis=1))
            room = 2.0**23 - parameters.guard(part.w_norm)
            total += (parameters.guard(part.w_norm) * signal / room)[:, None]
        return total


def product(weights: NDArray[np.int8], values: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """round16(W . v) in int64: (m, n) and (rows, n) to (rows, m)."""
    exact = values.astype(np.int64) @ weights.astype(np.int64).T
    return round_answer(exact & 0xFFFFFF)


def hint(
    manifest: Manifest, group: Group, part: int, weights: NDArray[np.int8]
) -> NDArray[np.uint16]:
    """The honest hint of one part."""
    mask = expand_mask(manifest.parameters, manifest.mask_name(group, part))
    made = np.ascontiguousarray(product(weights, np.ascontiguousarray(mask.T)).T)
    made.flags.writeable = False
    return made


def group_entry(
    index: int, kind: str, weights: NDArray[np.int8], cuts: tuple[int, ...]
) -> dict[str, Any]:
    """One group as the manifest's JSON has it."""
    parts = []
    for start, stop in pairwise(cuts):
        wide = weights[:, start:stop].astype(np.int64)
        norm = float(np.sqrt((wide**2).sum(axis=1).max()))
        digest = hashlib.sha256(weights[:, start:stop].tobytes()).hexdigest()
        peak = int(np.abs(wide).max())
        parts.append(
            {"start": start, "stop": stop, "w_norm": norm, "peak": peak, "weights_sha256": digest}
        )
    members = [{"module": f"layer.{index}", "outputs": weights.shape[0]}]
    name = f"g{index}"
    return {
        "name": name,
        "kind": kind,
        "inputs": cuts[-1],
        "outputs": weights.shape[0],
        "members": members,
        "parts": parts,
    }


def document(groups: list[dict[str, Any]], hints: list[str] | None = None) -> dict[str, Any]:
    """A manifest's JSON around `groups`."""
    model = {
        "name": "world",
        "parameters": "hint-1024-24",
        "architecture": "World",
        "model_type": "world",
        "context_length": 64,
        "vocabulary": 50,
        "groups": groups,
        "files": [{"path": "config.json", "size": 2, "sha256": "a" * 64}],
    }
    digests = hints or ["0" * 64 for g in groups for _ in g["parts"]]
    return {"format": "tacita-manifest", "version": 1, "model": model, "hints": digests}


Shapes = tuple[tuple[str, int, tuple[int, ...]], ...]


@cache
def make_world(shapes: Shapes = SHAPES, seed: int = 1) -> World:
    """A world of random weights; the same arguments give the same one."""
    rng = np.random.default_rng(seed)  # public: weights are no secret
    matrices = [
        rng.integers(-127, 128, size=(m, cuts[-1])).astype(np.int8) for _, m, cuts in shapes
    ]
    return build_world(shapes, matrices)


def build_world(shapes: Shapes, matrices: list[NDArray[np.int8]]) -> World:
    """A world of the given weights, (m, n) for each group."""
    entries = [group_entry(i, kind, matrices[i], cuts) for i, (kind, _, cuts) in enumerate(shapes)]
    bare = parse_manifest(canonical_json(document(entries)))
    weights, hints = [], []
    for group, k in bare.parts:
        part = group.parts[k]
        piece = np.ascontiguousarray(matrices[group.index][:, part.start : part.stop])
        weights.append(piece)
        hints.append(hint(bare, group, k, piece))
    digests = [hashlib.sha256(h.astype("<u2").tobytes()).hexdigest() for h in hints]
    manifest = parse_manifest(canonical_json(document(entries, digests)))
    return World(manifest, tuple(weights), tuple(hints))


class Channel:
    """Carries frames to a server in this process and keeps them.

    Args:
        answer: the server.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.frames: list[bytes] = []
        self.asked: list[int] = []

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        """One frame there, one back; the length that is due is noted, as transport would check it."""
        self.frames.append(frame)
        self.asked.append(answer_size)
        return self._answer(frame)


class Arrays:
    """A `HintSource` over a list that a test may change."""

    def __init__(self, hints: list[NDArray[np.uint16]]) -> None:
        self.hints = hints
        self.reads: list[int] = []

    def read(self, part_index: int) -> NDArray[np.uint16]:
        """The hint of one part."""
        self.reads.append(part_index)
        return self.hints[part_index]
