"""`tacita chat`: a conversation in a terminal. Nothing of it is written to disk."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fhe_client.cli import ReplyPrinter, StopOnInterrupt
from fhe_client.errors import TacitaError
from fhe_client.failures import describe
from fhe_client.printing import StatusLine, clean, megabytes, write_error
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message
from fhe_protocol.errors import ProtocolError

if TYPE_CHECKING:
    from fhe_client.open_chat import OpenChat
    from fhe_client.text.chat import ChatReply

_HELP = """\
  /continue  write on where the last reply was cut or stopped
  /new       forget this conversation and start another
  /stats     bytes and tokens of this session
  /help      this list
  /quit      leave (Ctrl-D does, too)
Ctrl-C stops a reply and keeps what is there. A line that ends with a backslash goes on in the next one.
"""
_UNFINISHED = ("stopped", "length")


class TerminalChat:
    """The loop of questions and replies.

    Args:
        system: instructions for the model, or None.
        stop: catches Ctrl-C while a reply is made.
    """

    def __init__(
        self,
        chat: OpenChat,
        options: GenerationOptions,
        system: str | None,
        status: StatusLine,
        stop: StopOnInterrupt,
        read: Callable[[str], str] = input,
    ) -> None:
        self._chat = chat
        self._options = options
        self._start = [Message("system", system)] if system else []
        self._messages = list(self._start)
        self._status = status
        self._stop = stop
        self._read = read
        self._replies = 0
        self._unfinished = False

    def run(self) -> None:
        """Until /quit or the end of the input."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() then has line editing; its history stays in memory
        where = "this computer" if self._chat.local else self._chat.server
        _say(
            f"{self._chat.model} on {clean(where)}. Only ciphertext leaves this program. /help lists commands."
        )
        while (line := self._next_line()) is not None:
            if line.startswith("/"):
                if not self._command(line.strip()):
                    return
            elif line.strip():
                self._ask(line)

    def _next_line(self) -> str | None:
        lines: list[str] = []
        while True:
            try:
                line = self._read("... " if lines else "> ")
            except EOFError:
                _say("")
                return None
            except KeyboardInterrupt:
                _say("\n/quit or Ctrl-D leaves.")
                lines.clear()
                continue
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _command(self, line: str) -> bool:
        """Run a command; False to leave."""
        if line in ("/quit", "/exit"):
            return False
        found = _COMMANDS.get(line)
        if found is None:
            _say(
                f"There is no command {clean(line)[:40]}. /help lists them; a space before the slash asks the model."
            )
        else:
            found(self)
        return True

    def _ask(self, text: str) -> None:
        reply = self._reply([*self._messages, Message("user", text)])
        if reply is None:  # the question is taken back: asking it again is the next step
            return
        self._messages += [Message("user", text), Message("assistant", reply.text)]
        self._unfinished = reply.reason in _UNFINISHED and bool(reply.text)

    def _continue(self) -> None:
        """Write on at the end of the last reply."""
        if not self._unfinished:
            _say("There is no unfinished reply.")
            return
        reply = self._reply(self._messages, continuing=True)
        if reply is not None:
            begun = self._messages.pop()
            self._messages.append(Message("assistant", begun.content + reply.text))
            self._unfinished = reply.reason in _UNFINISHED

    def _reply(self, messages: Sequence[Message], continuing: bool = False) -> ChatReply | None:
        """Show a reply while it is made; None after an error, which is shown, too."""
        printer = ReplyPrinter(self._status)
        try:
            with self._stop:
                reply = self._chat.ask(
                    messages,
                    self._options,
                    continuing=continuing,
                    on_piece=printer.piece,
                    on_prompt=printer.prompt,
                    should_stop=self._stop.is_set,
                )
        except (TacitaError, ProtocolError) as error:
            printer.end()
            write_error(describe(error))
            return None
        printer.end()
        self._replies += 1
        self._report(reply)
        return reply

    def _report(self, reply: ChatReply) -> None:
        pace = f"{reply.seconds_per_token:.2f} s a token" if reply.seconds_per_token else "-"
        parts = [
            f"{megabytes(reply.bytes_up)} up",
            f"{megabytes(reply.bytes_down)} down",
            f"{reply.reply_tokens} tokens",
            pace,
            *(["stopped"] if reply.stopped else []),
            *(["cut at --max-tokens, /continue goes on"] if reply.reason == "length" else []),
            *([f"{reply.truncated_turns} old turns left out"] if reply.truncated_turns else []),
        ]
        _say(f"[{' · '.join(parts)}]")
        if reply.warning:
            _say(f"tacita: {clean(reply.warning)}")

    def _new(self) -> None:
        self._messages, self._unfinished = list(self._start), False
        self._chat.forget()
        _say("A new conversation.")

    def _stats(self) -> None:
        traffic = self._chat.traffic()
        hints = traffic.of("hints")[1]
        _say(
            f"{self._replies} replies · {megabytes(traffic.bytes_up)} up · "
            f"{megabytes(traffic.bytes_down - hints)} down · {megabytes(hints)} of hints downloaded · "
            f"{traffic.rounds} rounds · {self._chat.tokens_left_in_epoch} tokens left under the present secrets "
            f"(epoch {self._chat.epochs_used})"
        )

    def _help(self) -> None:
        _say(_HELP.rstrip("\n"))


_COMMANDS: Mapping[str, Callable[[TerminalChat], None]] = {
    "/continue": TerminalChat._continue,
    "/new": TerminalChat._new,
    "/stats": TerminalChat._stats,
    "/help": TerminalChat._help,
}


def _say(text: str) -> None:
    """Everything that is not the model's goes to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
