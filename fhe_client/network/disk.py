"""Files of the cache: locks between processes, free space, files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fhe_client.network.errors import StoppedError, StorageError

_SPARE = 64 << 20
"""Bytes that a download leaves free on the disk."""
_POLL = 0.1


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns an OSError of the disk into a StorageError that says what to do. Network errors have been mapped before."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError("The disk is full.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(
                "The cache folder cannot be written.", "Check its permissions, or set TACITA_HOME."
            ) from error
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StorageError(
            f"The cache folder is not usable: {reason}.", "Check the disk."
        ) from error


def check_free_space(folder: Path, needed: int, what: str) -> None:
    """See that `needed` bytes fit.

    Raises:
        StorageError: they do not; nothing has been written.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise StorageError(
            f"Not enough space on the disk for {what}: "
            f"{(needed + _SPARE) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free.",
        ).about(needed_mb=f"{(needed + _SPARE) / 1e6:.0f}", free_mb=f"{free / 1e6:.0f}")


@contextmanager
def cache_lock(
    path: Path,
    should_stop: Callable[[], bool],
    on_wait: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hold a lock file against other processes and threads; waits for them, and can be told to stop.

    The operating system drops the lock with its process, so a crash leaves none behind.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        while not _try_lock(descriptor):
            if should_stop():
                raise StoppedError("Stopped.")
            if on_wait is not None:
                on_wait()
            time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


if os.name == "nt":  # pragma: no cover - exercised on Windows only
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def fresh_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` if the block ends well, and vanishes otherwise."""
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def remove_tree(folder: Path) -> None:
    """Delete a folder of the cache and all in it; nothing happens if there is none."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
