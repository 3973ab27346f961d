"""Where icons and translations lie: in the source tree, an installed package or a frozen app."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path


@cache
def resource_folder() -> Path:
    """The ``resources`` folder.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    frozen = Path(getattr(sys, "_MEIPASS", package))
    for parent in (package, package.parent, frozen):
        if (parent / "resources" / "icons").is_dir():
            return parent / "resources"
    raise FileNotFoundError("the resources folder of Tacita is missing: install it again")


def resource(name: str) -> Path:
    """One file or folder under ``resources``."""
    return resource_folder() / name
