"""Writing small private files so that a crash leaves the old content or the new, never half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fhe_client.home import private_folder
from fhe_client.keys.errors import KeysFileError

_TEMPORARY = (".", ".tmp")


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Put `data` at `path`, mode 0600: temporary file beside it, fsync, rename, fsync of the folder.

    With `replace=False` an existing file is left as it is and FileExistsError raised, even if it appears meanwhile.
    """
    folder = private_folder(path.parent)
    # mkstemp creates with O_EXCL and 0600, so the content is never readable by others, not even for a moment.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put(name, path, replace=replace)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_folder(folder)


def write_new(path: Path, data: bytes) -> None:
    """Put `data` at a path that the user named, mode 0600; what is there already is never replaced.

    An older recovery file may be the only way to older data.

    Raises:
        KeysFileError: something is there.
    """
    try:
        write_private(path, data, replace=False)
    except FileExistsError:
        raise KeysFileError(
            f"{path} exists already, and was left as it is.", "Choose another name."
        ) from None


def _put(name: str, path: Path, *, replace: bool) -> None:
    if replace:
        os.replace(name, path)
    elif os.name == "posix":
        # A rename would replace silently here; a hard link refuses, so the first of two windows wins.
        os.link(name, path)
        os.unlink(name)
    else:
        os.rename(name, path)


def remove(path: Path) -> bool:
    """Delete a file durably; return whether there was one."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename or a deletion in `folder` survive a power cut, where the platform offers it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether `path` is named like a temporary file of `write_private` that a crash left behind."""
    start, end = _TEMPORARY
    return path.name.startswith(start) and path.name.endswith(end)


def first_bytes(path: Path, count: int) -> bytes:
    """Return the start of a file, b"" if it has gone: databases of other windows come and go."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError:
        return b""


def remove_temporaries(folder: Path) -> int:
    """Delete what crashes of `write_private` left in `folder`; return how many."""
    return sum(remove(path) for path in list(folder.glob(".*.tmp")))


def regular_files(roots: tuple[Path, ...]) -> Iterator[Path]:
    """Yield each regular file under the roots once, in a fixed order, following no link."""
    seen: set[Path] = set()
    for root in roots:
        for folder, names, files in os.walk(root):
            names.sort()
            for name in sorted(files):
                path = Path(folder, name)
                if path not in seen and path.is_file() and not path.is_symlink():
                    seen.add(path)
                    yield path
