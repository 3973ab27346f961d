"""Whole models from checkpoint to chat: import, hints, prefill and decode, with time, traffic and memory of each.

    python -m benchmarks.models [NAME ...] [--plain] [--layers N] [--json docs/models.json]
    python -m benchmarks.models --write docs/models.json        the tables of docs/models.md, from measurements

NAME is a shape of benchmarks.random_models (gpt2, llama-3.2-1b; random weights) or a model of the catalogue
(smollm2-135m). Each is imported by a process of its own into a temporary home, served by the embedded server, and
asked by a client that is a process of its own, too. Rows of an earlier run in the JSON file are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.random_models import SHAPES, build

PROMPT = "The lighthouse stood at the end of the land, and beyond it there was only the sea. " * 2
DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
_SAMPLE_SECONDS = 0.02


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model, from nothing to a reply."""
    with tempfile.TemporaryDirectory(prefix="tacita-models-", dir=options.scratch) as temporary:
        home = Path(temporary)
        source = _source(name, home, options)
        served = name + ("-plain" if options.plain else "")
        arguments = ["import", str(source), "--name", served, *options.import_arguments]
        imported = _watched([sys.executable, "-m", "fhe_server", *arguments, "--quiet"], home)
        folder = home / "data" / "models" / served
        client = ["-m", "benchmarks.models", "--client", served, "--tokens", str(options.tokens)]
        asked = _watched([sys.executable, *client, "--prompt", options.prompt], home)
        return {
            "name": served,
            "checkpoint": "its own" if name not in SHAPES else _kind(options),
            "import_s": imported["seconds"],
            "import_cpu_s": imported["cpu"],
            "import_peak_anonymous": imported["peak"],
            "import_peak_resident": imported["resident"],
            "client_peak_anonymous": asked["peak"],
            "client_peak_resident": asked["resident"],
            "server_peak_anonymous": asked["children_peak"],
            "server_peak_resident": asked["children_resident"],
            **_sizes(folder),
            **json.loads(asked["output"]),
        }


def _kind(options: argparse.Namespace) -> str:
    return "random, normal" if options.plain else "random, heavy tails and outliers"


def _source(name: str, home: Path, options: argparse.Namespace) -> Path:
    if options.source:
        return Path(options.source)
    if name not in SHAPES:
        from fhe_server.imports.pull import pull

        return pull(name)
    folder = home / "checkpoint"
    build(name, folder, options.plain, options.layers)
    return folder


