"""The tables of one run: into docs/benchmarks.md between two markers, with JSON and pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.conversation import KINDS
from benchmarks.timeline import PARTS

BEGIN = "<!-- measured: begin (written by python -m benchmarks) -->"
END = "<!-- measured: end -->"
Result = dict[str, Any]


def text(result: Result) -> str:
    """All tables in Markdown."""
    parts = [_head(result)]
    parts += [TABLES[name](result[name]) for name in TABLES if name in result]
    return "\n\n".join(parts)


def write(result: Result, docs: Path) -> None:
    """JSON, pictures, and the measured part of benchmarks.md."""
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instrument.json").write_text(json.dumps(_rounded(result), indent=1) + "\n")
    pictures = _pictures(result)
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture)
    images = "\n\n".join(f"![{name}](benchmarks/{name}.svg)" for name in pictures)
    page = docs / "benchmarks.md"
    old = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(
        f"{before}{BEGIN}\n\n{text(result)}\n\n{images}\n\n{END}{after}", encoding="utf-8"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(result: Result) -> str:
    machine = result["machine"]
    load = machine["load_before"]
    busy = "" if load is None else f", load {load:.1f} before it"
    return (
        f"Model {result['model']}, {machine['date']} UTC, {machine['cores']} cores "
        f"({machine['processor']}){busy}. Medians; client and server share the cores."
    )


def _speed(found: Result) -> str:
    seconds = found["seconds"]
    kinds = [kind for kind in KINDS if f"{kind} token" in seconds]
    head = ["", "encrypted, s", *(f"clear {k}, s" for k in kinds), "encrypted / float32"]
    rows = []
    for what in [n.removeprefix("encrypted ") for n in seconds if n.startswith("encrypted ")]:
        plain = what.removesuffix(" at once")
        mine, clear = seconds[f"encrypted {what}"], [seconds[f"{k} {plain}"] for k in kinds]
        name = {"token": "one token"}.get(what, f"{what.replace('prefill', 'prompt of')}")
        ratio = f"**{mine / clear[0]:.2f}**"
        rows.append([name, f"{mine:.4f}", *(f"{c:.4f}" for c in clear), ratio])
    title = f"### Encrypted against clear ({found['cores']} threads in the clear)"
    note = (
        'A prompt finds its pads prepared, as after a pause of the user; "at once" is sent right after a reply, '
        "and waits for them."
    )
    return f"{title}\n\n{table(head, rows)}\n\n{note}"


def _milliseconds(found: Result) -> str:
    shares = found["ms"]
    total = sum(shares.values())
    rows = [[part, f"{shares[part]:.1f}", f"{100 * shares[part] / total:.0f} %"] for part in PARTS]
    rows.append(["**a token**", f"**{found['token_ms']:.1f}**", f"{found['rounds']} rounds"])
    title = "### Where each millisecond of a token goes"
    return f"{title}\n\n{table(['part', 'ms', 'share'], rows)}"


def _payload(found: Result) -> str:
    payload = found["queries_mb"] + found["answers_mb"]
    framing = found["framing_mb"]
    rows = [
        ["queries, up", f"{found['queries_mb']:.3f}"],
        ["answers, down", f"{found['answers_mb']:.3f}"],
        ["headers and framing", f"{framing:.4f} ({100 * framing / payload:.1f} %)"],
        ["**on the wire**", f"**{payload + framing:.3f}**"],
        ["payload with both token tables local", f"{payload - found['tables_mb']:.3f}"],
        ["hints, once for each model", f"{found['hints_mb']:.0f}"],
    ]
    rows += [
        [f"payload of {n} by its shapes", f"{v:.2f}"] for n, v in found["by_formula_mb"].items()
    ]
    return f"### Megabytes of a token\n\n{table(['what', 'MB'], rows)}"


def _starts(found: Result) -> str:
    rows = [
        [
            f"{name} start",
            f"{found[name]['ready_s']:.2f}",
            f"{found[name]['first_token_s']:.2f}",
        ]
        for name in ("cold", "warm")
    ]
    memory = found["memory"]
    title = "### From the start of the engine to the first token"
    note = (
        "Cold: hints and files are fetched and audited. Peak memory over a reply: "
        f"client {memory['client_mb']:.0f} MB, embedded server {memory['server_mb']:.0f} MB."
    )
    return f"{title}\n\n{table(['', 'ready, s', 'first token, s'], rows)}\n\n{note}"


def _distances(found: Result) -> str:
    rows = []
    for cell in found["cells"]:
        tokens, passes = max(1, cell["tokens"]), max(1, cell["passes"])
        rows.append(
            [
                f"{cell['round_trip_ms']:g}",
                f"{cell['megabits']:g}" if cell["megabits"] else "-",
                cell["text"],
                str(cell["draft"] or 1),
                f"{cell['seconds'] / tokens:.3f}",
                f"{tokens / passes:.2f}",
                f"{cell['seconds'] / passes:.3f}",
                f"{cell['mb'] / tokens:.2f}",
            ]
        )
    head = [
        "RTT, ms",
        "Mbit/s",
        "text",
        "rows a pass",
        "s per token",
        "tokens a pass",
        "s per pass",
        "MB per token",
    ]
    how = "this kernel has netem" if found["netem"] else "this kernel has no netem"
    note = f"By the delaying proxy of `benchmarks.delaying_proxy` ({how})."
    return f"### At a distance\n\n{table(head, rows)}\n\n{note}"


def _offline(found: Result) -> str:
    rows = [
        ["import of the checkpoint, hints included, s", f"{found.get('import_s', 0.0):.1f}"],
        ["download of hints over loopback, s", f"{found['download_s']:.1f}"],
        ["audit of the hints, s", f"{found['audit_s']:.1f}"],
        ["first window in the foreground, s", f"{found['first_window_s']:.1f}"],
    ]
    for name in [n for n in found if n.endswith("_ms_per_token")]:
        slots = name.removeprefix("pads_").removesuffix("_ms_per_token")
        size = found[f"pads_{slots}_mb"]
        label = f"pads of {slots} slots ({size:.0f} MB), ms of work per token"
        rows.append([label, f"{found[name]:.1f}"])
    return f"### Ahead of a reply\n\n{table(['what', 'measured'], rows)}"


TABLES: dict[str, Callable[[Result], str]] = {
    "speed": _speed,
    "milliseconds": _milliseconds,
    "payload": _payload,
    "starts": _starts,
    "distances": _distances,
    "offline": _offline,
}


def _pictures(result: Result) -> dict[str, str]:
    pictures = {}
    if "milliseconds" in result:
        shares = result["milliseconds"]["ms"]
        rows = [("encrypted", [(part, shares[part]) for part in PARTS])]
        if "speed" in result:
            seconds = result["speed"]["seconds"]
            clear = {k: seconds.get(f"{k} token") for k in KINDS}
            rows += [(f"clear {k}", [("all", 1e3 * s)]) for k, s in clear.items() if s]
        pictures["milliseconds"] = figures.stacked("One token", rows, "ms")
    if "distances" in result:
        groups: dict[str, list[tuple[str, float]]] = {}
        for cell in result["distances"]["cells"]:
            place = f"{cell['round_trip_ms']:g} ms"
            place += f", {cell['megabits']:g} Mbit/s" if cell["megabits"] else ""
            label = f"{cell['text']}, {cell['draft'] or 1} rows"
            groups.setdefault(place, []).append((label, cell["seconds"] / max(1, cell["tokens"])))
        title = "Seconds per token at a distance"
        pictures["distances"] = figures.grouped(title, list(groups.items()), "s")
    return pictures


def _rounded(value: Any) -> Any:
    """Four significant digits are more than was measured."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
