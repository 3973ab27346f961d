"""Where Tacita keeps its files: four folders, each readable by their owner alone.

`TACITA_HOME` moves all four under one folder (a *profile*); without it the platform's usual places are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APP_NAME = "tacita"
HOME_VARIABLE = "TACITA_HOME"


@dataclass(frozen=True)
class Home:
    """The four folders. Naming one creates nothing; `ensure` does.

    `profile` is "" for the platform's usual folders and a short word derived from the path otherwise, so that two
    profiles never share an entry in the keyring.
    """

    config: Path
    data: Path
    cache: Path
    log: Path
    profile: str = ""

    @classmethod
    def locate(cls, environ: Mapping[str, str] | None = None) -> Home:
        """Return the folders that `TACITA_HOME` names, or the platform's."""
        moved = (os.environ if environ is None else environ).get(HOME_VARIABLE, "")
        return cls.at(Path(moved)) if moved else cls._platform()

    @classmethod
    def at(cls, root: Path) -> Home:
        """Return the profile whose four folders lie under `root`."""
        root = root.expanduser().resolve()
        word = hashlib.sha256(b"tacita/profile\0" + os.fsencode(root)).hexdigest()[:12]
        return cls(root / "config", root / "data", root / "cache", root / "log", word)

    @classmethod
    def _platform(cls) -> Home:
        from platformdirs import PlatformDirs

        dirs = PlatformDirs(APP_NAME, appauthor=False)
        return cls(
            dirs.user_config_path, dirs.user_data_path, dirs.user_cache_path, dirs.user_log_path
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """The four folders, each once, outermost first (some platforms nest or share them)."""
        unique = dict.fromkeys((self.config, self.data, self.cache, self.log))
        return tuple(sorted(unique, key=lambda path: len(path.parts)))

    def ensure(self) -> Home:
        """Create the folders that are missing, make all four 0700, and return this home."""
        for folder in self.folders:
            private_folder(folder)
            close_to_others(folder)
        return self


def private_folder(path: Path) -> Path:
    """Create `path` and every missing parent with mode 0700; leave what exists alone."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        # Another window may be creating the same folder at this moment.
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def close_to_others(folder: Path) -> None:
    """Take group and world permissions off a folder of ours, where the file system knows of them."""
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        with contextlib.suppress(PermissionError):
            folder.chmod(0o700)
