"""The plain values that the history hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """Who wrote a message."""

    USER = "user"
    ASSISTANT = "assistant"


class MessageState(StrEnum):
    """How a message ended. ``STREAMING`` is only ever seen while its reply is being made."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    STREAMING = "streaming"


@dataclass(frozen=True)
class Chat:
    """One conversation; ``leaf``: the last message of the branch that is shown."""

    id: int
    title: str
    created: float
    updated: float
    pinned: bool = False
    leaf: int | None = None
    folder: int | None = None


@dataclass(frozen=True)
class Folder:
    """A named group of chats in the list; ``closed``: only its name is shown."""

    id: int
    name: str
    closed: bool = False


@dataclass(frozen=True)
class Message:
    """One message of a chat's tree; ``parent`` is None for the first message of a branch.

    ``stats`` holds the figures kept under a reply (bytes_up, bytes_down, seconds_per_token, ...).
    """

    id: int
    chat: int
    parent: int | None
    role: Role
    text: str
    state: MessageState
    created: float
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchHit:
    """A chat that matches a search, with a short excerpt; ``marks``: where in it the words are.

    A mark is a pair (first character, character after the last).
    """

    chat: Chat
    message: int | None
    excerpt: str
    marks: tuple[tuple[int, int], ...] = ()
