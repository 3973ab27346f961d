"""How the server starts its own modules as child processes, from a source tree and from an installed bundle."""

from __future__ import annotations

import sys


def child_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module`: a bundle has no interpreter, and knows its modules (docs/packaging.md)."""
    frozen = bool(getattr(sys, "frozen", False))
    return [sys.executable, "--run-module" if frozen else "-m", module, *arguments]
