from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from fhe_client.history import History, HistoryError
from fhe_client.history.schema import CURRENT_VERSION, MIGRATIONS, migrate, version_of

KEY = bytes(range(32))
FROZEN = Path(__file__).parent / "schema_v1.sql"


def test_an_empty_file_gets_the_current_schema() -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    assert version_of(connection) == CURRENT_VERSION
    migrate(connection)
    assert version_of(connection) == CURRENT_VERSION
    connection.close()


def test_published_schema_1_never_changes() -> None:
    assert MIGRATIONS[0].strip() == FROZEN.read_text(encoding="utf-8").strip()


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
