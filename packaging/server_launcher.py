"""The program of the server's own bundle: `tacita-server`, or one of its child processes."""

from __future__ import annotations

import os
import runpy
import sys

RUNNABLE = ("fhe_server", "fhe_server.glwe.worker", "pip")


def main() -> int:
    """Do what the arguments say; the exit status."""
    os.environ["PYINSTALLER_RESET_ENVIRONMENT"] = "1"  # for its processes, see launcher.py
    os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    given = sys.argv[1:]
    if given[:1] == ["--run-module"] and len(given) > 1:
        if given[1] not in RUNNABLE:
            sys.stderr.write("tacita-server: this is not a part of this program\n")
            return 2
        sys.argv = given[1:]
        runpy.run_module(given[1], run_name="__main__", alter_sys=True)
        return 0
    from fhe_server.cli import main as server

    return server(given)


if __name__ == "__main__":
    sys.exit(main())
