"""Settings of other people's libraries that must be in the environment before they are imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fhe_client.home import HOME_VARIABLE

_QUIET = {
    # A client never asks a hub for anything: which files it loads is between it and its server.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # What is computed here between two rounds is too small to share: OpenMP's barriers cost more than they gain, and
    # milliseconds each while another program keeps a core busy. Counts for every thread, unlike torch.set_num_threads.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_ours: set[str] = set()

RUN_MODULE = "--run-module"
"""First argument that makes a frozen program run one of its own modules, as `python -m` does in a source tree."""
RUNNABLE = ("fhe_client.engine", "fhe_client.text.template_worker", "fhe_server", "pip")
"""The modules that it runs so; there are no others."""


def frozen() -> bool:
    """Whether this program is an installed bundle, without a Python interpreter to start."""
    return bool(getattr(sys, "frozen", False))


def child_command(module: str, *arguments: str) -> list[str]:
    """The command line of a child process that runs `module`, which must be one of `RUNNABLE`."""
    assert module in RUNNABLE, module
    return [sys.executable, RUN_MODULE if frozen() else "-m", module, *arguments]


def quiet_libraries() -> None:
    """Keep transformers off the network and off the terminal. Call before it is imported; may be called again."""
    for name, value in _QUIET.items():
        if name not in os.environ:
            os.environ[name] = value
            _ours.add(name)


def child_environment() -> dict[str, str]:
    """The environment as the user set it, for a server process: that one may fetch models."""
    values = {name: value for name, value in os.environ.items() if name not in _ours}
    if moved := values.get(HOME_VARIABLE):
        values[HOME_VARIABLE] = os.path.abspath(Path(moved).expanduser())  # it may start elsewhere
    return values
