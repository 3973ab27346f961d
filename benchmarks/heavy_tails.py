"""A model with the shapes of Llama-3.2-1B, heavy-tailed weights and outlier channels: every group's error and overflow.

    python -m benchmarks.heavy_tails [--layers 2] [--tokens 256] [--values 1e8] [--scratch FOLDER] [--json FILE]
                                     [--source CHECKPOINT --models FOLDER]

The checkpoint is made (benchmarks.random_models) and imported, unless they are named, and asked through the real
protocol, client session and server code in one process: each group's error over the norm of its output, over --tokens
of each text of benchmarks/texts, none of which import has seen; how many products came back off by more than a quarter
of Z_q, which only a value that left it does. Then many more products with simulated noise: the same scaling
(choose_gamma), the noise from the parameters, and a count of those that would have left Z_q.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
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
from fhe_server.imports.importing import GroupError, import_model


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
    report = import_model(str(source), models, "llama-3.2-1b")
    bench = Bench(Artefact(report.folder), find_source(str(source)))
    texts = {path.stem: _ids(bench, path) for path in sorted(TEXTS.glob("*.txt"))}
    rows = {index: s.row_scale.numpy() for index, s in bench.files.scales.items()}
    found, seen = {}, {"values": 0, "wrapped": 0}
    with bench.runner("real") as session:
        for name, ids in texts.items():
            real = _Counting(session, bench.twin, bench.exact, rows, seen=seen)
            for _ in bench.hybrid(real).scores(ids[:tokens]):
                pass
            found[name] = real
    simulated = TwinRunner(bench.artefact, np.random.default_rng(1))
    each = sum(g.outputs * len(g.parts) for g in bench.artefact.manifest.groups)
    for _ in bench.hybrid(simulated).scores(_endless(texts, math.ceil(1.05 * values / each))):
        pass
    return {
        "groups": _errors(found, report.groups),
        "real": seen,
        "simulated": {n: getattr(simulated, n) for n in ("values", "wrapped", "fullest")},
        "payload": report.manifest.query_bytes() + report.manifest.answer_bytes(),
    }


def _ids(bench: Bench, path: Path) -> list[int]:
    ids: list[int] = bench.checkpoint.tokenizer(path.read_text("utf-8"), verbose=False).input_ids
    return ids


def _endless(texts: Mapping[str, list[int]], count: int) -> list[int]:
    """The texts one after the other, as often as it takes."""
    return list(islice(cycle(chain.from_iterable(texts.values())), count))


def _errors(
    found: Mapping[str, MeasuringRunner], predicted: Sequence[GroupError]
) -> list[dict[str, Any]]:
    """A row for each group, worst first: its error on every text, and by cause on the text where it is largest."""
    rows = []
    for group in predicted:
        causes = {name: _causes(runner, group.name) for name, runner in found.items()}
        worst = max(causes, key=lambda name: math.hypot(*causes[name]))
        noise, rounding = causes[worst]
        rows.append(
            {
                "name": group.name,
                "parts": group.parts,
                "predicted": group.total,
                "texts": {name: math.hypot(*both) for name, both in causes.items()},
                "worst": worst,
                "noise": noise,
                "rounding": rounding,
                "all": math.hypot(noise, rounding),
            }
        )
    return sorted(rows, key=lambda row: -row["all"])


def _causes(runner: MeasuringRunner, group: str) -> tuple[float, float]:
    error = runner.errors[group]
    return math.sqrt(error.noise / error.passes), math.sqrt(error.rounding / error.passes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=2, help="blocks (default: 2)")
    parser.add_argument("--tokens", type=int, default=256, help="of each text (default: 256)")
    parser.add_argument("--values", type=float, default=1e8, help="simulated products")
    parser.add_argument("--source", type=Path, help="a checkpoint that is there already")
    parser.add_argument("--models", type=Path, help="where its import is, or goes")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tacita-heavy-", dir=options.scratch) as temporary:
        source = options.source or Path(temporary) / "checkpoint"
        if not options.source:
            build("llama-3.2-1b", source, layers=options.layers)
        models = options.models or Path(temporary) / "models"
        report = measure(source, models, options.tokens, options.values)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for row in report["groups"]:
        print(
            f"{row['all']:7.2%} ({row['worst']})  noise {row['noise']:6.2%}  rounding {row['rounding']:6.2%}  "
            f"predicted {row['predicted']:6.2%}  parts {row['parts']}  {row['name']}"
        )
    print(f"real {report['real']}, simulated {report['simulated']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
