"""The disposable child that touches native code: `python -m fhe_server.glwe.worker MEMORY_BYTES`.

It reads requests from standard input and answers on standard output, one at a time:

    request = op 1 | rows 4 | inputs 4 | outputs 4 | weights id 8 | payload length 8 | weights length 8
              | payload | weights
    reply   = status 1 | length 8 | bytes

    op 1 (key): payload is the path of a compression key file.        reply: the engine's name
    op 2 (multiply): payload is an EncryptedMatrix of (rows, inputs), weights are int8 (outputs, inputs).
                     reply: a CompressedResultEncryptedMatrix

It holds no file, socket or secret but the key file of its session, has a memory limit, cannot write files and leaves no
core dump. Whatever the native code does to it, its parent sees a reply or the end of the pipe. Nothing of a request is
ever printed.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

REQUEST = struct.Struct("<BIIIqQQ")
REPLY = struct.Struct("<BQ")
OP_KEY, OP_MULTIPLY = 1, 2
OK, REFUSED = 0, 1
NO_WEIGHTS_ID = -1

_VIRTUAL_SLACK = (
    16 << 30
)  # address space that is reserved but never used: thread stacks, malloc arenas, the library


class Engine:
    """The native library with one compression key.

    Args:
        library: the module `concrete_ml_extensions`.
        key: serialised compression key.
    """

    def __init__(self, library: Any, key: bytes) -> None:
        self._library = library
        self.cuda = bool(library.is_cuda_enabled() and library.is_cuda_available())
        kind = library.CudaCompressionKey if self.cuda else library.CpuCompressionKey
        self._key = kind.deserialize(key)
        self._on_device: dict[int, Any] = {}

    def multiply(self, matrix: bytes, weights: bytes, shape: tuple[int, int], name: int) -> bytes:
        """The serialised product.

        Args:
            matrix: serialised EncryptedMatrix of (rows, n).
            weights: int8 (b, n) row-major; empty if `name` is on the device already.
            shape: (b, n).
            name: identifies the weights; with CUDA they stay on the device.
        """
        encrypted = self._library.EncryptedMatrix.deserialize(matrix)
        if self.cuda:
            clear = self._device_matrix(weights, shape, name)
            result = self._library.cuda_matrix_multiplication(encrypted, clear, self._key)
        else:
            clear = wide(weights, shape)
            result = self._library.cpu_matrix_multiplication(encrypted, clear, self._key)
        return bytes(result.serialize())

    def _device_matrix(self, weights: bytes, shape: tuple[int, int], name: int) -> Any:
        if name in self._on_device:
            return self._on_device[name]
        matrix = self._library.make_cuda_clear_matrix(wide(weights, shape), self._key)
        if name != NO_WEIGHTS_ID:
            self._on_device[name] = matrix
        return matrix


def wide(weights: bytes, shape: tuple[int, int]) -> Any:
    """int8 (b, n) as the library wants it: uint64 (n, b), two's complement."""
    import numpy as np

    matrix = np.frombuffer(weights, dtype=np.int8).reshape(shape)
    return np.ascontiguousarray(matrix.T).astype(np.int64).view(np.uint64)


def limit_memory(limit: int) -> None:
    """No more than `limit` bytes of private memory, no core dump, no file may grow. Where the system can."""
    try:
        import resource
    except ImportError:  # Windows, which has no build of the library either
        return
    wanted = {
        resource.RLIMIT_DATA: limit,
        resource.RLIMIT_AS: limit + _VIRTUAL_SLACK,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
    }
    for what, value in wanted.items():
        with suppress(OSError, ValueError):  # macOS refuses some of them
            resource.setrlimit(what, (value, value))


def serve(requests: BinaryIO, replies: BinaryIO, library: Any) -> None:
    """Answer requests until the other side closes the pipe."""
    engine: Engine | None = None
    while head := requests.read(REQUEST.size):
        op, _rows, inputs, outputs, name, size, weights_size = REQUEST.unpack(head)
        payload, weights = requests.read(size), requests.read(weights_size)
        status, body = OK, b""
        try:
            if op == OP_KEY:
                engine = None  # the old key's memory first
                engine = Engine(library, Path(os.fsdecode(payload)).read_bytes())
                body = b"cuda" if engine.cuda else b"cpu"
            elif engine is not None:
                body = engine.multiply(payload, weights, (outputs, inputs), name)
            else:
                status = REFUSED
        except BaseException as error:  # a Rust panic is a BaseException
            if isinstance(error, KeyboardInterrupt):
                raise
            status, body = REFUSED, type(error).__name__.encode()
        replies.write(REPLY.pack(status, len(body)) + body)
        replies.flush()


def quiet_environment(environment: Mapping[str, str], search_path: str) -> dict[str, str]:
    """The environment of a worker: what the loader and the thread pool need, and nothing else."""
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "RAYON_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    values = {name: environment[name] for name in kept if name in environment}
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads and "RAYON_NUM_THREADS" not in values:
        values["RAYON_NUM_THREADS"] = threads
    return {**values, "PYTHONPATH": search_path, "OPENBLAS_NUM_THREADS": "1"}


def main(arguments: list[str]) -> int:
    """Run a worker; its standard output belongs to the replies alone."""
    limit_memory(int(arguments[0]))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints must not land among the replies
    import concrete_ml_extensions

    serve(sys.stdin.buffer, replies, concrete_ml_extensions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
