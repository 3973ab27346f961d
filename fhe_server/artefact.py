"""Reading a model's artefact folder: manifest, int8 weights, hints, the client's files."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.errors import ManifestError
from fhe_protocol.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, parse_manifest
from fhe_server.errors import ArtefactError
from fhe_server.kernel import LinearKernel


class Artefact:
    """One imported model on disk. Weights are memory-mapped when they are first asked for: opening takes milliseconds.

    Raises:
        ArtefactError: a file is missing, unreadable or has the wrong size.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened = _stamp(folder)
        self.manifest = _read_manifest(folder / "manifest.json")
        self.hints_path = self._checked(folder / "hints.bin", self.manifest.hint_bytes)
        sizes = [group.outputs * group.parts[k].inputs for group, k in self.manifest.parts]
        self._offsets = np.cumsum([0, *sizes])
        weights_path = self._checked(folder / "weights.bin", int(self._offsets[-1]))
        self._weights_path = weights_path
        self._weights: NDArray[np.int8] | None = None
        self._files = {entry.path: entry for entry in self.manifest.files}
        for entry in self.manifest.files:
            self._checked(folder / "client" / entry.path, entry.size)

    @property
    def replaced(self) -> bool:
        """Whether another import has taken this one's place since it was opened: its files are not those of ours."""
        return _stamp(self.folder) not in (None, self._opened)

    def accept(self, other: Artefact) -> None:
        """The import that took this one's place has the same manifest, hence the same files."""
        assert other.manifest.digest == self.manifest.digest
        self._opened = other._opened

    def weights(self, part_index: int) -> NDArray[np.int8]:
        """int8 (m, n_part) of one part, by its index among all parts."""
        group, part = self.manifest.parts[part_index]
        if self._weights is None:
            # Private to this process only where it writes, and it never does: N processes share one copy.
            self._weights = np.memmap(self._weights_path, dtype=np.int8, mode="c")
        flat = self._weights[self._offsets[part_index] : self._offsets[part_index + 1]]
        return np.asarray(flat).reshape(group.outputs, group.parts[part].inputs)

    def touch(self) -> None:
        """Read one byte of every page of the weights, so that no round waits for the disk."""
        self.weights(0)
        assert self._weights is not None
        int(self._weights[:: mmap.PAGESIZE].max(initial=0))

    def release(self) -> None:
        """Let go of the weights' memory map; what was handed out keeps it alive."""
        self._weights = None

    def file(self, path: str) -> tuple[Path, FileEntry] | None:
        """A file of the client's part, or None if the manifest does not list it."""
        entry = self._files.get(path)
        return None if entry is None else (self.folder / "client" / entry.path, entry)

    def kernels(self, device: str = "cpu") -> list[LinearKernel]:
        """One kernel for every part, in order."""
        return [LinearKernel(self.weights(k), device) for k in range(len(self.manifest.parts))]

    @staticmethod
    def _checked(path: Path, size: int) -> Path:
        try:
            found = path.stat().st_size
        except OSError as error:
            raise ArtefactError(f"{path.name} is missing from the model's folder") from error
        if found != size:
            raise ArtefactError(f"{path.name} has {found} bytes where {size} are due")
        return path


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    """Another one for every manifest that is written; None where there is none."""
    try:
        found = (folder / "manifest.json").stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read_manifest(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1))
    except OSError as error:
        raise ArtefactError(f"no readable model in {path.parent.name!r}") from error
    except ManifestError as error:
        raise ArtefactError(
            f"the manifest of {path.parent.name!r} is not usable: {error}"
        ) from error


def find_artefacts(models: Path) -> list[str]:
    """Names of the model folders below `models`."""
    if not models.is_dir():
        return []
    folders = (
        p for p in models.iterdir() if not p.name.startswith(".")
    )  # "." marks unfinished imports
    return sorted(p.name for p in folders if (p / "manifest.json").is_file())
