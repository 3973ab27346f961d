from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from fhe_client.history import History, HistoryError
from fhe_client.history.schema import CURRENT_VERSION, MIGRATIONS, migrate, version_of

KEY = bytes(range(32))
FROZEN = [Path(__file__).parent / f"schema_v{number}.sql" for number in (1, 2)]


def test_an_empty_file_gets_the_current_schema() -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    assert version_of(connection) == CURRENT_VERSION
    migrate(connection)
    assert version_of(connection) == CURRENT_VERSION
    connection.close()


def test_published_migrations_never_change() -> None:
    assert len(FROZEN) == len(MIGRATIONS)
    for migration, frozen in zip(MIGRATIONS, FROZEN, strict=True):
        assert migration.strip() == frozen.read_text(encoding="utf-8").strip()


def test_an_old_file_is_brought_to_the_present_schema_with_all_that_is_in_it(
    database: Path,
) -> None:
    database.parent.mkdir(parents=True)
    old = apsw.Connection(str(database))
    old.execute("PRAGMA cipher = 'chacha20'")
    old.execute(f"PRAGMA key = 'raw:{KEY.hex()}'")
    old.execute(FROZEN[0].read_text(encoding="utf-8"))
    old.execute("INSERT INTO chat(title, created, updated, pinned) VALUES ('Old', 1, 2, 1)")
    old.execute(
        "INSERT INTO message(chat, role, text, state, created) "
        "VALUES (1, 'user', 'from long ago', 'complete', 1)"
    )
    old.execute("UPDATE chat SET leaf = 1")
    old.execute("PRAGMA user_version = 1")
    old.close()
    history = History(database, KEY)
    (chat,) = history.chats()
    assert (chat.title, chat.pinned, chat.folder) == ("Old", True, None)
    assert [m.text for m in history.path_of(chat.id)] == ["from long ago"]
    assert [hit.chat.id for hit in history.search("long ago")] == [chat.id]
    history.move(chat.id, history.new_folder("Kept").id)
    history.close()
    again = History(database, KEY)
    assert [folder.name for folder in again.folders()] == ["Kept"]
    assert again.chat(chat.id).folder == again.folders()[0].id
    again.close()


def test_a_newer_file_is_refused(database: Path) -> None:
    history = History(database, KEY)
    history._db.execute(f"PRAGMA user_version = {CURRENT_VERSION + 1}")
    history.close()
    with pytest.raises(HistoryError, match="newer Tacita"):
        History(database, KEY)


def test_a_failed_migration_leaves_the_old_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    broken = (*MIGRATIONS, "CREATE TABLE extra(x); CREATE TABLE chat(x);")
    monkeypatch.setattr("fhe_client.history.schema.MIGRATIONS", broken)
    monkeypatch.setattr("fhe_client.history.schema.CURRENT_VERSION", len(broken))
    with pytest.raises(apsw.SQLError):
        migrate(connection)
    assert version_of(connection) == len(MIGRATIONS)
    assert connection.execute("SELECT * FROM sqlite_master WHERE name = 'extra'").fetchall() == []
    connection.close()
