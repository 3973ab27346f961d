"""Where the server keeps imported models, fetched checkpoints and access tokens.

The same folders as the client's (docs/architecture.md, "Folders on disk"), found without importing the client.
"""

from __future__ import annotations

import os
from pathlib import Path

_APP_NAME = "tacita"
_HOME_VARIABLE = "TACITA_HOME"


def models_folder() -> Path:
    """Imported models: `<data>/models`. Nothing is created."""
    return _root("data") / "models"


def checkpoints_folder() -> Path:
    """Fetched checkpoints: `<cache>/checkpoints`. Nothing is created."""
    return _root("cache") / "checkpoints"


def tokens_file() -> Path:
    """Access tokens: `<config>/tokens.json`. Nothing is created."""
    return _root("config") / "tokens.json"


def private_folder(path: Path) -> Path:
    """Create `path` and its missing parents with mode 0700 and return it."""
    for folder in reversed([p for p in (path, *path.parents) if not p.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def _root(kind: str) -> Path:
    moved = os.environ.get(_HOME_VARIABLE, "")
    if moved:
        return Path(moved).expanduser().resolve() / kind
    from platformdirs import PlatformDirs

    dirs = PlatformDirs(_APP_NAME, appauthor=False)
    paths = {"data": dirs.user_data_path, "config": dirs.user_config_path}
    return paths.get(kind, dirs.user_cache_path)
