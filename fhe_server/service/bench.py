"""`tacita-server bench`: a server of its own on this machine, and more and more clients that keep it busy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fhe_protocol.manifest import Manifest
from fhe_server.artefact import Artefact
from fhe_server.children import child_command
from fhe_server.errors import ServerError
from fhe_server.service.load import LoadReport, Step, random_pass, run_load

_START_S = 120.0
_PASSES = 8
"""Distinct passes in memory; more clients share them."""


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        clients: numbers of concurrent clients, one measurement each.
        seconds: how long each lasts.
        rows: tokens of one pass; 1 is a reply being written.
        more: further arguments of `tacita-server serve`.
    """

    models: Path
    model: str
    clients: tuple[int, ...] = (1, 8, 32)
    seconds: float = 5.0
    rows: int = 1
    workers: int = 1
    threads: int | None = None
    device: str = "cpu"
    more: tuple[str, ...] = ()


def bench(options: BenchOptions, show: Callable[[str], None] = print) -> int:
    """Measure and show a table.

    Raises:
        ServerError: the model is not there, or its server did not start or failed.
    """
    manifest = Artefact(options.models / options.model).manifest
    show(f"{options.model}, {options.rows} token(s) a pass, {options.workers} process(es)")
    show(
        "| clients | tokens/s | round p50 ms | p99 ms | p99/p50 of one kind | slowest / median client |"
    )
    show("|---|---|---|---|---|---|")
    passes = [random_pass(manifest, options.rows, seed) for seed in range(_PASSES)]
    with bench_server(options) as port:
        for count in options.clients:
            report = measure(port, manifest, passes, count, options.seconds)
            show(table_row(count, report, manifest, options.rows))
    return 0


def measure(
    port: int, manifest: Manifest, passes: list[list[Step]], count: int, seconds: float
) -> LoadReport:
    """The load of `count` clients on a server of this machine."""
    chosen = [passes[n % len(passes)] for n in range(count)]
    path = f"/v1/models/{manifest.name}/rounds?digest={manifest.digest}"
    return run_load(("127.0.0.1", port), path, chosen, seconds)


def table_row(count: int, report: LoadReport, manifest: Manifest, rows: int) -> str:
    """One line of the table."""
    speed = report.tokens_per_second(len(manifest.groups)) * rows
    p50, p99 = (report.percentile(x) * 1e3 for x in (0.5, 0.99))
    return f"| {count} | {speed:.1f} | {p50:.2f} | {p99:.2f} | {report.spread:.1f} | {report.fairness:.2f} |"


@contextmanager
def bench_server(options: BenchOptions) -> Iterator[int]:
    """A server process for one model; its port.

    Raises:
        ServerError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="tacita-bench-") as folder:
        port_file = Path(folder) / "port.json"
        command = child_command("fhe_server", "serve", "--open", "--no-glwe")
        command += ["--models", str(options.models), "--model", options.model, "--port", "0"]
        command += ["--workers", str(options.workers), "--device", options.device]
        command += ["--port-file", str(port_file), "--exit-with-stdin", "--log-level", "warning"]
        command += ["--drain-seconds", "3"]
        command += ["--threads", str(options.threads)] if options.threads else []
        command += options.more
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment
        )
        try:
            yield _port_of(process, port_file)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _port_of(process: subprocess.Popen[bytes], port_file: Path) -> int:
    deadline = time.monotonic() + _START_S
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerError("The server to be measured did not start.", "See what it said above.")
        time.sleep(0.05)
    return int(json.loads(port_file.read_text())["port"])
