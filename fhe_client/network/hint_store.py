"""Hints on disk, kept by the digest of their manifest: downloaded once, resumed where it broke, checked part by part.

    <cache>/hints/<manifest digest>.hints        complete; every part had the right digest when it was written
    <cache>/hints/<manifest digest>.part         whole, checked parts so far
    <cache>/hints/<manifest digest>.lock         held while one process downloads
    <cache>/hints/<manifest digest>.manifest     that manifest, written after its hints were complete


Hints that nobody has written to since then need no new check to be used at once; each part is checked when it is read
the next time, for the window after the first one, in the background.

A part that comes with the wrong digest is dropped and asked for once more; the second time it is an error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fhe_client.home import private_folder
from fhe_client.network.disk import (
    cache_lock,
    check_free_space,
    fresh_file,
    remove_tree,
    storage_errors,
)
from fhe_client.network.errors import (
    ConnectionLostError,
    NetworkError,
    ProtocolBreachError,
    StorageError,
)
from fhe_client.network.retries import with_retries
from fhe_client.network.watched_socket import never
from fhe_protocol.errors import ManifestError
from fhe_protocol.manifest import Manifest, parse_manifest

if TYPE_CHECKING:
    from fhe_client.network.transport import ServerConnection

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""
_BLOCK = 1 << 22


class HintsDamagedError(StorageError):
    """A part of the hints on disk is not what the manifest names."""

    code = "hints_damaged"
    default_step = "Connect again: they will be downloaded anew."


class HintFile:
    """The hints of one model, complete on disk. Thread-safe; between reads it holds neither memory nor a file.

    Args:
        untouched: they are as they were when all their digests were right.

    Raises:
        HintsDamagedError: it has the wrong size.
    """

    def __init__(self, path: Path, manifest: Manifest, untouched: bool = False) -> None:
        self.path = path
        self._manifest = manifest
        self._checked: set[int] = set()
        self._trusted = set(range(len(manifest.parts))) if untouched else set()
        if path.stat().st_size != manifest.hint_bytes:
            raise self._damaged()

    def read(self, part_index: int) -> NDArray[np.uint16]:
        """The hint of one part, uint16 (m, N), in an array of its own.

        Its digest is checked the first time, or the second time where the file is untouched.

        Raises:
            HintsDamagedError: the digest is wrong, or the file is gone.
            IndexError: there is no such part.
        """
        group, _ = self._manifest.parts[part_index]
        hint = np.empty((group.outputs, self._manifest.parameters.ring_degree), dtype="<u2")
        with storage_errors():
            complete = self._read_into(hint.data.cast("B"), self._manifest.hint_offsets[part_index])
        if not complete or not self._is_good(part_index, hint):
            raise self._damaged()
        return hint.astype(np.uint16, copy=False)

    def _read_into(self, target: memoryview, offset: int) -> bool:
        """Fill `target`; False where the file ends early or is gone."""
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(offset)
                while len(target):
                    count = file.readinto(target)
                    if not count:
                        return False
                    target = target[count:]
        except FileNotFoundError:
            return False
        return True

    def _is_good(self, part_index: int, hint: NDArray[np.uint16]) -> bool:
        if part_index in self._checked:
            return True
        if part_index in self._trusted:
            self._trusted.discard(part_index)
            return True
        if hashlib.sha256(hint.data).hexdigest() != self._manifest.hint_digests[part_index]:
            return False
        self._checked.add(part_index)
        return True

    def _damaged(self) -> HintsDamagedError:
        with suppress(OSError):
            self.path.unlink()
        return HintsDamagedError("The hints of this model on the disk are damaged or gone.")


class HintStore:
    """All hints on disk, below `<cache>/hints`."""

    def __init__(self, cache: Path) -> None:
        self._root = cache / "hints"

    def path(self, manifest: Manifest) -> Path:
        """Where the complete hints of a manifest are, or will be."""
        return self._root / f"{manifest.digest}.hints"

    def has(self, manifest: Manifest) -> bool:
        """Whether they are there (by size; digests are checked when parts are read)."""
        try:
            return self.path(manifest).stat().st_size == manifest.hint_bytes
        except OSError:
            return False

    def missing_bytes(self, manifest: Manifest) -> int:
        """Bytes that `ensure` would have to download."""
        if self.has(manifest):
            return 0
        try:
            part = self.path(manifest).with_suffix(".part").stat().st_size
        except OSError:
            part = 0
        return manifest.hint_bytes - min(part, manifest.hint_bytes)

    def ensure(
        self,
        manifest: Manifest,
        connection: ServerConnection,
        on_progress: Progress | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> HintFile:
        """The hints of a manifest, downloaded as far as they are missing.

        Raises:
            StorageError: the disk is full or not writable.
            ProtocolBreachError: the server sends hints that its manifest does not name, twice.
            NetworkError: with the reason; StoppedError when asked to stop. What was downloaded is kept.
        """
        report = on_progress or _silent
        target = self.path(manifest)
        with storage_errors():
            private_folder(self._root)
            with cache_lock(target.with_suffix(".lock"), should_stop):
                if not self.has(manifest):
                    part = target.with_suffix(".part")
                    _Download(manifest, connection, part, report, should_stop).run()
                    os.replace(part, target)
                    self._remember(manifest)
                elif not self._manifest_path(manifest).exists():  # an earlier version's hints
                    self._remember(manifest)
            report(manifest.hint_bytes, manifest.hint_bytes)
            return HintFile(target, manifest, self._untouched(manifest))

    def recall(self, digest: str) -> tuple[Manifest, HintFile] | None:
        """The manifest of that digest and its hints, if both are complete on this disk."""
        try:
            manifest = parse_manifest((self._root / f"{digest}.manifest").read_bytes())
            if manifest.digest != digest or not self.has(manifest):
                return None
            return manifest, HintFile(self.path(manifest), manifest, self._untouched(manifest))
        except (OSError, ManifestError, HintsDamagedError):
            return None

    def _remember(self, manifest: Manifest) -> None:
        with fresh_file(self._manifest_path(manifest)) as file:
            file.write(manifest.to_bytes())

    def _untouched(self, manifest: Manifest) -> bool:
        """Whether the hints were last written before their manifest was: then all their digests were right."""
        try:
            written = self.path(manifest).stat().st_mtime_ns
            return written < self._manifest_path(manifest).stat().st_mtime_ns
        except OSError:
            return False

    def _manifest_path(self, manifest: Manifest) -> Path:
        return self.path(manifest).with_suffix(".manifest")

    def size(self) -> int:
        """Bytes of everything kept here."""
        total = 0
        for path in self._root.glob("*"):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def clear(self, keep: Manifest | None = None) -> None:
        """Delete all hints, or all but those of one manifest."""
        with storage_errors():
            if keep is None:
                remove_tree(self._root)
                return
            for path in self._root.glob("*"):
                if path.stem != keep.digest:
                    path.unlink(missing_ok=True)


def _silent(_done: int, _total: int) -> None:
    """No progress wanted."""


class _Download:
    """One download: appends whole, checked parts to the .part file."""

    def __init__(
        self,
        manifest: Manifest,
        connection: ServerConnection,
        path: Path,
        report: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        self._manifest = manifest
        self._connection = connection
        self._path = path
        self._report = report
        self._should_stop = should_stop
        self._done = 0
        """Parts that are on the disk with the right digest."""
        self._bad: set[int] = set()

    def run(self) -> None:
        """Until all parts are there."""
        total = self._manifest.hint_bytes
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            self._recover(file)
            check_free_space(self._path.parent, total - file.tell(), "the hints of this model")
            while self._done < len(self._manifest.parts):
                before = self._done
                try:
                    with_retries(
                        lambda: self._receive(file),
                        self._connection.access.timeouts,
                        self._should_stop,
                    )
                except NetworkError as error:
                    if not error.retryable or self._done == before:  # while it gets on, it goes on
                        raise
            file.flush()
            os.fsync(file.fileno())

    def _recover(self, file: BinaryIO) -> None:
        """Keep the leading parts of the file whose digests are right, and cut off the rest."""
        file.seek(0)
        for index in range(len(self._manifest.parts)):
            if not self._part_is_good(file, index):
                break
            self._done = index + 1
            self._report(self._manifest.hint_offsets[self._done], self._manifest.hint_bytes)
        self._cut(file)

    def _part_is_good(self, file: BinaryIO, index: int) -> bool:
        left = self._manifest.hint_offsets[index + 1] - self._manifest.hint_offsets[index]
        digest = hashlib.sha256()
        while left:
            block = file.read(min(left, _BLOCK))
            if not block:
                return False
            digest.update(block)
            left -= len(block)
        return digest.hexdigest() == self._manifest.hint_digests[index]

    def _cut(self, file: BinaryIO) -> None:
        file.seek(self._manifest.hint_offsets[self._done])
        file.truncate()

    def _receive(self, file: BinaryIO) -> None:
        """One request from the first missing part to the end."""
        offsets = self._manifest.hint_offsets
        self._cut(file)
        position, digest = offsets[self._done], hashlib.sha256()
        for chunk in self._connection.hint_stream(self._manifest, position, self._should_stop):
            view = memoryview(chunk)
            while len(view):
                piece = view[: offsets[self._done + 1] - position]
                digest.update(piece)
                file.write(piece)
                position += len(piece)
                view = view[len(piece) :]
                if position == offsets[self._done + 1]:
                    self._finish_part(digest.hexdigest())
                    digest = hashlib.sha256()
            self._report(position, offsets[-1])
        if position != offsets[-1]:
            raise ConnectionLostError("The download of the hints ended early.")

    def _finish_part(self, found: str) -> None:
        if found == self._manifest.hint_digests[self._done]:
            self._done += 1
            return
        if self._done in self._bad:
            raise ProtocolBreachError("The server's hints are not those that its manifest names.")
        self._bad.add(self._done)
        raise ConnectionLostError("A part of the hints came damaged.")
