"""The chat history: one encrypted SQLite file, or memory alone when there is no lasting key.

Nothing here imports torch, numpy or Qt, so the window may use it directly.
"""

from __future__ import annotations

from fhe_client.history.errors import (
    HistoryError,
    HistoryLockedError,
    HistoryNewerError,
    HistoryTransferError,
)
from fhe_client.history.records import Chat, Folder, Message, MessageState, Role, SearchHit
from fhe_client.history.store import History
from fhe_client.history.transfer import export_json, export_markdown, import_json

__all__ = [
    "Chat",
    "Folder",
    "History",
    "HistoryError",
    "HistoryLockedError",
    "HistoryNewerError",
    "HistoryTransferError",
    "Message",
    "MessageState",
    "Role",
    "SearchHit",
    "export_json",
    "export_markdown",
    "import_json",
]
