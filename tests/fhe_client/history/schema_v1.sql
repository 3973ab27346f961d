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
