"""Which shared libraries of a bundle are needed by anything that is kept in it. Linux only.

PyInstaller follows the libraries of every Qt plugin, also of those that contents.py drops afterwards (a whole GTK).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence

Entry = tuple[str, str, str]
"""(place in the bundle, file, kind), as PyInstaller lists them."""

LOADED_BY_NAME = ("libpython3", "libgcc_s.so", "libssl.so", "libcrypto.so", "libdbus-1.so")
"""Starts of names that no other file asks the loader for, but a program does."""

_LIBRARY_FOLDERS = ("", "PySide6/Qt/lib", "PySide6", "shiboken6")
_NEEDED = re.compile(r"^\s+NEEDED\s+(\S+)$", re.M)


def needed_libraries(path: str) -> list[str]:
    """The names that an ELF file asks the loader for."""
    done = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=False)
    return _NEEDED.findall(done.stdout)


def is_library(entry: Entry) -> bool:
    """Whether an entry is there only for others: a library in one of the folders that the loader searches."""
    folder, name = os.path.split(entry[0])
    return (
        folder in _LIBRARY_FOLDERS
        and re.match(r"lib.+\.so(\.|$)", name) is not None
        and not name.startswith(LOADED_BY_NAME)
        and entry[2] != "EXTENSION"
    )


def reachable(
    entries: Sequence[Entry], needed: Callable[[str], list[str]] = needed_libraries
) -> list[Entry]:
    """The entries without the libraries that nothing kept needs; order as given."""
    libraries: dict[str, list[Entry]] = {}
    for entry in filter(is_library, entries):
        libraries.setdefault(os.path.basename(entry[0]), []).append(entry)
    found: set[str] = set()
    todo = [entry for entry in entries if not is_library(entry)]
    while todo:
        _, source, kind = todo.pop()
        for name in needed(source) if kind != "SYMLINK" else [os.path.basename(source)]:
            if name in libraries and name not in found:
                found.add(name)
                todo += libraries[name]
    return [e for e in entries if not is_library(e) or os.path.basename(e[0]) in found]
