"""`tacita`: ask and chat in a terminal, look after keys and pins, test a server.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted. The answer goes to standard output, everything else to
standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

from fhe_client.chat_events import Callbacks, CancelledError, ConnectOptions
from fhe_client.cli_parser import SERVER_VARIABLE, TOKEN_VARIABLE, build_parser
from fhe_client.crypto.hardening import harden_process
from fhe_client.environment import quiet_libraries
from fhe_client.errors import TacitaError
from fhe_client.failures import describe, log_failure
from fhe_client.home import Home
from fhe_client.key_access import open_master_key
from fhe_client.keys import commands as key_commands
from fhe_client.printing import StatusLine, clean, spelled_fingerprint, write_error

if TYPE_CHECKING:
    from fhe_client.keys import MasterKey
    from fhe_client.open_chat import OpenChat
    from fhe_client.text.chat import ChatReply
    from fhe_client.text.transcript import Message

SELF_TEST = "--self-test"
DEBUG_VARIABLE = "TACITA_DEBUG"
_USAGE = 2
_INTERRUPTED = 130
_MAX_PROMPT_BYTES = 4 << 20
_MAX_TOKEN_BYTES = 8192


class UsageError(TacitaError):
    """The arguments make no sense together."""

    code = "usage"


def run(arguments: Sequence[str] | None = None) -> int:
    """The program `tacita`: makes this process one that leaves no core dump, then runs one command."""
    harden_process()
    return main(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == [SELF_TEST]:
        from fhe_client.self_test import main as self_test

        return self_test(arguments[1:])
    options = build_parser().parse_args(arguments)
    quiet_libraries()
    try:
        return _COMMANDS[options.command](options)
    except (KeyboardInterrupt, CancelledError):
        sys.stderr.write("\ntacita: interrupted\n")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        _discard_stdout()
        return 1
    except Exception as error:
        return _fail(error, as_json=getattr(options, "json", False))


def _fail(error: Exception, as_json: bool) -> int:
    failure = describe(error)
    if failure.internal:
        log_failure(failure, Home.locate())
    if os.environ.get(DEBUG_VARIABLE) == "1":
        traceback.print_exception(error)
    write_error(failure)
    if as_json:
        _print_json({"error": asdict(failure)})
    return _USAGE if isinstance(error, UsageError) else 1


# --- ask and chat ---


def _ask(options: argparse.Namespace) -> int:
    prompt = _prompt(options.prompt)
    generation = _generation_options(options)
    status = StatusLine()
    stop = StopOnInterrupt()
    with open_master_key(options.keys) as key, stop, _open(options, key, status, stop) as chat:
        out = _Silence() if options.json else ReplyPrinter(status)
        status.clear()
        reply = chat.ask(
            messages_of(options.system, prompt),
            generation,
            on_piece=out.piece,
            on_prompt=out.prompt,
            should_stop=stop.is_set,
        )
        out.end()
        if options.json:
            _print_json(figures(reply, chat))
        _warn(reply)
    return _INTERRUPTED if reply.stopped else 0


def _chat(options: argparse.Namespace) -> int:
    from fhe_client.terminal_chat import TerminalChat

    generation = _generation_options(options)
    status = StatusLine()
    stop = StopOnInterrupt()
    with open_master_key(options.keys) as key:
        with stop:
            chat = _open(options, key, status, stop)
        with chat:
            status.clear()
            TerminalChat(chat, generation, options.system, status, stop).run()
    return 0


def _api(options: argparse.Namespace) -> int:
    try:
        from fhe_client.api import command
    except ModuleNotFoundError as error:
        raise UsageError(
            f"A package that this needs is not installed: {error.name}.",
            'Install it: pip install "tacita[api]"',
        ) from error
    generation = _generation_options(options)
    status = StatusLine()
    stop = StopOnInterrupt()
    with open_master_key(options.keys) as key, command.listen(options.port) as bound:
        with stop:
            chat = _open(options, key, status, stop)
        with chat:
            status.clear()
            command.serve(chat, key, bound, generation)
    return 0


def _open(
    options: argparse.Namespace, key: MasterKey, status: StatusLine, stop: StopOnInterrupt
) -> OpenChat:
    from fhe_client.connect import open_chat

    callbacks = Callbacks(on_status=status, should_stop=stop.is_set)
    return open_chat(_connect_options(options), key, callbacks)


def messages_of(system: str | None, prompt: str) -> list[Message]:
    """The conversation that one question is."""
    from fhe_client.text.transcript import Message

    first = [Message("system", system)] if system else []
    return [*first, Message("user", prompt)]


def figures(reply: ChatReply, chat: OpenChat) -> dict[str, Any]:
    """What --json prints. Bytes are those of the reply's rounds on the wire, headers included; hints apart."""
    traffic = chat.traffic()
    return {
        "answer": reply.text,
        "model": chat.model,
        "scheme": chat.scheme,
        "server": "local" if chat.local else chat.server,
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "padding_tokens": reply.padding_tokens,
        "seconds_to_first_token": reply.seconds_first,
        "seconds_per_token": reply.seconds_per_token,
        "bytes_up": reply.bytes_up,
        "bytes_down": reply.bytes_down,
        "hint_bytes": chat.manifest.hint_bytes,
        "hint_bytes_downloaded": traffic.of("hints")[1],
        "key_bytes_uploaded": traffic.of("keys")[0],
        "rounds": reply.rounds,
        "epochs_used": chat.epochs_used,
        "tokens_left_in_epoch": chat.tokens_left_in_epoch,
        "stopped": reply.stopped,
        "reason": reply.reason,
        "truncated_turns": reply.truncated_turns,
        "warning": reply.warning,
    }


