"""Does encryption make a model dumber? Every way to run it, against the clear fp32 original, on texts of this folder.

    python -m benchmarks.fidelity smollm2-135m [--source CHECKPOINT] [--tokens 800] [--json FILE]

MODEL is the name of an imported model (`tacita-server list`); its checkpoint is the catalogue's unless --source names
it. Measured: perplexity; Kullback-Leibler divergence to fp32; agreement of the most likely token and of the five most
likely; for how long greedy text is that of fp32. Contenders: the int8 weights in the clear, the same with simulated
decryption noise, the real protocol (client session and server code in one process), and 8-bit dynamic quantisation as
Concrete ML does it. Then the error of every group, by cause, with the real protocol beside the simulation.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.fidelity_systems import (
    Clear,
    Hybrid,
    MeasuringRunner,
    System,
    TwinRunner,
    continues,
    encrypted_runner,
    quantise_dynamically,
)
from fhe_client.model.files import ModelFiles, read_model_files
from fhe_client.model.hybrid import build_hybrid
from fhe_client.model.runner import LinearRunner
from fhe_protocol.manifest import Group
from fhe_server.artefact import Artefact
from fhe_server.errors import ServerError
from fhe_server.home import models_folder
from fhe_server.imports.checkpoint import Source, find_source, load_checkpoint
from fhe_server.imports.pull import pull
from fhe_server.imports.rotation import rotated
from fhe_server.imports.tracing import weight_matrix

TEXTS = Path(__file__).with_name("texts")
PROMPT_TOKENS = 32
WORST = 8


@dataclass(frozen=True)
class Reference:
    """The fp32 original on one text: float32 (tokens, vocabulary) log-probabilities, and greedy continuations."""

    name: str
    tokens: list[int]
    logs: torch.Tensor
    continuations: list[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Fidelity:
    """How close a system is to fp32, over all tokens of all texts (or of one)."""

    tokens: int
    perplexity: float
    kl: float
    top1: float
    top5: float
    greedy_tokens: float
    seconds: float


def references(model: Any, tokenizer: Any, options: argparse.Namespace) -> list[Reference]:
    """The texts, cut to --tokens each, with what fp32 says about them."""
    clear, found = Clear(model), []
    for path in sorted(TEXTS.glob("*.txt")):
        tokens = tokenizer(path.read_text("utf-8"), verbose=False).input_ids[: options.tokens]
        logs = torch.cat([s.log_softmax(-1) for s in clear.scores(tokens)])
        starts = np.linspace(0, max(0, len(tokens) - PROMPT_TOKENS), options.prompts, dtype=int)
        prompts = [tokens[start : start + PROMPT_TOKENS] for start in starts]
        continuations = [(p, clear.greedy(p, options.greedy_tokens)) for p in prompts]
        found.append(Reference(path.stem, tokens, logs, continuations))
    return found


def measure(system: System, texts: Sequence[Reference]) -> Fidelity:
    """Run a system over texts and compare it with the reference."""
    started = time.perf_counter()
    sums = np.zeros(4)
    tokens = 0
    for text in texts:
        position = 0
        for scores in system.scores(text.tokens):
            sums += _compare(scores.log_softmax(-1), text, position)
            position += len(scores)
        tokens += position
    seconds = time.perf_counter() - started
    lengths = [continues(system, p, due) for text in texts for p, due in text.continuations]
    predicted = tokens - len(texts)
    return Fidelity(
        tokens=tokens,
        perplexity=math.exp(sums[0] / predicted),
        kl=sums[1] / tokens,
        top1=sums[2] / tokens,
        top5=sums[3] / tokens,
        greedy_tokens=float(np.mean(lengths)) if lengths else math.nan,
        seconds=seconds,
    )


def _compare(logs: torch.Tensor, text: Reference, position: int) -> NDArray[np.float64]:
    """Sums over rows: negative log-likelihood of the next tokens, KL, top-1 and top-5 agreement."""
    due = text.logs[position : position + len(logs)]
    following = torch.tensor(text.tokens[position + 1 : position + 1 + len(logs)])
    likelihood = -float(logs[: len(following)].gather(1, following[:, None]).sum())
    divergence = float((due.exp() * (due - logs)).sum(dtype=torch.float64))
    top1 = int((due.argmax(-1) == logs.argmax(-1)).sum())
    ours, theirs = logs.topk(5, -1).indices, due.topk(5, -1).indices
    top5 = float((ours[:, :, None] == theirs[:, None, :]).sum()) / 5
    return np.array([likelihood, divergence, top1, top5])


class Bench:
    """One imported model beside its checkpoint."""

    def __init__(self, artefact: Artefact, source: Source) -> None:
        self.artefact = artefact
        self.files: ModelFiles = read_model_files(artefact.folder / "client", artefact.manifest)
        self.checkpoint = load_checkpoint(source)
        self.twin = TwinRunner(artefact)

    def hybrid(self, runner: LinearRunner) -> Hybrid:
        """The client's model over a runner."""
        return Hybrid(build_hybrid(self.artefact.manifest, self.files, runner))

    @contextmanager
    def runner(self, kind: str) -> Iterator[LinearRunner]:
        """ "int8", "simulated" or "real"."""
        if kind == "real":
            with encrypted_runner(self.artefact) as (session, _):
                yield session
        else:
            yield TwinRunner(
                self.artefact, np.random.default_rng(1) if kind == "simulated" else None
            )

    def exact(self, group: Group) -> NDArray[np.float32]:
        """The original matrix of a group in the units of the int8 one: (m, n)."""
        modules = [self.checkpoint.model.get_submodule(m.module) for m in group.members]
        weight = torch.cat([weight_matrix(module) for module in modules]).numpy()
        scales = self.files.scales[group.index]
        if scales.input_scale is not None:
            weight = weight / scales.input_scale.numpy()
        rows = scales.row_scale.numpy()[:, None]
        units = np.divide(1, rows, out=np.zeros_like(rows), where=rows > 0)
        matrix: NDArray[np.float32] = rotated(weight, scales.rotation) * units
        return matrix

    def group_errors(self, kind: str, tokens: Sequence[int]) -> dict[str, dict[str, float]]:
        """Relative error of every group over one text, by cause."""
        rows = {index: s.row_scale.numpy() for index, s in self.files.scales.items()}
        with self.runner(kind) as inner:
            measuring = MeasuringRunner(inner, self.twin, self.exact, rows)
            for _ in self.hybrid(measuring).scores(tokens):
                pass
        return {
            name: {
                "noise": math.sqrt(error.noise / error.passes),
                "rounding": math.sqrt(error.rounding / error.passes),
            }
            for name, error in measuring.errors.items()
        }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as one JSON value."""
    artefact = Artefact(options.models / options.model)
    bench = Bench(artefact, _source(options, artefact))
    texts = references(bench.checkpoint.model, bench.checkpoint.tokenizer, options)
    kinds = ["int8", "simulated", *([] if options.no_real else ["real"])]
    results: dict[str, dict[str, Fidelity]] = {}
    _measured(results, "fp32", Clear(bench.checkpoint.model), texts)
    wrapping: dict[str, float] = {}
    for kind in kinds:
        with bench.runner(kind) as runner:
            _measured(results, kind, bench.hybrid(runner), texts)
            if isinstance(runner, TwinRunner) and kind == "simulated":
                wrapping = {n: getattr(runner, n) for n in ("values", "wrapped", "fullest")}
    sample = texts[0].tokens[: options.group_tokens]
    groups = {kind: bench.group_errors(kind, sample) for kind in kinds[1:]}
    quantise_dynamically(bench.checkpoint.model)
    _measured(results, "dynamic8", Clear(bench.checkpoint.model), texts)
    manifest = artefact.manifest
    return {
        "model": manifest.name,
        "digest": manifest.digest,
        "bytes_per_token": manifest.query_bytes() + manifest.answer_bytes(),
        "systems": {k: {t: asdict(f) for t, f in v.items()} for k, v in results.items()},
        "groups": groups,
        "agreement": _agreement(groups),
        "wrapping": wrapping,
    }


def _measured(
    results: dict[str, dict[str, Fidelity]], name: str, system: System, texts: list[Reference]
) -> None:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    each = {text.name: measure(system, [text]) for text in texts}
    results[name] = {"all": _together(list(each.values())), **each}


def _together(parts: list[Fidelity]) -> Fidelity:
    tokens = np.array([p.tokens for p in parts])

    def mean(pick: Callable[[Fidelity], float], weights: NDArray[np.int64]) -> float:
        return float(np.average([pick(p) for p in parts], weights=weights))

    return Fidelity(
        tokens=int(tokens.sum()),
        perplexity=math.exp(mean(lambda p: math.log(p.perplexity), tokens - 1)),
        kl=mean(lambda p: p.kl, tokens),
        top1=mean(lambda p: p.top1, tokens),
        top5=mean(lambda p: p.top5, tokens),
        greedy_tokens=float(np.mean([p.greedy_tokens for p in parts])),
        seconds=sum(p.seconds for p in parts),
    )


def _agreement(groups: dict[str, dict[str, dict[str, float]]]) -> dict[str, float] | None:
    """Noise of the real protocol over that of the simulation, group by group."""
    if "real" not in groups:
        return None
    ratios = [e["noise"] / groups["simulated"][name]["noise"] for name, e in groups["real"].items()]
    return {"median": float(np.median(ratios)), "least": min(ratios), "most": max(ratios)}


def _source(options: argparse.Namespace, artefact: Artefact) -> Source:
    source = find_source(options.source or str(pull(options.model)))
    document = json.loads(artefact.manifest.to_bytes())
    if document["model"]["source"]["sha256"] != source.digest():
        raise ServerError(
            f"{options.model} was imported from another checkpoint.", "Name it with --source."
        )
    return source


def table(report: dict[str, Any]) -> list[str]:
    """The report for the terminal, in Markdown."""
    lines = [
        f"{report['model']} {report['digest'][:16]}, {report['bytes_per_token'] / 1e6:.2f} MB per token",
        "",
        "| system | text | tokens | perplexity | KL to fp32 | top-1 | top-5 | greedy tokens as fp32 | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for system, texts in report["systems"].items():
        for name, f in texts.items():
            lines.append(
                f"| {system} | {name} | {f['tokens']} | {f['perplexity']:.3f} | {f['kl']:.5f} | "
                f"{100 * f['top1']:.1f} % | {100 * f['top5']:.1f} % | {f['greedy_tokens']:.1f} | "
                f"{f['seconds']:.1f} |"
            )
    return [*lines, "", *_group_lines(report)]


def _group_lines(report: dict[str, Any]) -> list[str]:
    kind = "real" if "real" in report["groups"] else "simulated"
    errors = report["groups"][kind]
    ranked = sorted(errors, key=lambda n: -math.hypot(*errors[n].values()))
    lines = [f"worst groups ({kind}), error over the output's norm:"]
    for name in ranked[:WORST]:
        noise, rounding = errors[name]["noise"], errors[name]["rounding"]
        ratio = -20 * math.log10(max(math.hypot(noise, rounding), 1e-12))
        lines.append(
            f"  {name}: noise {100 * noise:.2f} %, rounding {100 * rounding:.2f} %, {ratio:.1f} dB"
        )
    if report["agreement"] is not None:
        a = report["agreement"]
        lines.append(
            f"noise, real over simulated: median {a['median']:.3f}, "
            f"from {a['least']:.3f} to {a['most']:.3f} over {len(errors)} groups"
        )
    if wrapped := report["wrapping"]:
        lines.append(
            f"values that left Z_q: {wrapped['wrapped']} of {wrapped['values']:.3g}; "
            f"the largest took {wrapped['fullest']:.1%} of q/2"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 1 if something was missing."""
    parser = argparse.ArgumentParser(prog="benchmarks.fidelity", description=__doc__.split("\n")[0])
    parser.add_argument("model", help="name of an imported model")
    parser.add_argument("--models", type=Path, default=models_folder(), help="folder of models")
    parser.add_argument("--source", help="the checkpoint (default: the catalogue's)")
    parser.add_argument("--tokens", type=int, default=800, help="of each text (default: 800)")
    parser.add_argument("--prompts", type=int, default=3, help="greedy prompts for each text")
    parser.add_argument("--greedy-tokens", type=int, default=32, help="compared for each prompt")
    parser.add_argument("--group-tokens", type=int, default=128, help="for the errors of groups")
    parser.add_argument("--no-real", action="store_true", help="leave out the encrypted run")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        report = run(options)
    except ServerError as error:
        print(f"{error.message} {error.next_step}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print("\n".join(table(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
