"""Preparing pads: the offline half of the client.

For every part, with A public, s its secret of this epoch, e fresh errors and H the server's hint:

    query_pad[t]    = (A*s)_t + e_t   mod 2^24       for the n inputs
    hint_product[t] = (H*s)_t         mod 2^16       for the m outputs

A product in the ring makes all N slots at once; a window keeps some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fhe_client.ring import Transform, multiply_approximate, multiply_exact, transform
from fhe_client.secrets import EpochSecrets, die_on_fork
from fhe_client.window import Window
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import MASK, OFFSET

_ROWS_AT_ONCE = 128
"""Ring elements per batch: 128 complex128 transforms of length 512 stay inside a core's cache."""

_SPARE_BITS = np.int32(8)


class HintSource(Protocol):
    """Where hints come from, their digests checked."""

    def read(self, part_index: int) -> NDArray[np.uint16]:
        """The hint of one part: uint16 (m, N)."""
        ...


def part_shapes(manifest: Manifest) -> list[tuple[int, int]]:
    """(n, m) of every part, in order."""
    return [(group.parts[k].inputs, group.outputs) for group, k in manifest.parts]


def prepare_window(
    manifest: Manifest,
    secrets: EpochSecrets,
    hints: HintSource,
    first: int,
    count: int,
    on_part: Callable[[int, int], None] | None = None,
) -> Window:
    """Pads of slots first .. first + count - 1 for every part.

    Args:
        on_part: called with (parts done, parts) after each; whatever it raises ends the work and erases the window.
    """
    window = Window(part_shapes(manifest), first, count)
    slots = np.arange(first, first + count)
    try:
        for index in range(len(manifest.parts)):
            fill_part(manifest, secrets, hints, index, slots, *window.fill(index))
            if on_part is not None:
                on_part(index + 1, len(manifest.parts))
    except BaseException:
        window.wipe()
        raise
    return window


def fill_part(
    manifest: Manifest,
    secrets: EpochSecrets,
    hints: HintSource,
    index: int,
    slots: NDArray[np.int64],
    query_pads: NDArray[np.uint32],
    hint_products: NDArray[np.uint16],
) -> None:
    """Write the pads of one part for the given slots.

    Args:
        slots: int64 (k,), slots within the epoch.
        query_pads: uint32 (k, n), written.
        hint_products: uint16 (k, m), written.
    """
    group, part = manifest.parts[index]
    secret = secrets.secret(index)
    turned = transform(secret)
    die_on_fork(turned)
    secret.fill(0)
    try:
        _mask_products(manifest, group, part, turned, slots, query_pads)
        for row, slot in enumerate(slots.tolist()):
            errors = secrets.errors(index, slot, query_pads.shape[1])
            query_pads[row] += errors.astype(np.int32).view(np.uint32) + np.uint32(OFFSET)
        _hint_products(hints.read(index), turned, slots, hint_products)
    finally:
        turned.wipe()


def _mask_products(
    manifest: Manifest,
    group: Group,
    part: int,
    secret: Transform,
    slots: NDArray[np.int64],
    out: NDArray[np.uint32],
) -> None:
    name = manifest.mask_name(group, part)
    columns = slice(int(slots[0]), int(slots[-1]) + 1) if _contiguous(slots) else slots
    for start in range(0, name.inputs, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, name.inputs)
        mask = expand_mask(manifest.parameters, name, start, stop).view(np.int32)
        centred = (mask << _SPARE_BITS) >> _SPARE_BITS  # sign-extends 24 bits: [-2^23, 2^23)
        product = multiply_exact(centred, secret)
        out[:, start:stop] = (product[:, columns].T & MASK).astype(np.uint32)


def _hint_products(
    hint: NDArray[np.uint16],
    secret: Transform,
    slots: NDArray[np.int64],
    out: NDArray[np.uint16],
) -> None:
    columns = slice(int(slots[0]), int(slots[-1]) + 1) if _contiguous(slots) else slots
    centred = hint.view(np.int16)  # mod 2^16 a hint is its two's complement: already centred
    for start in range(0, hint.shape[0], _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, hint.shape[0])
        product = multiply_approximate(centred[start:stop], secret)
        out[:, start:stop] = (product[:, columns].T & 0xFFFF).astype(np.uint16)


def _contiguous(slots: NDArray[np.int64]) -> bool:
    return bool(np.all(np.diff(slots) == 1))
