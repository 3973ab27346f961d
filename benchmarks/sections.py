"""The measurements of `python -m benchmarks`, one function for each; all figures are medians."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import round_trips, timeline
from benchmarks.conversation import ClearTwin
from benchmarks.setting import Encrypted, Setting, cores, opened

Result = dict[str, Any]


class Samples:
    """Values by name."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """One more."""
        self._values.setdefault(name, []).append(value)

    def medians(self) -> dict[str, float]:
        """Of each name."""
        return {name: statistics.median(values) for name, values in self._values.items()}


def speed(setting: Setting) -> Result:
    """Seconds per token and of prompts: encrypted at the embedded server, and the clear twins, taking turns."""
    samples = Samples()
    checkpoint = _checkpoint(setting)
    with opened(setting.model) as encrypted:
        encrypted.write(
            4
        )  # connections, caches and measured choices are there before the first figure
        twins = {kind: ClearTwin(checkpoint, cores(), kind) for kind in setting.kinds}
        try:
            for _ in range(setting.alternations):
                _take_turns(setting, encrypted, twins, samples)
        finally:
            for twin in twins.values():
                twin.close()
    return {"cores": cores(), "seconds": samples.medians()}


def _checkpoint(setting: Setting) -> Path:
    from fhe_server.imports.pull import pull

    return setting.checkpoint or pull(setting.model)


def _take_turns(
    setting: Setting, encrypted: Encrypted, twins: dict[str, ClearTwin], samples: Samples
) -> None:
    samples.note("encrypted token", encrypted.write(setting.tokens)["token_s"])
    for length in setting.prefills:
        encrypted.wait_ready()
        samples.note(f"encrypted prefill {length}", encrypted.read(length))
    longest = max(setting.prefills)
    samples.note(f"encrypted prefill {longest} at once", encrypted.read(longest))
    for kind, twin in twins.items():
        samples.note(f"{kind} token", twin.ask({"prompt": 12, "tokens": setting.tokens})["token"])
        for length in setting.prefills:
            samples.note(f"{kind} prefill {length}", twin.ask({"prompt": length})["prefill"])
    encrypted.wait_ready()


def milliseconds(setting: Setting) -> Result:
    """See `benchmarks.timeline`."""
    return timeline.measure(setting)


def payload(setting: Setting) -> Result:
    """MB per token on the wire: what is sent, what framing adds, and the share of the two token tables."""
    with opened(setting.model) as encrypted:
        manifest = encrypted.manifest
        moved = encrypted.write(setting.tokens)
    tables = [
        g for g in manifest.groups if g.kind == "embedding" or g.outputs == manifest.vocabulary
    ]
    table_bytes = sum(3 * g.inputs + 2 * g.outputs * len(g.parts) for g in tables)
    up, down = manifest.query_bytes(), manifest.answer_bytes()
    return {
        "queries_mb": up / 1e6,
        "answers_mb": down / 1e6,
        "framing_mb": (moved["up"] + moved["down"] - up - down) / 1e6,
        "tables_mb": table_bytes / 1e6,
        "hints_mb": manifest.hint_bytes / 1e6,
        "by_formula_mb": {name: shape_bytes(*shape) / 1e6 for name, shape in SHAPES.items()},
    }


SHAPES: dict[str, tuple[int, int, tuple[tuple[int, int], ...]]] = {
    "GPT-2": (12, 50257, ((768, 2304), (768, 768), (768, 3072), (3072, 768))),
    "Llama-3.2-1B": (16, 128256, ((2048, 3072), (2048, 2048), (2048, 16384), (8192, 2048))),
}
"""(blocks, vocabulary, (inputs, outputs) of a block's groups)."""


def shape_bytes(blocks: int, vocabulary: int, groups: tuple[tuple[int, int], ...]) -> int:
    """Payload of a token with everything remote: blocks, one-hot look-up, output layer."""
    hidden = groups[0][0]
    inside = sum(3 * n + 2 * m for n, m in groups)
    return blocks * inside + (3 * vocabulary + 2 * hidden) + (3 * hidden + 2 * vocabulary)


def offline(setting: Setting) -> Result:
    """Seconds of what is done ahead: import with hints, download of the hints over loopback, pads of windows."""
    return ({"import_s": _import(setting)} if setting.imports else {}) | _downloads(setting)


def _import(setting: Setting) -> float:
    """Seconds of an import from the checkpoint, hints included."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fhe_server", "import", str(_checkpoint(setting))]
        command += ["--name", setting.model, "--models", folder]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begun


def _downloads(setting: Setting) -> Result:
    """A client that has nothing: download, audit, first window. Then the pads of windows of several sizes."""
    from fhe_client.home import Home

    marks: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, round_trips.server(setting.model) as port:
        home = replace(Home.locate(), config=Path(folder) / "c", cache=Path(folder) / "k")
        with _opening(setting.model, f"http://127.0.0.1:{port}", home, marks) as chat:
            marks.append(("end", time.perf_counter()))
            pads = _pads(chat)
    spans: dict[str, float] = {}
    for (state, begun), (_, ended) in pairwise(marks):
        spans[state] = spans.get(state, 0.0) + ended - begun
    names = {
        "downloading_hints": "download_s",
        "auditing": "audit_s",
        "preparing_keys": "first_window_s",
    }
    return {name: spans.get(state, 0.0) for state, name in names.items()} | pads


@contextmanager
def _opening(model: str, url: str, home: Any, marks: list[tuple[str, float]]) -> Iterator[Any]:
    from fhe_client.chat_events import Callbacks, ConnectOptions, Status
    from fhe_client.connect import open_chat
    from fhe_client.keys import MasterKey

    def note(status: Status) -> None:
        marks.append((status.state, time.perf_counter()))

    options = ConnectOptions(url=url, model=model)
    with (
        MasterKey.generate(origin="session") as key,
        open_chat(options, key, Callbacks(on_status=note), home=home) as chat,
    ):
        yield chat


def _pads(chat: Any) -> Result:
    """Milliseconds of work for each token's pads: one whole epoch at a time where it fits, and in windows."""
    from fhe_client.crypto.pads import prepare_window
    from fhe_client.crypto.secrets import EpochSecrets
    from fhe_client.crypto.session import window_bytes
    from fhe_client.keys import MasterKey

    maker = chat._parts.session._maker
    manifest = chat.manifest
    degree = manifest.parameters.ring_degree
    found: Result = {}
    for slots in (64, 256, degree):
        if window_bytes(manifest, slots) > 2 << 30:
            continue
        with MasterKey.generate(origin="session") as key:
            secrets = EpochSecrets(key, manifest.parameters)
            begun = time.thread_time()
            window = prepare_window(manifest, secrets, maker._hints, 0, slots)
            found[f"pads_{slots}_ms_per_token"] = (time.thread_time() - begun) / slots * 1e3
            found[f"pads_{slots}_mb"] = window_bytes(manifest, slots) / 1e6
            window.wipe()
            secrets.wipe()
    return found


def distances(setting: Setting) -> Result:
    """Seconds per token at internet distances, with and without guesses, by the delaying proxy."""
    from fhe_client.home import Home
    from fhe_client.keys import MasterKey

    cells = []
    with (
        tempfile.TemporaryDirectory() as config,
        MasterKey.generate(origin="session") as key,
        round_trips.server(setting.model) as port,
    ):
        home = replace(Home.locate(), config=Path(config))
        for where in setting.places:
            far = where[0] > 20
            with (
                round_trips.distance(port, *where) as near,
                round_trips.open_at(near, setting.model, key, home) as chat,
            ):
                for text, draft in _far_cells(far):
                    most = setting.far_tokens * (8 if draft else 1)
                    cells.append(vars(round_trips.measure(chat, where, (text, draft), most)))
    return {"netem": netem(), "cells": cells}


def _far_cells(far: bool) -> list[tuple[str, int]]:
    """What is asked at each place; less where each pass takes many seconds."""
    cells = [("free", 0), ("summarise", 8)]
    return cells if far else [*cells, ("rewrite", 8)]


def netem() -> bool:
    """Whether this kernel can delay packets itself. Where it cannot, the proxy does, as it does here in any case."""
    command = ["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    if not all(map(shutil.which, ("unshare", "tc"))):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def starts(setting: Setting) -> Result:
    """The engine as the window starts it: seconds from its first instruction to the first token, and its memory."""
    from fhe_client.home import Home

    real = Home.locate()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "data").mkdir(parents=True)
        (home / "data" / "models").symlink_to(real.data / "models", target_is_directory=True)
        cold = start_once(home, setting, 1)
        warm = [start_once(home, setting, 1) for _ in range(setting.starts)]
        long = start_once(home, setting, setting.tokens) if setting.starts > 1 else warm[-1]
    typical = {
        name: statistics.median(run[name] for run in warm) for name in ("first_token_s", "ready_s")
    }
    memory = {name: long[name] for name in ("client_mb", "server_mb")}
    return {"cold": {k: cold[k] for k in typical}, "warm": typical, "memory": memory}


def start_once(home: Path, setting: Setting, tokens: int) -> Result:
    """One life of an engine."""
    environment = {**os.environ, "TACITA_HOME": str(home)}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "fhe_client.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        engine = _Engine(process)
        engine.do("keys_use", mode="session", passphrase=None)
        server = {"url": None, "token": None}
        engine.do("connect", server=server, model=setting.model, local=True)
        ready = time.perf_counter() - begun
        question = [{"role": "user", "content": "Hi"}]
        options = {"max_tokens": tokens, "temperature": 0, "top_p": None, "seed": None}
        engine.do("ask", messages=question, options=options)
        first = (engine.first_piece or time.perf_counter()) - begun
        memory = {
            "client_mb": peak_mb(process.pid),
            "server_mb": max(map(peak_mb, children(process.pid)), default=0.0),
        }
        return {"ready_s": ready, "first_token_s": first, **memory}
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


class _Engine:
    """Commands, one after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._next = 0
        self.first_piece: float | None = None

    def do(self, name: str, **fields: Any) -> Result:
        """Send one and wait for its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._next += 1
        command = {"id": self._next, "cmd": name, **fields}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            event: Result = json.loads(line)
            if event["event"] == "piece" and self.first_piece is None:
                self.first_piece = time.perf_counter()
            if event["event"] == "result" and event["id"] == self._next:
                return event
            if event["event"] == "error":
                raise SystemExit(f"{name}: {event['message']}")
        raise SystemExit(f"The engine ended during {name}.")


def peak_mb(pid: int) -> float:
    """Largest resident memory of a process so far; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next(
        (int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM")),
        0.0,
    )


def children(pid: int) -> list[int]:
    """Children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


SECTIONS: dict[str, Callable[[Setting], Result]] = {
    "speed": speed,
    "milliseconds": milliseconds,
    "payload": payload,
    "starts": starts,
    "distances": distances,
    "offline": offline,
}
"""In the order in which they run."""
