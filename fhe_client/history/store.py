"""The history database: chats, messages as a tree, full-text search, secret settings.

The file is encrypted whole (SQLite3 Multiple Ciphers, ChaCha20-Poly1305 per page) with a 32-byte
key that the caller derives from the master key. Write-ahead log and ``synchronous=FULL``: once a
method returns, what it wrote survives ``kill -9`` and a power cut.
"""

# Only the column lists below are put into SQL text; every value is bound.
# ruff: noqa: S608

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import apsw

from fhe_client.history.errors import HistoryError, HistoryLockedError
from fhe_client.history.records import Chat, Folder, Message, MessageState, Role, SearchHit
from fhe_client.history.schema import migrate

KEY_BYTES = 32
_CHAT = "id, title, created, updated, pinned, leaf, folder"
_MESSAGE = "id, chat, parent, role, text, state, created, stats"


def _connect(path: Path, key: bytes) -> apsw.Connection:
    """Open (or create, 0600) the encrypted file.

    Raises:
        HistoryLockedError: the file does not open with this key.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a history key has {KEY_BYTES} bytes, not {len(key)}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = apsw.Connection(str(path))
    try:
        connection.execute("PRAGMA cipher = 'chacha20'")
        connection.execute(f"PRAGMA key = 'raw:{key.hex()}'")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except apsw.NotADBError as error:
        connection.close()
        raise HistoryLockedError(
            "The saved chats cannot be opened with the present key.",
            "Unlock the keyring or passphrase that was used before. Nothing was changed.",
        ) from error
    return connection


class History:
    """All chats of one user. Not thread-safe: use it from the thread that made it.

    Args:
        path: the database file, or None for a history that lives in memory only.
        key: 32 secret bytes; required with a path, ignored without.
        clock: seconds since 1970; given by tests.
    """

    def __init__(
        self, path: Path | None, key: bytes | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._clock = clock
        if path is None:
            self._db = apsw.Connection(":memory:")
        else:
            self._db = _connect(path, key or b"")
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.set_busy_timeout(5_000)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")
        migrate(self._db)
        self._run(
            "UPDATE message SET state = ? WHERE state = ?",
            (MessageState.INTERRUPTED.value, MessageState.STREAMING.value),
        )
        self.purge_deleted()

    @property
    def persistent(self) -> bool:
        """Whether chats outlive this process."""
        return self.path is not None

    def close(self) -> None:
        """Close the file; further calls fail. Closing twice is harmless."""
        self._db.close()

    def _run(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return list(self._db.execute(sql, values))
        except (apsw.FullError, apsw.IOError) as error:
            raise HistoryError(
                "The history could not be written.",
                "Free some disk space; the message is still shown and can be copied.",
            ) from error

    def transaction(self) -> AbstractContextManager[Any]:
        """Everything written inside is kept together, or, after an exception, not at all."""
        return self._db

    # -- chats ---------------------------------------------------------------------------------

    def new_chat(self, title: str) -> Chat:
        """Create an empty chat."""
        now = self._clock()
        rows = self._run(
            f"INSERT INTO chat(title, created, updated) VALUES (?, ?, ?) RETURNING {_CHAT}",
            (title, now, now),
        )
        return _chat(rows[0])

    def chats(self) -> list[Chat]:
        """Chats that are not deleted: pinned first, then the most recently used."""
        rows = self._run(
            f"SELECT {_CHAT} FROM chat WHERE deleted IS NULL "
            "ORDER BY pinned DESC, updated DESC, id DESC"
        )
        return [_chat(row) for row in rows]

    def chat(self, chat_id: int) -> Chat:
        """One chat, deleted or not.

        Raises:
            KeyError: there is none with this id.
        """
        rows = self._run(f"SELECT {_CHAT} FROM chat WHERE id = ?", (chat_id,))
        if not rows:
            raise KeyError(chat_id)
        return _chat(rows[0])

    def rename(self, chat_id: int, title: str) -> None:
        """Give a chat another title."""
        self._run("UPDATE chat SET title = ? WHERE id = ?", (title, chat_id))

    def pin(self, chat_id: int, pinned: bool) -> None:
        """Keep a chat at the top of the list, or not."""
        self._run("UPDATE chat SET pinned = ? WHERE id = ?", (int(pinned), chat_id))

    def move(self, chat_id: int, folder: int | None) -> None:
        """Put a chat into a folder, or (None) into none."""
        self._run("UPDATE chat SET folder = ? WHERE id = ?", (folder, chat_id))

    def folders(self) -> list[Folder]:
        """All folders by name, those without a chat too."""
        rows = self._run("SELECT id, name, closed FROM folder ORDER BY name COLLATE NOCASE, id")
        return [Folder(ident, name, bool(closed)) for ident, name, closed in rows]

    def new_folder(self, name: str) -> Folder:
        """Make a folder."""
        rows = self._run("INSERT INTO folder(name) VALUES (?) RETURNING id", (name,))
        return Folder(int(rows[0][0]), name)

    def rename_folder(self, folder: int, name: str) -> None:
        """Give a folder another name."""
        self._run("UPDATE folder SET name = ? WHERE id = ?", (name, folder))

    def close_folder(self, folder: int, closed: bool) -> None:
        """Show only the name of a folder, or its chats too."""
        self._run("UPDATE folder SET closed = ? WHERE id = ?", (int(closed), folder))

    def delete_folder(self, folder: int) -> None:
        """Remove a folder; its chats stay, outside of any."""
        self._run("DELETE FROM folder WHERE id = ?", (folder,))

    def delete(self, chat_id: int) -> None:
        """Hide a chat; ``undelete`` brings it back until the history is next opened."""
        self._run("UPDATE chat SET deleted = ? WHERE id = ?", (self._clock(), chat_id))

    def undelete(self, chat_id: int) -> None:
        """Undo ``delete``."""
        self._run("UPDATE chat SET deleted = NULL WHERE id = ?", (chat_id,))

    def purge_deleted(self) -> None:
        """Remove deleted chats for good; their pages are overwritten."""
        self._run("DELETE FROM chat WHERE deleted IS NOT NULL")

    def delete_everything(self) -> None:
        """Remove every chat for good, without undo."""
        self._run("DELETE FROM chat")
        self._run("DELETE FROM folder")
        self._run("VACUUM")

    # -- messages ------------------------------------------------------------------------------

    def add_message(
        self,
        chat_id: int,
        role: Role,
        text: str,
        *,
        parent: int | None,
        state: MessageState = MessageState.COMPLETE,
    ) -> Message:
        """Append a message under ``parent`` and show its branch. Saved when this returns."""
        now = self._clock()
        with self._db:
            rows = self._run(
                "INSERT INTO message(chat, parent, role, text, state, created) "
                f"VALUES (?, ?, ?, ?, ?, ?) RETURNING {_MESSAGE}",
                (chat_id, parent, role.value, text, state.value, now),
            )
            message = _message(rows[0])
            self._run(
                "UPDATE chat SET leaf = ?, updated = ? WHERE id = ?", (message.id, now, chat_id)
            )
        return message

    def update_message(
        self,
        message_id: int,
        *,
        text: str,
        state: MessageState,
        stats: Mapping[str, Any] | None = None,
    ) -> Message:
        """Replace the text and state of a reply while it grows, and its figures at the end."""
        rows = self._run(
            "UPDATE message SET text = ?, state = ?, stats = coalesce(?, stats) "
            f"WHERE id = ? RETURNING {_MESSAGE}",
            (text, state.value, None if stats is None else json.dumps(dict(stats)), message_id),
        )
        if not rows:
            raise KeyError(message_id)
        return _message(rows[0])

    def message(self, message_id: int) -> Message:
        """One message.

        Raises:
            KeyError: there is none with this id.
        """
        rows = self._run(f"SELECT {_MESSAGE} FROM message WHERE id = ?", (message_id,))
        if not rows:
            raise KeyError(message_id)
        return _message(rows[0])

    def path_of(self, chat_id: int) -> list[Message]:
        """The messages of the branch that is shown, oldest first."""
        rows = self._run(
            "WITH RECURSIVE up(id, depth) AS ("
            " SELECT leaf, 0 FROM chat WHERE id = ? AND leaf IS NOT NULL UNION ALL"
            " SELECT message.parent, depth + 1 FROM up JOIN message ON message.id = up.id"
            " WHERE message.parent IS NOT NULL)"
            f" SELECT {', '.join('message.' + name for name in _MESSAGE.split(', '))}"
            " FROM up JOIN message ON message.id = up.id ORDER BY depth DESC",
            (chat_id,),
        )
        return [_message(row) for row in rows]

    def all_messages(self, chat_id: int) -> list[Message]:
        """Every message of every branch, in the order written."""
        rows = self._run(f"SELECT {_MESSAGE} FROM message WHERE chat = ? ORDER BY id", (chat_id,))
        return [_message(row) for row in rows]

    def siblings(self, message_id: int) -> list[int]:
        """Ids of the messages that share a parent with this one (itself included), in order."""
        message = self.message(message_id)
        rows = self._run(
            "SELECT id FROM message WHERE chat = ? AND parent IS ? ORDER BY id",
            (message.chat, message.parent),
        )
        return [int(row[0]) for row in rows]

    def show_branch(self, message_id: int) -> None:
        """Show the branch through this message, down its newest descendants."""
        message = self.message(message_id)
        leaf = message.id
        while rows := self._run("SELECT max(id) FROM message WHERE parent = ?", (leaf,)):
            if rows[0][0] is None:
                break
            leaf = int(rows[0][0])
        self.set_leaf(message.chat, leaf)

    def set_leaf(self, chat_id: int, leaf: int | None) -> None:
        """Show the branch that ends at ``leaf`` (None: an empty chat)."""
        self._run("UPDATE chat SET leaf = ? WHERE id = ?", (leaf, chat_id))

    # -- search --------------------------------------------------------------------------------

    def search(self, text: str, limit: int = 50) -> list[SearchHit]:
        """Chats whose title or content has all the words of ``text`` (the last may be a prefix)."""
        words = text.split()
        if not words:
            return []
        hits = {hit.chat.id: hit for hit in self._content_hits(words, limit)}
        for chat in self.chats():
            if chat.id not in hits and all(w.casefold() in chat.title.casefold() for w in words):
                hits[chat.id] = SearchHit(chat, None, "")
        found = list(hits.values())
        found.sort(key=lambda hit: hit.chat.updated, reverse=True)
        return found[:limit]

    def _content_hits(self, words: list[str], limit: int) -> list[SearchHit]:
        # Each word is a quoted FTS5 string, so that no operator of its query language gets in.
        query = " ".join('"' + word.replace('"', '""') + '"*' for word in words)
        # snippet() may not be used beside an aggregate, so the newest match wins here instead.
        rows = self._run(
            f"SELECT {', '.join('chat.' + name for name in _CHAT.split(', '))}, message.id,"
            " snippet(message_text, 0, char(2), char(3), '…', 12)"
            " FROM message_text JOIN message ON message.id = message_text.rowid"
            " JOIN chat ON chat.id = message.chat"
            " WHERE message_text MATCH ? AND chat.deleted IS NULL"
            " ORDER BY message.id DESC LIMIT ?",
            (query, limit * 20),
        )
        hits: dict[int, SearchHit] = {}
        for row in rows:
            chat = _chat(row[:7])
            hits.setdefault(chat.id, SearchHit(chat, int(row[7]), *_marked(str(row[8]))))
        return list(hits.values())

    # -- settings that must not lie in the clear --------------------------------------------------

    def secret_setting(self, name: str) -> str | None:
        """A setting that is kept encrypted (server tokens, the system prompt), or None."""
        rows = self._run("SELECT value FROM secret_setting WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def secret_settings(self) -> dict[str, str]:
        """All secret settings."""
        return dict(self._run("SELECT name, value FROM secret_setting"))

    def set_secret_setting(self, name: str, value: str | None) -> None:
        """Keep, replace or (None) forget a secret setting."""
        if value is None:
            self._run("DELETE FROM secret_setting WHERE name = ?", (name,))
            return
        self._run("INSERT OR REPLACE INTO secret_setting(name, value) VALUES (?, ?)", (name, value))


def _chat(row: tuple[Any, ...]) -> Chat:
    ident, title, created, updated, pinned, leaf, folder = row
    return Chat(ident, title, created, updated, bool(pinned), leaf, folder)


def _marked(snippet: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """An excerpt without the signs around its matches, and where these are."""
    text, marks, begin = "", [], 0
    for piece in re.split("([\x02\x03])", snippet):
        if piece == "\x02":
            begin = len(text)
        elif piece == "\x03":
            marks.append((begin, len(text)))
        else:
            text += piece
    return text, tuple(marks)


def _message(row: tuple[Any, ...]) -> Message:
    ident, chat, parent, role, text, state, created, stats = row
    return Message(
        ident, chat, parent, Role(role), text, MessageState(state), created, json.loads(stats)
    )
