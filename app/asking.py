"""Asking: messages wait here until the engine is free, one reply is made at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.engine_process import EngineProcess
from app.events import Estimate, Failure, Json, Meter, Status
from app.library import Library
from app.replies import Reply, can_continue
from app.sentences import failure_from
from app.settings import Settings
from fhe_client.history import History, HistoryError, Message, MessageState, Role

SAVE_EVERY_MS = 1_000
ENGINE_GONE = frozenset({"engine_died", "engine_not_running"})


@dataclass(frozen=True)
class Waiting:
    """A chat that waits for a reply; ``continues`` is the reply that is to go on, if any."""

    store: History
    chat: int
    continues: int | None = None


class Asking(QObject):
    """The queue of what is asked and the reply under way."""

    busy_changed = Signal(bool)
    queue_changed = Signal(int)
    message_added = Signal(Message)
    message_continued = Signal(Message)
    piece_added = Signal(int, str)
    message_finished = Signal(Message)
    failed = Signal(Failure)

    def __init__(
        self,
        engine: EngineProcess,
        library: Library,
        settings: Settings,
        is_ready: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._engine = engine
        self._library = library
        self._settings = settings
        self._is_ready = is_ready
        self._reply: Reply | None = None
        self._queue: list[Waiting] = []
        self._meter: Meter | None = None
        self._saving = QTimer(self, interval=SAVE_EVERY_MS)
        self._saving.timeout.connect(self.save_now)
        engine.piece.connect(self._take_piece)
        engine.meter.connect(self._take_meter)
        engine.status.connect(self._take_status)

    @property
    def busy(self) -> bool:
        """Whether a reply is being made."""
        return self._reply is not None

    @property
    def waiting(self) -> int:
        """How many chats wait for the engine."""
        return len(self._queue)

    # -- what the user does ----------------------------------------------------------------------

    def submit(self, text: str) -> None:
        """Take a message: saved at once, sent when the engine is ready and free."""
        try:
            message = self._library.add_user_message(text)
        except HistoryError as error:
            self.failed.emit(failure_from(error))
            return
        self.message_added.emit(message)
        self._enqueue()

    def regenerate(self, message_id: int) -> None:
        """Make another reply beside this one; the old one stays reachable as a branch."""
        if not self.busy:
            self._library.branch_before(message_id)
            self._library.chat_opened.emit()
            self._enqueue()

    def regenerate_last(self) -> None:
        """Make another reply to the last question."""
        messages = self._library.messages()
        if self.busy or not messages:
            return
        if messages[-1].role is Role.ASSISTANT:
            self.regenerate(messages[-1].id)
        else:
            self._enqueue()

    def edit_and_resend(self, message_id: int, text: str) -> None:
        """Put a changed message beside the old one and ask again."""
        if not self.busy:
            self._library.branch_before(message_id)
            self._library.add_user_message(text)
            self._library.chat_opened.emit()
            self._enqueue()

    def continue_last(self) -> bool:
        """Let the last reply go on where it ended, if it ended early; whether it did."""
        messages = self._library.messages()
        if self.busy or not messages or not can_continue(messages[-1]):
            return False
        self._enqueue(messages[-1].id)
        return True

    def retry(self) -> None:
        """Go on after an error: what is there of a reply is kept, not made again."""
        if not self.continue_last():
            self.regenerate_last()

    def stop(self) -> None:
        """Ask the engine to end the reply within one round; the partial text stays."""
        if self._reply is not None and not self._reply.stopping:
            self._reply.stopping = True
            self._engine.request("stop")

    def forget_waiting(self) -> None:
        """Drop everything that waits."""
        self._queue.clear()
        self.queue_changed.emit(0)

    def estimate(self, draft: str, on_estimate: Callable[[Estimate], None]) -> None:
        """Ask what sending a draft would cost, with the whole context and the padding chosen."""
        if not self._is_ready() or self.busy:
            return
        library = self._library
        shown = library.current
        turns = library.prompt(library.store, shown) if shown is not None else []
        turns.append({"role": "user", "content": draft})
        self._engine.request(
            "estimate",
            {"messages": turns, "options": self.options()},
            lambda value: on_estimate(Estimate.parse(value)),
        )

    def options(self) -> dict[str, Any]:
        """The settings of a reply, as the engine wants them."""
        chosen = self._settings
        return {
            "max_tokens": chosen.max_tokens,
            "temperature": chosen.temperature,
            "top_p": chosen.top_p,
            "seed": chosen.seed,
            "draft": 0 if chosen.draft == "off" else chosen.draft,
            "pad": chosen.pad,
        }

    # -- the queue -------------------------------------------------------------------------------

    def _enqueue(self, continues: int | None = None) -> None:
        assert self._library.current is not None
        asked = Waiting(self._library.store, self._library.current, continues)
        same_chat = [w for w in self._queue if (w.store, w.chat) == (asked.store, asked.chat)]
        if not same_chat:  # one reply answers all that was typed before it
            self._queue.append(asked)
        elif asked.continues is None:  # what was typed since takes the place of going on
            self._queue[self._queue.index(same_chat[0])] = asked
        self.queue_changed.emit(len(self._queue))
        self.next()

    def next(self) -> None:
        """Ask for the next reply, if the engine is ready and free."""
        while self._is_ready() and not self.busy and self._queue:
            waiting = self._queue.pop(0)
            self.queue_changed.emit(len(self._queue))
            try:
                self._ask(waiting)
            except (HistoryError, KeyError) as error:  # KeyError: deleted while it waited
                if isinstance(error, HistoryError):
                    self.failed.emit(failure_from(error))

    def _ask(self, waiting: Waiting) -> None:
        store = waiting.store
        turns = self._library.prompt(store, waiting.chat)
        if waiting.continues is None:
            message = self._new_reply(store, waiting.chat)
        else:
            if store.chat(waiting.chat).leaf != waiting.continues:
                return  # another branch is shown by now
            message = self._same_reply(store, waiting.continues)
        self._reply = Reply(store, message, self._meter)
        shown = self.message_added if waiting.continues is None else self.message_continued
        shown.emit(message)
        self.busy_changed.emit(True)
        self._saving.start()
        fields: dict[str, Any] = {"messages": turns, "options": self.options()}
        if message.text:
            fields["continue"] = True
        self._reply.command = self._engine.request(
            "ask", fields, self._finished, self._not_finished
        )

    def _new_reply(self, store: History, chat: int) -> Message:
        leaf = store.chat(chat).leaf
        state = MessageState.STREAMING
        return store.add_message(chat, Role.ASSISTANT, "", parent=leaf, state=state)

    def _same_reply(self, store: History, message_id: int) -> Message:
        text = store.message(message_id).text
        return store.update_message(message_id, text=text, state=MessageState.STREAMING)

    def history_moved(self, early: History) -> None:
        """What was typed before the history opened now lies in it, under another id."""
        if self._reply is not None and self._reply.store is early:
            self.stop()
            self._reply.detach()
        present, ids = self._library.history, self._library.moved
        self._queue = [
            replace(waiting, store=present, chat=ids[waiting.chat])
            if waiting.store is early
            else waiting
            for waiting in self._queue
            if waiting.store is not early or waiting.continues is None
        ]

    # -- the reply under way ---------------------------------------------------------------------

    def is_shown(self, message: Message) -> bool:
        """Whether a message belongs to the chat that is shown."""
        reply = self._reply
        its_own = reply is not None and reply.message.id == message.id
        if reply is not None and its_own and not self._in_sight(reply):
            return False
        return message.chat == self._library.current

    def _in_sight(self, reply: Reply) -> bool:
        return not reply.detached and reply.store is self._library.store

    def save_now(self) -> None:
        """Write what there is of the reply, so that a chat opened in mid-reply shows all of it."""
        if self._reply is not None:
            try:
                self._reply.save_partial()
            except (HistoryError, KeyError):
                self._saving.stop()  # said once, at the end, where it can be acted on

    def engine_started(self) -> None:
        """A fresh engine counts from zero."""
        self._meter = None

    def _take_piece(self, command: int, text: str) -> None:
        if self._reply is not None and command == self._reply.command:
            self._reply.add(text)
            if self.is_shown(self._reply.message):
                self.piece_added.emit(self._reply.message.id, text)

    def _take_meter(self, meter: Meter) -> None:
        self._meter = meter
        if self._reply is not None:
            self._reply.note_meter(meter)

    def _take_status(self, status: Status) -> None:
        if self._reply is not None and status.state == "token":
            self._reply.note_tokens(status.done)

    def _finished(self, result: Json) -> None:
        self._end_reply(lambda reply: reply.finish(result))
        self.next()

    def _not_finished(self, failure: Failure) -> None:
        gone = failure.code in ENGINE_GONE
        state = MessageState.INTERRUPTED if gone else MessageState.FAILED
        self._end_reply(lambda reply: reply.fail(state))
        if not gone:  # an engine that died is told of by itself
            self.failed.emit(failure)
            self.next()

    def _end_reply(self, end: Callable[[Reply], Message]) -> None:
        reply = self._reply
        self._saving.stop()
        if reply is None:
            return
        try:
            message = None if reply.detached else end(reply)
        except HistoryError as error:
            self.failed.emit(failure_from(error))
        except KeyError:
            pass  # everything was deleted while the reply was made
        else:
            if message is not None:
                self.message_finished.emit(message)
        self._reply = None
        self.busy_changed.emit(False)
