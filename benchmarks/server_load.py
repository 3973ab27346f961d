"""One server under many clients: tokens per second, round times, fairness, and where the processor time goes.

    python -m benchmarks.server_load MODEL_FOLDER [--clients 1 8 32 128] [--seconds 10] [--json FILE]

The queries are those of the real client: random vectors, encrypted by its session, whose decrypted answers are checked
once against the clear product. The load sends the recorded frames again and again (to a server they are like any
others), and every fiftieth answer must be, byte for byte, the one that was decrypted. Load generator and server share
this machine's cores.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.honest_client import HonestClient, RecordingChannel
from fhe_protocol.manifest import Manifest
from fhe_protocol.planes import PLANES
from fhe_protocol.wire import pack_answer, parse_query
from fhe_server.artefact import Artefact
from fhe_server.service.bench import BenchOptions, bench_server
from fhe_server.service.load import run_load, step_of
from fhe_server.service.served_model import ServedModel

PASSES = 6
SAMPLE = 50

Recorded = list[list[tuple[bytes, bytes]]]


@dataclass
class Row:
    """What was measured for one number of clients. Seconds are per round unless said otherwise."""

    clients: int
    tokens_per_s: float
    p50_ms: float
    p99_ms: float
    spread: float
    fairness: float
    batch: float
    server_us: float
    kernel_us: float
    framing_us: float
    generator_us: float
    checked: int

    @property
    def front_us(self) -> float:
        """Processor time of the server that is neither kernel nor framing: event loop, WebSocket, queue."""
        return self.server_us - self.kernel_us - self.framing_us


def record(folder: Path) -> Recorded:
    """Passes of the real client, answered in this process, decrypted and checked: (frame, answer) of every round."""
    model = ServedModel(Artefact(folder))
    channel = RecordingChannel(model.answer)
    client = HonestClient(folder, channel, slots=16)
    for _ in range(PASSES):
        client.run_pass()
    print(f"recorded {len(channel.frames)} rounds, {client.checked:,} decrypted values checked")
    client.close()
    size = len(client.manifest.groups)
    return [channel.frames[n * size : (n + 1) * size] for n in range(PASSES)]


def metrics(port: int) -> dict[str, float]:
    """The server's counts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and line[0] != "#" and "{" not in line)
    return {name: float(value) for name, value in pairs}


def measure(
    port: int,
    metrics_port: int,
    manifest: Manifest,
    recorded: Recorded,
    clients: int,
    seconds: float,
) -> Row:
    """One number of clients."""
    steps = [[step_of(frame, manifest) for frame, _ in one] for one in recorded]
    seen = checked = 0

    def check(client: int, step: int, answer: memoryview) -> None:
        nonlocal seen, checked
        seen += 1
        if seen % SAMPLE == 0:
            assert answer == recorded[client % PASSES][step][1], "a wrong answer"
            checked += 1

    path = f"/v1/models/{manifest.name}/rounds?digest={manifest.digest}"
    before = metrics(metrics_port)
    report = run_load(
        ("127.0.0.1", port),
        path,
        [steps[n % PASSES] for n in range(clients)],
        seconds,
        warm_up_s=2.0,
        on_answer=check,
    )
    after = metrics(metrics_port)
    counts = {name: after[name] - before[name] for name in after}
    rounds = counts["tacita_rounds_total"]
    return Row(
        clients,
        report.tokens_per_second(len(manifest.groups)),
        report.percentile(0.5) * 1e3,
        report.percentile(0.99) * 1e3,
        report.spread,
        report.fairness,
        counts["tacita_rows_total"] / counts["tacita_batches_total"],
        counts["process_cpu_seconds_total"] / rounds * 1e6,
        counts["tacita_kernel_cpu_seconds_total"] / rounds * 1e6,
        framing(manifest, recorded) * 1e6,
        report.cpu_s / sum(report.rounds) * 1e6,
        checked,
    )


def framing(manifest: Manifest, recorded: Recorded) -> float:
    """Processor seconds a round of reading a query and packing its answer, without socket or WebSocket."""
    started = time.process_time()
    for frame, answer in recorded[0]:
        header, _ = parse_query(frame, manifest)
        group = manifest.groups[header.group]
        shape = (len(group.parts), header.rows, group.outputs)
        values = np.frombuffer(answer, "<u2", offset=12).reshape(shape)
        pack_answer(header, list(values))
    return (time.process_time() - started) / len(recorded[0])


def gemm_alone(folder: Path, rows: int) -> float:
    """Tokens per second of the products alone, `rows` at a time, on one core; best of three."""
    model = ServedModel(Artefact(folder))
    rng = np.random.default_rng(0)
    planes = [
        [rng.integers(-128, 128, (PLANES, rows, p.inputs), dtype=np.int8) for p in g.parts]
        for g in model.manifest.groups
    ]
    torch.set_num_threads(1)
    return rows / min(_seconds(lambda: _one_pass(model, planes)) for _ in range(4))


def _one_pass(model: ServedModel, planes: list[list[np.ndarray]]) -> None:
    for group, one in enumerate(planes):
        model.multiply(group, one)


def _seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| clients | tokens/s | p50 ms | p99 ms | p99 / p50 of one kind | slowest / median | rows a product | "
        "server us a round: kernel + framing + front end | generator us |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.clients} | {r.tokens_per_s:.1f} | {r.p50_ms:.2f} | {r.p99_ms:.2f} | {r.spread:.1f} | "
        f"{r.fairness:.2f} | {r.batch:.1f} | {r.kernel_us:.0f} + {r.framing_us:.0f} + {r.front_us:.0f} | "
        f"{r.generator_us:.0f} |"
        for r in rows
    ]
    return "\n".join(lines)


def _wait_for_metrics(port: int) -> None:
    """They have an address of their own, which opens a moment after the service's."""
    deadline = time.monotonic() + 30
    while True:
        try:
            metrics(port)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the model's artefact folder")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    recorded = record(options.folder)
    manifest = Artefact(options.folder).manifest
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics_port = free.getsockname()[1]
    server = BenchOptions(
        options.folder.parent,
        options.folder.name,
        threads=1,
        more=("--metrics", f"127.0.0.1:{metrics_port}"),
    )
    rows: list[Row] = []
    with bench_server(server) as port:
        _wait_for_metrics(metrics_port)
        for clients in options.clients:
            rows.append(measure(port, metrics_port, manifest, recorded, clients, options.seconds))
            print(rows[-1], flush=True)
    limits = {n: gemm_alone(options.folder, n) for n in sorted({1, *options.clients})}
    print(table(rows))
    for row in rows:
        print(
            f"{row.clients} clients: {row.tokens_per_s / limits[row.clients]:.2f} of what one core's products alone "
            f"would give ({limits[row.clients]:.0f} tokens/s)"
        )
    if options.json:
        document = {"rows": [asdict(r) for r in rows], "gemm_alone": limits}
        options.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
