"""One conversation's cryptography: epochs, windows, and the encrypted product of a group.

Slots advance in lock-step over all groups: a pass of `rows` tokens takes the next `rows` slots everywhere, and
what a group does not use of them is lost. The next window is prepared by one background thread while the user
reads or types.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto import hint_scheme
from fhe_client.crypto.errors import ModelTooLargeError, SessionClosedError, SlotError
from fhe_client.crypto.pads import HintSource, part_shapes
from fhe_client.crypto.window import Window
from fhe_client.crypto.window_maker import WindowMaker
from fhe_client.keys import MasterKey
from fhe_protocol.manifest import Group, GroupPart, Manifest
from fhe_protocol.wire import MAX_ROWS, FrameHeader, answer_size, empty_query, parse_answer

Progress = Callable[[int, int], None]
Scaled = tuple[NDArray[np.uint32], NDArray[np.float64]]
"""Values round(gamma * x), uint32 (rows, n), and the gamma (rows, 1) that opens their answer."""
Scale = Callable[[GroupPart, slice], Scaled]
"""The scaled values of some rows of one of a group's parts."""

MAX_WINDOW_BYTES = 8 << 30
"""A manifest of a few kilobytes can name a million inputs a thousand times: refused before anything is allocated."""


_BLOCK_VALUES = 1 << 16
"""Values encrypted at a time: half a megabyte as float64."""


class RoundChannel(Protocol):
    """Carries frames. A retry below this line resends the very same bytes object."""

    def exchange(self, frame: bytes, answer_size: int) -> bytes | memoryview:
        """One query frame to the server, its answer frame back."""
        ...


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What left the machine in one round, for the window's "what the server sees"."""

    group: Group
    rows: int
    frame: bytes


