"""One reply being made: its text and figures so far, and saving both while it grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.events import Json, Meter, integer, number
from fhe_client.history import History, Message, MessageState, Role

KEPT_FIGURES = (
    "prompt_tokens",
    "reply_tokens",
    "seconds_first",
    "seconds_per_token",
    "bytes_up",
    "bytes_down",
    "rounds",
    "truncated_turns",
    "reason",
    "padding_tokens",
)
SUMMED = ("reply_tokens", "bytes_up", "bytes_down", "rounds", "padding_tokens")
OF_THE_FIRST = ("prompt_tokens", "seconds_first")
UNFINISHED = frozenset({MessageState.STOPPED, MessageState.FAILED, MessageState.INTERRUPTED})
CUT_SHORT = frozenset({"length", "context"})


def can_continue(message: Message) -> bool:
    """Whether a reply ended before it was through: stopped, broken off, or cut at the token limit."""
    if message.role is not Role.ASSISTANT:
        return False
    if message.state in UNFINISHED:
        return True
    return message.state is MessageState.COMPLETE and message.stats.get("reason") in CUT_SHORT


def added_up(before: Json, after: Json) -> dict[str, Any]:
    """The figures of a reply that was made in two goes: ``before``, and the continuation alone."""
    if not before:
        return dict(after)
    both = {**before, **after}
    for name in SUMMED:
        if name in both:
            both[name] = integer(before, name) + integer(after, name)
    for name in OF_THE_FIRST:
        if name in before:
            both[name] = before[name]
    if (speed := _mean_speed(before, after)) is not None:
        both["seconds_per_token"] = speed
    return both


def _mean_speed(before: Json, after: Json) -> float | None:
    """Seconds per token over both goes, each weighted by its tokens; None if neither knows."""
    parts = [
        (number(one, "seconds_per_token"), max(1, integer(one, "reply_tokens")))
        for one in (before, after)
        if number(one, "seconds_per_token")
    ]
    if not parts:
        return None
    return sum(speed * tokens for speed, tokens in parts) / sum(tokens for _, tokens in parts)


class Reply:
    """A reply under way in ``store``. Text is joined only when it is saved, so growing is cheap.

    A reply that is continued begins with the text and the figures that it has already; what the
    engine tells of it is the new part alone.
    """

    def __init__(self, store: History, message: Message, meter: Meter | None = None) -> None:
        self.store = store
        self.message = message
        self.command = 0
        self.stopping = False
        self.detached = False
        self._before = message.text
        self._figures_before: Mapping[str, Any] = message.stats
        self._first_meter = self._last_meter = meter
        self._tokens = 0
        self._pieces: list[str] = []
        self._saved = len(message.text)

    @property
    def text(self) -> str:
        """Everything there is so far."""
        return self._before + self._new_text()

    def _new_text(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, piece: str) -> None:
        """Take the next piece of text."""
        self._pieces.append(piece)

    def note_meter(self, meter: Meter) -> None:
        """Take the engine's figures: what a reply moved is kept even if it never comes to its end."""
        if self._first_meter is None:
            self._first_meter = meter
        self._last_meter = meter

    def note_tokens(self, count: int) -> None:
        """Take the number of tokens written in this go."""
        self._tokens = count

    def _figures_so_far(self) -> dict[str, Any]:
        """At least what was moved: bytes since the last event of the meter are not in it."""
        first, last = self._first_meter, self._last_meter
        if first is None or last is None or not (self._tokens or self._pieces):
            return dict(self._figures_before)
        now: dict[str, Any] = {
            "reply_tokens": self._tokens,
            "bytes_up": max(0, last.bytes_up - first.bytes_up),
            "bytes_down": max(0, last.bytes_down - first.bytes_down),
            "rounds": max(0, last.rounds - first.rounds),
        }
        if last.seconds_per_token and self._tokens:
            now["seconds_per_token"] = last.seconds_per_token
        return added_up(self._figures_before, now)

    def save_partial(self) -> None:
        """Write what there is, if it grew since last time."""
        if len(self.text) != self._saved and not self.detached:
            self._saved = len(self.text)
            self._write(self.text, MessageState.STREAMING, self._figures_so_far())

    def detach(self) -> None:
        """The history moved elsewhere with what was saved: from now on nothing is written."""
        self.detached = True

    def finish(self, result: Json) -> Message:
        """Write the final text and the figures of the engine's result."""
        text = result.get("text")
        new = text if isinstance(text, str) and text else self._new_text()
        state = MessageState.STOPPED if result.get("stopped") else MessageState.COMPLETE
        figures = {name: result[name] for name in KEPT_FIGURES if name in result}
        if result.get("warning"):
            figures["warned"] = True
        return self._write(self._before + new, state, added_up(self._figures_before, figures))

    def fail(self, state: MessageState = MessageState.FAILED) -> Message:
        """Keep the partial text, marked as ``state`` (or as stopped, if that was asked for)."""
        ended = MessageState.STOPPED if self.stopping else state
        return self._write(self.text, ended, self._figures_so_far())

    def _write(self, text: str, state: MessageState, figures: Json) -> Message:
        return self.store.update_message(self.message.id, text=text, state=state, stats=figures)
