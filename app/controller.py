"""The one controller: what the user does becomes commands, what the engine says becomes signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app import settings as settings_file
from app.engine_process import EngineProcess
from app.events import Connection, ConnectionReport, Failure, Json, KeysStatus, Meter, Status
from app.library import SYSTEM_PROMPT, Library
from app.replies import Reply
from app.settings import LOCAL, Settings
from app.vault import HistoryKey, Vault
from fhe_client.history import History, HistoryError, Message, MessageState, Role

SAVE_EVERY_MS = 1_000
TOKEN_SETTING = "token:"  # noqa: S105 - the name of a setting
NEEDS_PASSPHRASE = frozenset({"passphrase_needed", "wrong_passphrase"})


class Controller(QObject):
    """Owns the engine, the library and the settings; knows no widget."""

    status_changed = Signal(Status)
    meter_changed = Signal(Meter)
    ready_changed = Signal(bool)
    busy_changed = Signal(bool)
    queue_changed = Signal(int)
    message_added = Signal(Message)
    piece_added = Signal(int, str)
    message_finished = Signal(Message)
    connected = Signal(Connection)
    failed = Signal(Failure)
    keys_changed = Signal(KeysStatus)
    passphrase_needed = Signal(Failure)
    versions_changed = Signal(dict)
    begun_again = Signal()

    def __init__(
        self,
        engine: EngineProcess,
        vault: Vault,
        settings: Settings,
        settings_path: Path,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.engine = engine
        self.vault = vault
        self.settings = settings
        self.library = Library(self)
        self.ready = False
        self.connection: Connection | None = None
        self.keys = KeysStatus("")
        self.versions: dict[str, str] = {}
        self._settings_path = settings_path
        self._hello = False
        self._connecting = False
        self._connect_run = 0
        self._reply: Reply | None = None
        self._queue: list[tuple[History, int]] = []
        self._saving = QTimer(self, interval=SAVE_EVERY_MS)
        self._wire()

    def _wire(self) -> None:
        self._saving.timeout.connect(self._save_partial)
        self.engine.status.connect(self.status_changed)
        self.engine.meter.connect(self.meter_changed)
        self.engine.piece.connect(self._take_piece)
        self.engine.died.connect(self._engine_died)
        self.vault.opened.connect(self._vault_opened)
        self.vault.failed.connect(self._vault_failed)

    # -- start and end -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine, and open the history unless this is the first run."""
        self.status_changed.emit(Status("starting"))
        self._hello = False
        self.engine.start()
        self.engine.request("hello", None, self._take_hello, self.failed.emit)
        if not self.settings.first_run and not self.library.settled:
            self.vault.open()

    def quit(self) -> None:
        """End the engine and close the history. Call it with the windows hidden."""
        self._save_partial()
        self.engine.quit()
        self.vault.wait(2_000)
        self.library.close()

    def suspend(self) -> None:
        """End the engine and close the history, so that their files can be deleted."""
        self.stop()
        self._save_partial()
        self.engine.quit()
        self.vault.wait(2_000)
        self._queue.clear()
        self._connecting = False
        self.connection = None
        self._set_ready(False)
        self.library.begin_again()

    def begin_again(self) -> None:
        """Start anew after ``suspend``, with whatever settings and keys there are now."""
        self.begun_again.emit()
        self.start()

    def restart_engine(self) -> None:
        """Start the engine again after it died."""
        self.start()

    def _take_hello(self, value: Json) -> None:
        self._hello = True
        versions = value.get("versions")
        if isinstance(versions, dict):
            self.versions = {str(name): str(found) for name, found in versions.items()}
        keyring = value.get("keyring")
        self._take_keys(keyring if isinstance(keyring, dict) else {})
        self._connect_when_possible()

    def save_settings(self) -> None:
        """Write the settings down; an error is shown, and the choice stays in force."""
        try:
            settings_file.save(self._settings_path, self.settings)
        except OSError as error:
            self.failed.emit(
                Failure(
                    "settings",
                    self.tr("The settings could not be saved."),
                    self.tr("Free some disk space, or check the folder's permissions."),
                    type(error).__name__,
                )
            )

    # -- keys and history ----------------------------------------------------------------------------

    def open_history(self, passphrase: str | None = None) -> None:
        """Open the saved chats (again), after the first run or with a passphrase."""
        self.library.settled = False
        self.vault.open(passphrase)

    def use_keys(
        self,
        mode: str,
        passphrase: str | None,
        on_failure: Callable[[Failure], None],
        on_used: Callable[[], None] | None = None,
    ) -> None:
        """Keep the master key in the keyring, under a passphrase, or for this session only."""
        fields = {"mode": mode, "passphrase": passphrase}

        def used(value: Json) -> None:
            self._take_keys(value)
            if on_used is not None:
                on_used()
            if mode == "session":
                self._settle(None)
            else:
                self.open_history(passphrase)

        self.engine.request("keys_use", fields, used, on_failure)

    def finish_first_run(
        self,
        server: str,
        mode: str,
        passphrase: str | None,
        on_failure: Callable[[Failure], None],
        on_done: Callable[[], None],
    ) -> None:
        """Make or open the keys in the way that was chosen, then remember the server and connect."""

        def used() -> None:
            self.settings.server = server
            self.save_settings()
            on_done()

        self.use_keys(mode, passphrase, on_failure, used)

    def refresh_keys(self) -> None:
        """Ask the engine where the keys are."""
        self.engine.request("keys_status", None, self._take_keys)

    def _take_keys(self, value: Json) -> None:
        self.keys = KeysStatus.parse(value)
        self.keys_changed.emit(self.keys)

    def _vault_opened(self, found: HistoryKey) -> None:
        self._settle(found)

    def _vault_failed(self, failure: Failure) -> None:
        if failure.code in NEEDS_PASSPHRASE:
            self.passphrase_needed.emit(failure)
            return
        self._settle(None)
        self.failed.emit(failure)

    def _settle(self, found: HistoryKey | None) -> None:
        early = self.library.history
        failure = self.library.settle(found)
        if failure is not None:
            self.failed.emit(failure)
        if early is not self.library.history:
            # What was typed before the history opened now lies in it, under another id.
            self._queue = [
                (self.library.history, self.library.moved[chat_id]) if store is early else entry
                for entry in self._queue
                for store, chat_id in [entry]
            ]
        self._connect_when_possible()

    def system_prompt(self) -> str:
        """The system prompt; empty when there is none."""
        return self.library.history.secret_setting(SYSTEM_PROMPT) or ""

    def set_system_prompt(self, text: str) -> None:
        """Keep a system prompt, encrypted."""
        self.library.history.set_secret_setting(SYSTEM_PROMPT, text.strip() or None)

    def server_token(self, url: str) -> str:
        """The access token of a server; empty when there is none."""
        return self.library.history.secret_setting(TOKEN_SETTING + url) or ""

    def set_server_token(self, url: str, token: str) -> None:
        """Keep a server's access token, encrypted."""
        self.library.history.set_secret_setting(TOKEN_SETTING + url, token.strip() or None)

    # -- connection ------------------------------------------------------------------------------------

    def choose_server(self, server: str) -> None:
        """Use a server (its URL, or ``local``) from now on."""
        self.settings.server = server
        self.save_settings()
        if not self.library.settled:
            self.open_history()
        self.reconnect()

    def reconnect(self) -> None:
        """Connect again with the present settings; a running reply is stopped first."""
        self.stop()
        self._connecting = False
        self._set_ready(False)
        self._connect_when_possible()

    def _connect_when_possible(self) -> None:
        if not self._hello or not self.library.settled or self.settings.first_run or self.ready:
            return
        if self._connecting:
            return
        self._connecting = True
        self._connect_run += 1
        run = self._connect_run  # an answer to an older attempt no longer counts
        self.status_changed.emit(Status("connecting"))
        self.engine.request(
            "connect",
            self._target(),
            lambda value: self._take_connection(run, value),
            lambda failure: self._not_connected(run, failure),
        )

    def cancel_connecting(self) -> None:
        """Give up connecting, downloading or importing; what was loaded so far is kept."""
        if self._connecting:
            self.engine.request("stop")

    def _target(self) -> dict[str, Any]:
        url = self.settings.server
        if url == LOCAL:
            model = self.settings.local_model or None
            return {"server": {"url": None, "token": None}, "model": model, "local": True}
        saved = self.settings.saved_server(url)
        return {
            "server": {"url": url, "token": self.server_token(url) or None},
            "model": (saved.model if saved else "") or None,
            "local": False,
        }

    def _take_connection(self, run: int, value: Json) -> None:
        if run != self._connect_run:
            return
        self._connecting = False
        self.connection = Connection.parse(value)
        self.status_changed.emit(Status("ready"))
        self._set_ready(True)
        self.connected.emit(self.connection)
        self._next()

    def _not_connected(self, run: int, failure: Failure) -> None:
        if run != self._connect_run:
            return
        self._connecting = False
        if failure.code == "engine_died":
            return
        self.status_changed.emit(Status("offline"))
        if failure.code in NEEDS_PASSPHRASE:
            self.passphrase_needed.emit(failure)
        else:
            self.failed.emit(failure)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self.ready_changed.emit(ready)

    def test_connection(
        self, url: str, token: str, model: str, on_report: Callable[[ConnectionReport], None]
    ) -> None:
        """Ask the engine to test a server; the answer comes within seconds."""
        fields = {"server": {"url": url, "token": token or None}, "model": model or None}
        self.engine.request(
            "test_connection",
            fields,
            lambda value: on_report(ConnectionReport.parse(value)),
            lambda failure: on_report(ConnectionReport("failed", failure.message)),
        )

    # -- asking ------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a reply is being made."""
        return self._reply is not None

    @property
    def waiting(self) -> int:
        """How many messages wait for the engine."""
        return len(self._queue)

    def submit(self, text: str) -> None:
        """Take a message: saved at once, sent when the engine is ready and free."""
        try:
            message = self.library.add_user_message(text)
        except HistoryError as error:
            self.failed.emit(Failure("history", error.message, error.next_step))
            return
        self.message_added.emit(message)
        self._enqueue()

    def _enqueue(self) -> None:
        assert self.library.current is not None
        asked = (self.library.store, self.library.current)
        if asked not in self._queue:  # one reply answers all that was typed before it
            self._queue.append(asked)
        self.queue_changed.emit(len(self._queue))
        self._next()

    def regenerate(self, message_id: int) -> None:
        """Make another reply beside this one; the old one stays reachable as a branch."""
        if not self.busy:
            self.library.branch_before(message_id)
            self.library.chat_opened.emit()
            self._enqueue()

    def edit_and_resend(self, message_id: int, text: str) -> None:
        """Put a changed message beside the old one and ask again."""
        if not self.busy:
            self.library.branch_before(message_id)
            self.library.add_user_message(text)
            self.library.chat_opened.emit()
            self._enqueue()

    def retry(self) -> None:
        """Ask again for the last message, after an error."""
        messages = self.library.messages()
        if self.busy or not messages:
            return
        if messages[-1].role is Role.ASSISTANT:
            self.regenerate(messages[-1].id)
        else:
            self._enqueue()

    def delete_everything(self) -> None:
        """Delete every chat for good; a reply under way is stopped."""
        self.stop()
        self._queue.clear()
        self.library.delete_everything()

    def stop(self) -> None:
        """Ask the engine to end the reply within one round; the partial text stays."""
        if self._reply is not None and not self._reply.stopping:
            self._reply.stopping = True
            self.engine.request("stop")

    def estimate(self, draft: str, on_estimate: Callable[[float, float], None]) -> None:
        """Ask what sending a draft would cost: seconds and MB, for prompt and whole context."""
        if not self.ready or self.busy:
            return
        turns = (
            self.library.prompt(self.library.store, self.library.current)
            if self.library.current is not None
            else []
        )
        turns.append({"role": "user", "content": draft})
        self.engine.request(
            "estimate",
            {"messages": turns},
            lambda value: on_estimate(float(value.get("seconds", 0)), float(value.get("mb", 0))),
        )

    def watch_layers(self, on: bool) -> None:
        """Ask for the events of the layer ribbon and of *What the server sees*."""
        self.engine.request("watch_layers", {"on": on})

    def _next(self) -> None:
        if not self.ready or self.busy or not self._queue:
            return
        store, chat_id = self._queue.pop(0)
        self.queue_changed.emit(len(self._queue))
        turns = self.library.prompt(store, chat_id)
        message = store.add_message(
            chat_id,
            Role.ASSISTANT,
            "",
            parent=store.chat(chat_id).leaf,
            state=MessageState.STREAMING,
        )
        self._reply = Reply(store, message)
        self.message_added.emit(message)
        self.busy_changed.emit(True)
        self._saving.start()
        self._reply.command = self.engine.request(
            "ask",
            {"messages": turns, "options": self._options()},
            self._finished,
            self._not_finished,
        )

    def _options(self) -> dict[str, Any]:
        chosen = self.settings
        return {
            "max_tokens": chosen.max_tokens,
            "temperature": chosen.temperature,
            "top_p": chosen.top_p,
            "seed": chosen.seed,
        }

    def _take_piece(self, command: int, text: str) -> None:
        if self._reply is not None and command == self._reply.command:
            self._reply.add(text)
            if not self.is_shown(self._reply.message):
                return
            self.piece_added.emit(self._reply.message.id, text)

    def is_shown(self, message: Message) -> bool:
        """Whether a message belongs to the chat that is shown."""
        reply = self._reply
        if (
            reply is not None
            and reply.message.id == message.id
            and reply.store is not self.library.store
        ):
            return False
        return message.chat == self.library.current

    def _save_partial(self) -> None:
        if self._reply is not None:
            try:
                self._reply.save_partial()
            except (HistoryError, KeyError):
                self._saving.stop()  # said once, at the end, where it can be acted on

    def save_now(self) -> None:
        """Write the reply under way, so that a chat opened in mid-reply shows all of it."""
        self._save_partial()

    def _finished(self, result: Json) -> None:
        self._end_reply(lambda reply: reply.finish(result))
        self._next()

    def _not_finished(self, failure: Failure) -> None:
        self._end_reply(Reply.fail)
        if failure.code != "engine_died":
            self.failed.emit(failure)
            self._next()

    def _end_reply(self, end: Callable[[Reply], Message]) -> None:
        reply, self._reply = self._reply, None
        self._saving.stop()
        if reply is None:
            return
        try:
            message = end(reply)
        except HistoryError as error:
            self.failed.emit(Failure("history", error.message, error.next_step))
        except KeyError:
            pass  # everything was deleted while the reply was made
        else:
            self.message_finished.emit(message)
        self.busy_changed.emit(False)

    def _engine_died(self, failure: Failure) -> None:
        self._hello = False
        self._set_ready(False)
        self.status_changed.emit(Status("offline"))
        self.failed.emit(failure)
