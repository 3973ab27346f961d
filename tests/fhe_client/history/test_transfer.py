from __future__ import annotations

import json
from typing import Any

import pytest

from fhe_client.history import (
    History,
    HistoryTransferError,
    MessageState,
    Role,
    export_json,
    export_markdown,
    import_json,
)


def _chat(history: History) -> int:
    chat = history.new_chat("Trip")
    asked = history.add_message(chat.id, Role.USER, "Where to?", parent=None)
    first = history.add_message(chat.id, Role.ASSISTANT, "Rome", parent=asked.id)
    second = history.add_message(chat.id, Role.ASSISTANT, "Oslö", parent=asked.id)
    history.update_message(first.id, text="Rome", state=MessageState.STOPPED, stats={"tokens": 3})
    history.update_message(second.id, text="Oslö", state=MessageState.COMPLETE)
    history.show_branch(first.id)
    return chat.id


def test_markdown_has_the_shown_branch(memory: History) -> None:
    text = export_markdown(memory, _chat(memory))
    assert text.startswith("# Trip\n")
    assert "## You\n\nWhere to?" in text
    assert "## Assistant (stopped)\n\nRome" in text
    assert "Oslö" not in text


def test_json_round_trip_keeps_branches_states_and_figures(memory: History) -> None:
    chat = _chat(memory)
    other = History(None)
    other.new_chat("so that ids differ")
    other.add_message(1, Role.USER, "x", parent=None)
    (copy,) = import_json(other, export_json(memory, [chat]))
    assert copy.title == "Trip"
    assert [m.text for m in other.path_of(copy.id)] == ["Where to?", "Rome"]
    assert [m.text for m in other.all_messages(copy.id)] == ["Where to?", "Rome", "Oslö"]
    rome = other.path_of(copy.id)[1]
    assert rome.state is MessageState.STOPPED
    assert rome.stats == {"tokens": 3}
    assert other.search("Oslo")[0].chat.id == copy.id
    other.close()


def _export(**changes: Any) -> dict[str, Any]:
    message = {"id": 1, "parent": None, "role": "user", "text": "a", "state": "complete"}
    message.update(changes)
    return {
        "format": "tacita-export",
        "version": 1,
        "chats": [
            {"title": "fine", "leaf": None, "messages": []},
            {"title": "t", "leaf": 1, "messages": [message]},
        ],
    }


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"format": "other"},
        {**_export(), "version": 2},
        {**_export(), "chats": None},
        _export(role="system"),
        _export(parent=7),
        _export(parent=[]),
        _export(text="half a character: \ud83d"),
        {**_export(), "chats": [{"title": "t", "leaf": {}, "messages": []}]},
        {**_export(), "chats": [{"title": "\ud83d", "leaf": None, "messages": []}]},
        _export(text=None),
        _export(state="odd"),
        _export(stats=[]),
        _export(id="1"),
        _export(id=2),
    ],
)
def test_a_malformed_export_adds_nothing(memory: History, value: Any) -> None:
    with pytest.raises(HistoryTransferError) as caught:
        import_json(memory, json.dumps(value))
    assert "Nothing was changed" in caught.value.next_step
    assert memory.chats() == []


def test_text_that_is_not_json(memory: History) -> None:
    with pytest.raises(HistoryTransferError):
        import_json(memory, "[" * 100_000)
    with pytest.raises(HistoryTransferError):
        import_json(memory, "# Trip")


def test_pins_and_folders_come_back(memory: History) -> None:
    chat = memory.new_chat("pinned one")
    memory.pin(chat.id, True)
    memory.move(chat.id, memory.new_folder("Letters").id)
    text = export_json(memory, [chat.id])
    other = History(None)
    (first,) = import_json(other, text)
    (second,) = import_json(other, text)
    assert first.pinned
    assert [folder.name for folder in other.folders()] == ["Letters"]
    assert first.folder == second.folder == other.folders()[0].id
    other.close()


def test_a_folder_without_a_name_is_refused(memory: History) -> None:
    value = {"format": "tacita-export", "version": 1}
    value["chats"] = [{"title": "x", "messages": [], "folder": 3}]  # type: ignore[assignment]
    with pytest.raises(HistoryTransferError):
        import_json(memory, json.dumps(value))
    assert memory.chats() == []
