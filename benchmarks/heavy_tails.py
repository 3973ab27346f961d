"""A model with the shapes of Llama-3.2-1B, heavy-tailed weights and outlier channels: every group's error and overflow.

    python -m benchmarks.heavy_tails [--layers 2] [--tokens 24] [--values 1e8] [--scratch FOLDER] [--json FILE]

The checkpoint is made (benchmarks.random_models), imported, and asked through the real protocol, client session and
server code in one process: each group's error over the norm of its output, by cause, and how many products came back
off by more than a quarter of Z_q, which only a value that left it does. Then many more products with simulated noise:
the same scaling (choose_gamma), the noise from the parameters, and a count of those that would have left Z_q.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity import TEXTS, Bench
from benchmarks.fidelity_systems import MeasuringRunner, TwinRunner
from benchmarks.random_models import build
from fhe_client.crypto.hint_scheme import choose_gamma
from fhe_protocol.manifest import Group
from fhe_server.artefact import Artefact
from fhe_server.imports.checkpoint import find_source
from fhe_server.imports.importing import import_model


@dataclass
class _Counting(MeasuringRunner):
    """Counts products of the real protocol that are off by more than a quarter of Z_q."""

    seen: dict[str, int] = field(default_factory=lambda: {"values": 0, "wrapped": 0})

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = super().run_group(group, x)
        parameters = self.manifest.parameters
        pieces = [x[:, p.start : p.stop].astype(np.float64) for p in group.parts]
        gammas = [choose_gamma(parameters, p, v) for p, v in zip(group.parts, pieces, strict=True)]
        off = np.abs(answer - self.twin.run_group(group, x)) * np.min(gammas, axis=0)
        self.seen["values"] += answer.size * len(group.parts)
        self.seen["wrapped"] += int((off > parameters.modulus / 4).sum())
        return answer


def measure(source: Path, models: Path, tokens: int, values: float) -> dict[str, Any]:
    """Import and measure; see the module's text."""
    report = import_model(str(source), models, "heavy")
    bench = Bench(Artefact(report.folder), find_source(str(source)))
    text = " ".join(path.read_text("utf-8") for path in sorted(TEXTS.glob("*.txt")))
    ids = bench.checkpoint.tokenizer(text, verbose=False).input_ids
    rows = {index: s.row_scale.numpy() for index, s in bench.files.scales.items()}
    with bench.runner("real") as session:
        real = _Counting(session, bench.twin, bench.exact, rows)
        for _ in bench.hybrid(real).scores(ids[:tokens]):
            pass
    simulated = TwinRunner(bench.artefact, np.random.default_rng(1))
    each = sum(g.outputs * len(g.parts) for g in bench.artefact.manifest.groups)
    for _ in bench.hybrid(simulated).scores(ids[: math.ceil(1.05 * values / each)]):
        pass
    return {
        "groups": _errors(real, report.groups),
        "real": real.seen,
        "simulated": {n: getattr(simulated, n) for n in ("values", "wrapped", "fullest")},
        "payload": report.manifest.query_bytes() + report.manifest.answer_bytes(),
    }


def _errors(real: MeasuringRunner, predicted: Sequence[Any]) -> list[dict[str, Any]]:
    foreseen = {group.name: group for group in predicted}
    found = []
    for name, error in real.errors.items():
        noise, rounding = (math.sqrt(e / error.passes) for e in (error.noise, error.rounding))
        row = {"name": name, "parts": foreseen[name].parts, "predicted": foreseen[name].total}
        found.append(
            row | {"noise": noise, "rounding": rounding, "all": math.hypot(noise, rounding)}
        )
    return sorted(found, key=lambda row: -row["all"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=2, help="blocks (default: 2)")
    parser.add_argument("--tokens", type=int, default=24, help="through the real protocol")
    parser.add_argument("--values", type=float, default=1e8, help="simulated products")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tacita-heavy-", dir=options.scratch) as temporary:
        source = Path(temporary) / "checkpoint"
        build("llama-3.2-1b", source, layers=options.layers)
        report = measure(source, Path(temporary) / "models", options.tokens, options.values)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for row in report["groups"]:
        print(
            f"{row['all']:7.2%}  noise {row['noise']:6.2%}  rounding {row['rounding']:6.2%}  "
            f"predicted {row['predicted']:6.2%}  parts {row['parts']}  {row['name']}"
        )
    print(f"real {report['real']}, simulated {report['simulated']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