def _watched(command: Sequence[str], home: Path) -> dict[str, Any]:
    """Run a program to its end: seconds, CPU seconds, its output; memory of it, and of the largest of its children."""
    environment = {**os.environ, "TACITA_HOME": str(home)}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    seen = dict.fromkeys(("peak", "resident", "children_peak", "children_resident"), 0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None:
            _look(process.pid, seen, "")
            for child in _children(process.pid):
                _look(child, seen, "children_")
            time.sleep(_SAMPLE_SECONDS)
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ended with status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu": cpu, "output": output, **seen}


def _look(pid: int, seen: dict[str, int], prefix: str) -> None:
    """Raise the peaks: of anonymous memory, which no file backs; of the resident set, mapped files and all."""
    for key, field in (("peak", "RssAnon"), ("resident", "VmHWM")):
        seen[prefix + key] = max(seen[prefix + key], _status(pid, field))


def _status(pid: int, field: str) -> int:
    """A field of the system's notes on a process, in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field)), 0)


def _children(pid: int) -> list[int]:
    """Of every thread of a process; none if it has ended."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text("utf-8").split())
        except OSError:
            continue  # the thread has ended
    return found


def _sizes(folder: Path) -> dict[str, Any]:
    from fhe_server.artefact import Artefact

    manifest = Artefact(folder).manifest
    notes = json.loads((folder / "import.json").read_text("utf-8"))
    errors = sorted(notes["groups"], key=lambda g: -(g["noise"] ** 2 + g["rounding"] ** 2))
    return {
        "family": manifest.model_type,
        "groups": len(manifest.groups),
        "parts": len(manifest.parts),
        "parameters": sum(g.inputs * g.outputs for g in manifest.groups),
        "hint_bytes": manifest.hint_bytes,
        "payload": manifest.query_bytes() + manifest.answer_bytes(),
        "worst_groups": errors[:8],
        "placements": notes["placements"],
    }


def ask(name: str, tokens: int, prompt: str) -> dict[str, Any]:
    """The client: open the chat, one reply; what it took."""
    from fhe_client.chat_events import Callbacks, ConnectOptions
    from fhe_client.connect import open_chat
    from fhe_client.crypto.session import RoundReport
    from fhe_client.keys import MasterKey
    from fhe_client.text.generation import GenerationOptions
    from fhe_client.text.transcript import Message

    payload = 0

    def count(report: RoundReport) -> None:
        nonlocal payload
        group = report.group
        payload += report.rows * (3 * group.inputs + 2 * group.outputs * len(group.parts))

    began = time.perf_counter()
    key = MasterKey.generate(origin="session")
    with key, open_chat(ConnectOptions(model=name), key, Callbacks(on_round=count)) as chat:
        opened = time.perf_counter() - began
        traffic = chat.traffic()
        options = GenerationOptions(max_tokens=tokens, temperature=0.0)
        reply = chat.ask([Message("user", prompt)], options)
        used = chat.traffic().since(traffic)
    up, down = used.of("rounds")
    return {
        "open_s": opened,
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "first_token_s": reply.seconds_first,
        "token_s": reply.seconds_per_token,
        "framing": (up + down) / payload - 1,
        "rounds": reply.rounds,
    }


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tables of docs/models.md."""
    table = [
        "| model | weights | groups (parts) | hints, MB | payload per token, MB (framing) | s per token "
        "| prefill, s (tokens) | import, s (peak memory, GB) "
        "| client memory, GB | server memory, GB | worst group |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        worst = row["worst_groups"][0]
        error = (worst["noise"] ** 2 + worst["rounding"] ** 2) ** 0.5
        table.append(
            f"| {row['name']} | {row['checkpoint']} | {row['groups']} ({row['parts']}) | {row['hint_bytes'] / 1e6:.0f} "
            f"| {row['payload'] / 1e6:.3f} (+{row['framing']:.1%}) | {row['token_s']:.2f} "
            f"| {row['first_token_s']:.1f} ({row['prompt_tokens']}) "
            f"| {_import_seconds(row)} ({row['import_peak_resident'] / 1e9:.1f}) "
            f"| {row['client_peak_resident'] / 1e9:.2f} | {row['server_peak_resident'] / 1e9:.2f} | {error:.2%} |"
        )
    table += ["", "What the client pays for each place of the two largest layers:", ""]
    table += [
        "| model | placement | payload per token, MB | hints, MB | client's tensors, MB | client memory, MB |"
    ]
    table += ["|---|---|---|---|---|---|"]
    for row in rows:
        for cost in row["placements"]:
            moved = (cost["query"] + cost["answer"]) / 1e6
            table.append(
                f"| {row['name']} | {cost['label']} | {moved:.3f} | {cost['hints'] / 1e6:.0f} "
                f"| {cost['tensors'] / 1e6:.1f} | {cost['memory'] / 1e6:.0f} |"
            )
    return table


def _import_seconds(row: Mapping[str, Any]) -> str:
    return "in several runs" if row["import_s"] is None else f"{row['import_s']:.0f}"


def write(document: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the tables between the two marks of a document."""
    before, _, rest = document.read_text("utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{document.name} has no marks for the tables.")
    text = "\n".join([BEGIN, "", *lines(rows), "", END])
    document.write_text(before + text + after, "utf-8")


def _kept(path: Path | None) -> dict[str, Any]:
    if path is None or not path.is_file():
        return {}
    return {row["name"]: row for row in json.loads(path.read_text("utf-8"))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="models to measure")
    parser.add_argument("--plain", action="store_true", help="normal weights, no outliers")
    parser.add_argument("--layers", type=int, help="blocks instead of the model's own number")
    parser.add_argument("--source", help="a checkpoint that is there already")
    parser.add_argument("--tokens", type=int, default=6, help="of the reply (default: 6)")
    parser.add_argument("--prompt", default=PROMPT, help="what is asked")
    parser.add_argument("--scratch", type=Path, help="folder for temporary files")
    parser.add_argument("--import-arguments", nargs="*", default=[], help="such as --local=embed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    parser.add_argument("--write", type=Path, metavar="FILE", help="figures to write the tables of")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.client:
        print(json.dumps(ask(options.client, options.tokens, options.prompt)))
        return 0
    if options.write:
        write(DOCUMENT, list(_kept(options.write).values()))
        return 0
    rows = _kept(options.json)
    for name in options.names:
        row = measure(name, options)
        rows[row["name"]] = row
        print(json.dumps(row, indent=1))
        if options.json:
            options.json.write_text(json.dumps(list(rows.values()), indent=1) + "\n", "utf-8")
    print("\n".join(lines(list(rows.values()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
