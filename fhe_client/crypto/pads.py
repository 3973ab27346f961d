"""Preparing pads: the offline half of the client.

For every part, with A public, s its secret of this epoch, e fresh errors and H the server's hint:

    query_pad[t]    = (A*s)_t + e_t   mod 2^24       for the n inputs
    hint_product[t] = (H*s)_t         mod 2^16       for the m outputs

How the products are computed, and which way is faster on this machine, is `products`' matter.
"""

from __future__ import annotations

import threading
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
    threads: int = 1,
) -> Window:
    """Pads of slots first .. first + count - 1 for every part.

    Args:
        on_part: called with (parts done, parts) after each; whatever it raises ends the work and erases the window.
        check: called often within a part, too, for what it raises: a wide part of a large model takes seconds.
        threads: that share the parts, this one among them.
    """
    window = Window(part_shapes(manifest), first, count)
    filling = _Filling(manifest, secrets, hints, window, on_part, check or _go_on)
    helpers = [threading.Thread(target=filling.run, daemon=True) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    filling.run()
    for helper in helpers:
        helper.join()  # nobody may write into a window that was erased
    if filling.failure is not None:
        window.wipe()
        raise filling.failure
    return window


class _Filling:
    """The parts of a window that are still to be filled, for several threads. The largest come first."""

    def __init__(
        self,
        manifest: Manifest,
        secrets: EpochSecrets,
        hints: HintSource,
        window: Window,
        on_part: Callable[[int, int], None] | None,
        check: Callable[[], None],
    ) -> None:
        self.failure: BaseException | None = None
        self._of = (manifest, secrets, hints)
        self._window = window
        self._on_part = on_part
        self._outer_check = check
        self._slots = np.arange(window.first, window.first + window.count)
        work = [3 * n + 2 * m for n, m in part_shapes(manifest)]
        self._todo = iter(sorted(range(len(work)), key=lambda k: -work[k]))
        self._done, self._total = 0, len(work)
        self._lock = threading.Lock()

    def run(self) -> None:
        """Fill parts until there are none, or until one fails."""
        try:
            while (index := self._next()) is not None:
                fill_part(*self._of, index, self._slots, *self._window.fill(index), self._check)
                self._count()
        except BaseException as error:
            self.failure = self.failure or error

    def _next(self) -> int | None:
        with self._lock:
            return None if self.failure is not None else next(self._todo, None)

    def _count(self) -> None:
        with self._lock:
            self._done += 1
            if self._on_part is not None:
                self._on_part(self._done, self._total)

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure  # another thread's: this one need not go on
        self._outer_check()


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
