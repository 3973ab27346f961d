"""`python -m fhe_client.engine`: the client without a window. JSON lines in and out (docs/architecture.md).

The main thread reads commands and answers at once what must not wait: stop, watch_layers, shutdown. One worker does the
rest in order; a second one does what is independent of a chat (hello, test_connection, keys_status). Nothing heavy is
imported before `hello` is answered.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NoReturn

from fhe_client.chat_events import SCHEMES, Callbacks, ConnectOptions, Status, schemes
from fhe_client.crypto.hardening import harden_process
from fhe_client.engine_meter import RoundWatcher
from fhe_client.engine_protocol import (
    Command,
    CommandError,
    EventWriter,
    parse_command,
    read_lines,
)
from fhe_client.environment import quiet_libraries
from fhe_client.errors import TacitaError
from fhe_client.failures import describe, log_failure
from fhe_client.home import Home
from fhe_client.keys import KeyStore, MasterKey
from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.version import __version__

if TYPE_CHECKING:
    from fhe_client.open_chat import OpenChat

_SHUTDOWN_SECONDS = 1.2
_OPTION_NAMES = ("max_tokens", "temperature", "top_p", "top_k", "seed", "draft", "pad")


class NotConnectedError(TacitaError):
    """There is no chat to ask in."""

    code: ClassVar[str] = "not_connected"

    def __init__(self) -> None:
        super().__init__("There is no connection to a server.", "Connect first.")


@dataclass(eq=False)
class _Job:
    """A command that waits for a worker or is being done."""

    command: Command
    stop: threading.Event = field(default_factory=threading.Event)


class Engine:
    """Commands in through `take`, events out through the writer."""

    def __init__(self, writer: EventWriter, home: Home | None = None) -> None:
        self._writer = writer
        self._home = home or Home.locate()
        self._store = KeyStore(self._home)
        self._key: MasterKey | None = None
        self._retired: list[MasterKey] = []
        self._chat: OpenChat | None = None
        self._watcher = RoundWatcher(writer)
        self._jobs: list[_Job] = []
        self._jobs_lock = threading.Lock()
        self._work: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._aside: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self._run, args=(waiting,), name=name, daemon=True)
            for name, waiting in (("tacita-worker", self._work), ("tacita-aside", self._aside))
        ]
        for worker in self._workers:
            worker.start()

    # --- the reading thread ---

    def take(self, line: bytes | CommandError) -> bool:
        """Take one line. Returns whether another one may follow. Never raises."""
        try:
            if isinstance(line, CommandError):
                raise line
            return self._dispatch(parse_command(line))
        except CommandError as error:
            self._writer.error(error.ident, describe(error))
            return True

    def _dispatch(self, command: Command) -> bool:
        if command.name == "shutdown":
            self._writer.result(command.ident)
            return False
        if command.name == "stop":
            self._stop_jobs("ask", "connect")
            self._writer.result(command.ident)
        elif command.name == "watch_layers":
            self._watcher.watching = command.flag("on")
            self._writer.result(command.ident)
        elif command.name in _ASIDE:
            self._aside.put(_Job(command))
        else:
            if command.name == "connect":  # what an earlier one was about to do is no longer wanted
                self._stop_jobs("connect")
            self._enqueue(_Job(command))
        return True

    def _enqueue(self, job: _Job) -> None:
        with self._jobs_lock:
            self._jobs.append(job)
        self._work.put(job)

    def _stop_jobs(self, *names: str) -> None:
        with self._jobs_lock:
            for job in self._jobs:
                if job.command.name in names:
                    job.stop.set()

    def close(self) -> None:
        """Stop what runs, erase keys and pads, end the local server."""
        self._stop_jobs("ask", "connect", "estimate", "keys_use")
        self._work.put(None)
        self._aside.put(None)
        self._workers[0].join(_SHUTDOWN_SECONDS)
        self._disconnect()
        if self._key is not None:
            self._key.close()

    # --- the workers ---

    def _run(self, waiting: queue.SimpleQueue[_Job | None]) -> None:
        while (job := waiting.get()) is not None:
            self._do(job)
            with self._jobs_lock, contextlib.suppress(ValueError):
                self._jobs.remove(job)

    def _do(self, job: _Job) -> None:
        command = job.command
        try:
            self._writer.result(command.ident, _HANDLERS[command.name](self, job))
        except BaseException as error:
            failure = describe(error)
            if failure.internal:
                log_failure(failure, self._home)
            self._writer.error(command.ident, failure)
        if command.name == "hello":
            threading.Thread(target=_warm_up, name="tacita-warm-up", daemon=True).start()

    def _hello(self, _job: _Job) -> Mapping[str, Any]:
        return {
            "versions": _versions(),
            "protocol_version": PROTOCOL_VERSION,
            "keyring": self._keys(),
            "schemes": schemes(),
        }

    def _test_connection(self, job: _Job) -> Mapping[str, Any]:
        from fhe_client.network.probe import test_connection

        command = job.command
        url, token = command.text_in("server", "url"), command.text_in("server", "token")
        if url is None:
            raise CommandError("A server has no address.", command.ident)
        model = command.text("model")
        report = asdict(test_connection(url, token, model, pinned_certificate=_pinned(command)))
        report["models"] = [model["name"] for model in report["models"]]
        return report

    def _keys_status(self, _job: _Job) -> Mapping[str, Any]:
        return self._keys()

    def _keys_use(self, job: _Job) -> Mapping[str, Any]:
        mode = job.command.text("mode")
        if mode not in ("keyring", "passphrase", "session"):
            raise CommandError("A mode of keys is not known.", job.command.ident)
        key = self._store.use(mode, job.command.text("passphrase"))
        if self._key is not None:
            self._retired.append(self._key)  # a chat that is open goes on with it
        self._key = key
        if self._chat is None:
            self._close_retired()
        return self._keys()

    def _keys(self) -> Mapping[str, Any]:
        status = asdict(self._store.status())
        if self._key is not None and self._key.origin == "session":
            status["state"] = "session"  # whatever is stored, this is what is in use
        return status

    def _connect(self, job: _Job) -> Mapping[str, Any]:
        from fhe_client.connect import open_chat

        options = _connect_options(job.command)
        self._disconnect()
        self._writer.status(Status("connecting"))
        try:
            if self._key is None:
                self._key = self._store.open()
            callbacks = Callbacks(
                on_status=self._writer.status,
                on_round=self._watcher.on_round,
                should_stop=job.stop.is_set,
            )
            chat = open_chat(options, self._key, callbacks, home=self._home)
        except BaseException:
            self._writer.status(Status("offline"))
            raise
        self._chat = chat
        self._watcher.attach(chat)
        self._writer.status(Status("ready"))
        return {
            "model": chat.model,
            "server": chat.server,
            "hint_bytes": chat.manifest.hint_bytes,
            "layers": len(chat.manifest.groups),
            "digest": chat.manifest.digest,
            "context_length": chat.manifest.context_length,
            "scheme": chat.scheme,
            "schemes": chat.schemes,
        }

    def _ask(self, job: _Job) -> Mapping[str, Any]:
        from fhe_client.text.transcript import parse_messages

        chat, ident = self._connected(), job.command.ident
        messages = parse_messages(job.command.fields.get("messages"))
        options = _generation_options(job.command)
        self._watcher.begin(options.max_tokens)
        offline = False
        try:
            reply = chat.ask(
                messages,
                options,
                continuing=job.command.flag("continue"),
                on_piece=lambda text: self._writer.event("piece", id=ident, text=text),
                on_prompt=self._watcher.on_prompt,
                should_stop=job.stop.is_set,
            )
        except BaseException as error:
            offline = getattr(error, "retryable", False) is True
            raise
        finally:
            self._watcher.end()
            self._writer.status(Status("offline" if offline else "ready"))
        return asdict(reply)

    def _estimate(self, job: _Job) -> Mapping[str, Any]:
        from fhe_client.text.transcript import parse_messages

        command = job.command
        messages = parse_messages(command.fields.get("messages"))
        options, continuing = _generation_options(command), command.flag("continue")
        return asdict(self._connected().estimate(messages, options, continuing))

    def _connected(self) -> OpenChat:
        if self._chat is None:
            raise NotConnectedError
        return self._chat

    def _disconnect(self) -> None:
        chat, self._chat = self._chat, None
        if chat is not None:
            self._watcher.detach()
            chat.close()
        self._close_retired()

    def _close_retired(self) -> None:
        while self._retired:
            self._retired.pop().close()


_ASIDE = frozenset({"hello", "test_connection", "keys_status"})
_HANDLERS: Mapping[str, Callable[[Engine, _Job], Mapping[str, Any]]] = {
    "hello": Engine._hello,
    "test_connection": Engine._test_connection,
    "keys_status": Engine._keys_status,
    "keys_use": Engine._keys_use,
    "connect": Engine._connect,
    "ask": Engine._ask,
    "estimate": Engine._estimate,
}


def _connect_options(command: Command) -> ConnectOptions:
    local, url = command.flag("local"), command.text_in("server", "url")
    if not local and not url:
        raise CommandError("A server has no address.", command.ident)
    return ConnectOptions(
        url=None if local else url,
        token=command.text_in("server", "token"),
        pinned_certificate=None if local else _pinned(command),
        scheme=_scheme(command),
        model=command.text("model"),
        accept_model_change=command.flag("accept_model_change"),
    )


def _scheme(command: Command) -> str:
    scheme = command.text("scheme") or SCHEMES[0]
    if scheme not in SCHEMES:
        raise CommandError("A scheme is not known.", command.ident)
    return scheme


def _pinned(command: Command) -> str | None:
    return command.text_in("server", "pinned_certificate") or None


def _generation_options(command: Command) -> Any:
    from fhe_client.text.generation import GenerationOptions

    chosen = command.mapping("options")
    return GenerationOptions(
        **{name: chosen[name] for name in _OPTION_NAMES if chosen.get(name) is not None}
    )


def _versions() -> dict[str, str]:
    """Versions of what matters for a report, without importing any of it."""
    found = {"tacita": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _warm_up() -> None:
    """Import what a chat needs while the user still reads. A failure shows where it matters: in `connect`."""
    with contextlib.suppress(Exception):
        import fhe_client.preparing

        fhe_client.preparing.import_heavy_modules()


def _take_over_stdout() -> BinaryIO:
    """The real standard output, for the protocol alone; whatever else prints goes to standard error."""
    sys.stdout.flush()
    protocol = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return protocol


class _TerminatedError(BaseException):
    """SIGTERM or SIGINT arrived: leaves the loop that reads commands."""


def _on_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _TerminatedError


def main() -> int:
    """Serve one window until it says shutdown, closes our standard input, or sends SIGTERM."""
    harden_process()
    quiet_libraries()
    writer = EventWriter(_take_over_stdout())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    engine = Engine(writer)
    try:
        for line in read_lines(sys.stdin.buffer):
            if not engine.take(line):
                break
    except _TerminatedError:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        engine.close()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Threads may be inside torch; there is nothing left that an orderly end of the interpreter would do better.
    os._exit(status)
