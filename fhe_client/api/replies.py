"""Replies in the forms of OpenAI's chat API: one object, or a stream of chunks as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from fhe_client.text.chat import ChatReply

_REASONS = {"end": "stop", "length": "length", "context": "length"}
DONE = b"data: [DONE]\n\n"
"""The end of a stream."""


class ReplyForm:
    """The fields that all parts of one reply share."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._identity = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())

    def whole(self, reply: ChatReply) -> dict[str, Any]:
        """The answer to a request that wants no stream."""
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        choice = {"message": message, "finish_reason": _REASONS[reply.reason]}
        return self._object("chat.completion", choice) | _figures(reply)

    def first(self) -> bytes:
        """The chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> bytes:
        """A chunk of text."""
        return self._chunk({"content": text})

    def last(self, reply: ChatReply) -> bytes:
        """The chunk that says why the reply ended."""
        return self._chunk({}, _REASONS[reply.reason])

    def usage(self, reply: ChatReply) -> bytes:
        """The chunk without a choice that tells what it took."""
        chunk = self._object("chat.completion.chunk", None) | _figures(reply)
        return event(chunk)

    def _chunk(self, delta: Mapping[str, str], reason: str | None = None) -> bytes:
        return event(
            self._object("chat.completion.chunk", {"delta": delta, "finish_reason": reason})
        )

    def _object(self, kind: str, choice: Mapping[str, Any] | None) -> dict[str, Any]:
        choices = [] if choice is None else [{"index": 0, "logprobs": None, **choice}]
        return {
            "id": self._identity,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }


def event(value: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n\n"


def model_object(name: str, created: int) -> dict[str, Any]:
    """An entry of the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "tacita"}


def _figures(reply: ChatReply) -> dict[str, Any]:
    """OpenAI's counts, and our own beside them: bytes on the wire, headers included, and what the user must know."""
    usage = {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.reply_tokens,
        "total_tokens": reply.prompt_tokens + reply.reply_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.reused_tokens},
    }
    ours = {
        "bytes_up": reply.bytes_up,
        "bytes_down": reply.bytes_down,
        "seconds_to_first_token": reply.seconds_first,
        "seconds_per_token": reply.seconds_per_token,
        "truncated_turns": reply.truncated_turns,
        "warning": reply.warning,
    }
    return {"usage": usage, "tacita": ours}