class InferenceSession:
    """Computes groups at a server that sees only ciphertext. Implements `LinearRunner`.

    Use from one thread. Close it (or leave its `with` block): pads and secrets are erased.

    Args:
        manifest: the checked manifest.
        channel: carries the frames.
        hints: the checked hints.
        master_key: every epoch's secrets are derived from it and fresh randomness.
        window_slots: slots prepared at a time; a divisor of N.
        on_round: called after a round's bytes have left and its answer is back.

    Raises:
        ModelTooLargeError: one window's pads would take more than MAX_WINDOW_BYTES.
    """

    def __init__(
        self,
        manifest: Manifest,
        channel: RoundChannel,
        hints: HintSource,
        master_key: MasterKey,
        *,
        window_slots: int = 256,
        on_round: Callable[[RoundReport], None] | None = None,
    ) -> None:
        _check_memory(manifest, window_slots)
        self._manifest = manifest
        self._channel = channel
        self._on_round = on_round
        self._maker = WindowMaker(manifest, hints, master_key, window_slots)
        self._window: Window | None = None
        self._position = 0  # next free slot of the window
        self._pass_start = self._pass_rows = 0
        self._next_id = int.from_bytes(os.urandom(4), "little")
        self._closed = False
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self.rounds = 0

    @property
    def manifest(self) -> Manifest:
        """The model that this session serves."""
        return self._manifest

    @property
    def epochs_used(self) -> int:
        """Epochs begun so far."""
        return self._maker.epochs_begun

    @property
    def tokens_left_in_epoch(self) -> int:
        """Slots of the current epoch that are still free."""
        degree = self._manifest.parameters.ring_degree
        return degree if self._window is None else degree - self._window.first - self._position

    @property
    def next_window_ready(self) -> bool:
        """Whether the window after the one in use is prepared, so that a long prompt need not wait for it."""
        return self._maker.ready

    def prepare(self, on_progress: Progress | None = None) -> None:
        """Prepare the first window now, with progress over parts, instead of at the first pass."""
        self._check_open()
        if self._window is None:
            self._maker.begin(on_progress)
            self._next_window()

    def rows_until_window_end(self) -> int:
        """The longest pass that may begin now, at least 1; moves to the next window where this one is spent."""
        return min(MAX_ROWS, self._current_window().count - self._position)

    def begin_pass(self, rows: int) -> None:
        """Reserve the next `rows` slots in every group.

        Raises:
            SlotError: the window has fewer left.
        """
        if not 1 <= rows <= self.rows_until_window_end():
            raise SlotError("A pass must fit into its window; ask rows_until_window_end first.")
        window = self._current_window()
        self._pass_start, self._pass_rows = self._position, rows
        self._position += rows
        self._maker.note_use(window.count - self._position, window.count)

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The group's encrypted product, (rows, n) to (rows, m). See `LinearRunner`."""
        parameters = self._manifest.parameters

        def scaled(part: GroupPart, rows: slice) -> Scaled:
            wide = _finite(x[rows, part.start : part.stop])
            gamma = hint_scheme.choose_gamma(parameters, part, wide)
            return hint_scheme.scale(wide, gamma), gamma

        return self._round(group, x.shape[0], scaled)

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Rows of a table by encrypted one-hot vectors, ids (rows,) to (rows, m). See `LinearRunner`.

        Every part is sent for every row, whichever of them holds the token. The products of the others are known to be
        zero, so their noise is not let in: they open with an infinite gamma.
        """
        height = np.ones(ids.shape) if scale is None else _finite(scale[ids])
        parameters = self._manifest.parameters

        def scaled(part: GroupPart, rows: slice) -> Scaled:
            some = ids[rows]
            gamma = hint_scheme.gamma_of_one_hot(parameters, part, height[rows])
            here = (some >= part.start) & (some < part.stop)
            vectors = np.zeros((some.size, part.inputs), dtype=np.uint32)
            vectors[here, some[here] - part.start] = hint_scheme.scale(height[rows], gamma)[here]
            return vectors, np.where(here, gamma, np.inf)[:, None]

        return self._round(group, ids.size, scaled)

    def close(self) -> None:
        """Erase all pads and secrets and stop the background work. Safe to call twice, from any thread."""
        with self._lock:
            self._closed = True
            self._maker.close()
            if self._window is not None:
                self._window.wipe()

    def __enter__(self) -> InferenceSession:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _round(self, group: Group, rows: int, scaled: Scale) -> NDArray[np.float32]:
        window, start = self._slots(rows)
        first = group.first_part
        header = FrameHeader(self._request_id(), group.index, rows)
        buffer, planes = empty_query(header, group)
        gammas: list[NDArray[np.float64]] = []
        for k, part in enumerate(group.parts):
            # Row by row, or as many rows as stay in the cache together.
            step = max(1, _BLOCK_VALUES // part.inputs)
            some = []
            for begin in range(0, rows, step):
                block = slice(begin, min(begin + step, rows))
                values, gamma = scaled(part, block)
                some.append(gamma)
                pads = window.take_query_pad(first + k, start + begin, block.stop - begin)
                hint_scheme.mask_query(values, pads, planes[k][:, block])
            gammas.append(some[0] if len(some) == 1 else np.concatenate(some))
        frame = bytes(buffer)  # from here on nobody can change it: a retry sends the same bytes
        raw = self._channel.exchange(frame, answer_size(group, rows))
        answers = parse_answer(raw, group, header)
        self.rounds += 1
        if self._on_round is not None:
            self._on_round(RoundReport(group, rows, frame))
        pieces = [
            hint_scheme.open_answer(
                self._manifest.parameters,
                answer,
                window.take_hint_product(first + k, start, rows),
                gammas[k],
            )
            for k, answer in enumerate(answers)
        ]
        if len(pieces) == 1:
            return pieces[0]
        with np.errstate(all="ignore"):  # no warning may depend on decrypted values
            total = pieces[0]
            for piece in pieces[1:]:
                total += piece
        return total

    def _slots(self, rows: int) -> tuple[Window, int]:
        self._check_open()
        if self._window is None or rows > self._pass_rows:
            raise SlotError("A group is computed inside a pass, with at most the pass's rows.")
        return self._window, self._pass_start

    def _current_window(self) -> Window:
        self._check_open()
        if self._window is None or self._position >= self._window.count:
            self._next_window()
        assert self._window is not None
        return self._window

    def _next_window(self) -> None:
        window = self._maker.take()
        with self._lock:
            if self._closed:
                window.wipe()
            if self._window is not None:
                self._window.wipe()
            self._window, self._position, self._pass_rows = window, 0, 0
        self._check_open()

    def _check_open(self) -> None:
        if self._closed or os.getpid() != self._owner:
            raise SessionClosedError("This session has ended.", "Start a new one.")

    def _request_id(self) -> int:
        self._next_id = (self._next_id + 1) & 0xFFFFFFFF
        return self._next_id


def _finite(x: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = x.astype(np.float64)
    if math.isfinite(np.vdot(wide, wide)):  # the square of no float32 overflows
        return wide
    return np.nan_to_num(wide, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _check_memory(manifest: Manifest, slots: int) -> None:
    needed = window_bytes(manifest, slots)
    if needed > MAX_WINDOW_BYTES:
        raise ModelTooLargeError(
            f"The keys of {slots} tokens of this model would need {needed >> 30} GiB of memory.",
            "Choose a smaller model.",
        ).about(gib=needed >> 30)


def window_bytes(manifest: Manifest, slots: int) -> int:
    """Memory of one window's pads, in bytes."""
    return slots * sum(4 * n + 2 * m for n, m in part_shapes(manifest))
