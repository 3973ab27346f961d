"""Several server processes on one port.

A query needs no state, so it does not matter which process answers it. The parent only watches: it holds the port,
starts each process, starts it again when it dies, and hands signals on. It never loads a model. Weights are memory
maps of one file, so the processes share them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fhe_server.children import child_command
from fhe_server.errors import ServerError
from fhe_server.service.logs import event
from fhe_server.service.serving import bind, write_port_file

_POLL_S = 0.05
_AGAIN_S = 1.0
_GIVE_UP = 5
"""Deaths in a row of a process that never got ready."""


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    failures: int = 0
    start_at: float = 0.0
    unheard: list[int] = field(default_factory=list)
    """Signals that came before it was ready."""

    def send_unheard(self) -> None:
        if self.ready and self.process is not None:
            for number in self.unheard:
                self.process.send_signal(number)
            self.unheard.clear()


@dataclass
class Workers:
    """The processes of one server.

    Args:
        arguments: of `tacita-server serve`, as the operator gave them.
        count: how many processes.
        host, port: where they listen; port 0 picks a free one.
        drain_s: how long a process may take to end.
    """

    arguments: Sequence[str]
    count: int
    host: str
    port: int
    drain_s: float = 30.0
    _workers: list[_Worker] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _ending: bool = False

    def run(
        self,
        announce: Callable[[str], None] = print,
        port_file: Path | None = None,
        exit_with_stdin: bool = False,
    ) -> int:
        """Until SIGTERM or SIGINT; 0, or 1 if the processes could not be started.

        Raises:
            ServerError: the port cannot be bound, or this system cannot share one.
        """
        if not hasattr(socket, "SO_REUSEPORT"):
            raise ServerError(
                "This system cannot share a port between processes.", "Leave --workers out."
            )
        with (
            bind(self.host, self.port, shared=True) as held,
            tempfile.TemporaryDirectory() as folder,
        ):
            port = held.getsockname()[1]
            self._workers = [_Worker(number) for number in range(self.count)]
            before = {s: signal.signal(s, self._note) for s in _handled()}
            if exit_with_stdin:
                threading.Thread(target=self._end_with_stdin, daemon=True).start()
            try:
                return self._watch(Path(folder), port, announce, port_file)
            finally:
                self._end_all()
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _watch(
        self, folder: Path, port: int, announce: Callable[[str], None], port_file: Path | None
    ) -> int:
        announced = False
        while not self._ending:
            for worker in self._workers:
                self._look_after(worker, folder, port)
            if max(w.failures for w in self._workers) >= _GIVE_UP:
                event("workers_do_not_start", logging.ERROR)
                return 1
            if not announced and all(w.ready for w in self._workers):
                announced = True
                if port_file is not None:
                    write_port_file(port_file, self.host, port)
                announce(f"Serving on {self.host}:{port} with {self.count} processes")
            self._hand_on_signals()
            time.sleep(_POLL_S)
        return 0

    def _look_after(self, worker: _Worker, folder: Path, port: int) -> None:
        ready_file = folder / f"{worker.number}.json"
        process = worker.process
        if process is None:
            if time.monotonic() >= worker.start_at:
                ready_file.unlink(missing_ok=True)
                worker.process = self._start(worker.number, port, ready_file)
            return
        if process.poll() is not None:
            _close(process)
            event("worker_died", logging.WARNING, worker=worker.number, status=process.returncode)
            worker.failures = 0 if worker.ready else worker.failures + 1
            worker.process, worker.ready = None, False
            worker.start_at = time.monotonic() + (_AGAIN_S if worker.failures else 0.0)
        elif not worker.ready and ready_file.exists():
            worker.ready = True

    def _start(self, number: int, port: int, ready_file: Path) -> subprocess.Popen[bytes]:
        command = child_command("fhe_server", *self.arguments)
        command += ["--port", str(port), "--worker", str(number), "--port-file", str(ready_file)]
        return subprocess.Popen(
            [*command, "--exit-with-stdin"],
            stdin=subprocess.PIPE,  # closed when this process dies, however it does
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the parent, which ends them in order
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def _note(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._ending = True
        else:
            self._signals.append(number)

    def _hand_on_signals(self) -> None:
        signals, self._signals = self._signals, []
        for worker in self._workers:
            worker.unheard += signals
            worker.send_unheard()

    def _end_with_stdin(self) -> None:
        while sys.stdin.buffer.read(4096):
            pass
        self._ending = True

    def _end_all(self) -> None:
        running = [w.process for w in self._workers if w.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self.drain_s + 5
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            _close(process)


def _handled() -> list[signal.Signals]:
    found = [signal.SIGTERM, signal.SIGINT]
    return [*found, signal.SIGHUP] if hasattr(signal, "SIGHUP") else found


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
