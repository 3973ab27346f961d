"""The worker's own code, with a stand-in for the native library: CUDA keeps weights, panics become refusals."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fhe_server.glwe import worker
from fhe_server.glwe.worker import NO_WEIGHTS_ID, OK, OP_KEY, OP_MULTIPLY, REFUSED, Engine


class Panic(BaseException):
    """What a Rust panic looks like from Python."""


class Serialised:
    """Anything with `deserialize` and `serialize`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def deserialize(cls, data: bytes) -> Serialised:
        if data == b"panic":
            raise Panic
        return cls(data)

    def serialize(self) -> bytes:
        return self.data


class FakeLibrary:
    """The names that the worker uses; the product is the weights' sum."""

    CpuCompressionKey = CudaCompressionKey = EncryptedMatrix = Serialised

    def __init__(self, cuda: bool) -> None:
        self._cuda = cuda
        self.made = 0

    def is_cuda_enabled(self) -> bool:
        return True

    def is_cuda_available(self) -> bool:
        return self._cuda

    def make_cuda_clear_matrix(self, data: Any, key: Serialised) -> Any:
        self.made += 1
        return data

    def cpu_matrix_multiplication(self, _e: Serialised, data: Any, _k: Serialised) -> Serialised:
        return Serialised(str(int(data.view(np.int64).sum())).encode())

    cuda_matrix_multiplication = cpu_matrix_multiplication


def test_weights_are_widened_to_twos_complement_columns() -> None:
    weights = np.array([[1, -2, 3], [-127, 0, 127]], dtype=np.int8)
    wide = worker.wide(weights.tobytes(), (2, 3))
    assert wide.dtype == np.uint64
    assert wide.flags.c_contiguous
    np.testing.assert_array_equal(wide.view(np.int64), weights.T)


def test_cuda_keeps_weights_and_cpu_does_not_need_to() -> None:
    weights = np.array([[1, -2, 3]], dtype=np.int8).tobytes()
    library = FakeLibrary(cuda=True)
    engine = Engine(library, b"key")
    assert engine.cuda
    assert engine.multiply(b"m", weights, (1, 3), 5) == b"2"
    assert engine.multiply(b"m", b"", (1, 3), 5) == b"2"
    assert library.made == 1
    engine.multiply(b"m", weights, (1, 3), NO_WEIGHTS_ID)
    engine.multiply(b"m", weights, (1, 3), NO_WEIGHTS_ID)
    assert library.made == 3
    plain = FakeLibrary(cuda=False)
    assert not Engine(plain, b"key").cuda
    assert Engine(plain, b"key").multiply(b"m", weights, (1, 3), 5) == b"2"
    assert plain.made == 0


def request(op: int, payload: bytes, weights: bytes = b"") -> bytes:
    head = worker.REQUEST.pack(op, 1, 3, 1, NO_WEIGHTS_ID, len(payload), len(weights))
    return head + payload + weights


def test_panics_are_refusals_and_the_next_request_is_answered(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"key")
    weights = np.array([[1, -2, 3]], dtype=np.int8).tobytes()
    asked = [
        request(OP_MULTIPLY, b"m", weights),  # before any key
        request(OP_KEY, str(key).encode()),
        request(OP_MULTIPLY, b"panic", weights),
        request(OP_MULTIPLY, b"m", weights),
        request(OP_KEY, b"/nowhere/key"),
        request(OP_MULTIPLY, b"m", weights),  # the old key is gone
    ]
    replies = io.BytesIO()
    worker.serve(io.BytesIO(b"".join(asked)), replies, FakeLibrary(cuda=False))
    replies.seek(0)
    found = []
    while head := replies.read(worker.REPLY.size):
        status, length = worker.REPLY.unpack(head)
        found.append((status, replies.read(length)))
    assert found == [
        (REFUSED, b""),
        (OK, b"cpu"),
        (REFUSED, b"Panic"),
        (OK, b"2"),
        (REFUSED, b"FileNotFoundError"),
        (REFUSED, b""),
    ]


def test_a_worker_gets_no_more_of_the_environment_than_it_needs() -> None:
    full = {"PATH": "/bin", "HOME": "/nowhere", "TOKEN": "t", "OMP_NUM_THREADS": "2"}
    assert worker.quiet_environment(full, "/src") == {
        "PATH": "/bin",
        "RAYON_NUM_THREADS": "2",
        "PYTHONPATH": "/src",
        "OPENBLAS_NUM_THREADS": "1",
    }


@pytest.mark.parametrize("names", [("PATH",)])
def test_threads_are_the_librarys_choice_if_nobody_says(names: tuple[str, ...]) -> None:
    values = worker.quiet_environment(dict.fromkeys(names, "x"), "/src")
    assert "RAYON_NUM_THREADS" not in values
