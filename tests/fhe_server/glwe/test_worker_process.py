"""Workers: right products, hostile bytes, crashes, limits. A worker's death costs one request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fhe_protocol.glwe import matrix_size, result_size
from fhe_server.glwe.worker_process import (
    BASE_MEMORY,
    WorkerError,
    WorkerProcess,
    memory_limit,
)
from tests.glwe_keys import RealKeys, real_keys

WEIGHTS = (np.arange(12, dtype=np.int16).reshape(4, 3) * 11 - 60).astype(np.int8)
X = np.array([[5, -100, 900]], dtype=np.int64)


@pytest.fixture(scope="module")
def keys() -> RealKeys:
    return real_keys()


@pytest.fixture
def key_path(keys: RealKeys, tmp_path: Path) -> Path:
    path = tmp_path / "session.key"
    path.write_bytes(keys.key_bytes)
    return path


@pytest.fixture
def worker(key_path: Path) -> Iterator[WorkerProcess]:
    made = WorkerProcess(key_path, memory_limit([WEIGHTS.shape]))
    yield made
    made.close()


def check_product(worker: WorkerProcess, keys: RealKeys) -> None:
    result = worker.multiply(keys.encrypt(X), 1, WEIGHTS)
    error = keys.decrypt(result, 4) - X @ WEIGHTS.astype(np.int64).T
    assert np.abs(error).max() < 8 * 20


def crafted(matrix: bytes, word: int, value: int) -> bytes:
    words = np.frombuffer(matrix, dtype="<u8").copy()
    words[word] = value
    return words.tobytes()


def test_products_are_right_and_hostile_bytes_cost_one_request(
    worker: WorkerProcess, keys: RealKeys
) -> None:
    """What the checks in front would refuse is fed to the worker itself: it may die, its parent may not."""
    assert not worker.alive
    check_product(worker, keys)
    check_product(worker, keys)
    assert worker.starts == 1
    matrix = keys.encrypt(X)
    hostile = [
        crafted(matrix, 1, 1 << 36),  # so many ciphertexts: hundreds of gigabytes
        crafted(matrix, 2, 1 << 28),  # so many words: two gigabytes
        matrix[:100],
        b"",
        bytes(len(matrix)),
    ]
    for data in hostile:
        with pytest.raises(WorkerError):
            worker.multiply(data, 1, WEIGHTS)
        assert not worker.alive
    check_product(worker, keys)
    assert worker.starts == 1 + len(hostile)


def test_a_killed_worker_is_replaced(worker: WorkerProcess, keys: RealKeys) -> None:
    check_product(worker, keys)
    process = worker._process
    assert process is not None
    process.kill()
    process.wait()
    check_product(worker, keys)
    assert worker.starts == 2
    worker.stop()
    assert not worker.alive
    assert worker.pid == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_files_and_environment_of_a_worker_are_bounded(
    worker: WorkerProcess, keys: RealKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TACITA_TEST_SECRET", "nothing that a worker needs")
    check_product(worker, keys)
    limits = Path(f"/proc/{worker.pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert int(rows["Max data size"]) == memory_limit([WEIGHTS.shape])
    assert rows["Max core file size"] == rows["Max file size"] == "0"
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert b"TACITA_TEST_SECRET" not in environment
    loaded = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "concrete_ml_extensions" in loaded
    assert "libtorch" not in loaded


def test_on_a_gpu_weights_are_sent_once_and_products_are_right(
    worker: WorkerProcess, keys: RealKeys
) -> None:
    """Needs the library's build for CUDA and a GPU; skipped everywhere else, CI included."""
    library = keys.library
    if not (library.is_cuda_enabled() and library.is_cuda_available()):
        pytest.skip("needs a GPU and concrete-ml-extensions built for CUDA")
    due = X @ WEIGHTS.astype(np.int64).T
    for _ in range(3):
        result = worker.multiply(keys.encrypt(X), 1, WEIGHTS, name=7)
        assert np.abs(keys.decrypt(result, 4) - due).max() < 8 * 20
    assert worker._cuda
    assert worker._on_device == {7}
    assert worker.starts == 1


def test_a_closed_session_starts_no_worker(worker: WorkerProcess, keys: RealKeys) -> None:
    worker.close()
    with pytest.raises(WorkerError, match="ended"):
        worker.multiply(keys.encrypt(X), 1, WEIGHTS)
    assert worker.starts == 0


def script(tmp_path: Path, body: str) -> list[str]:
    """A worker of our own making: it says that its key is loaded, then does `body`."""
    path = tmp_path / "worker.py"
    path.write_text(
        "import sys, struct, time\n"
        "read, write = sys.stdin.buffer.read, sys.stdout.buffer.write\n"
        "def request():\n"
        "    head = struct.unpack('<BIIIqQQ', read(37))\n"
        "    return head, read(head[5]), read(head[6])\n"
        "def reply(status, body, length=None):\n"
        "    write(struct.pack('<BQ', status, len(body) if length is None else length) + body)\n"
        "    sys.stdout.buffer.flush()\n"
        f"request(); {body}\n"
    )
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    "body",
    [
        "sys.exit(3)",
        "reply(0, b'toaster')",
        "reply(0, b'cpu'); request(); reply(1, b'PanicException')",
        "reply(0, b'cpu'); request(); reply(0, b'x' * 10)",
        "reply(0, b'cpu'); request(); reply(0, b'', 1 << 40)",
        f"reply(0, b'cpu'); request(); reply(0, bytes({result_size(1, 4)}))",
        "reply(0, b'cpu'); request(); sys.exit(0)",
    ],
)
def test_whatever_a_worker_does_is_a_worker_error(body: str, tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path / "no.key", BASE_MEMORY, script(tmp_path, body))
    with pytest.raises(WorkerError):
        worker.multiply(bytes(matrix_size(1, 3)), 1, WEIGHTS)
    assert not worker.alive
    worker.close()


def test_a_worker_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhe_server.glwe.worker_process.START_SECONDS", 0.2)
    monkeypatch.setattr("fhe_server.glwe.worker_process.SECONDS_PER_OUTPUT", 0.0)
    command = script(tmp_path, "time.sleep(600)")
    worker = WorkerProcess(tmp_path / "no.key", BASE_MEMORY, command)
    with pytest.raises(WorkerError):
        worker.multiply(bytes(matrix_size(1, 3)), 1, WEIGHTS)
    assert not worker.alive
    worker.close()
