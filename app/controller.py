"""The one controller: what the user does becomes commands, what the engine says becomes signals.

Views know this object alone. It joins four parts that do not know each other: ``Opening`` (keys
and history), ``Connecting`` (the server), ``Asking`` (messages and replies) and the library.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app import settings as settings_file
from app.asking import Asking
from app.connecting import Connecting
from app.engine_process import EngineProcess
from app.events import (
    Connection,
    ConnectionReport,
    Estimate,
    Failure,
    Json,
    KeysStatus,
    Meter,
    Status,
    reasons,
)
from app.library import Library
from app.opening import OnFailure, Opening
from app.settings import Settings
from app.vault import Vault
from fhe_client.history import Message


class Controller(QObject):
    """Owns the engine, the library and the settings; knows no widget."""

    status_changed = Signal(Status)
    meter_changed = Signal(Meter)
    ready_changed = Signal(bool)
    busy_changed = Signal(bool)
    queue_changed = Signal(int)
    message_added = Signal(Message)
    message_continued = Signal(Message)
    piece_added = Signal(int, str)
    message_finished = Signal(Message)
    connected = Signal(Connection)
    failed = Signal(Failure)
    keys_changed = Signal(KeysStatus)
    passphrase_needed = Signal(Failure)
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
        self.versions: dict[str, str] = {}
        self.why_not: dict[str, str] = {}  # schemes that cannot be used on this computer
        self.meter = Meter()
        self._settings_path = settings_path
        self._opening = Opening(engine, vault, self.library, self)
        self._connecting = Connecting(engine, self.library, settings, self.server_token, self)
        self._asking = Asking(engine, self.library, settings, lambda: self.ready, self)
        self._pass_on()
        self._wire()

    def _pass_on(self) -> None:
        """The signals of the parts leave as the controller's own."""
        for part in (self._opening, self._connecting, self._asking):
            part.failed.connect(self.failed)
        for asker in (self._opening, self._connecting):
            asker.passphrase_needed.connect(self.passphrase_needed)
        self._opening.keys_changed.connect(self.keys_changed)
        for name in ("status_changed", "ready_changed", "connected"):
            getattr(self._connecting, name).connect(getattr(self, name))
        for name in (
            "busy_changed",
            "queue_changed",
            "message_added",
            "message_continued",
            "piece_added",
            "message_finished",
        ):
            getattr(self._asking, name).connect(getattr(self, name))
        self.engine.status.connect(self.status_changed)
        self.engine.meter.connect(self._take_meter)

    def _wire(self) -> None:
        """What happens in one part has its consequence in another."""
        self._opening.about_to_move.connect(self._asking.save_now)
        self._opening.moved.connect(self._asking.history_moved)
        self._opening.settled.connect(self._connecting.connect_when_possible)
        self._connecting.connected.connect(lambda _found: self._asking.next())
        self.engine.died.connect(self._engine_died)

    # -- start and end -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine, and open the history unless this is the first run."""
        self.status_changed.emit(Status("starting"))
        self._connecting.engine_greeted = False
        self._asking.engine_started()
        self.engine.start()
        self.engine.request("hello", None, self._take_hello, self.failed.emit)
        if not self.settings.first_run and not self.library.settled:
            self.vault.open()

    def quit(self) -> None:
        """End the engine and close the history. Call it with the windows hidden."""
        self._asking.save_now()
        self.engine.quit()
        self.vault.wait(2_000)
        self.library.close()

    def suspend(self) -> None:
        """End the engine and close the history, so that their files can be deleted."""
        self.stop()
        self._asking.save_now()
        self.engine.quit()
        self.vault.wait(2_000)
        self._asking.forget_waiting()
        self._connecting.forget()
        self.library.begin_again()

    def begin_again(self) -> None:
        """Start anew after ``suspend``, with whatever settings and keys there are now."""
        self.begun_again.emit()
        self.start()

    def restart_engine(self) -> None:
        """Start the engine again after it died."""
        self.start()

    def _take_hello(self, value: Json) -> None:
        self._connecting.engine_greeted = True
        versions = value.get("versions")
        if isinstance(versions, dict):
            self.versions = {str(name): str(found) for name, found in versions.items()}
        self.why_not = reasons(value.get("schemes"))
        keyring = value.get("keyring")
        self._opening.take_keys(keyring if isinstance(keyring, dict) else {})
        self._connecting.connect_when_possible()

    def _take_meter(self, meter: Meter) -> None:
        self.meter = meter
        self.meter_changed.emit(meter)

    def _engine_died(self, failure: Failure) -> None:
        self._connecting.engine_died()
        self.failed.emit(failure)

    def save_settings(self) -> None:
        """Write the settings down; an error is shown, and the choice stays in force."""
        try:
            settings_file.save(self._settings_path, self.settings)
        except OSError as error:
            message = self.tr("The settings could not be saved.")
            step = self.tr("Free some disk space, or check the folder's permissions.")
            self.failed.emit(Failure("settings", message, step, type(error).__name__))

    # -- keys and history ----------------------------------------------------------------------------

    @property
    def keys(self) -> KeysStatus:
        """Where the master key is kept."""
        return self._opening.keys

    def open_history(self, passphrase: str | None = None) -> None:
        """Open the saved chats (again), after the first run or with a passphrase."""
        self._opening.open_history(passphrase)

    def use_keys(
        self,
        mode: str,
        passphrase: str | None,
        on_failure: OnFailure,
        on_used: Callable[[], None] | None = None,
    ) -> None:
        """Keep the master key in the keyring, under a passphrase, or for this session only."""
        self._opening.use_keys(mode, passphrase, on_failure, on_used)

    def finish_first_run(
        self,
        server: str,
        mode: str,
        passphrase: str | None,
        on_failure: OnFailure,
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
        self._opening.refresh_keys()

    def system_prompt(self) -> str:
        """The system prompt; empty when there is none."""
        return self._opening.system_prompt()

    def set_system_prompt(self, text: str) -> None:
        """Keep a system prompt, encrypted."""
        self._opening.set_system_prompt(text)

    def server_token(self, url: str) -> str:
        """The access token of a server; empty when there is none."""
        return self._opening.server_token(url)

    def set_server_token(self, url: str, token: str) -> None:
        """Keep a server's access token, encrypted."""
        self._opening.set_server_token(url, token)

    # -- connection ------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a message would be sent at once."""
        return self._connecting.ready

    @property
    def connection(self) -> Connection | None:
        """What the engine is, or was last, connected to."""
        return self._connecting.connection

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
        self._connecting.connect_again()

    def accept_model(self) -> None:
        """Connect again and trust the model that the server has now; for this one connection attempt."""
        self.stop()
        self._connecting.accept_model()

    def cancel_connecting(self) -> None:
        """Give up connecting, downloading or importing; what was loaded so far is kept."""
        self._connecting.cancel()

    def test_connection(
        self,
        url: str,
        token: str,
        model: str,
        on_report: Callable[[ConnectionReport], None],
        pinned_certificate: str = "",
    ) -> None:
        """Ask the engine to test a server; the answer comes within seconds."""
        self._connecting.test(url, token, model, on_report, pinned_certificate)

    # -- asking ------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a reply is being made."""
        return self._asking.busy

    @property
    def waiting(self) -> int:
        """How many chats wait for the engine."""
        return self._asking.waiting

    def submit(self, text: str) -> None:
        """Take a message: saved at once, sent when the engine is ready and free."""
        self._asking.submit(text)

    def regenerate(self, message_id: int) -> None:
        """Make another reply beside this one; the old one stays reachable as a branch."""
        self._asking.regenerate(message_id)

    def regenerate_last(self) -> None:
        """Make another reply to the last question."""
        self._asking.regenerate_last()

    def edit_and_resend(self, message_id: int, text: str) -> None:
        """Put a changed message beside the old one and ask again."""
        self._asking.edit_and_resend(message_id, text)

    def continue_last(self) -> None:
        """Let the last reply go on where it ended, if it ended early."""
        self._asking.continue_last()

    def retry(self) -> None:
        """Go on after an error: what is there of a reply is kept, not made again."""
        self._asking.retry()

    def delete_everything(self) -> None:
        """Delete every chat for good; a reply under way is stopped."""
        self.stop()
        self._asking.forget_waiting()
        self.library.delete_everything()

    def stop(self) -> None:
        """Ask the engine to end the reply within one round; the partial text stays."""
        self._asking.stop()

    def estimate(self, draft: str, on_estimate: Callable[[Estimate], None]) -> None:
        """Ask what sending a draft would cost, with the whole context and the padding chosen."""
        self._asking.estimate(draft, on_estimate)

    def watch_layers(self, on: bool) -> None:
        """Ask for the events of the layer ribbon and of *What the server sees*."""
        self.engine.request("watch_layers", {"on": on})

    def is_shown(self, message: Message) -> bool:
        """Whether a message belongs to the chat that is shown."""
        return self._asking.is_shown(message)

    def save_now(self) -> None:
        """Write the reply under way, so that a chat opened in mid-reply shows all of it."""
        self._asking.save_now()
