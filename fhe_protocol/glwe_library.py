"""Whether `concrete_ml_extensions` can be used here, told without importing it: it is native code, and optional."""

from __future__ import annotations

import importlib.util
import sys

LIBRARY = "concrete_ml_extensions"


def unavailable_reason() -> str | None:
    """Why the `glwe` scheme cannot be offered here, or None if it can."""
    if getattr(sys, "frozen", False):
        return "The packaged program does not contain concrete-ml-extensions."
    if importlib.util.find_spec(LIBRARY) is not None:
        return None
    if sys.platform == "win32":
        return "concrete-ml-extensions has no build for Windows."
    if sys.version_info >= (3, 13):
        return "concrete-ml-extensions has no build for Python 3.13 or newer; use Python 3.12."
    return "concrete-ml-extensions is not installed; install it with: pip install 'tacita[glwe]'"
