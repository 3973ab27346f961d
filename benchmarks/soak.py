"""A server at saturation for a while, with clients that vanish, stall and send rubbish.

    python -m benchmarks.soak [MODEL_FOLDER] [--minutes 10] [--load 24] [--honest 2]

Honest clients encrypt, decrypt and check every answer against the clear product; load clients keep the server busy and
compare a sample byte for byte; bad ones do what they can. At the end no honest request has failed, no answer was wrong,
the server's memory is as flat as the noise of its allocator, and it still ends when it is asked to.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.honest_client import HonestClient, RecordingChannel
from fhe_client.network.transport import ServerConnection
from fhe_protocol.manifest import Manifest
from fhe_server.artefact import Artefact
from fhe_server.service.bench import BenchOptions, bench_server
from fhe_server.service.load import LoadReport, open_websocket, run_load, step_of
from fhe_server.service.served_model import ServedModel

SLOTS = 64
GROWTH = 1.05
"""Memory at the end over memory after the first third."""
SLACK = 24 << 20
"""Bytes that an allocator may keep more: buffers of the largest frames, arenas of threads."""


@dataclass
class Result:
    """What came of it."""

    minutes: float = 0.0
    honest_passes: int = 0
    checked_values: int = 0
    load: LoadReport = field(default_factory=LoadReport)
    bad_acts: int = 0
    memory: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def growth(self) -> tuple[int, int]:
        """Bytes: the median of the second third, and of the last."""
        third = len(self.memory) // 3
        middle, last = sorted(self.memory[third : 2 * third]), sorted(self.memory[2 * third :])
        return middle[len(middle) // 2], last[len(last) // 2]

    @property
    def flat(self) -> bool:
        """Whether memory has stayed."""
        before, after = self.growth
        return after <= before * GROWTH + SLACK


class Soak:
    """One run.

    Args:
        folder: artefact folder of the model.
    """

    def __init__(self, folder: Path, port: int, pid: int) -> None:
        self.folder, self.port = folder, port
        self.manifest: Manifest = Artefact(folder).manifest
        self.result = Result()
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self, seconds: float, honest: int, load: int, bad: int) -> Result:
        """Everybody at once."""
        work: list[Callable[[], None]] = [self._watch_memory]
        work += [lambda n=n: self._be_honest(n) for n in range(honest)]  # type: ignore[misc]
        work += [lambda n=n: self._be_bad(n) for n in range(bad)]  # type: ignore[misc]
        work += [lambda: self._load(load, seconds)]
        threads = [threading.Thread(target=self._guarded, args=(one,)) for one in work]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._stop.set()
        for thread in threads:
            thread.join(180)
            if thread.is_alive():
                self._fail("a client of the soak hangs")
        self.result.minutes = (time.monotonic() - started) / 60
        return self.result

    def _fail(self, what: str) -> None:
        with self._lock:
            self.result.failures.append(what)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")

    def _watch_memory(self) -> None:
        while not self._stop.wait(0.25):
            self.result.memory.append(anonymous_bytes(self._process))

    def _be_honest(self, number: int) -> None:
        """A real client, again and again: connect, write a little, leave."""
        random_rows = random.Random(number)
        while not self._stop.is_set():
            with ServerConnection(f"http://127.0.0.1:{self.port}") as connection:
                channel = connection.open_rounds(connection.manifest(self.manifest.name))
                client = HonestClient(self.folder, channel, seed=number, slots=SLOTS)
                try:
                    for _ in range(12):
                        if self._stop.is_set():
                            break
                        client.run_pass(random_rows.choice((1, 1, 1, 4)))
                        with self._lock:
                            self.result.honest_passes += 1
                finally:
                    with self._lock:
                        self.result.checked_values += client.checked
                    client.close()
                    channel.close()

    def _load(self, clients: int, seconds: float) -> None:
        """Recorded queries of a real client, as fast as the server can."""
        model = ServedModel(Artefact(self.folder))
        channel = RecordingChannel(model.answer)
        honest = HonestClient(self.folder, channel, slots=SLOTS)
        honest.run_pass()
        honest.close()
        steps = [step_of(frame, self.manifest) for frame, _ in channel.frames]
        seen = 0

        def check(_client: int, step: int, answer: memoryview) -> None:
            nonlocal seen
            seen += 1
            if seen % 20 == 0 and answer != channel.frames[step][1]:
                raise AssertionError("a wrong answer in the load")

        warm_up = min(2.0, seconds / 10)
        self.result.load = run_load(
            ("127.0.0.1", self.port),
            self._path,
            [steps] * clients,
            seconds - warm_up,
            warm_up_s=warm_up,
            on_answer=check,
        )

    @property
    def _path(self) -> str:
        return f"/v1/models/{self.manifest.name}/rounds?digest={self.manifest.digest}"

    def _be_bad(self, number: int) -> None:
        """One bad act after the other."""
        dice = random.Random(1000 + number)
        acts = (self._vanish, self._stall, self._rubbish, self._bad_http, self._bad_message)
        while not self._stop.is_set():
            with suppress(OSError):
                dice.choice(acts)(dice)
            with self._lock:
                self.result.bad_acts += 1
            time.sleep(0.02)

    def _vanish(self, dice: random.Random) -> None:
        """Send a whole query, or half of one, and go without reading the answer."""
        frame = self._large_frame()
        with self._web_socket() as sock:
            sock.sendall(frame[: dice.choice((len(frame), len(frame) // 2, 3))])

    def _stall(self, dice: random.Random) -> None:
        """Half a query, or one whose answer nobody reads, and then nothing for a while."""
        frame = self._large_frame()
        with self._web_socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(frame[: dice.choice((len(frame), len(frame) // 3))])
            self._stop.wait(dice.choice((0.2, 1.0, 4.0)))

    def _rubbish(self, dice: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(dice.randbytes(dice.randrange(1, 5000)))
            sock.settimeout(0.5)
            sock.recv(1000)

    def _bad_http(self, dice: random.Random) -> None:
        length = dice.choice(("5", "99999999999", "-1", "x"))
        head = f"POST /v1/models/{self.manifest.name}/rounds HTTP/1.1\r\nHost: x\r\n"
        head += f"X-Tacita-Model: {self.manifest.digest}\r\nContent-Length: {length}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(head.encode() + dice.randbytes(5))
            sock.settimeout(0.5)
            sock.recv(1000)

    def _bad_message(self, dice: random.Random) -> None:
        """A well-formed WebSocket message with a malformed query."""
        body = dice.choice((b"", b"TQ", dice.randbytes(100), b"TQ\1\0" + bytes(8)))
        with self._web_socket() as sock:
            sock.sendall(bytes([0x82, 0x80 | len(body), 0, 0, 0, 0]) + body)
            sock.settimeout(0.5)
            sock.recv(1000)

    def _web_socket(self) -> socket.socket:
        return open_websocket(("127.0.0.1", self.port), self._path)

    def _large_frame(self) -> bytes:
        """A valid query of 64 rows of the group with the largest answer."""
        if not hasattr(self, "_large"):
            from fhe_server.service.load import random_pass

            steps = random_pass(self.manifest, rows=16)
            self._large = max(steps, key=lambda s: s.answer_size).sent
        return self._large


def anonymous_bytes(process: psutil.Process) -> int:
    """Memory that is the process's own: not the weights, which are mapped from a file and shared."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return int(process.memory_info().rss)
    line = next(x for x in status.read_text().splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def soak(folder: Path, seconds: float, honest: int, load: int, bad: int) -> Result:
    """Start a server, soak it, end it."""
    more = ("--transfer-seconds", "2", "--head-seconds", "2")
    options = BenchOptions(folder.parent, folder.name, threads=1, more=more)
    with bench_server(options) as port:
        pid = next(
            c.pid
            for c in psutil.Process(os.getpid()).children()
            if "serve" in c.cmdline() and str(folder.parent) in c.cmdline()
        )
        return Soak(folder, port, pid).run(seconds, honest, load, bad)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if all is well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", help="artefact folder (default: a tiny model)"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--honest", type=int, default=2)
    parser.add_argument("--load", type=int, default=24)
    parser.add_argument("--bad", type=int, default=4)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tacita-soak-") as temporary:
        folder = options.folder
        if folder is None:
            from tests.servers import make_artefact

            folder = Path(temporary) / "models" / "tiny"
            make_artefact(folder)
        result = soak(folder, options.minutes * 60, options.honest, options.load, options.bad)
    before, after = result.growth
    print(f"{result.minutes:.1f} minutes, {sum(result.load.rounds):,} rounds of the load")
    print(
        f"{result.honest_passes:,} honest passes, {result.checked_values:,} decrypted values checked"
    )
    print(
        f"{result.bad_acts:,} bad acts; slowest of the load's clients over the median {result.load.fairness:.2f}"
    )
    print(
        f"private memory {before / 1e6:.1f} MB in the middle third, {after / 1e6:.1f} MB in the last"
    )
    for failure in result.failures[:10]:
        print(f"FAILED: {failure}")
    if not result.flat:
        print("FAILED: memory grows")
    return 1 if result.failures or not result.flat else 0


if __name__ == "__main__":
    sys.exit(main())
