"""A model that is being served: its artefact, and the kernels of its parts once they are needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.planes import PLANES
from fhe_protocol.wire import max_query_size, pack_answer, parse_query
from fhe_server.artefact import Artefact
from fhe_server.kernel import LinearKernel, bytes_per_weight


class ServedModel:
    """One model. Its manifest is read at once, its weights at the first round or by `load`. Thread-safe.

    Args:
        device: "cpu" or "cuda".

    Attributes:
        rounds: under way; kept by the service.
        last_used: `time.monotonic` of the latest round; kept by the shelf.
    """

    def __init__(self, artefact: Artefact, device: str = "cpu") -> None:
        self.artefact = artefact
        self.manifest = artefact.manifest
        self.manifest_bytes = artefact.manifest.to_bytes()
        self.max_query_size = max_query_size(artefact.manifest)
        self._products = [PLANES * g.inputs * g.outputs for g in self.manifest.groups]
        self.rounds = 0
        self.last_used = 0.0
        self._device = device
        self._kernels: list[LinearKernel] | None = None
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the kernels are in memory."""
        return self._kernels is not None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the int8 weights."""
        return sum(self._products) // PLANES

    @property
    def resident_bytes(self) -> int:
        """Bytes that the kernels take in memory, or on the device."""
        return self.weight_bytes * bytes_per_weight(self._device)

    def load(self) -> list[LinearKernel]:
        """Make the kernels and read every page of the weights, unless that was done."""
        with self._lock:
            if self._kernels is None:
                self.artefact.touch()
                self._kernels = self.artefact.kernels(self._device)
            return self._kernels

    def unload(self) -> None:
        """Forget the kernels; a product that is under way keeps its own until it ends."""
        with self._lock:
            self._kernels = None
            self.artefact.release()

    def products(self, group: int) -> int:
        """Multiplications that one row of a group takes."""
        return self._products[group]

    def multiply(self, group: int, planes: Sequence[NDArray[np.int8]]) -> list[NDArray[np.uint16]]:
        """Rounded products of one group: for each part int8 (3, rows, n_part) to uint16 (rows, m)."""
        kernels = self._kernels or self.load()
        first = self.manifest.groups[group].first_part
        return [kernels[first + k].answer(plane) for k, plane in enumerate(planes)]

    def answer(self, frame: bytes) -> bytes:
        """The answer frame to a query frame, alone and at once.

        Raises:
            FrameError: the frame is malformed.
        """
        header, planes = parse_query(frame, self.manifest)
        return pack_answer(header, self.multiply(header.group, planes))
