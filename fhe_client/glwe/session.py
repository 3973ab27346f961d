"""A session of the `glwe` scheme: the same runner interface as `hint`, with keys instead of slots."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.errors import SessionClosedError
from fhe_client.crypto.session import RoundChannel, RoundReport
from fhe_client.glwe import scheme
from fhe_client.glwe.keys import GlweKeys
from fhe_protocol.glwe import MAX_ROWS, answer_size, output_blocks, pack_query, parse_answer
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.wire import FrameHeader

UNLIMITED = (1 << 31) - 1
"""What `tokens_left_in_epoch` says: keys of this scheme have no slots that run out."""


class GlweSession:
    """Computes groups at a server that sees only ciphertext. Implements `LinearRunner`. Use from one thread.

    A group is one matrix here, whatever parts the manifest gives it for `hint`: inputs are encrypted once and outputs,
    which are what costs time, are computed once.

    Args:
        manifest: the checked manifest.
        channel: carries the frames; a retry below it resends the very same bytes.
        keys: the session's keys. They stay the caller's to close.
        activation_bits: as in `scheme.choose_scale`.
        on_round: called after a round's bytes have left and its answer is back.
    """

    def __init__(
        self,
        manifest: Manifest,
        channel: RoundChannel,
        keys: GlweKeys,
        *,
        activation_bits: int | None = None,
        on_round: Callable[[RoundReport], None] | None = None,
    ) -> None:
        self._manifest = manifest
        self._channel = channel
        self._keys = keys
        self._activation_bits = activation_bits
        self._on_round = on_round
        self._next_id = int.from_bytes(os.urandom(4), "little")
        self._closed = False
        self.rounds = 0
        self.epochs_used = 1
        self.tokens_left_in_epoch = UNLIMITED

    @property
    def manifest(self) -> Manifest:
        """The model that this session serves."""
        return self._manifest

    def begin_pass(self, rows: int) -> None:
        """See `LinearRunner`. There are no slots: encryption is fresh in every round."""
        self._check_open()

    def rows_until_window_end(self) -> int:
        """The longest pass: what one frame holds."""
        self._check_open()
        return MAX_ROWS

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The group's encrypted product, (rows, n) to (rows, m). See `LinearRunner`."""
        wide = np.nan_to_num(x.astype(np.float64), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        gamma = scheme.choose_scale(group, wide, self._activation_bits)
        return self._round(group, scheme.to_integers(wide, gamma), gamma)

    def run_embedding(
        self, group: Group, ids: NDArray[np.int64], scale: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Rows of a table by encrypted one-hot vectors, ids (rows,) to (rows, m). See `LinearRunner`."""
        height = np.ones(ids.shape) if scale is None else scale[ids].astype(np.float64)
        gamma = scheme.scale_of_one_hot(group, height)
        vectors = np.zeros((ids.size, group.inputs), dtype=np.int64)
        vectors[np.arange(ids.size), ids] = scheme.to_integers(height, gamma[:, 0])
        return self._round(group, vectors, gamma)

    def close(self) -> None:
        """End the session. Safe to call twice."""
        self._closed = True

    def __enter__(self) -> GlweSession:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _round(
        self, group: Group, x: NDArray[np.int64], gamma: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        self._check_open()
        rows = x.shape[0]
        self._next_id = (self._next_id + 1) & 0xFFFFFFFF
        header = FrameHeader(self._next_id, group.index, rows)
        frame = pack_query(header, self._keys.encrypt(x))
        raw = self._channel.exchange(frame, answer_size(group, rows))
        results = parse_answer(raw, group, header)
        self.rounds += 1
        if self._on_round is not None:
            self._on_round(RoundReport(group, rows, frame))
        widths = [stop - start for start, stop in output_blocks(group.outputs)]
        blocks = [self._keys.decrypt(r, rows, b) for r, b in zip(results, widths, strict=True)]
        opened: NDArray[np.float32] = (np.concatenate(blocks, axis=1) / gamma).astype(np.float32)
        return opened

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosedError("This session has ended.", "Start a new one.")
