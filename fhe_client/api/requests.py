"""Requests of OpenAI's chat API, checked and turned into what a chat is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fhe_client.api.errors import ApiError
from fhe_client.model.errors import ModelError, TranscriptError
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message, parse_messages

_ROLES = {"developer": "system"}
_EMPTY: tuple[Any, ...] = (None, False, "", [], {})
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "tools": (),
    "functions": (),
    "logit_bias": (),
    "logprobs": (),
    "top_logprobs": (0,),
    "audio": (),
}
"""Fields that would change the reply, and cannot be honoured here, with the values that change nothing. Fields that are
not known change nothing, as with OpenAI."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What `POST /v1/chat/completions` asks for.

    Attributes:
        continuing: the last message is the beginning of the reply.
        stream: pieces are wanted as they come.
        usage: the stream's last chunk is to tell the numbers of tokens.
    """

    messages: tuple[Message, ...]
    options: GenerationOptions
    model: str
    continuing: bool
    stream: bool
    usage: bool


def parse_request(body: bytes, defaults: GenerationOptions) -> ChatRequest:
    """Read a request's body.

    Args:
        defaults: what the request does not say.

    Raises:
        ApiError: it is no such request, or asks for what cannot be done; the field is named.
    """
    document = _document(body)
    for name, harmless in _HARMLESS.items():
        value = document.get(name)
        if value not in _EMPTY and value not in harmless:
            raise _bad(name, f"“{name}” is not supported by this model's endpoint; leave it out.")
    messages = _messages(document.get("messages"))
    return ChatRequest(
        messages=messages,
        options=_options(document, defaults),
        model=_field(document, "model", str) or "",
        continuing=messages[-1].role == "assistant",
        stream=bool(_field(document, "stream", bool)),
        usage=_wants_usage(document),
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_json", "The request's body is not JSON.") from None
    if not isinstance(document, dict):
        raise ApiError(400, "bad_json", "The request's body must be a JSON object.")
    return document


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _bad("messages", "“messages” must be a list with at least one message.")
    try:
        return parse_messages([_message(one) for one in value])
    except TranscriptError as error:
        raise _bad("messages", f"{error.message} {error.next_step}".strip()) from None


def _message(one: Any) -> dict[str, Any]:
    """A message in our own form; what OpenAI adds to it for tools is refused, names are left out."""
    if not isinstance(one, dict):
        raise _bad("messages", "Each message must be an object with a role and a content.")
    if one.get("tool_calls") or one.get("function_call") or one.get("role") in ("tool", "function"):
        raise _bad("messages", "Tools are not supported; leave their messages out.")
    role = one.get("role")
    if not isinstance(role, str):
        raise _bad("messages", "Each message must have a role.")
    return {"role": _ROLES.get(role, role), "content": _content(one.get("content"))}


def _content(value: Any) -> str:
    """Text, or a list of parts of which all are text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(_is_text(part) for part in value):
        return "\n".join(part["text"] for part in value)
    raise _bad("messages", "A message's content must be text; images and sounds cannot be read.")


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _options(document: Mapping[str, Any], defaults: GenerationOptions) -> GenerationOptions:
    """The defaults with the request's own values, one by one, so that an error names its field."""
    options = defaults
    for field, name, read in _FIELDS:
        value = document.get(field)
        if value is None:
            continue
        try:
            options = replace(options, **{name: read(value)})
        except (ModelError, TypeError, OverflowError) as error:
            said = error.message if isinstance(error, ModelError) else f"“{field}” is of no use."
            raise _bad(field, said) from None
    return options


def _number(value: Any) -> Any:
    """Whole numbers stand for floats in JSON; anything else goes on to the check of the options."""
    return float(value) if type(value) is int else value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str | list):
        raise TypeError
    return (value,) if isinstance(value, str) else tuple(value)


def _same(value: Any) -> Any:
    return value


_FIELDS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("max_tokens", "max_tokens", _same),
    ("max_completion_tokens", "max_tokens", _same),
    ("temperature", "temperature", _number),
    ("top_p", "top_p", _number),
    ("top_k", "top_k", _same),
    ("seed", "seed", _same),
    ("stop", "stop", _texts),
)


def _wants_usage(document: Mapping[str, Any]) -> bool:
    options = _field(document, "stream_options", dict) or {}
    return bool(options.get("include_usage"))


def _field(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if value is not None and type(value) is not kind:
        raise _bad(name, f"“{name}” has the wrong type.")
    return value


def _bad(field: str, message: str) -> ApiError:
    return ApiError(400, "invalid_value", message, field)
