from __future__ import annotations

import json

import pytest

from fhe_client.model.errors import TranscriptError
from fhe_client.text.transcript import (
    MAX_CONTENT_CHARACTERS,
    MAX_MESSAGES,
    Message,
    count_turns,
    parse_messages,
    to_json,
    to_markdown,
    without_oldest,
)

TALK = (
    Message("system", "Be brief."),
    Message("user", "one"),
    Message("assistant", "1"),
    Message("user", "two"),
    Message("assistant", "2"),
    Message("user", "three"),
)


def test_json_round_trip() -> None:
    text = json.dumps(to_json(TALK))
    assert parse_messages(json.loads(text)) == TALK


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        ["text"],
        [{"role": "user"}],
        [{"role": "user", "content": "x", "more": 1}],
        [{"role": "tool", "content": "x"}],
        [{"role": ["user"], "content": "x"}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": "\ud800"}],
        [{"role": "user", "content": "x" * (MAX_CONTENT_CHARACTERS + 1)}],
        [{"role": "user", "content": ""}] * (MAX_MESSAGES + 1),
        [{"role": "user", "content": "x" * MAX_CONTENT_CHARACTERS}] * 9,
    ],
)
def test_malformed_messages_are_refused(value: object) -> None:
    with pytest.raises(TranscriptError):
        parse_messages(value)


def test_a_message_does_not_show_its_text() -> None:
    assert "secret" not in repr(Message("user", "secret"))
    assert "secret" not in str([Message("user", "secret")])


def test_markdown() -> None:
    text = to_markdown(TALK[:3], title="My\nchat")
    assert text == ("# My chat\n\n## Instructions\n\nBe brief.\n\n## You\n\none\n\n## Model\n\n1\n")


def test_oldest_turns_are_dropped_but_instructions_stay() -> None:
    assert count_turns(TALK) == 2
    assert without_oldest(TALK, 0) == TALK
    assert without_oldest(TALK, 1) == (TALK[0], *TALK[3:])
    assert without_oldest(TALK, 2) == (TALK[0], TALK[5])
    assert without_oldest(TALK[1:], 2) == (TALK[5],)
    with pytest.raises(TranscriptError):
        without_oldest(TALK, 3)
    assert count_turns(()) == 0
