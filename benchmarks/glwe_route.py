"""Both schemes through the real network path: the server as a process, HTTP on loopback, keys uploaded, its worker.

    python -m benchmarks.glwe_route --models DIR [--model NAME] [--blocks N] [--tokens 5] [--json FILE]

DIR holds imported models (`tacita-server pull`). `hint` computes whole tokens: every group of the model in order, on
random inputs, without the model's own non-linear layers. Under `glwe` a token would take most of an hour, so the first
group of each distinct shape is computed once; the token is the SUM over all groups. Of a group with many outputs the
answer comes in blocks of 2,048, and --blocks stops after as many and scales to all of them; 0 waits for all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from fhe_client.crypto.session import InferenceSession
from fhe_client.glwe import scheme
from fhe_client.glwe.http_channel import HttpGlweChannel
from fhe_client.glwe.keys import GlweKeys
from fhe_client.keys import MasterKey
from fhe_client.network.hint_store import HintStore
from fhe_client.network.transport import ServerConnection
from fhe_protocol import glwe
from fhe_protocol.manifest import Group, Manifest
from fhe_protocol.wire import HEADER, FrameHeader
from fhe_server.artefact import Artefact
from fhe_server.glwe.routes import block_weights


@dataclass
class Round:
    """One group's round under `glwe`. Seconds of all blocks, if some were left out scaled from those that came.

    Attributes:
        count: groups of this shape in the model.
        blocks, computed: of the answer; how many of them were waited for.
        cpu: of server, worker and client together.
        error: over a typical output, against the same int8 weights.
    """

    name: str
    inputs: int
    outputs: int
    count: int
    blocks: int
    computed: int
    wall: float
    cpu: float
    up: int
    down: int
    error: float


class Server:
    """`tacita-server serve` on a port of its own."""

    def __init__(self, models: Path, model: str, folder: Path) -> None:
        port_file = folder / "port.json"
        command = [
            sys.executable,
            "-m",
            "fhe_server",
            "serve",
            "--model",
            model,
            "--models",
            str(models),
        ]
        command += ["--port", "0", "--port-file", str(port_file), "--exit-with-stdin"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ
        )
        while not port_file.exists():
            if self.process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        self.url = f"http://127.0.0.1:{json.loads(port_file.read_text())['port']}"

    def cpu(self) -> float:
        """CPU seconds of the server, its worker and this process."""
        mine = psutil.Process(self.process.pid)
        times = [p.cpu_times() for p in (mine, *mine.children(recursive=True), psutil.Process())]
        return sum(t.user + t.system for t in times)

    def memory(self) -> dict[str, int]:
        """Most bytes that the server and its workers had in memory."""
        mine = psutil.Process(self.process.pid)
        found = {"server": _peak(mine.pid)}
        for child in mine.children(recursive=True):
            found["worker"] = max(found.get("worker", 0), _peak(child.pid))
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def _peak(pid: int) -> int:
    """Bytes, as Linux keeps them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def hint_tokens(
    manifest: Manifest, connection: ServerConnection, cache: Path, count: int
) -> list[float]:
    """Seconds of whole tokens under `hint`, through the WebSocket."""
    rng = np.random.default_rng(1)
    hints = HintStore(cache).ensure(manifest, connection)
    channel = connection.open_rounds(manifest)
    with (
        MasterKey.generate(origin="session") as key,
        InferenceSession(manifest, channel, hints, key, window_slots=64) as session,
    ):
        session.prepare()
        seconds = []
        for _ in range(count + 1):
            inputs = [rng.normal(size=(1, g.inputs)).astype(np.float32) for g in manifest.groups]
            started = time.perf_counter()
            session.begin_pass(1)
            for group, x in zip(manifest.groups, inputs, strict=True):
                if group.kind == "embedding":
                    session.run_embedding(group, np.array([3]), None)
                else:
                    session.run_group(group, x)
            seconds.append(time.perf_counter() - started)
        channel.close()
    return seconds[1:]


def first_of_each_shape(manifest: Manifest) -> list[tuple[Group, int]]:
    """Groups of distinct shapes, with how many there are of each."""
    found: dict[tuple[str, int, int], list[Group]] = {}
    for group in manifest.groups:
        found.setdefault((group.kind, group.inputs, group.outputs), []).append(group)
    return [(groups[0], len(groups)) for groups in found.values()]


