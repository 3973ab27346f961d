"""The chats of this user: which history is open, which chat is shown, what may be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QObject, Signal

from app.events import Failure
from app.i18n import translate
from app.sentences import failure_from
from app.vault import HistoryKey
from fhe_client.history import (
    Chat,
    History,
    HistoryError,
    Message,
    MessageState,
    Role,
    SearchHit,
    export_json,
    import_json,
)

TITLE_LENGTH = 60
SYSTEM_PROMPT = "system_prompt"


def title_from(text: str) -> str:
    """A chat's title from its first message: the first line, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line or translate("library", "New chat")
    return line[:TITLE_LENGTH].rsplit(" ", 1)[0] + "…"


class Library(QObject):
    """Starts in memory, so that typing never waits for a keyring, and moves when the file opens."""

    chats_changed = Signal()
    chat_opened = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.history = History(None)
        self._temporary: History | None = None
        self.current: int | None = None
        self.settled = False
        self.moved: dict[int, int] = {}  # ids of chats before and after the history opened

    # -- the history itself ----------------------------------------------------------------------

    @property
    def store(self) -> History:
        """The history of the chat that is shown."""
        return self._temporary or self.history

    @property
    def temporary(self) -> bool:
        """Whether the chat that is shown is a temporary one, never written anywhere."""
        return self._temporary is not None

    def settle(self, found: HistoryKey | None) -> Failure | None:
        """Take the key that the vault found (None: stay in memory). Returns what went wrong."""
        self.settled = True
        if found is None or found.path is None or self.history.persistent:
            return None  # nothing lasting, or the file is open already: moving a key keeps it
        try:
            opened = History(found.path, found.key)
        except HistoryError as error:
            return failure_from(error)
        self._move_to(opened)
        return None

    def _move_to(self, opened: History) -> None:
        early, self.history = self.history, opened
        chats = list(reversed(early.chats()))
        moved = import_json(opened, export_json(early, [chat.id for chat in chats]))
        self.moved = {old.id: new.id for old, new in zip(chats, moved, strict=True)}
        if not self.temporary and self.current is not None:
            self.current = self.moved.get(self.current)
        for name, value in early.secret_settings().items():
            opened.set_secret_setting(name, value)
        early.close()
        self.chats_changed.emit()
        self.chat_opened.emit()

    def close(self) -> None:
        """Close every history; a temporary chat is gone."""
        if self._temporary is not None:
            self._temporary.close()
            self._temporary = None
        self.history.close()

    def begin_again(self) -> None:
        """Close every history and go on with an empty one in memory, as at the start."""
        self.close()
        self.history = History(None)
        self.current = None
        self.settled = False
        self.moved = {}
        self.chats_changed.emit()
        self.chat_opened.emit()

    # -- choosing a chat ---------------------------------------------------------------------------

    def new_chat(self, *, temporary: bool = False) -> None:
        """Show an empty chat; it is written down with its first message."""
        self._leave_temporary()
        self._temporary = History(None) if temporary else None
        self.current = None
        self.chat_opened.emit()

    def open_chat(self, chat_id: int) -> None:
        """Show a saved chat."""
        self._leave_temporary()
        self.current = chat_id
        self.chat_opened.emit()

    def _leave_temporary(self) -> None:
        # Not closed here: a reply may still be on its way into it. It goes with its last reference.
        self._temporary = None

    def chat(self) -> Chat | None:
        """The chat that is shown, or None while it has no message."""
        return None if self.current is None else self.store.chat(self.current)

    def messages(self) -> list[Message]:
        """The messages of the branch that is shown."""
        return [] if self.current is None else self.store.path_of(self.current)

    def reply_figures(self) -> list[dict[str, Any]]:
        """The figures kept with every reply of the chat that is shown, on all its branches."""
        if self.current is None:
            return []
        return [dict(m.stats) for m in self.store.all_messages(self.current) if m.stats]

    def add_user_message(self, text: str) -> Message:
        """Append the user's message to the chat that is shown, creating the chat if need be."""
        if self.current is None:
            self.current = self.store.new_chat(title_from(text)).id
        leaf = self.store.chat(self.current).leaf
        message = self.store.add_message(self.current, Role.USER, text, parent=leaf)
        self.chats_changed.emit()
        return message

    # -- the list of chats ---------------------------------------------------------------------------

    def chats(self) -> list[Chat]:
        """The saved chats, in the order of the list."""
        return self.history.chats()

    def search(self, text: str) -> list[SearchHit]:
        """Saved chats that match."""
        return self.history.search(text)

    def rename(self, chat_id: int, title: str) -> None:
        """Give a chat another title; an empty one is ignored."""
        if title.strip():
            self.history.rename(chat_id, title.strip())
            self.chats_changed.emit()

    def pin(self, chat_id: int, pinned: bool) -> None:
        """Keep a chat on top, or not."""
        self.history.pin(chat_id, pinned)
        self.chats_changed.emit()

    def move(self, chat_id: int, folder: int | None) -> None:
        """Put a chat into a folder, or (None) out of it."""
        self.history.move(chat_id, folder)
        self.chats_changed.emit()

    def new_folder(self, name: str, chats: Sequence[int] = ()) -> None:
        """Make a folder with some chats in it; an empty name is ignored."""
        if name.strip():
            folder = self.history.new_folder(name.strip())
            for chat_id in chats:
                self.history.move(chat_id, folder.id)
            self.chats_changed.emit()

    def rename_folder(self, folder: int, name: str) -> None:
        """Give a folder another name; an empty one is ignored."""
        if name.strip():
            self.history.rename_folder(folder, name.strip())
            self.chats_changed.emit()

    def close_folder(self, folder: int, closed: bool) -> None:
        """Show only the name of a folder, or its chats too."""
        self.history.close_folder(folder, closed)
        self.chats_changed.emit()

    def delete_folder(self, folder: int) -> None:
        """Remove a folder; its chats stay."""
        self.history.delete_folder(folder)
        self.chats_changed.emit()

    def delete(self, chat_id: int) -> None:
        """Delete a chat; ``undelete`` brings it back."""
        self.history.delete(chat_id)
        if not self.temporary and self.current == chat_id:
            self.new_chat()
        self.chats_changed.emit()

    def undelete(self, chat_id: int) -> None:
        """Bring a deleted chat back and show it."""
        self.history.undelete(chat_id)
        self.open_chat(chat_id)
        self.chats_changed.emit()

    def delete_everything(self) -> None:
        """Delete every chat for good."""
        self.history.delete_everything()
        self.new_chat()
        self.chats_changed.emit()

    def import_text(self, text: str) -> list[Chat]:
        """Add the chats of an export.

        Raises:
            HistoryTransferError: the text is not an export.
        """
        chats = import_json(self.history, text)
        self.chats_changed.emit()
        return chats

    # -- branches ------------------------------------------------------------------------------------

    def position(self, message: Message) -> tuple[int, int]:
        """Which of how many branches a message is: (1, 1) when there is only one."""
        siblings = self.store.siblings(message.id)
        return siblings.index(message.id) + 1, len(siblings)

    def step_branch(self, message_id: int, step: int) -> None:
        """Show the previous (-1) or next (+1) branch at a message."""
        siblings = self.store.siblings(message_id)
        target = siblings.index(message_id) + step
        if 0 <= target < len(siblings):
            self.store.show_branch(siblings[target])
            self.chat_opened.emit()

    def branch_before(self, message_id: int) -> None:
        """Cut the shown branch just above a message, to put a new one beside it."""
        message = self.store.message(message_id)
        self.store.set_leaf(message.chat, message.parent)

    def prompt(self, store: History, chat_id: int) -> list[dict[str, str]]:
        """What is asked: system prompt and shown branch, with roles alternating."""
        turns: list[dict[str, str]] = []
        if system := self.history.secret_setting(SYSTEM_PROMPT):
            turns.append({"role": "system", "content": system})
        for message in store.path_of(chat_id):
            if message.state is MessageState.STREAMING or not message.text:
                continue
            if turns and turns[-1]["role"] == message.role.value:
                turns[-1]["content"] += "\n\n" + message.text
            else:
                turns.append({"role": message.role.value, "content": message.text})
        return turns
