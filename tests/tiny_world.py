"""A tiny imported model and real child processes around it, for the tests of engine, command line and connection."""

from __future__ import annotations

import atexit
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from fhe_server.imports.importing import ImportOptions, import_model
from tests.tiny_models import save_tiny

ROOT = Path(__file__).parents[1]
MODEL = "tiny"
ENGINE = (sys.executable, "-m", "fhe_client.engine")
PATIENCE = 240.0
"""Seconds that a loaded machine gets for anything."""


@cache
def tiny_artefact(family: str = "llama", seed: int = 1, name: str = MODEL) -> Path:
    """The artefact folder of a tiny random model, imported by the real importer once a run. Read it only."""
    root = Path(tempfile.mkdtemp(prefix="tacita-tiny-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    save_tiny(root / "checkpoint", family, seed=seed)
    options = ImportOptions(local=("embed",))
    return import_model(str(root / "checkpoint"), root / "models", name, options).folder


def install_tiny(home: Path) -> None:
    """Put the tiny model where the embedded server of a profile looks for it."""
    shutil.copytree(tiny_artefact(), home / "data" / "models" / MODEL)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a child process of a test."""
    return {**os.environ, "TACITA_HOME": str(home), "PYTHONPATH": str(ROOT), **more}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds; fail with `what` when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def process_exists(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class ServerProcess:
    """`python -m fhe_server serve` over the tiny model."""

    def __init__(self, port: int = 0, **more: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tacita-port-"))
        port_file = self._folder / "port.json"
        command = [sys.executable, "-m", "fhe_server", "serve", "--port", str(port)]
        command += ["--models", str(tiny_artefact().parent), "--port-file", str(port_file)]
        self.process = subprocess.Popen(
            [*command, "--exit-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment(self._folder, **more),
        )
        wait_until(port_file.exists, "the server did not start")
        self.port = int(json.loads(port_file.read_text())["port"])
        self.url = f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait(60)

    def close(self) -> None:
        """End it and remove its folder."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def server_process(port: int = 0) -> Iterator[ServerProcess]:
    """A server process that ends with the block."""
    server = ServerProcess(port)
    try:
        yield server
    finally:
        server.close()


class EngineProcess:
    """`python -m fhe_client.engine`, its commands and its events.

    Args:
        command: starts the engine.
        cwd: its current folder.
        more: of its environment.
    """

    def __init__(
        self, home: Path, command: Sequence[str] = ENGINE, cwd: Path = ROOT, /, **more: str
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment(home, **more),
        )
        self.events: list[dict[str, Any]] = []
        self.errors = bytearray()
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()
        self._next = 1

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arrived.put(
                json.loads(line)
            )  # anything but JSON ends this thread: the test then times out
        self._arrived.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def write(self, data: bytes) -> None:
        """Write raw bytes to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, name: str, **fields: Any) -> int:
        """Send a command; its id."""
        ident, self._next = self._next, self._next + 1
        self.write(json.dumps({"id": ident, "cmd": name, **fields}).encode() + b"\n")
        return ident

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Take events until one is wanted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            event = self._arrived.get(timeout=max(0.1, deadline - time.monotonic()))
            assert event is not None, f"the engine ended: {self.errors.decode()[-2000:]}"
            self.events.append(event)
            if wanted(event):
                return event

    def end_of(self, ident: int) -> dict[str, Any]:
        """The result or error event of a command."""

        def ends(event: dict[str, Any]) -> bool:
            return event["event"] in ("result", "error") and event["id"] == ident

        # Commands may end in another order than they were waited for.
        return next(filter(ends, self.events), None) or self.wait_for(ends)

    def do(self, name: str, **fields: Any) -> dict[str, Any]:
        """Send a command and wait for its end."""
        return self.end_of(self.send(name, **fields))

    def connect(self, url: str | None, **more: Any) -> dict[str, Any]:
        """Use a key of this session and connect."""
        assert self.do("keys_use", mode="session", passphrase=None)["event"] == "result"
        fields = {"model": None, "local": url is None, **more}
        return self.do("connect", server={"url": url, "token": None}, **fields)

    def states(self) -> list[str]:
        """The states of all status events so far, without repetitions in a row."""
        found: list[str] = []
        for event in self.events:
            if event["event"] == "status" and found[-1:] != [event["state"]]:
                found.append(event["state"])
        return found

    def close(self) -> int:
        """Close its standard input, wait for it to end; its exit status."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait(60)
            for thread in self._threads:
                thread.join(60)
            for pipe in (self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()


@contextmanager
def engine_process(home: Path, **more: str) -> Iterator[EngineProcess]:
    """An engine process that ends with the block."""
    engine = EngineProcess(home, **more)
    try:
        yield engine
    finally:
        engine.close()


def ask_about(text: str, max_tokens: int = 6) -> dict[str, Any]:
    """The fields of an `ask` command with one question, without sampling."""
    options = {"max_tokens": max_tokens, "temperature": 0, "top_p": None, "seed": None}
    return {"messages": [{"role": "user", "content": text}], "options": options}