def glwe_round(
    group: Group,
    count: int,
    limit: int,
    server: Server,
    channel: HttpGlweChannel,
    keys: GlweKeys,
    artefact: Artefact,
) -> Round:
    """One round of one row, its answer read block by block as it arrives."""
    rng = np.random.default_rng(group.index)
    x = rng.normal(size=(1, group.inputs))
    if group.kind == "embedding":
        x = np.zeros((1, group.inputs))
        x[0, 3] = 1.0
    wall, cpu = time.perf_counter(), server.cpu()
    gamma = scheme.choose_scale(group, x)
    header = FrameHeader(group.index, group.index, 1)
    frame = glwe.pack_query(header, keys.encrypt(scheme.to_integers(x, gamma)))
    slices = glwe.output_blocks(group.outputs)
    wanted = slices[: limit or len(slices)]
    raw = _read(channel, frame, group, wanted)
    opened, offset = [], HEADER.size
    for start, stop in wanted:
        size = glwe.result_size(1, stop - start)
        glwe.check_result(raw[offset : offset + size], 1, stop - start)
        opened.append(keys.decrypt(raw[offset : offset + size], 1, stop - start))
        offset += size
    found = np.concatenate(opened, axis=1) / gamma
    wall, cpu = time.perf_counter() - wall, server.cpu() - cpu
    weights = block_weights(artefact, group, 0, wanted[-1][1])
    scale = group.outputs / wanted[-1][1]
    return Round(
        group.name,
        group.inputs,
        group.outputs,
        count,
        len(slices),
        len(wanted),
        wall * scale,
        cpu * scale,
        len(frame),
        glwe.answer_size(group, 1),
        _error(found, x @ weights.T.astype(np.float64)),
    )


def _read(
    channel: HttpGlweChannel, frame: bytes, group: Group, wanted: tuple[tuple[int, int], ...]
) -> bytes:
    """The first blocks of an answer; the connection is closed after them if there are more."""
    size = glwe.answer_size(group, 1)
    enough = HEADER.size + sum(glwe.result_size(1, stop - start) for start, stop in wanted)
    if enough == size:
        return channel.exchange(frame, size)
    headers = {"X-Tacita-Model": channel._digest, glwe.KEY_HEADER: channel._key_id or ""}
    response = channel._rounds.open(channel._path, headers=headers, body=frame, seconds=3600.0)
    raw = bytearray()
    while (
        len(raw) < enough
    ):  # exactly so much: a longer read would wait for blocks that nobody wants
        piece = response.raw.read(enough - len(raw))
        if not piece:
            raise SystemExit("the server broke off")
        raw += piece
    response.close()
    channel._rounds.close()
    return bytes(raw)


def _error(found: NDArray[np.float64], due: NDArray[np.float64]) -> float:
    return float(np.sqrt(((found - due) ** 2).mean() / (due**2).mean()))


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measure and print as it goes."""
    with contextlib.ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="tacita-route-")))
        server = Server(options.models, options.model, folder)
        undo.callback(server.close)
        connection = undo.enter_context(ServerConnection(server.url))
        manifest = connection.manifest(options.model)
        report: dict[str, object] = {"model": options.model, "groups": len(manifest.groups)}
        seconds = hint_tokens(manifest, connection, folder, options.tokens)
        report["hint_seconds"] = seconds
        print(f"hint: {np.median(seconds):.3f} s a token over {len(seconds)} whole tokens")
        keys = GlweKeys()
        undo.callback(keys.close)
        channel = HttpGlweChannel(connection.access, manifest, keys.compression_key)
        undo.callback(channel.close)
        started = time.perf_counter()
        channel.upload()
        report["upload_seconds"] = time.perf_counter() - started
        print(f"glwe: key uploaded in {report['upload_seconds']:.1f} s", flush=True)
        rounds = list(_rounds(manifest, options, server, channel, keys))
        report["rounds"] = [asdict(r) for r in rounds]
        report["memory"] = {"client": _peak(os.getpid()), **server.memory()}
        if not options.shape:
            _print_sum(rounds, report)
        print(f"peak memory: {report['memory']}")
    return report


def _rounds(
    manifest: Manifest,
    options: argparse.Namespace,
    server: Server,
    channel: HttpGlweChannel,
    keys: GlweKeys,
) -> Iterator[Round]:
    artefact = Artefact(options.models / options.model)
    for number, (group, count) in enumerate(first_of_each_shape(manifest)):
        if options.shape and number not in options.shape:
            continue
        found = glwe_round(group, count, options.blocks, server, channel, keys, artefact)
        print(
            f"{count:3} x {found.inputs} -> {found.outputs} ({group.kind}) {found.wall:8.1f} s wall "
            f"{found.cpu:8.1f} s CPU, {found.computed} of {found.blocks} blocks, error {100 * found.error:.4f} %",
            flush=True,
        )
        yield found


def _print_sum(rounds: list[Round], report: dict[str, object]) -> None:
    wall, cpu, up, down = (
        sum(r.count * getattr(r, what) for r in rounds) for what in ("wall", "cpu", "up", "down")
    )
    report["token"] = {"wall": wall, "cpu": cpu, "up": up, "down": down}
    print(
        f"glwe: a token, summed: {wall:,.0f} s wall {cpu:,.0f} s CPU {up / 1e6:.2f} MB up", end=""
    )
    print(f" {down / 1e6:.2f} MB down")


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--blocks", type=int, default=4, help="of an answer; 0: all")
    parser.add_argument(
        "--shape",
        type=int,
        action="append",
        default=[],
        help="only this shape, from 0 (default: all)",
    )
    parser.add_argument("--tokens", type=int, default=5, help="whole tokens under hint")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = run(options)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
