"""Folders that appear whole or not at all: written aside, renamed into place, cleaned up after a crash."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fhe_server.errors import DiskSpaceError, ServerError
from fhe_server.home import private_folder

_LEFTOVER_SECONDS = 24 * 3600


@contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """A folder that takes the place of `target` if the block ends well, and vanishes if it does not.

    Raises:
        ServerError: the disk does not let us; DiskSpaceError where it is full.
    """
    try:
        private_folder(target.parent)
        _remove_leftovers(target)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise _write_error(target.parent, error) from error
    try:
        yield folder
        _swap(folder, target)
    except OSError as error:
        raise _write_error(target.parent, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """What an import that was killed left behind. Younger folders may belong to one that is running."""
    for folder in target.parent.glob(f".{target.name}.partial-*"):
        if time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
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
