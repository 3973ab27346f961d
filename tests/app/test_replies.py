from __future__ import annotations

import pytest

from app.events import Meter
from app.replies import Reply, added_up, can_continue
from fhe_client.history import History, Message, MessageState, Role

FIRST = {
    "prompt_tokens": 12,
    "reply_tokens": 4,
    "seconds_first": 0.5,
    "seconds_per_token": 1.0,
    "bytes_up": 100,
    "bytes_down": 200,
    "rounds": 8,
    "reason": "stopped",
}
SECOND = {
    **FIRST,
    "prompt_tokens": 16,
    "reply_tokens": 12,
    "seconds_per_token": 2.0,
    "reason": "end",
}


def message(
    history: History, text: str = "", state: MessageState = MessageState.STREAMING
) -> Message:
    chat = history.new_chat("t")
    return history.add_message(chat.id, Role.ASSISTANT, text, parent=None, state=state)


def test_figures_of_two_goes_add_up() -> None:
    both = added_up(FIRST, SECOND)
    assert (both["bytes_up"], both["bytes_down"], both["rounds"]) == (200, 400, 16)
    assert both["reply_tokens"] == 16
    assert both["seconds_per_token"] == pytest.approx(1.75)
    assert both["prompt_tokens"] == 12  # of the question, not of the question and half a reply
    assert both["reason"] == "end"
    assert added_up({}, SECOND) == SECOND


def test_a_go_without_a_speed_does_not_spoil_the_mean() -> None:
    one_token = {**SECOND, "seconds_per_token": None}
    assert added_up(FIRST, one_token)["seconds_per_token"] == pytest.approx(1.0)
    assert "seconds_per_token" not in added_up({"reply_tokens": 1}, {"reply_tokens": 1})


@pytest.mark.parametrize("state", list(MessageState))
def test_what_can_be_continued(state: MessageState) -> None:
    history = History(None)
    found = message(history, "half", state)
    unfinished = (MessageState.STOPPED, MessageState.FAILED, MessageState.INTERRUPTED)
    assert can_continue(found) == (state in unfinished)
    cut = history.update_message(found.id, text="half", state=state, stats={"reason": "length"})
    assert can_continue(cut) == (state is MessageState.COMPLETE or state in unfinished)
    mine = history.add_message(found.chat, Role.USER, "x", parent=found.id, state=state)
    assert not can_continue(mine)


def test_a_reply_that_breaks_off_keeps_what_it_moved() -> None:
    history = History(None)
    reply = Reply(history, message(history), Meter(bytes_up=1_000, bytes_down=2_000, rounds=30))
    reply.add("one ")
    reply.add("two")
    reply.note_tokens(2)
    reply.note_meter(Meter(1_300, 2_500, 0, 0.25, 7, 90))
    reply.save_partial()
    kept = history.message(reply.message.id)
    assert (kept.text, kept.state) == ("one two", MessageState.STREAMING)
    moved = {"reply_tokens": 2, "bytes_up": 300, "bytes_down": 500, "rounds": 60}
    assert dict(kept.stats) == {**moved, "seconds_per_token": 0.25}
    ended = reply.fail(MessageState.INTERRUPTED)
    assert (ended.state, ended.stats) == (MessageState.INTERRUPTED, kept.stats)


def test_without_a_meter_before_the_first_event_is_the_start() -> None:
    history = History(None)
    reply = Reply(history, message(history))
    reply.add("one")
    assert dict(reply.fail().stats) == {}
    reply.note_meter(Meter(5_000, 6_000, 0, 0.25, 7, 10))
    reply.note_meter(Meter(5_100, 6_200, 0, 0.25, 7, 12))
    assert reply.fail().stats["bytes_up"] == 100


def test_a_continued_reply_begins_with_what_there_is() -> None:
    history = History(None)
    begun = message(history, "one ")
    begun = history.update_message(begun.id, text="one ", state=MessageState.STREAMING, stats=FIRST)
    reply = Reply(history, begun)
    reply.add("two")
    assert reply.text == "one two"
    assert reply.fail().text == "one two"
    ended = reply.finish({"text": "two.", "stopped": False, **SECOND})
    assert (ended.text, ended.state) == ("one two.", MessageState.COMPLETE)
    assert ended.stats == added_up(FIRST, SECOND)


def test_a_detached_reply_writes_nothing() -> None:
    history = History(None)
    reply = Reply(history, message(history))
    reply.add("one")
    reply.detach()
    reply.save_partial()
    assert history.message(reply.message.id).text == ""


def test_a_warning_of_the_engine_is_kept_with_the_reply_and_survives_a_continuation() -> None:
    history = History(None)
    first = Reply(history, message(history)).finish({**FIRST, "text": "x", "warning": "Spoiled."})
    assert first.stats["warned"] is True
    again = Reply(history, first).finish({**SECOND, "text": "y", "warning": None})
    assert again.stats["warned"] is True
    clean = Reply(history, message(history)).finish({**SECOND, "text": "z", "warning": None})
    assert "warned" not in clean.stats
    history.close()
