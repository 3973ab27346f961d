"""Uploaded compression keys: 134 MB each, in chunks, resumable, with a quota, gone when unused.

A compression key is an evaluation key: public to the server by design, and useless without the client's private key.
Keys are files of a private temporary folder; whoever knows a key's random id may use it and nobody can list them.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhe_protocol.errors import FrameError
from fhe_protocol.glwe import KEY_SIZE, check_key
from fhe_server.errors import ServerError
from fhe_server.glwe.worker_process import WorkerProcess

CHUNK = 4 << 20
"""Largest chunk of an upload, in bytes."""

_FOLDER = "tacita-glwe-keys-"
_NEW_SECONDS = 60.0


class KeyStoreError(ServerError):
    """Root of this module's errors."""


class NoSuchKeyError(KeyStoreError):
    """There is no such key: it expired, was removed, or never was; or it is not complete yet."""


class QuotaError(KeyStoreError):
    """The server, or this caller, holds as many keys as is allowed."""


class OffsetError(KeyStoreError):
    """A chunk does not continue what was received."""


class BadKeyError(KeyStoreError):
    """The uploaded bytes are not the announced ones, or are no compression key."""


@dataclass(frozen=True)
class KeyLimits:
    """How much strangers may make this server keep.

    Attributes:
        keys: all together; each is 134 MB on disk.
        keys_per_owner: of one access token, or of one address where there are no tokens.
        workers: child processes alive at a time; each needs about 450 MB.
        idle_seconds: a key that was not used for so long is removed.
        upload_seconds: the same for an upload that does not go on.
        life_seconds: a key is removed then, used or not.
    """

    keys: int = 8
    keys_per_owner: int = 2
    workers: int = 2
    idle_seconds: float = 1800.0
    upload_seconds: float = 120.0
    life_seconds: float = 24 * 3600.0


class StoredKey:
    """One key: the file, how much of it has arrived, and the worker that uses it."""

    def __init__(
        self, path: Path, owner: str, sha256: str, worker: WorkerProcess, now: float
    ) -> None:
        self.path = path
        self.owner = owner
        self.sha256 = sha256
        self.worker = worker
        self.created = self.used = now
        self.received = 0
        self.ready = False
        self.lock = threading.Lock()
        self.digest = hashlib.sha256()


@dataclass(frozen=True)
class KeyStatus:
    """What a client may know of its key. `expires_in` is in seconds."""

    received: int
    ready: bool
    expires_in: float


