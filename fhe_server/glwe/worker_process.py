"""The parent's side of a worker: start it, ask it, survive it."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

import fhe_server
from fhe_protocol.errors import FrameError
from fhe_protocol.glwe import check_result, result_size
from fhe_server.children import child_command
from fhe_server.errors import ServerError
from fhe_server.glwe.worker import (
    NO_WEIGHTS_ID,
    OK,
    OP_KEY,
    OP_MULTIPLY,
    REPLY,
    REQUEST,
    quiet_environment,
)

BASE_MEMORY = 1 << 30
"""Bytes a worker may use besides its weights: key, its serialised copy, the library, its threads."""

START_SECONDS = 120.0
SECONDS_PER_OUTPUT = 2.0
"""Time limit for one row and output; a slow core takes 0.02."""

_ENGINE_NAMES = (b"cpu", b"cuda")
_MAX_REASON = 100


class WorkerError(ServerError):
    """A worker died, refused its request, took too long, or answered nonsense. Only that request is lost."""


def memory_limit(shapes: Sequence[tuple[int, int]]) -> int:
    """Bytes that a worker needs at most for weight blocks of these (outputs, inputs): they are widened to 64 bits
    and copied by the library."""
    largest = max((m * n for m, n in shapes), default=0)
    return BASE_MEMORY + 4 * 8 * largest


def worker_command(limit: int) -> list[str]:
    """The command line of a worker with `limit` bytes of memory."""
    return child_command("fhe_server.glwe.worker", str(limit))


class WorkerProcess:
    """A worker of one session. Starts with the first request, and again after it died. Thread-safe.

    Args:
        key_path: file of the session's compression key, checked already.
        limit: memory in bytes.
        command: what to start; tests start other programs.
    """

    def __init__(self, key_path: Path, limit: int, command: list[str] | None = None) -> None:
        self._key_path = key_path
        self._command = command or worker_command(limit)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cuda = False
        self._on_device: set[int] = set()
        self._closed = False
        self.starts = 0

    @property
    def alive(self) -> bool:
        """Whether a process is there."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int:
        """Process id, 0 if there is none."""
        process = self._process
        return process.pid if process is not None else 0

    def multiply(
        self,
        matrix: bytes | memoryview,
        rows: int,
        weights: NDArray[np.int8],
        name: int = NO_WEIGHTS_ID,
    ) -> bytes:
        """The product of an EncryptedMatrix with int8 weights.

        Args:
            matrix: serialised, (rows, n), checked by `fhe_protocol.glwe.check_matrix`.
            weights: int8 (b, n), b <= 2048.
            name: identifies the weights in this session, so that CUDA keeps them.

        Returns:
            A serialised CompressedResultEncryptedMatrix of (rows, b), checked.

        Raises:
            WorkerError: the worker is gone or refused; the next call starts a new one.
        """
        outputs, inputs = weights.shape
        with self._lock:
            try:
                self._ensure_started()
                held = self._cuda and name in self._on_device
                sent = b"" if held else np.ascontiguousarray(weights).data.cast("B")
                head = REQUEST.pack(
                    OP_MULTIPLY, rows, inputs, outputs, name, len(matrix), len(sent)
                )
                seconds = START_SECONDS + SECONDS_PER_OUTPUT * rows * outputs
                result = self._ask((head, matrix, sent), result_size(rows, outputs), seconds)
                check_result(result, rows, outputs)
            except FrameError as error:
                self._end()
                raise WorkerError("The native library answered with another shape.") from error
            except (OSError, ValueError) as error:
                self._end()
                raise WorkerError("The worker of this session broke down.") from error
            if self._cuda and name != NO_WEIGHTS_ID:
                self._on_device.add(name)
            return result

    def stop(self) -> None:
        """End the process if it is idle; the next request starts a new one."""
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the process for good, even in the middle of a request."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()

    def _ensure_started(self) -> None:
        if self._closed:
            raise WorkerError("This session has ended.")
        if self.alive:
            return
        self._end()
        root = Path(fhe_server.__file__).parents[1]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a panic message may quote what it was fed
            env=quiet_environment(os.environ, str(root)),
            cwd=self._key_path.parent,
        )
        self.starts += 1
        path = os.fsencode(self._key_path)
        head = REQUEST.pack(OP_KEY, 0, 0, 0, NO_WEIGHTS_ID, len(path), 0)
        engine = self._ask((head, path), max(map(len, _ENGINE_NAMES)), START_SECONDS)
        if engine not in _ENGINE_NAMES:
            raise ValueError("unknown engine")
        self._cuda = engine == b"cuda"

    def _ask(self, parts: Sequence[bytes | memoryview], largest: int, seconds: float) -> bytes:
        """Send a request and read its reply of at most `largest` bytes; the process is killed when time is up."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            for part in parts:
                process.stdin.write(part)
            process.stdin.flush()
            status, length = REPLY.unpack(_read(process.stdout, REPLY.size))
            if length > max(largest, _MAX_REASON):
                raise ValueError("reply too long")
            body = _read(process.stdout, length)
        finally:
            timer.cancel()
        if status != OK:
            self._end()  # after a panic, memory of the library is not to be trusted
            raise WorkerError("The native library refused the request.")
        return body

    def _end(self) -> None:
        process, self._process = self._process, None
        self._on_device.clear()
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) != size:
        raise ValueError("the worker has gone")
    return data
