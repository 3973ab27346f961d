"""What OpenAI's clients send becomes a question, or an error that names the field."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_client.api.errors import ApiError
from fhe_client.api.requests import parse_request
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message

DEFAULTS = GenerationOptions(max_tokens=77, temperature=0.5, pad=True)
HELLO: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


def parse(**more: Any) -> Any:
    return parse_request(json.dumps(HELLO | more).encode(), DEFAULTS)


def refused(**more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse(**more)
    return caught.value


def test_what_is_not_said_is_as_the_command_line_has_it() -> None:
    asked = parse()
    assert asked.messages == (Message("user", "hello"),)
    assert asked.options == DEFAULTS
    assert (asked.model, asked.stream, asked.usage, asked.continuing) == ("tiny",) + 3 * (False,)


def test_every_field_is_taken() -> None:
    asked = parse(
        max_tokens=5, temperature=0, top_p=1, top_k=3, seed=4, stop="x",
        stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    due = GenerationOptions(
        max_tokens=5, temperature=0.0, top_p=1.0, top_k=3, seed=4, stop=("x",), pad=True
    )
    assert asked.options == due
    assert (asked.stream, asked.usage) == (True, True)
    assert parse(max_completion_tokens=6, stop=["a", "b"]).options.stop == ("a", "b")
    assert parse(max_tokens=5, max_completion_tokens=6).options.max_tokens == 6


def test_messages_of_all_kinds() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    asked = parse(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": parts, "name": "someone"},
            {"role": "assistant", "content": "Well"},
        ]
    )
    assert [m.role for m in asked.messages] == ["system", "user", "assistant"]
    assert asked.messages[1].content == "one\ntwo"
    assert asked.continuing


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1}, {"tools": []}, {"tools": None}, {"frequency_penalty": 0.0}, {"logprobs": False},
        {"response_format": {"type": "text"}}, {"user": "someone"}, {"store": True}, {"logit_bias": {}},
        {"tool_choice": "none"}, {"temperature": None}, {"metadata": {"a": "b"}},
    ],
)  # fmt: skip
def test_what_changes_nothing_is_allowed(harmless: dict[str, Any]) -> None:
    assert parse(**harmless).options == DEFAULTS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2), ("tools", [{"type": "function"}]), ("frequency_penalty", 0.5), ("logprobs", True),
        ("response_format", {"type": "json_object"}), ("logit_bias", {"5": 1}), ("temperature", "hot"),
        ("temperature", -1), ("temperature", 10**400), ("top_p", -(10**400)), ("stop", {"x": 1}),
        ("temperature", True), ("top_p", 7), ("max_tokens", 0), ("max_tokens", 2.5), ("seed", -1),
        ("stop", [""]), ("stop", 5), ("stop", ["x"] * 99), ("stop", [5]), ("stream", "yes"), ("model", 5),
        ("stream_options", 5), ("messages", []), ("messages", "hello"), ("messages", [5]), ("messages", [{}]),
        ("messages", [{"role": "wizard", "content": "x"}]), ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "tool", "content": "x"}]), ("messages", [{"role": [], "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        ("messages", [{"role": "user", "content": "\ud800"}]),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert (error.status, error.parameter) == (400, field)
    assert error.body()["error"]["type"] == "invalid_request_error"
    assert error.message.endswith((".", ";"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"a":NaN'])
def test_a_body_that_is_no_request(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(body, DEFAULTS)
    assert caught.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["messages", "stop", "temperature", "n", "tools", "stream_options", "seed", "response_format"]
)


@given(st.dictionaries(FIELDS, JSON, max_size=3))
def test_nothing_but_its_own_errors(more: dict[str, Any]) -> None:
    with contextlib.suppress(ApiError):
        parse(**more)
