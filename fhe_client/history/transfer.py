"""Export to Markdown and JSON, import from JSON. Exported files are not encrypted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fhe_client.history.errors import HistoryTransferError
from fhe_client.history.records import Chat, Message, MessageState, Role
from fhe_client.history.store import History

FORMAT = "tacita-export"
FORMAT_VERSION = 1
MAX_IMPORT_BYTES = 256 * 1024 * 1024


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def export_markdown(history: History, chat_id: int) -> str:
    """The branch that is shown, as Markdown a person can read."""
    chat = history.chat(chat_id)
    parts = [f"# {chat.title}", f"*{_date(chat.created)}*"]
    for message in history.path_of(chat_id):
        name = "You" if message.role is Role.USER else "Assistant"
        note = "" if message.state is MessageState.COMPLETE else f" ({message.state.value})"
        parts += [f"## {name}{note}", message.text]
    return "\n\n".join(parts) + "\n"


def export_json(history: History, chat_ids: Iterable[int]) -> str:
    """Whole chats with all branches, readable again by ``import_json``."""
    folders = {folder.id: folder.name for folder in history.folders()}
    chats = [_chat_value(history, history.chat(chat_id), folders) for chat_id in chat_ids]
    value = {"format": FORMAT, "version": FORMAT_VERSION, "chats": chats}
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _chat_value(history: History, chat: Chat, folders: Mapping[int, str]) -> dict[str, Any]:
    return {
        "title": chat.title,
        "pinned": chat.pinned,
        "folder": folders.get(chat.folder or 0),
        "created": chat.created,
        "leaf": chat.leaf,
        "messages": [_message_value(message) for message in history.all_messages(chat.id)],
    }


def _message_value(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "parent": message.parent,
        "role": message.role.value,
        "text": message.text,
        "state": message.state.value,
        "stats": dict(message.stats),
    }


def _refuse(reason: str) -> HistoryTransferError:
    return HistoryTransferError(
        f"This file cannot be imported: {reason}.",
        "Choose a JSON file that was exported by Tacita. Nothing was changed.",
    )


def import_json(history: History, text: str) -> list[Chat]:
    """Add the chats of an export as new chats; all of them or, on an error, none.

    Raises:
        HistoryTransferError: the text is not a well-formed export.
    """
    if len(text) > MAX_IMPORT_BYTES:
        raise _refuse("it is larger than 256 MB")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refuse("it is not JSON") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _refuse("it is not a Tacita export")
    if value.get("version") != FORMAT_VERSION:
        raise _refuse(f"it has export version {value.get('version')!r}")
    chats = [_checked_chat(chat) for chat in _list(value.get("chats"))]
    with history.transaction():
        return [_add_chat(history, *chat) for chat in chats]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _refuse("a list is missing")
    return value


def _checked_chat(value: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not isinstance(value, dict) or not _is_text(value.get("title")):
        raise _refuse("a chat has no title")
    messages = _list(value.get("messages"))
    seen: set[int] = set()
    for message in messages:
        _check_message(message, seen)
    leaf = value.get("leaf")
    if leaf is not None and not _known(leaf, seen):
        raise _refuse("a chat points to a message it does not have")
    if value.get("folder") is not None and not _is_text(value["folder"]):
        raise _refuse("a folder has no name")
    return value, messages


def _known(ident: Any, seen: set[int]) -> bool:
    return isinstance(ident, int) and ident in seen


def _is_text(value: Any) -> bool:
    """Whether it is text that the database can hold: JSON can spell halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_message(message: Any, seen: set[int]) -> None:
    if not isinstance(message, dict) or not isinstance(message.get("id"), int):
        raise _refuse("a message has no id")
    if message["id"] in seen:
        raise _refuse("two messages have one id")
    parent = message.get("parent")
    if parent is not None and not _known(parent, seen):
        raise _refuse("a message comes before the one it answers")
    if not _is_text(message.get("text")):
        raise _refuse("a message has no text")
    if not isinstance(message.get("stats", {}), dict):
        raise _refuse("a message has malformed figures")
    try:
        Role(str(message.get("role")))
        state = MessageState(message.get("state", "complete"))
    except ValueError as error:
        raise _refuse("a message has an unknown role or state") from error
    if state is MessageState.STREAMING:
        message["state"] = MessageState.INTERRUPTED.value
    seen.add(message["id"])


def _add_chat(history: History, value: dict[str, Any], messages: list[dict[str, Any]]) -> Chat:
    chat = history.new_chat(value["title"])
    history.pin(chat.id, value.get("pinned") is True)
    history.move(chat.id, _folder(history, value.get("folder")))
    renumbered: dict[int | None, int | None] = {None: None}
    for message in messages:
        added = history.add_message(
            chat.id,
            Role(message["role"]),
            message["text"],
            parent=renumbered[message.get("parent")],
        )
        state = MessageState(message.get("state", "complete"))
        stats = message.get("stats", {})
        history.update_message(added.id, text=added.text, state=state, stats=stats)
        renumbered[message["id"]] = added.id
    if (leaf := value.get("leaf")) is not None:
        history.set_leaf(chat.id, renumbered[leaf])
    return history.chat(chat.id)


def _folder(history: History, name: str | None) -> int | None:
    """The folder of this name, made if there is none."""
    if not name:
        return None
    known = {folder.name: folder.id for folder in history.folders()}
    return known[name] if name in known else history.new_folder(name).id
