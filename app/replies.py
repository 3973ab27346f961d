"""One reply being made: its text so far, and saving it while it grows."""

from __future__ import annotations

from typing import Any

from app.events import Json
from fhe_client.history import History, Message, MessageState

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
)


class Reply:
    """A reply under way in ``store``. Text is joined only when it is saved, so growing is cheap."""

    def __init__(self, store: History, message: Message) -> None:
        self.store = store
        self.message = message
        self.command = 0
        self.stopping = False
        self._pieces: list[str] = []
        self._saved = 0

    @property
    def text(self) -> str:
        """Everything received so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, piece: str) -> None:
        """Take the next piece of text."""
        self._pieces.append(piece)

    def save_partial(self) -> None:
        """Write what there is, if it grew since last time."""
        if len(self.text) != self._saved:
            self._saved = len(self.text)
            self.store.update_message(self.message.id, text=self.text, state=MessageState.STREAMING)

    def finish(self, result: Json) -> Message:
        """Write the final text and the figures of the engine's result."""
        text = result.get("text")
        state = MessageState.STOPPED if result.get("stopped") else MessageState.COMPLETE
        figures: dict[str, Any] = {name: result[name] for name in KEPT_FIGURES if name in result}
        return self.store.update_message(
            self.message.id,
            text=text if isinstance(text, str) and text else self.text,
            state=state,
            stats=figures,
        )

    def fail(self) -> Message:
        """Keep the partial text, marked as failed (or stopped, if that was asked for)."""
        state = MessageState.STOPPED if self.stopping else MessageState.FAILED
        return self.store.update_message(self.message.id, text=self.text, state=state)
