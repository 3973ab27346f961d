"""What the operating system can do to keep key material out of files: no core dumps, not readable by a debugger."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def harden_process() -> list[str]:
    """Switch off core dumps and attaching by other processes of the user, where the system allows.

    Returns:
        What could not be switched off, in words, for the log.
    """
    missing: list[str] = []
    if not _no_core_file():
        missing.append("core dumps could not be switched off")
    if sys.platform == "linux" and not _not_dumpable():
        missing.append("the process could not be made undumpable")
    return missing


def _no_core_file() -> bool:
    try:
        import resource  # not on Windows
    except ImportError:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return True


def _not_dumpable() -> bool:
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
