"""Hints: H = round16(Wq . A), the server's answer to the public masks. Made once per model, and public."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import to_planes
from fhe_server.imports.memory import give_back
from fhe_server.imports.unfinished import open_behind
from fhe_server.kernel import LinearKernel

_SLOTS_AT_ONCE = 256

Weights = Callable[[int], NDArray[np.int8]]
"""Part index -> int8 (m, n_part)."""


def compute_hint(
    manifest: Manifest, group: Group, part: int, weights: NDArray[np.int8], device: str = "cpu"
) -> NDArray[np.uint16]:
    """The hint of one part: uint16 (m, N)."""
    mask = expand_mask(manifest.parameters, manifest.mask_name(group, part))
    kernel = LinearKernel(weights, device)
    degree = manifest.parameters.ring_degree
    hint = np.empty((group.outputs, degree), dtype=np.uint16)
    for start in range(0, degree, _SLOTS_AT_ONCE):
        stop = min(start + _SLOTS_AT_ONCE, degree)
        columns = np.ascontiguousarray(mask[:, start:stop].T)
        hint[:, start:stop] = kernel.answer(to_planes(columns)).T
    return hint


def write_hints(
    manifest: Manifest,
    weights: Weights,
    path: Path,
    progress: Callable[[int, int], None],
    device: str = "cpu",
    *,
    done: Sequence[str] = (),
    on_part: Callable[[int, str], None] | None = None,
) -> list[str]:
    """Write the hints of all parts to `path`, part after part, (m, N) uint16 little-endian.

    Args:
        manifest: may still have placeholder hint digests; masks do not depend on them.
        weights: gives the int8 weights of a part.
        progress: called with (parts done, parts).
        done: digests of the first parts, if `path` holds their hints already; what follows these is dropped.
        on_part: called with (part index, digest) after a part has been written.

    Returns:
        SHA-256 of every part's hint, hexadecimal.
    """
    digests = list(done)
    progress(len(digests), len(manifest.parts))
    with open_behind(path, manifest.hint_offsets[len(digests)]) as file:
        for index, (group, part) in enumerate(manifest.parts[len(digests) :], len(digests)):
            hint = compute_hint(manifest, group, part, weights(index), device).astype("<u2")
            data = hint.data.cast("B")
            file.write(data)
            file.flush()
            give_back()
            digests.append(hashlib.sha256(data).hexdigest())
            if on_part is not None:
                on_part(index, digests[-1])
            progress(index + 1, len(manifest.parts))
    return digests
