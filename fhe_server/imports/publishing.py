"""Folders that appear whole or not at all: written aside, renamed into place, taken up again after an interruption."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fhe_server.errors import DiskSpaceError, ServerError
from fhe_server.home import private_folder

_LEFTOVER_SECONDS = 24 * 3600
_LOCK = "lock"


@contextmanager
def publishing(target: Path, key: str) -> Iterator[Path]:
    """A folder that takes the place of `target` if the block ends well, and vanishes if it fails.

    An interruption (Ctrl-C, a kill, a power cut) leaves the folder, and the next block with the same key gets it back
    with whatever was written. After a day the next import of the same name removes it.

    Args:
        key: of what is being made, letters and digits: the same key means the same result.

    Raises:
        ServerError: the disk does not let us, or another process is at it; DiskSpaceError where the disk is full.
    """
    folder = target.with_name(f".{target.name}.partial-{key}")
    try:
        private_folder(target.parent)
        _remove_leftovers(target, folder)
        private_folder(folder)
        lock = _locked(folder)
    except OSError as error:
        raise _write_error(target.parent, error) from error
    try:
        yield folder
        _release(lock, folder)  # before the folder moves: some systems cannot move what is open
        _swap(folder, target)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _write_error(target.parent, error) from error
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ServerError(
            "Another process is importing the same model.", "Wait until it is done, or stop it."
        ) from error
    return lock


def _release(lock: FileLock, folder: Path) -> None:
    lock.release()
    (folder / _LOCK).unlink(missing_ok=True)


def _remove_leftovers(target: Path, ours: Path) -> None:
    """What an import that was killed left behind. Younger folders may belong to one that is running."""
    for folder in target.parent.glob(f".{target.name}.partial-*"):
        if folder != ours and time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, target: Path) -> None:
    old = folder.with_name(folder.name + ".old")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(folder, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_error(folder: Path, error: OSError) -> ServerError:
    if error.errno == errno.ENOSPC:
        return DiskSpaceError(
            f"The disk of {folder} is full; nothing was imported.", "Free some space and try again."
        )
    return ServerError(
        f"Cannot write to {folder}: {error.strerror or error}.",
        "Check its permissions, or use --models.",
    )
