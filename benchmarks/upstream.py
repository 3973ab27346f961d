"""The parent's side of `upstream_child.py`: a job for Concrete ML in its own environment, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
VARIABLE = "TACITA_CONFORMANCE_PYTHON"
"""Names the interpreter of another environment than the one that `scripts/conformance` makes."""


class UpstreamError(RuntimeError):
    """Concrete ML is not here, or its process failed."""


@dataclass(frozen=True)
class Result:
    """What the child wrote.

    Attributes:
        report: times, bytes, versions, peak memory.
        arrays: outputs by name.
    """

    report: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def interpreter() -> Path | None:
    """The Python that has Concrete ML, or None if `make conformance` has not been run."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else ROOT / ".venv-conformance" / "bin" / "python"
    return path if path.exists() else None


def run(job: dict[str, Any], weights: dict[str, NDArray[Any]], seconds: float) -> Result:
    """Have Concrete ML do a job.

    Args:
        job, weights: see `upstream_child.py`.
        seconds: when to give up.

    Raises:
        UpstreamError: there is no such environment, or the child failed; with the end of what it said.
    """
    python = interpreter()
    if python is None:
        raise UpstreamError("Concrete ML is not installed. Run: make conformance")
    with tempfile.TemporaryDirectory(prefix="tacita-upstream-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
        command = [str(python), "-P", str(ROOT / "benchmarks" / "upstream_child.py"), name]
        # It leaves its weights as files in the temporary folder: here they go with the folder.
        environment = {**os.environ, "TMPDIR": name, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
        if done.returncode != 0:
            raise UpstreamError(done.stderr.decode(errors="replace")[-2000:])
        with np.load(folder / "result.npz") as arrays:
            return Result(json.loads((folder / "result.json").read_text()), dict(arrays))
