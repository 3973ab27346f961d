"""The project's instrument: everything that docs/benchmarks.md says about speed, in one run of about 15 minutes.

    python -m benchmarks [--model smollm2-135m] [--only SECTION ...] [--quick] [--docs FOLDER]

Runs on the machine as it is: end other work first. The model must be imported (`tacita-server pull smollm2-135m`).
Writes <docs>/benchmarks/instrument.json, two pictures beside it, and the measured part of <docs>/benchmarks.md.
Progress goes to standard error, the tables to standard output.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.sections import SECTIONS
from benchmarks.setting import Setting, cores

DOCS = Path(__file__).parents[1] / "docs"


def run(setting: Setting, names: Sequence[str]) -> dict[str, Any]:
    """The chosen sections, and what they ran on."""
    result: dict[str, Any] = {"model": setting.model, "machine": machine(), "seconds": {}}
    for name in names:
        begun = time.perf_counter()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        result[name] = SECTIONS[name](setting)
        result["seconds"][name] = time.perf_counter() - begun
        print(f"{result['seconds'][name]:.0f} s", file=sys.stderr, flush=True)
    return result


def machine() -> dict[str, Any]:
    """What it ran on, and whether it was busy with something else at the start."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return {"cores": cores(), "processor": _processor(), "load_before": load, "date": now}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    flags = next((x.split() for x in lines if x.startswith("flags")), [])
    kinds = [name for name in ("amx_int8", "avx512_vnni", "avx_vnni") if name in flags]
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return f"{model} {' '.join(kinds)}".strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="smollm2-135m", help="an imported model")
    parser.add_argument("--checkpoint", type=Path, help="the same model for the clear twins")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="everything once and short")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where results are written")
    options = parser.parse_args(arguments)
    make = Setting.quick if options.quick else Setting
    result = run(make(options.model, options.checkpoint), options.only)
    print(report.text(result))
    report.write(result, options.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
