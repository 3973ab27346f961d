"""A conversation as a value: messages with a role and a text, in and out of JSON, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fhe_client.model.errors import TranscriptError

ROLES = ("system", "user", "assistant")
MAX_MESSAGES = 10_000
MAX_CONTENT_CHARACTERS = 1 << 20
MAX_TOTAL_CHARACTERS = 8 << 20

_HEADINGS = {"system": "Instructions", "user": "You", "assistant": "Model"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Its text never shows in `repr`, so that it cannot slip into a log.

    Raises:
        TranscriptError: unknown role, or a text that is too long or not valid Unicode.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise TranscriptError(
                "A message has an unknown role.", f"Use one of {', '.join(ROLES)}."
            )
        if not isinstance(self.content, str):
            raise TranscriptError("A message's content must be text.")
        if len(self.content) > MAX_CONTENT_CHARACTERS:
            raise TranscriptError("A message is too long.", "Send a shorter text.")
        try:
            self.content.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TranscriptError("A message is not valid Unicode text.") from error

    def __repr__(self) -> str:
        return f"Message(role={self.role!r}, characters={len(self.content)})"

    def to_json(self) -> dict[str, str]:
        """{"role", "content"}, as chat templates and the engine protocol have it."""
        return {"role": self.role, "content": self.content}


def parse_messages(value: Any) -> tuple[Message, ...]:
    """Messages from decoded JSON, checked.

    Raises:
        TranscriptError: not a list of {"role", "content"} objects, or too large.
    """
    if not isinstance(value, list) or len(value) > MAX_MESSAGES:
        raise TranscriptError(f"Messages must be a list of at most {MAX_MESSAGES}.")
    messages = tuple(_parse_message(item) for item in value)
    if sum(len(m.content) for m in messages) > MAX_TOTAL_CHARACTERS:
        raise TranscriptError("The conversation is too long.", "Start a new one.")
    return messages


def _parse_message(item: Any) -> Message:
    if not isinstance(item, dict) or set(item) != {"role", "content"}:
        raise TranscriptError("A message must have a role and a content, and nothing else.")
    return Message(item["role"], item["content"])


def to_json(messages: Iterable[Message]) -> list[dict[str, str]]:
    """The inverse of `parse_messages`."""
    return [message.to_json() for message in messages]


def to_markdown(messages: Iterable[Message], title: str = "Conversation") -> str:
    """The conversation as a Markdown document, one section a message, texts as they are."""
    lines = [f"# {' '.join(title.split()) or 'Conversation'}"]
    for message in messages:
        lines += ["", f"## {_HEADINGS[message.role]}", "", message.content.strip("\n")]
    return "\n".join(lines) + "\n"


def without_oldest(messages: Sequence[Message], turns: int) -> tuple[Message, ...]:
    """Drop the oldest `turns` turns, keeping instructions at the start. A turn begins with a user's message."""
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    starts = [i for i, m in enumerate(messages) if m.role == "user" and i > first]
    if turns <= 0:
        return tuple(messages)
    if turns > len(starts):
        raise TranscriptError("There are not so many turns to drop.")
    return (*messages[:first], *messages[starts[turns - 1] :])


def count_turns(messages: Sequence[Message]) -> int:
    """Number of turns that `without_oldest` may drop, the last one excluded."""
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    return sum(1 for i, m in enumerate(messages) if m.role == "user" and i > first)
