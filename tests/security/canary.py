"""Looks for a canary in everything that a session leaves behind or shows: files, /proc, packets."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Places = Mapping[str, bytes]
"""What was looked at, by a name that says where it was."""


def needles(*texts: str) -> dict[str, bytes]:
    """The texts and their longer words in the forms in which a program would write them down."""
    found: dict[str, bytes] = {}
    for text in texts:
        for piece in dict.fromkeys([text, *re.findall(r"[^\W\d_]{6,}", text)]):
            for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
                found[f"{piece!r} in {encoding}"] = piece.encode(encoding)
            found[f"{piece!r} in JSON"] = json.dumps(piece)[1:-1].encode()
            found[f"{piece!r} in base64"] = base64.b64encode(piece.encode())[:-4]
            found[f"{piece!r} in hex"] = piece.encode().hex().encode()
    return {name: data for name, data in found.items() if len(data) >= 6}


def leaks(places: Places, wanted: Mapping[str, bytes]) -> list[str]:
    """Where something that was wanted lies."""
    return [
        f"{what} in {where}"
        for where, data in places.items()
        for what, needle in wanted.items()
        if needle in data
    ]


def files_below(*folders: Path) -> dict[str, bytes]:
    """Names and contents of all files."""
    found: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                found[str(path)] = bytes(path) + b"\0" + path.read_bytes()
    return found


def shown_by_processes(pids: Iterable[int]) -> dict[str, bytes]:
    """What the list of processes tells any program of the same user: environment, command line, name."""
    found: dict[str, bytes] = {}
    for pid in pids:
        for name in ("environ", "cmdline", "comm"):
            found[f"{name} of {pid}"] = Path(f"/proc/{pid}/{name}").read_bytes()
    return found


def with_children(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from with_children(int(child))