class KeyStore:
    """All keys of a server. Thread-safe.

    Args:
        limits: quotas and times.
        worker_memory: bytes that the worker of a key may use; a change holds for keys that come later.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        limits: KeyLimits,
        worker_memory: int,
        clock: Callable[[], float] = time.monotonic,
        worker_command: list[str] | None = None,
    ) -> None:
        self.limits = limits
        self.worker_memory = worker_memory
        self._clock = clock
        self._worker_command = worker_command
        self._lock = threading.Lock()
        self._keys: dict[str, StoredKey] = {}
        self._folder: Path | None = None
        self._held: int | None = None
        self._finalizer: weakref.finalize[[Path], KeyStore] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def create(self, owner: str, sha256: str) -> str:
        """Begin an upload and return its id.

        Args:
            sha256: hexadecimal digest of the whole key.

        Raises:
            QuotaError: there are too many keys.
        """
        self.sweep()
        with self._lock:
            limits = self.limits
            mine = sum(key.owner == owner for key in self._keys.values())
            if mine >= limits.keys_per_owner or len(self._keys) >= limits.keys:
                raise QuotaError("This server holds as many keys as it may; try again later.")
            key_id = secrets.token_urlsafe(24)
            path = self._private_folder() / f"{len(self._keys)}-{secrets.token_hex(8)}.key"
            path.touch(mode=0o600)
            worker = WorkerProcess(path, self.worker_memory, self._worker_command)
            self._keys[key_id] = StoredKey(path, owner, sha256, worker, self._clock())
            return key_id

    def append(self, key_id: str, offset: int, chunk: bytes) -> KeyStatus:
        """Take the next chunk; the last one completes and checks the key.

        Raises:
            NoSuchKeyError: the key is unknown.
            OffsetError: the chunk does not begin where the last one ended; `status` says where that is.
            BadKeyError: the whole is not a key, or not the announced one; it is removed.
        """
        key = self._find(key_id)
        with key.lock:
            if offset != key.received or key.ready or len(chunk) > KEY_SIZE - key.received:
                raise OffsetError(f"The next byte due is {key.received}.")
            with key.path.open("r+b") as file:
                file.seek(offset)
                file.write(chunk)
            key.digest.update(chunk)
            key.received += len(chunk)
            if key.received == KEY_SIZE:
                self._complete(key_id, key)
        return self.status(key_id)

    def status(self, key_id: str) -> KeyStatus:
        """How far the upload is and how long the key lives if it is not used.

        Raises:
            NoSuchKeyError: the key is unknown.
        """
        key = self._find(key_id)
        return KeyStatus(key.received, key.ready, self._expiry(key) - self._clock())

    def worker(self, key_id: str) -> WorkerProcess:
        """The worker of a complete key. The least recently used of the others is stopped if too many are alive.

        Raises:
            NoSuchKeyError: the key is unknown or incomplete.
        """
        key = self._find(key_id)
        if not key.ready:
            raise NoSuchKeyError("The upload of this key is not complete.")
        with self._lock:
            others = [k for k in self._keys.values() if k is not key and k.worker.alive]
        others.sort(key=lambda k: k.used)
        for other in others[: max(0, len(others) + 1 - self.limits.workers)]:
            other.worker.stop()
        return key.worker

    def remove(self, key_id: str) -> None:
        """Forget a key; unknown ids are ignored."""
        with self._lock:
            key = self._keys.pop(key_id, None)
        if key is not None:
            key.worker.close()
            key.path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove every key whose time is over."""
        now = self._clock()
        with self._lock:
            over = [key_id for key_id, key in self._keys.items() if self._expiry(key) <= now]
        for key_id in over:
            self.remove(key_id)

    def close(self) -> None:
        """Remove all keys, workers and files."""
        for key_id in list(self._keys):
            self.remove(key_id)
        if self._finalizer is not None:
            self._finalizer()
            self._folder = self._finalizer = None
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _find(self, key_id: str) -> StoredKey:
        self.sweep()
        with self._lock:
            key = self._keys.get(key_id)
            if key is None:
                raise NoSuchKeyError("There is no such key here, or it has expired.")
            key.used = self._clock()
            return key

    def _expiry(self, key: StoredKey) -> float:
        idle = self.limits.idle_seconds if key.ready else self.limits.upload_seconds
        return min(key.used + idle, key.created + self.limits.life_seconds)

    def _complete(self, key_id: str, key: StoredKey) -> None:
        try:
            if key.digest.hexdigest() != key.sha256:
                raise BadKeyError("The key's digest is not the announced one.")
            _check_file(key.path)
        except (FrameError, BadKeyError) as error:
            self.remove(key_id)
            raise BadKeyError(f"The upload is not usable: {error}") from error
        key.ready = True

    def _private_folder(self) -> Path:
        if self._folder is None:
            remove_left_behind(Path(tempfile.gettempdir()))
            self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER))  # mode 0700
            self._held = hold(self._folder)
            self._finalizer = weakref.finalize(self, _remove_folder, self._folder)
        return self._folder


def hold(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives. The descriptor, or None if another one holds it.

    Where folders cannot be locked (Windows, which has no build of the library) nothing is ever free.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_left_behind(temporary: Path) -> None:
    """Remove the key folders of servers that were killed: they could not do it themselves."""
    for folder in temporary.glob(f"{_FOLDER}*"):
        with suppress(OSError):
            # A new one is not locked for a moment.
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < _NEW_SECONDS:
                continue
            descriptor = hold(folder)
            if descriptor is not None:
                _remove_folder(folder)
                os.close(descriptor)


def _check_file(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view: Any = memoryview(data)
        try:
            check_key(view)
        finally:
            view.release()


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def block_shapes(shapes: Sequence[tuple[int, int]], block: int) -> list[tuple[int, int]]:
    """(outputs, inputs) of the weight blocks that a worker sees for matrices of these shapes."""
    return [(min(outputs, block), inputs) for outputs, inputs in shapes]
