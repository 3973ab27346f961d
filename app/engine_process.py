"""The engine as a child process: JSON lines out, JSON lines and signals back.

The one door to background work. Nothing here blocks the window: commands are written to a pipe,
events come back as signals on the window's own thread.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

from app.events import Failure, Json, Meter, ServerView, Status
from app.i18n import translate
from app.sentences import told
from fhe_client.environment import child_command

COMMAND_VARIABLE = "TACITA_ENGINE_COMMAND"
MAX_LINE_BYTES = 16 * 1024 * 1024
GRACE_MS = 2_000
_STDERR_KEPT = 4_000

OnResult = Callable[[Json], None]
OnFailure = Callable[[Failure], None]


@dataclass(frozen=True)
class _Pending:
    on_result: OnResult
    on_failure: OnFailure


def engine_command(argument: str | None = None) -> list[str]:
    """The command that starts the engine: an argument, the environment, or our own interpreter."""
    chosen = argument or os.environ.get(COMMAND_VARIABLE)
    if chosen:
        return shlex.split(chosen)
    return child_command("fhe_client.engine")


class EngineProcess(QObject):
    """One engine process at a time; ``start`` after a crash starts a fresh one."""

    started = Signal()
    status = Signal(Status)
    meter = Signal(Meter)
    piece = Signal(int, str)
    layer = Signal(int, int)
    server_view = Signal(ServerView)
    died = Signal(Failure)

    def __init__(self, command: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._command = list(command)
        self._process: QProcess | None = None
        self._buffer = bytearray()
        self._stderr = bytearray()
        self._pending: dict[int, _Pending] = {}
        self._next_id = 1
        self._quitting = False

    @property
    def running(self) -> bool:
        """Whether the child process is there (or about to be)."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The child's process id; 0 when it does not run."""
        return int(self._process.processId()) if self._process else 0

    def start(self) -> None:
        """Start the child process; does nothing when it runs already."""
        if self._process is not None:
            return
        self._quitting = False
        self._buffer.clear()
        self._stderr.clear()
        process = QProcess(self)
        process.setProgram(self._command[0])
        process.setArguments(self._command[1:])
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_stderr)
        process.started.connect(self.started)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._error_occurred)
        self._process = process
        process.start()

    def request(
        self,
        name: str,
        fields: Mapping[str, Any] | None = None,
        on_result: OnResult | None = None,
        on_failure: OnFailure | None = None,
    ) -> int:
        """Send a command; exactly one of the two functions is called later. Returns its id."""
        ident = self._next_id
        self._next_id += 1
        failed = on_failure or _ignore
        if self._process is None:
            QTimer.singleShot(0, self, lambda: failed(_not_running()))
            return ident
        self._pending[ident] = _Pending(on_result or _ignore, failed)
        line = json.dumps({"id": ident, "cmd": name, **(fields or {})}, ensure_ascii=False)
        self._process.write(line.encode() + b"\n")
        return ident

    def quit(self) -> None:
        """Ask the child to end, and make sure that it does. Returns once it is gone.

        Call it with every window hidden: an engine in mid-round may take up to ``GRACE_MS``.
        """
        process = self._process
        if process is None:
            return
        self._quitting = True
        self.request("shutdown")
        process.waitForBytesWritten(100)
        process.closeWriteChannel()
        if not process.waitForFinished(GRACE_MS):
            process.terminate()
            if not process.waitForFinished(GRACE_MS // 2):
                process.kill()
                process.waitForFinished(GRACE_MS)

    def kill(self) -> None:
        """End the child at once (for an engine that does not answer); ``died`` follows."""
        if self._process is not None:
            self._process.kill()

    # -- reading ---------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._process is None:
            return
        self._buffer += self._process.readAllStandardOutput().data()
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        if len(rest) > MAX_LINE_BYTES:
            self._buffer.clear()
            self.kill()
        for line in lines:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return  # a stray print of some library: not an event
        if isinstance(value, dict):
            self._dispatch(value)

    def _dispatch(self, value: dict[str, Any]) -> None:
        event = value.get("event")
        if event in ("result", "error"):
            self._end(value, event == "result")
        elif event == "status":
            self.status.emit(Status.parse(value))
        elif event == "meter":
            self.meter.emit(Meter.parse(value))
        elif event == "piece" and isinstance(value.get("text"), str):
            self.piece.emit(int(value.get("id", 0)), value["text"])
        elif event == "layer":
            self.layer.emit(int(value.get("index", 0)), int(value.get("total", 0)))
        elif event == "server_view":
            self.server_view.emit(ServerView.parse(value))

    def _end(self, value: dict[str, Any], succeeded: bool) -> None:
        pending = self._pending.pop(value.get("id", 0), None)
        if pending is None:
            return
        if succeeded:
            pending.on_result(value)
        else:
            pending.on_failure(told(Failure.parse(value)))

    def _read_stderr(self) -> None:
        if self._process is not None:
            self._stderr += self._process.readAllStandardError().data()
            del self._stderr[:-_STDERR_KEPT]

    # -- the end ---------------------------------------------------------------------------------

    def _error_occurred(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart:
            self._gone(translate("engine", "The engine could not be started."))

    def _finished(self, code: int, _status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_stderr()
        self._gone(translate("engine", "The engine stopped unexpectedly."), f"exit status {code}")

    def _gone(self, message: str, how: str = "") -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.deleteLater()
        step = translate("engine", "Start it again; your chats are saved.")
        failure = Failure("engine_died", message, step, self._details(how))
        pending, self._pending = self._pending, {}
        if self._quitting:
            return
        for waiting in pending.values():
            waiting.on_failure(failure)
        self.died.emit(failure)

    def _details(self, how: str) -> str:
        """The exit status and where in the program it ended, but no message of an exception.

        An exception's own text could quote a prompt; file names and line numbers cannot.
        """
        text = self._stderr.decode("utf-8", "replace")
        places = [line.strip() for line in text.splitlines() if line.startswith('  File "')]
        return "\n".join([how, *places[-8:]]).strip()


def _ignore(_value: object) -> None:
    """For a command whose end nobody waits for."""


def _not_running() -> Failure:
    return Failure(
        "engine_not_running",
        translate("engine", "The engine is not running."),
        translate("engine", "Start it again; your chats are saved."),
    )