class _Silence:
    """Shows nothing of a reply in the making."""

    def piece(self, text: str) -> None:
        """Nothing."""

    def prompt(self, done: int, total: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class ReplyPrinter(_Silence):
    """Streams a reply to standard output."""

    def __init__(self, status: StatusLine) -> None:
        self._status = status
        self._last = ""

    def piece(self, text: str) -> None:
        """Show a piece of the reply."""
        self._status.clear()
        shown = clean(text)
        sys.stdout.write(shown)
        sys.stdout.flush()
        self._last = shown[-1:] or self._last

    def prompt(self, done: int, total: int) -> None:
        """Show how much of the prompt is read."""
        from fhe_client.chat_events import Status

        self._status(Status("prompt", done, total, "tokens"))

    def end(self) -> None:
        """End the reply's last line."""
        self._status.clear()
        if self._last != "\n":
            sys.stdout.write("\n")
            sys.stdout.flush()


class StopOnInterrupt:
    """While entered, the first Ctrl-C asks to stop, and a second one interrupts."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: Any = None

    def is_set(self) -> bool:
        """Whether Ctrl-C was pressed since it was entered."""
        return self._asked.is_set()

    def __enter__(self) -> StopOnInterrupt:
        self._asked.clear()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()


def _warn(reply: ChatReply) -> None:
    if reply.warning:
        sys.stderr.write(f"tacita: {clean(reply.warning)}\n")


def _prompt(argument: str | None) -> str:
    piped = sys.stdin is not None and not sys.stdin.isatty()
    if argument is None and not piped:
        raise UsageError("There is no question.", 'Write it behind the command: tacita ask "..."')
    if argument not in (None, "-"):
        text = str(argument)
    else:
        data = sys.stdin.buffer.read(_MAX_PROMPT_BYTES + 1)
        if len(data) > _MAX_PROMPT_BYTES:
            raise UsageError("The question is too long.", "Ask something shorter.")
        text = data.decode("utf-8", "replace")
    if not text.strip():
        raise UsageError("The question is empty.", 'Write one: tacita ask "..."')
    return text


def _connect_options(options: argparse.Namespace) -> ConnectOptions:
    url = options.server or (None if options.local else os.environ.get(SERVER_VARIABLE) or None)
    if options.certificate is not None and url is None:
        raise UsageError("The embedded server has no certificate.", "Leave --certificate out.")
    return ConnectOptions(
        url=url,
        token=_token(options),
        pinned_certificate=options.certificate,
        model=options.model,
        accept_model_change=options.accept_model_change,
        scheme=options.scheme,
    )


def _generation_options(options: argparse.Namespace) -> Any:
    from fhe_client.model.errors import ModelError
    from fhe_client.text.generation import GenerationOptions

    try:
        return GenerationOptions(
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            draft=options.draft,
            pad=options.pad,
        )
    except ModelError as error:
        raise UsageError(error.message, error.next_step) from error


def _token(options: argparse.Namespace) -> str | None:
    """The server's access token. Never an argument: a list of processes would show it."""
    if options.token_file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        with options.token_file.open("rb") as file:
            text = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not plain text"
        raise UsageError(
            f"The token file {options.token_file} cannot be read: {reason}.", "Check --token-file."
        ) from error
    if not text:
        raise UsageError(f"The token file {options.token_file} is empty.", "Check --token-file.")
    return str(text)


# --- the other commands ---


def _keys(options: argparse.Namespace) -> int:
    return key_commands.run(options)


def _test(options: argparse.Namespace) -> int:
    from fhe_client.network.probe import test_connection

    report = test_connection(
        options.url, _token(options), options.model, pinned_certificate=options.certificate
    )
    if options.json:
        _print_json(asdict(report))
    else:
        sys.stdout.write(f"{clean(report.message) or report.outcome}\n")
        for model in report.models:
            sys.stdout.write(
                f"  {clean(model.name)}: hints {model.hint_bytes / 1e6:.0f} MB, "
                f"{model.mb_per_token:.2f} MB a token\n"
            )
        for scheme, reason in report.why_not.items():
            sys.stdout.write(f"  --scheme {clean(scheme)} cannot be used: {clean(reason)}\n")
        if report.certificate_sha256:
            sys.stdout.write(
                f"  The certificate that was presented has the SHA-256 fingerprint\n"
                f"  {spelled_fingerprint(report.certificate_sha256)}\n"
                f"  If whoever runs the server confirms it: --certificate {report.certificate_sha256}\n"
            )
    return 0 if report.outcome == "ok" else 1


def _pins(options: argparse.Namespace) -> int:
    from fhe_client.network.origin import parse_origin
    from fhe_client.network.pins import LOCAL_SERVER, PinStore

    pins = PinStore(Home.locate().config)
    if options.pins_command == "list":
        for server, models in sorted(pins.all().items()):
            for model, digest in sorted(models.items()):
                sys.stdout.write(f"{clean(server)}  {clean(model)}  {digest[:16]}\n")
        return 0
    server = options.server
    name = LOCAL_SERVER if server == LOCAL_SERVER else parse_origin(server).url
    known = pins.all().get(name, {})
    if not known or options.model not in (None, *known):
        raise TacitaError("There is no such pin.", "See them with: tacita pins list")
    pins.forget(name, options.model)
    return 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ask": _ask,
    "chat": _chat,
    "api": _api,
    "keys": _keys,
    "test": _test,
    "pins": _pins,
}


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def _discard_stdout() -> None:
    """Nobody reads any more: keep Python from complaining when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(run())
