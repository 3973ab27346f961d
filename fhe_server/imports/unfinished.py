"""What of an interrupted import is whole on disk, so that the next attempt goes on behind it.

A journal has one JSON record for every piece (the sizes seen on the calibration text, the weights of a group, the hint
of a part), appended after the piece itself, with its digest. The next attempt believes a record only if the bytes on
disk have that digest, and stops believing at the first that have not. A record carries a digest of itself, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 22

Arrays = dict[str, NDArray[Any]]


class Journal:
    """The records of one kind of piece, in order. The first `len(records)` pieces are whole on disk.

    Args:
        path: the journal's file; need not exist.
        is_whole: whether a record's bytes are on disk. Asked once for each record, in order.
    """

    def __init__(self, path: Path, is_whole: Callable[[dict[str, Any]], bool]) -> None:
        self._path = path
        self.records: list[dict[str, Any]] = []
        for record in _lines(path):
            if not is_whole(record):
                break
            self.records.append(record)
        path.write_text("".join(map(_line, self.records)), "utf-8")

    def append(self, record: dict[str, Any]) -> None:
        """Note a piece whose bytes have been written."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
        self.records.append(record)


def _line(record: dict[str, Any]) -> str:
    text = json.dumps(record)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Records up to the first line that is not as it was written: a kill may have cut the last."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for line in text.splitlines():
        digest, _, record = line.partition(" ")
        if digest != hashlib.sha256(record.encode()).hexdigest():
            return
        yield json.loads(record)


class PieceChecker:
    """Walks through a file of pieces and compares digests. A missing file has no whole piece."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0

    def __call__(self, sizes: Sequence[int], digests: Sequence[str]) -> bool:
        """Whether the next pieces have these digests. The offset moves behind them only if all have."""
        offset = self.offset
        for size, due in zip(sizes, digests, strict=True):
            if digest_of(self._path, offset, size) != due:
                return False
            offset += size
        self.offset = offset
        return True


def open_behind(path: Path, offset: int) -> IO[bytes]:
    """The file for writing behind its first `offset` bytes; what follows them is dropped."""
    file = path.open("r+b" if path.exists() else "wb")
    file.truncate(offset)
    file.seek(offset)
    return file


def digest_of(path: Path, offset: int = 0, size: int | None = None) -> str:
    """SHA-256 of a stretch of a file, hexadecimal; empty if the file does not have that many bytes there."""
    try:
        left = path.stat().st_size - offset if size is None else size
        digest = hashlib.sha256()
        with path.open("rb") as file:
            file.seek(offset)
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
    except OSError:
        return ""
    return "" if left else digest.hexdigest()


def save_arrays(path: Path, arrays: Arrays) -> str:
    """Write arrays whole or not at all; returns the file's SHA-256."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type, unused-ignore]
    os.replace(temporary, path)
    return digest_of(path)


def load_arrays(path: Path) -> Arrays:
    """Arrays that `save_arrays` wrote. Their digest must have been checked."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
