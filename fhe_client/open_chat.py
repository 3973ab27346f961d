"""A chat that is open: the model here, its matrices at a server, and everything that must be closed in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fhe_client.chat_events import Callbacks, Status
from fhe_client.crypto.session import InferenceSession, RoundReport
from fhe_client.glwe.session import GlweSession
from fhe_client.local_server import LocalServer
from fhe_client.model.passes import StopRequestedError
from fhe_client.network.errors import NetworkError, StoppedError
from fhe_client.network.meter import Traffic, TrafficMeter
from fhe_client.network.round_channel import Answer, RoundChannel
from fhe_client.pace import Estimate, Pace
from fhe_client.text.chat import Chat, ChatReply
from fhe_client.text.drafting import AUTO, rows_per_pass
from fhe_client.text.generation import PREFILL_ROWS, GenerationOptions, OnPiece, OnPrompt
from fhe_client.text.padding import BUCKET, filler_rows
from fhe_client.text.transcript import Message
from fhe_protocol.manifest import Manifest


def _never() -> bool:
    return False


class ConversationChannel:
    """The rounds of a conversation: a stop that comes while the network hangs ends the reply, and is no error.

    The bytes that a stop leaves without an answer are lost together with their slots; nothing is sent again.
    """

    def __init__(
        self,
        inner: RoundChannel,
        on_status: Callable[[Status], None],
        local_server: LocalServer | None = None,
    ) -> None:
        self._inner = inner
        self._on_status = on_status
        self._local_server = local_server
        self._should_stop: Callable[[], bool] = _never
        inner.on_reconnect = self._reconnecting
        self.stop_with(_never)

    def stop_with(self, should_stop: Callable[[], bool]) -> None:
        """Ask `should_stop` while waiting from now on."""
        self._should_stop = self._inner.should_stop = should_stop

    def exchange(self, frame: bytes, answer_size: int) -> Answer:
        """See `RoundChannel`.

        Raises:
            StopRequestedError: the user asked to stop.
        """
        try:
            return self._inner.exchange(frame, answer_size)
        except StoppedError as error:
            raise StopRequestedError from error

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def ensure_local_server(self) -> None:
        """Start the embedded server again if it has died."""
        if self._local_server is not None and not self._local_server.alive:
            self._on_status(Status("starting"))
            self._local_server.ensure_running(self._should_stop)

    def _reconnecting(self, _error: NetworkError) -> None:
        self._on_status(Status("reconnecting"))
        self.ensure_local_server()


@dataclass(frozen=True)
class ChatParts:
    """What `connect.open_chat` has put together.

    Attributes:
        server: the address, as it is shown.
        meter: counts everything since `open_chat` began.
        local_server: the embedded server, if it is one.
        schemes: each with the reason why it cannot be used, or None.
        round_trip: measures the seconds of a round trip to the server.
    """

    server: str
    manifest: Manifest
    meter: TrafficMeter
    session: InferenceSession | GlweSession
    channel: ConversationChannel
    chat: Chat
    pace: Pace
    callbacks: Callbacks
    local_server: LocalServer | None
    cleanup: contextlib.ExitStack
    schemes: Mapping[str, str | None]
    round_trip: Callable[[], float | None] = lambda: None


class OpenChat:
    """One open chat, for one thread at a time. Close it: pads and secrets are erased, the local server ends."""

    def __init__(self, parts: ChatParts) -> None:
        self._parts = parts
        self.server = parts.server
        self.manifest = parts.manifest
        self.model = parts.manifest.name
        self.pace = parts.pace
        self.scheme = "glwe" if isinstance(parts.session, GlweSession) else "hint"
        self.schemes = parts.schemes

    @property
    def local(self) -> bool:
        """Whether the server is the embedded one."""
        return self._parts.local_server is not None

    @property
    def local_server(self) -> LocalServer | None:
        """The embedded server, if it is one."""
        return self._parts.local_server

    @property
    def tokens_left_in_epoch(self) -> int:
        """Slots that are left under the present secrets."""
        return self._parts.session.tokens_left_in_epoch

    @property
    def epochs_used(self) -> int:
        """Epochs begun so far."""
        return self._parts.session.epochs_used

    def traffic(self) -> Traffic:
        """Bytes on the wire since `open_chat` began."""
        return self._parts.meter.snapshot()

    def ask(
        self,
        messages: Sequence[Message],
        options: GenerationOptions,
        *,
        continuing: bool = False,
        on_piece: OnPiece = lambda text: None,
        on_prompt: OnPrompt = lambda done, total: None,
        should_stop: Callable[[], bool] = _never,
    ) -> ChatReply:
        """Write the reply to the last message; see `Chat.ask`. An embedded server that died is started again."""
        parts = self._parts
        passes = _PromptPasses(self.pace, on_prompt)
        self.pace.begin_reply()
        parts.channel.stop_with(should_stop)
        try:
            parts.channel.ensure_local_server()
            reply = parts.chat.ask(
                messages,
                self._with_round_trip(options),
                continuing=continuing,
                on_piece=on_piece,
                on_prompt=passes,
                on_tokens=self.pace.tokens_written,
                should_stop=should_stop,
            )
        finally:
            parts.channel.stop_with(_never)
        new_tokens = reply.prompt_tokens - reply.reused_tokens
        new_tokens += filler_rows(new_tokens) if options.pad else 0
        passes_made = -(-new_tokens // PREFILL_ROWS)
        each = reply.seconds_per_token
        if each is not None and reply.passes:
            each *= (reply.reply_tokens - 1) / reply.passes
        self.pace.learn(new_tokens, passes_made, reply.seconds_first, each)
        return reply

    def _with_round_trip(self, options: GenerationOptions) -> GenerationOptions:
        """The options, with what "auto" must know. Rows of the `glwe` scheme cost too much to guess with."""
        if options.draft != AUTO or options.round_trip_s is not None or self.scheme == "glwe":
            return options
        return replace(options, round_trip_s=self._parts.round_trip())

    def estimate(
        self, messages: Sequence[Message], options: GenerationOptions, continuing: bool = False
    ) -> Estimate:
        """What reading these messages would cost, and the least that the reply will, without sending anything."""
        size = self._parts.chat.measure(messages, options, continuing)
        passes = BUCKET if options.pad else 1
        rows = rows_per_pass(options.draft, options.round_trip_s)
        return self.pace.estimate(self.manifest, size, PREFILL_ROWS, passes - 1, rows)

    def forget(self) -> None:
        """Drop what the model has read of the conversation so far."""
        self._parts.chat.forget()

    def close(self) -> None:
        """Erase pads and secrets, close the connections, end the embedded server. Safe to call twice."""
        self._parts.cleanup.close()

    def __enter__(self) -> OpenChat:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _PromptPasses:
    """Tells the pace which passes were of the prompt."""

    def __init__(self, pace: Pace, on_prompt: OnPrompt) -> None:
        self._pace = pace
        self._on_prompt = on_prompt

    def __call__(self, done: int, total: int) -> None:
        self._pace.prompt_read()
        self._on_prompt(done, total)


def follow_passes(
    pace: Pace, on_round: Callable[[RoundReport], None]
) -> Callable[[RoundReport], None]:
    """`on_round` for a session: keeps the pace, then tells the caller."""

    def report(round_report: RoundReport) -> None:
        if round_report.group.index == 0:
            pace.pass_began()
        on_round(round_report)

    return report
