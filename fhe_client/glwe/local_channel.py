"""The server's part in this process, for `execute` mode and tests: frames in, frames out, nothing on a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_client.glwe.keys import load_library
from fhe_protocol.glwe import output_blocks, pack_answer, parse_query
from fhe_protocol.manifest import Manifest


class LocalGlweChannel:
    """Answers query frames as a server does.

    Args:
        manifest: describes the groups.
        weights: int8 (m, n) of a group, by its index.
        compression_key: of the session.
    """

    def __init__(
        self,
        manifest: Manifest,
        weights: Callable[[int], NDArray[np.int8]],
        compression_key: bytes,
    ) -> None:
        self._manifest = manifest
        self._weights = weights
        self._library = load_library()
        self._key = self._library.CpuCompressionKey.deserialize(compression_key)
        self.bytes_up = self.bytes_down = 0

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        """See `RoundChannel`."""
        header, data = parse_query(frame, self._manifest)
        group = self._manifest.groups[header.group]
        matrix = self._library.EncryptedMatrix.deserialize(bytes(data))
        weights = self._weights(header.group)
        blocks = output_blocks(group.outputs)
        answer = pack_answer(header, [self._multiply(matrix, weights[a:b]) for a, b in blocks])
        self.bytes_up += len(frame)
        self.bytes_down += len(answer)
        return answer

    def _multiply(self, matrix: Any, weights: NDArray[np.int8]) -> bytes:
        clear = np.ascontiguousarray(weights.T).astype(np.int64).view(np.uint64)
        return bytes(self._library.cpu_matrix_multiplication(matrix, clear, self._key).serialize())
