"""Preparing pads: the offline half of the client.

For every part, with A public, s its secret of this epoch, e fresh errors and H the server's hint:

    query_pad[t]    = (A*s)_t + e_t   mod 2^24       for the n inputs
    hint_product[t] = (H*s)_t         mod 2^16       for the m outputs

How the products are computed, and which way is faster on this machine, is `products`' matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.products import HINT_ROWS, MASK_ROWS, make_products
from fhe_client.crypto.secrets import EpochSecrets, die_on_fork
from fhe_client.crypto.window import Window
from fhe_protocol.manifest import Manifest
from fhe_protocol.planes import OFFSET

_ERROR_SLOTS = 32
"""Slots whose errors are drawn at a time, which bounds the memory of wide parts."""


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
    check: Callable[[], None] | None = None,
) -> Window:
    """Pads of slots first .. first + count - 1 for every part.

    Args:
        on_part: called with (parts done, parts) after each; whatever it raises ends the work and erases the window.
        check: called often within a part, too, for what it raises: a wide part of a large model takes seconds.
    """
    window = Window(part_shapes(manifest), first, count)
    slots = np.arange(first, first + count)
    try:
        for index in range(len(manifest.parts)):
            fill_part(manifest, secrets, hints, index, slots, *window.fill(index), check)
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
    check: Callable[[], None] | None = None,
) -> None:
    """Write the pads of one part for the given slots.

    Args:
        slots: int64 (k,), slots within the epoch.
        query_pads: uint32 (k, n), written.
        hint_products: uint16 (k, m), written.
        check: called between blocks; what it raises ends the work.
    """
    check = check or _go_on
    group, part = manifest.parts[index]
    secret = secrets.secret(index)
    try:
        products = make_products(secret, slots)
    finally:
        secret.fill(0)
    die_on_fork(products)
    try:
        name = manifest.mask_name(group, part)
        for start in range(0, name.inputs, MASK_ROWS):
            check()
            stop = min(start + MASK_ROWS, name.inputs)
            query_pads[:, start:stop] = products.of_mask(manifest.parameters, name, start, stop)
        for start in range(0, slots.size, _ERROR_SLOTS):
            check()
            some = slice(start, start + _ERROR_SLOTS)
            errors = secrets.errors(index, slots[some], name.inputs).astype(np.int32)
            query_pads[some] += (errors + np.int32(OFFSET)).view(np.uint32)
        hint = hints.read(index)
        for start in range(0, hint.shape[0], HINT_ROWS):
            check()
            rows = slice(start, start + HINT_ROWS)
            hint_products[:, rows] = products.of_hint(hint[rows])
    finally:
        products.wipe()


def _go_on() -> None:
    """No reason to stop."""
