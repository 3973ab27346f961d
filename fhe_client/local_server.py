"""The embedded server: `fhe_server` as a child process, never imported.

It takes the part of the untrusted server on the user's own machine, so it gets nothing that another server would not
get: a model's name, a port, and ciphertexts over loopback HTTP.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import importlib.util
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import fhe_client
from fhe_client.chat_events import CancelledError
from fhe_client.environment import child_command, child_environment, frozen
from fhe_client.errors import TacitaError
from fhe_client.home import Home, private_folder

DEFAULT_MODEL = "smollm2-135m"
START_SECONDS = 180.0
"""A cold start reads weights from disk and imports torch; on a loaded machine that takes a while."""

_HEALTH_SECONDS = 5.0
_POLL_SECONDS = 0.05
_STOP_SECONDS = 4.0
_KILL_SECONDS = 10.0
_LOG_NAME = "server.log"
_MAX_LOG_BYTES = 1 << 20
_MAX_MESSAGE = 600
_SERVING = {"OMP_NUM_THREADS": "1"}  # a token's products are too small to share between cores
_NEEDED = ("fhe_server", "starlette", "uvicorn", "websockets")

OnProgress = Callable[[str, int, int], None]
"""(stage in words, done, total); total 0 means not known."""


class LocalServerError(TacitaError):
    """The embedded server could not be prepared, started or kept running."""

    code: ClassVar[str] = "local_server"


def server_command(arguments: Sequence[str]) -> list[str]:
    """The command line of the server package, also inside a frozen program."""
    return child_command("fhe_server", *arguments)


def require_server_packages() -> None:
    """Raise `LocalServerError` unless the `server` extra is installed. Imports nothing."""
    if frozen():
        return
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalServerError(
            f"The local server is not installed ({', '.join(missing)} missing).",
            "Install it with: pip install 'tacita[server]'. Or name a server with --server URL.",
        )


def is_imported(model: str, home: Home) -> bool:
    """Whether the local server has this model already."""
    return (home.data / "models" / model / "manifest.json").is_file()


def pull_model(
    model: str,
    home: Home,
    on_progress: OnProgress = lambda stage, done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Let the server package fetch and import a model of its catalogue.

    Raises:
        LocalServerError: with the server's own words.
        CancelledError: `should_stop` became true; a later call goes on where that is possible.
    """
    require_server_packages()
    command = server_command(["pull", model, "--progress-json"])
    with _log(home) as log, _spawn(command, stdout=log, stderr=subprocess.PIPE) as process:
        try:
            lines = _follow(process, on_progress, should_stop)
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            raise _server_error(lines, home, "The model could not be imported.")


def _follow(
    process: subprocess.Popen[bytes], on_progress: OnProgress, should_stop: Callable[[], bool]
) -> list[str]:
    """Hand progress records on until the process has closed its standard error; the other lines are returned."""
    assert process.stderr is not None
    lines: list[str] = []
    for raw in process.stderr:
        if should_stop():
            raise CancelledError("The import was cancelled.", "Start it again any time.")
        line = raw.decode("utf-8", "replace").rstrip()
        if (record := _progress_record(line)) is not None:
            on_progress(*record)
        elif line:
            lines.append(line)
            del lines[:-50]
    return lines


def _progress_record(line: str) -> tuple[str, int, int] | None:
    if not line.startswith('{"stage"'):
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        record = json.loads(line)
        return str(record["stage"]), int(record["done"]), int(record["total"])
    return None


@dataclass(frozen=True)
class _Target:
    host: str
    port: int


