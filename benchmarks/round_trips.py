"""Seconds per token at internet distances, without and with several tokens per pass.

    python -m benchmarks.round_trips [--model smollm2-135m] [--tokens 96] [--json FILE]

A server process, a delaying proxy on loopback (`benchmarks.delaying_proxy`) and the product's own chat, opened once for
each distance. Each cell asks one question, greedily, for a number of tokens; without guesses fewer do, since all
passes cost the same. What counts is the time from the first token to the last one, and the bytes on the wire in
between. The prompt is read once for a distance and then comes out of the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fhe_client.keys import MasterKey
    from fhe_client.open_chat import OpenChat

ROUND_TRIPS_MS = (0.0, 5.0, 20.0, 50.0)
DRAFTS = (0, 4, 6, 8)
PLAIN_TOKENS = 12
_TEXTS = Path(__file__).with_name("texts")


@dataclass(frozen=True)
class Cell:
    """One measurement. `tokens` and `mb` are those between the first and the last token."""

    round_trip_ms: float
    megabits: float | None
    text: str
    draft: int
    tokens: int
    passes: int
    seconds: float
    mb: float

    @property
    def per_token(self) -> float:
        """Seconds per token."""
        return self.seconds / max(1, self.tokens)

    @property
    def per_pass(self) -> float:
        """Tokens that a pass brought."""
        return self.tokens / max(1, self.passes)


def questions() -> dict[str, str]:
    """One text without repetition, and three whose replies repeat the prompt more or less. Asked to repeat exactly, a
    small model rewrites and comments instead; its summaries quote."""
    words = (_TEXTS / "gettysburg.txt").read_text(encoding="utf-8").split()
    paragraph = " ".join(words[:90])
    return {
        "free": "Write a long story about a lighthouse keeper and the sea.",
        "repeat": f"Repeat this paragraph exactly: {paragraph}",
        "summarise": f"Summarise this text in three sentences: {paragraph}",
        "rewrite": f"Correct the spelling of this text and change nothing else: {paragraph}",
    }


@contextlib.contextmanager
def child(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that ends when its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def server(model: str, *program: str) -> Iterator[int]:
    """The server of `model`; its port. `program`: a module that takes arguments of its own before `serve`."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port.json"
        command = [*(program or ("fhe_server",)), "serve", "--model", model, "--port", "0"]
        command += ["--threads", "1"]
        with child([*command, "--port-file", str(port_file), "--exit-with-stdin"]) as process:
            while not port_file.exists():
                if process.poll() is not None:
                    raise SystemExit("The server did not start. Is the model imported?")
                time.sleep(0.1)
            yield int(json.loads(port_file.read_text())["port"])


@contextlib.contextmanager
def distance(port: int, milliseconds: float, megabits: float | None) -> Iterator[int]:
    """A port from which the server is that far away; the server's own port for no distance."""
    if not milliseconds and not megabits:
        yield port
        return
    limit = [str(megabits)] if megabits else []
    with child(
        ["benchmarks.delaying_proxy", str(port), str(milliseconds / 1e3), *limit]
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def measure(
    chat: OpenChat, where: tuple[float, float | None], cell: tuple[str, int], most: int
) -> Cell:
    """Ask once, for at most `most` tokens."""
    from fhe_client.text.generation import GenerationOptions
    from fhe_client.text.transcript import Message

    name, draft = cell
    marks: list[int] = []

    def note(_text: str) -> None:
        traffic = chat.traffic()
        marks.append(traffic.bytes_up + traffic.bytes_down)

    count = most if draft else min(most, PLAIN_TOKENS)
    options = GenerationOptions(max_tokens=count, temperature=0.0, draft=draft)
    reply = chat.ask([Message("user", questions()[name])], options, on_piece=note)
    assert reply.seconds_per_token is not None, "one token is too few"
    tokens = reply.reply_tokens - 1
    moved = (marks[-1] - marks[0]) / 1e6
    return Cell(*where, name, draft, tokens, reply.passes, reply.seconds_per_token * tokens, moved)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All cells, printed as they come."""
    from fhe_client.home import Home
    from fhe_client.keys import MasterKey

    cells: list[Cell] = []
    measured: dict[str, float] = {}
    places = [(ms, None) for ms in options.round_trips] + [(ms, mb) for ms, mb in options.limited]
    with (
        tempfile.TemporaryDirectory() as config,
        MasterKey.generate(origin="session") as key,
        server(options.model) as port,
    ):
        home = replace(Home.locate(), config=Path(config))
        for where in places:
            with distance(port, *where) as near, open_at(near, options.model, key, home) as chat:
                measured[f"{where[0]:g}"] = probe(near)
                for name in options.texts:
                    for draft in options.drafts:
                        cell = measure(chat, where, (name, draft), options.tokens)
                        print(line(cell), flush=True)
                        cells.append(cell)
    return {"model": options.model, "measured_ms": measured, "cells": [asdict(c) for c in cells]}


@contextlib.contextmanager
def open_at(port: int, model: str, key: MasterKey, home: Any) -> Iterator[OpenChat]:
    """The product's chat with the server behind `port`."""
    from fhe_client.chat_events import Callbacks, ConnectOptions
    from fhe_client.connect import open_chat

    options = ConnectOptions(url=f"http://127.0.0.1:{port}", model=model)
    with open_chat(options, key, Callbacks(), home=home) as chat:
        yield chat


def probe(port: int) -> float:
    """Milliseconds of the shortest of ten small requests: what a round costs here at least."""
    from fhe_client.network.meter import TrafficMeter
    from fhe_client.network.transport import ServerConnection

    best = float("inf")
    with ServerConnection(f"http://127.0.0.1:{port}", meter=TrafficMeter()) as connection:
        connection.health()
        for _ in range(10):
            begun = time.perf_counter()
            connection.health()
            best = min(best, time.perf_counter() - begun)
    return best * 1e3


_HEAD = (
    "| RTT ms | Mbit/s | text | tokens a pass | s per token | tokens brought by a pass | s per pass | MB per token |\n"
    "|---|---|---|---|---|---|---|---|"
)


def line(cell: Cell) -> str:
    """A row of the table."""
    draft = str(cell.draft) if cell.draft else "1 (off)"
    values = (
        f"{cell.round_trip_ms:g}",
        f"{cell.megabits:g}" if cell.megabits else "-",
        cell.text,
        draft,
        f"{cell.per_token:.3f}",
        f"{cell.per_pass:.2f}",
        f"{cell.seconds / max(1, cell.passes):.3f}",
        f"{cell.mb / max(1, cell.tokens):.2f}",
    )
    return f"| {' | '.join(values)} |"


def _limited(text: str) -> tuple[float, float]:
    milliseconds, megabits = text.split(":")
    return float(milliseconds), float(megabits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=96, help="longest reply")
    parser.add_argument("--round-trips", type=float, nargs="*", default=list(ROUND_TRIPS_MS))
    parser.add_argument(
        "--limited",
        type=_limited,
        nargs="*",
        default=[(20.0, 50.0)],
        metavar="MS:MBIT",
        help="distances with limited bandwidth",
    )
    parser.add_argument("--drafts", type=int, nargs="+", default=list(DRAFTS))
    parser.add_argument("--texts", nargs="+", choices=list(questions()), default=list(questions()))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    print(_HEAD)
    result = run(options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print("shortest small request, ms:", result["measured_ms"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
