"""Numbered migrations. A published migration is never edited: add the next number instead."""

from __future__ import annotations

import apsw

from fhe_client.history.errors import HistoryNewerError

_VERSION_1 = """
CREATE TABLE chat (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    title   TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    pinned  INTEGER NOT NULL DEFAULT 0,
    leaf    INTEGER,
    deleted REAL
) STRICT;
CREATE TABLE message (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    chat    INTEGER NOT NULL REFERENCES chat(id) ON DELETE CASCADE,
    parent  INTEGER REFERENCES message(id) ON DELETE CASCADE,
    role    TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text    TEXT NOT NULL,
    state   TEXT NOT NULL,
    created REAL NOT NULL,
    stats   TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX message_by_parent ON message(chat, parent);
CREATE INDEX message_under_parent ON message(parent);
CREATE TABLE secret_setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE VIRTUAL TABLE message_text USING fts5(
    text, content='message', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER message_added AFTER INSERT ON message BEGIN
    INSERT INTO message_text(rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
    INSERT INTO message_text(message_text, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER message_changed AFTER UPDATE OF text ON message BEGIN
    INSERT INTO message_text(message_text, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO message_text(rowid, text) VALUES (new.id, new.text);
END;
"""

_VERSION_2 = """
CREATE TABLE folder (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    name   TEXT NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0
) STRICT;
ALTER TABLE chat ADD COLUMN folder INTEGER REFERENCES folder(id) ON DELETE SET NULL;
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2)
CURRENT_VERSION = len(MIGRATIONS)


def version_of(connection: apsw.Connection) -> int:
    """The schema number of an opened file; 0 for an empty one."""
    return int(connection.pragma("user_version"))


def migrate(connection: apsw.Connection) -> None:
    """Bring ``connection`` to the current schema, each step in one transaction.

    Raises:
        HistoryNewerError: the file was written by a newer Tacita.
    """
    version = version_of(connection)
    if version > CURRENT_VERSION:
        raise HistoryNewerError(
            f"The history was written by a newer Tacita (schema {version}).",
            "Install the newer version again, or move the history file away.",
        )
    for number in range(version + 1, CURRENT_VERSION + 1):
        with connection:
            connection.execute(MIGRATIONS[number - 1])
            connection.execute(f"PRAGMA user_version = {number}")