class LocalServer:
    """A running server on 127.0.0.1. `start` returns one; `close` ends it.

    It ends with this process in any case: its standard input is a pipe of ours, which closes when we are gone.

    Attributes:
        url: where it listens; stays the same over `ensure_running`.
    """

    def __init__(self, model: str, home: Home, models: Path | None, process: _Running) -> None:
        self._model = model
        self._home = home
        self._models = models
        self._running: _Running | None = process
        self.url = f"http://{process.target.host}:{process.target.port}"
        self._closed = False
        atexit.register(self.close)

    @classmethod
    def start(
        cls,
        model: str,
        home: Home,
        *,
        models: Path | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        timeout_s: float = START_SECONDS,
    ) -> LocalServer:
        """Start a server for one imported model on a free port and wait until it is healthy.

        Args:
            models: folder of imported models; the profile's own if None.

        Raises:
            LocalServerError: it is not installed, ended at once, or did not become healthy in time.
            CancelledError: `should_stop` became true.
        """
        require_server_packages()
        process = _start(model, home, models, 0, should_stop, timeout_s)
        return cls(model, home, models, process)

    @property
    def pid(self) -> int:
        """Process id, 0 after `close`."""
        return self._running.process.pid if self._running is not None else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._running is not None and self._running.process.poll() is None

    def ensure_running(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Start the server again on the same port if it has ended.

        Raises:
            LocalServerError: as `start`.
        """
        if self.alive or self._closed or self._running is None:
            return
        port = self._running.target.port
        _end(self._running.process)
        self._running = _start(
            self._model, self._home, self._models, port, should_stop, START_SECONDS
        )

    def close(self) -> None:
        """End the server. Safe to call twice."""
        running, self._running = self._running, None
        self._closed = True
        atexit.unregister(self.close)
        if running is not None:
            _end(running.process)

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    target: _Target


def _start(
    model: str,
    home: Home,
    models: Path | None,
    port: int,
    should_stop: Callable[[], bool],
    timeout_s: float,
) -> _Running:
    with tempfile.TemporaryDirectory(prefix="tacita-server-") as folder, _log(home) as log:
        port_file = Path(folder) / "port.json"
        arguments = ["serve", "--open", "--model", model, "--port", str(port), "--threads", "1"]
        arguments += ["--port-file", str(port_file), "--exit-with-stdin"]
        arguments += ["--models", str(models)] if models is not None else []
        process = _spawn(
            server_command(arguments), _SERVING, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        start_of_log = log.tell()
        try:
            target = _wait_healthy(process, port_file, should_stop, time.monotonic() + timeout_s)
        except _EndedError:
            _end(process)
            raise _server_error(
                _log_lines(home, start_of_log), home, "The local server ended at once."
            ) from None
        except BaseException:
            _end(process)
            raise
        return _Running(process, target)


class _EndedError(Exception):
    """The child process ended before it was healthy."""


def _wait_healthy(
    process: subprocess.Popen[bytes],
    port_file: Path,
    should_stop: Callable[[], bool],
    deadline: float,
) -> _Target:
    while time.monotonic() < deadline:
        if should_stop():
            raise CancelledError("The start was cancelled.", "Start it again any time.")
        if process.poll() is not None:
            raise _EndedError
        target = _read_port(port_file)
        if target is not None and _healthy(target):
            return target
        time.sleep(_POLL_SECONDS)
    raise LocalServerError(
        "The local server did not start in time.",
        "Close other programs and try again, or name a server with --server URL.",
    )


def _read_port(path: Path) -> _Target | None:
    """What the server wrote once its socket was bound; it replaces the file in one step."""
    try:
        value: Any = json.loads(path.read_bytes())
        return _Target(str(value["host"]), int(value["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _healthy(target: _Target) -> bool:
    """Ask for /v1/health, past any proxy that the environment names."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", "/v1/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _spawn(
    command: Sequence[str], environment: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.Popen[bytes]:
    """Start a child out of the terminal's process group, so that Ctrl-C stops a reply and not the server."""
    group: Mapping[str, Any] = (
        {"start_new_session": True}
        if os.name == "posix"
        else {
            "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)
            | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        }
    )
    streams.setdefault("stdin", subprocess.DEVNULL)
    # Started beside our own packages: `-m` must not pick up a folder of the same name from where the user stands.
    beside = Path(fhe_client.__file__).resolve().parents[1]
    values = {**child_environment(), **(environment or {})}
    try:
        return subprocess.Popen(command, cwd=beside, env=values, **group, **streams)
    except OSError as error:
        raise LocalServerError(
            f"The local server could not be started: {error.strerror}.", "Install Tacita again."
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its standard input, which asks it to end; be firmer if it does not."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    for seconds, firmer in ((_STOP_SECONDS, process.terminate), (_STOP_SECONDS, process.kill)):
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            firmer()
    process.wait(_KILL_SECONDS)


@contextlib.contextmanager
def _log(home: Home) -> Iterator[IO[bytes]]:
    """The server's log, opened for appending; it holds no content, because the server never sees any."""
    path = private_folder(home.log) / _LOG_NAME
    with contextlib.suppress(OSError):
        if path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        file.seek(0, os.SEEK_END)
        yield file


def _log_lines(home: Home, start: int) -> list[str]:
    with contextlib.suppress(OSError), (home.log / _LOG_NAME).open("rb") as file:
        file.seek(start)
        return file.read(1 << 16).decode("utf-8", "replace").splitlines()[-50:]
    return []


def _server_error(lines: Sequence[str], home: Home, otherwise: str) -> LocalServerError:
    """The server's own message and next step, where it gave them ("tacita-server: ..." and an indented line)."""
    for position in range(len(lines) - 1, -1, -1):
        if lines[position].startswith("tacita-server: "):
            message = lines[position].removeprefix("tacita-server: ")[:_MAX_MESSAGE]
            rest = lines[position + 1 : position + 2]
            step = rest[0].strip()[:_MAX_MESSAGE] if rest and rest[0].startswith("  ") else ""
            return LocalServerError(message, step)
    return LocalServerError(otherwise, f"Its log is {home.log / _LOG_NAME}.")
