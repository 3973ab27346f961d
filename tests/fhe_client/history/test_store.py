from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fhe_client.history import History, HistoryLockedError, MessageState, Role

KEY = bytes(range(32))
CANARY = "kingfisher-canary-81723"


def _fill(history: History) -> tuple[int, int, int]:
    chat = history.new_chat("First")
    question = history.add_message(chat.id, Role.USER, "Where is Paris?", parent=None)
    answer = history.add_message(chat.id, Role.ASSISTANT, "In France.", parent=question.id)
    return chat.id, question.id, answer.id


def test_messages_come_back_in_order_after_reopening(database: Path) -> None:
    history = History(database, KEY)
    chat, question, answer = _fill(history)
    history.close()
    again = History(database, KEY)
    assert [m.id for m in again.path_of(chat)] == [question, answer]
    assert [m.text for m in again.path_of(chat)] == ["Where is Paris?", "In France."]
    again.close()


def test_no_text_lies_in_the_clear_in_any_file(database: Path) -> None:
    history = History(database, KEY)
    chat = history.new_chat(CANARY)
    history.add_message(chat.id, Role.USER, CANARY * 50, parent=None)
    history.set_secret_setting("token", CANARY)
    files = [path for path in database.parent.iterdir() if path.is_file()]
    assert any(path.name.endswith("-wal") for path in files)
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path.name
    history.close()
    assert CANARY.encode() not in database.read_bytes()
    assert b"SQLite format 3" not in database.read_bytes()[:64]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_the_file_is_private(database: Path) -> None:
    History(database, KEY).close()
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.parent.stat().st_mode) & 0o077 == 0


def test_another_key_is_refused_and_changes_nothing(database: Path) -> None:
    history = History(database, KEY)
    _fill(history)
    history.close()
    before = database.read_bytes()
    with pytest.raises(HistoryLockedError) as caught:
        History(database, bytes(32))
    assert "keyring" in caught.value.next_step
    assert database.read_bytes() == before


def test_a_key_of_another_length_is_refused(database: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        History(database, b"short")
    assert not database.exists()


def test_branches(memory: History) -> None:
    chat, question, first = _fill(memory)
    second = memory.add_message(chat, Role.ASSISTANT, "On the Seine.", parent=question).id
    follow_up = memory.add_message(chat, Role.USER, "Which bank?", parent=second).id
    assert [m.id for m in memory.path_of(chat)] == [question, second, follow_up]
    assert memory.siblings(first) == [first, second]
    assert memory.siblings(question) == [question]
    memory.show_branch(first)
    assert [m.id for m in memory.path_of(chat)] == [question, first]
    memory.show_branch(second)
    assert [m.id for m in memory.path_of(chat)] == [question, second, follow_up]


def test_first_messages_of_two_chats_are_not_siblings(memory: History) -> None:
    _, question, _ = _fill(memory)
    _, other, _ = _fill(memory)
    assert memory.siblings(question) == [question]
    assert memory.siblings(other) == [other]


def test_delete_can_be_undone_until_the_history_is_opened_again(database: Path) -> None:
    history = History(database, KEY)
    chat, _, _ = _fill(history)
    gone, _, _ = _fill(history)
    history.delete(chat)
    history.delete(gone)
    assert history.chats() == []
    assert history.search("France") == []
    history.undelete(chat)
    assert [c.id for c in history.chats()] == [chat]
    history.close()
    again = History(database, KEY)
    assert [c.id for c in again.chats()] == [chat]
    with pytest.raises(KeyError):
        again.chat(gone)
    again.close()


def test_search_finds_words_prefixes_accents_and_titles(memory: History) -> None:
    chat, _, answer = _fill(memory)
    memory.add_message(chat, Role.USER, "Un café, s'il vous plaît", parent=answer)
    memory.rename(chat, "Geography")
    assert memory.search("Fran")[0].message == answer
    assert "France" in memory.search("france")[0].excerpt
    assert memory.search("cafe")[0].chat.id == chat
    assert memory.search("geogr")[0].message is None
    assert memory.search("Paris Berlin") == []
    assert memory.search("   ") == []


@pytest.mark.parametrize("text", ['"', "a OR", "NEAR(", "*", "text:x", "'; DROP TABLE chat;--"])
def test_search_takes_any_text(memory: History, text: str) -> None:
    _fill(memory)
    assert memory.search(text) == []


def test_search_follows_changes(memory: History) -> None:
    _, _, answer = _fill(memory)
    memory.update_message(answer, text="In Gaul.", state=MessageState.COMPLETE)
    assert memory.search("France") == []
    assert len(memory.search("Gaul")) == 1


def test_pinned_chats_come_first() -> None:
    times = iter(range(1_000))
    history = History(None, clock=lambda: float(next(times)))
    old = history.new_chat("old").id
    new = history.new_chat("new").id
    assert [c.id for c in history.chats()] == [new, old]
    history.pin(old, True)
    assert [c.id for c in history.chats()] == [old, new]
    history.close()


def test_folders(memory: History) -> None:
    first, second = memory.new_chat("first"), memory.new_chat("second")
    work, attic = memory.new_folder("work"), memory.new_folder("Attic")
    assert [folder.name for folder in memory.folders()] == ["Attic", "work"]
    memory.move(first.id, work.id)
    assert {chat.id: chat.folder for chat in memory.chats()} == {first.id: work.id, second.id: None}
    memory.rename_folder(work.id, "Work 2")
    memory.close_folder(work.id, True)
    assert [(f.name, f.closed) for f in memory.folders()] == [("Attic", False), ("Work 2", True)]
    memory.delete_folder(work.id)
    assert memory.chat(first.id).folder is None
    assert [folder.id for folder in memory.folders()] == [attic.id]


def test_a_search_says_where_the_words_are(memory: History) -> None:
    chat = memory.new_chat("x")
    memory.add_message(chat.id, Role.USER, "the \x03Seine in Paris, Par\x02 exactly", parent=None)
    (hit,) = memory.search("par")
    assert "\x02" not in hit.excerpt
    assert [hit.excerpt[a:b] for a, b in hit.marks if a < b][-2:] == ["Paris", "Par"]


def test_secret_settings(memory: History) -> None:
    assert memory.secret_setting("token") is None
    memory.set_secret_setting("token", "one")
    memory.set_secret_setting("token", "two")
    assert memory.secret_setting("token") == "two"
    memory.set_secret_setting("token", None)
    assert memory.secret_setting("token") is None


def test_delete_everything(memory: History) -> None:
    _fill(memory)
    memory.delete_everything()
    assert memory.chats() == []
    assert memory.search("Paris") == []


_WRITER = """
import sys
from pathlib import Path
from fhe_client.history import History, MessageState, Role
history = History(Path(sys.argv[1]), bytes(range(32)))
chat = history.new_chat("killed")
asked = history.add_message(chat.id, Role.USER, "saved at once", parent=None)
reply = history.add_message(
    chat.id, Role.ASSISTANT, "", parent=asked.id, state=MessageState.STREAMING)
history.update_message(reply.id, text="half an ans", state=MessageState.STREAMING)
print("written", flush=True)
sys.stdin.read()
"""


def test_kill_in_mid_reply_loses_nothing_that_was_saved(database: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    with writer.stdin, writer.stdout:
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=30)
    history = History(database, KEY)
    (chat,) = history.chats()
    asked, reply = history.path_of(chat.id)
    assert asked.text == "saved at once"
    assert (reply.text, reply.state) == ("half an ans", MessageState.INTERRUPTED)
    history.close()
