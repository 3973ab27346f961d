"""The one program of a bundle. What it is depends on the name by which it was called.

tacita      the command line          tacita-app      the window
tacita-server   the embedded server's command line
any of them with `--run-module NAME ...`: a child process (fhe_client.environment.child_command)
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from fhe_client.environment import RUN_MODULE, RUNNABLE

USAGE = 2


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Run one of our own modules as `python -m` does. It may end the process itself."""
    if name not in RUNNABLE:
        sys.stderr.write(f"tacita: {name[:80]!r} is not a part of this program\n")
        return USAGE
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


def restore_library_path() -> None:
    """Give programs that we start, such as a web browser, the library path that we were started with.

    The bundle's own was read by the loader already. A child process that is this program is told to set it again:
    otherwise PyInstaller's loader takes it for set, and finds no library that the system does not have too.
    """
    os.environ["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if original:
        os.environ["LD_LIBRARY_PATH"] = original
    else:
        os.environ.pop("LD_LIBRARY_PATH", None)


def main(arguments: Sequence[str] | None = None, called: str | None = None) -> int:
    """Do what the name and the arguments say; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = Path(called or sys.argv[0]).stem
    restore_library_path()
    if given[:1] == [RUN_MODULE] and len(given) > 1:
        return run_module(given[1], given[2:])
    if "--self-test" in given:
        from app.self_test import main as self_test

        return self_test([argument for argument in given if argument != "--self-test"])
    if name == "tacita-server":
        from fhe_server.cli import main as server

        return server(given)
    if name == "tacita-app":
        from app.main import main as window

        return window(given)
    from fhe_client.cli import run as command_line

    return command_line(given)


if __name__ == "__main__":
    sys.exit(main())
