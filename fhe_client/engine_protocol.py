"""The lines between the window and the engine (docs/architecture.md, "Engine protocol"): read, checked, written."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, ClassVar

from fhe_client.chat_events import Status
from fhe_client.errors import TacitaError
from fhe_client.failures import Failure

MAX_LINE_BYTES = 16 << 20
COMMANDS = frozenset(
    {
        "hello", "test_connection", "connect", "ask", "stop", "estimate", "keys_status", "keys_use",
        "watch_layers", "shutdown",
    }
)  # fmt: skip


class CommandError(TacitaError):
    """A line, or a field of it, is not what the protocol says."""

    code: ClassVar[str] = "bad_command"

    def __init__(self, message: str, ident: int | None = None) -> None:
        super().__init__(message, "This is a fault of the program that wrote it.")
        self.ident = ident


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Its fields never show in `repr`: they hold prompts, tokens and passphrases."""

    ident: int
    name: str
    fields: Mapping[str, Any] = field(repr=False)

    def text(self, name: str) -> str | None:
        """A string, or None where it is missing or null."""
        found: str | None = _typed(self, self.fields, name, str)
        return found

    def flag(self, name: str) -> bool:
        """A boolean; missing means no."""
        return bool(_typed(self, self.fields, name, bool))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; missing means an empty one."""
        found: Mapping[str, Any] | None = _typed(self, self.fields, name, dict)
        return {} if found is None else found

    def text_in(self, name: str, inner: str) -> str | None:
        """A string inside an object."""
        found: str | None = _typed(self, self.mapping(name), inner, str)
        return found


def _typed(command: Command, values: Mapping[str, Any], name: str, kind: type) -> Any:
    found = values.get(name)
    if found is not None and not isinstance(found, kind):
        raise CommandError(f"Field “{name}” is of the wrong type.", command.ident)
    return found


def parse_command(line: bytes) -> Command:
    """A command from one line.

    Raises:
        CommandError: not a JSON object with an integer `id` and a known `cmd`.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CommandError("A line is not JSON.") from error
    if not isinstance(value, dict):
        raise CommandError("A line is not a JSON object.")
    ident = value.get("id")
    if type(ident) is not int:
        raise CommandError("A command has no integer id.")
    name = value.get("cmd")
    if not isinstance(name, str) or name not in COMMANDS:
        raise CommandError("A command is not known.", ident)
    return Command(ident, name, value)


def read_lines(stream: BinaryIO) -> Iterator[bytes | CommandError]:
    """Lines until the end; one that is too long is skipped and an error given in its place."""
    while line := stream.readline(MAX_LINE_BYTES):
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            if line.strip():
                yield line
            continue
        while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield CommandError("A line is too long.")


class EventWriter:
    """Writes events, whole lines at a time, from any thread. After the window has gone it writes nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._broken = False

    def event(self, kind: str, **values: Any) -> None:
        """Write {"event": kind, ...}. NaN and infinity do not exist in JSON and are refused."""
        line = json.dumps({"event": kind, **values}, allow_nan=False).encode("ascii") + b"\n"
        with self._lock:
            if self._broken:
                return
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):  # closed pipe, closed file
                self._broken = True

    def result(self, ident: int, values: Mapping[str, Any] | None = None) -> None:
        """The end of a command that went well."""
        self.event("result", id=ident, **(values or {}))

    def error(self, ident: int | None, failure: Failure) -> None:
        """The end of a command that did not; `ident` is None where the line had none."""
        self.event("error", id=ident, **asdict(failure))

    def status(self, status: Status) -> None:
        """What is going on."""
        self.event("status", **asdict(status))
