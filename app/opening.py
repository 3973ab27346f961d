"""Opening: the master key, and with it the saved chats and the settings kept among them."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal

from app.engine_process import EngineProcess
from app.events import Failure, Json, KeysStatus
from app.library import SYSTEM_PROMPT, Library
from app.vault import HistoryKey, Vault

TOKEN_SETTING = "token:"  # noqa: S105 - the name of a setting
NEEDS_PASSPHRASE = frozenset({"passphrase_needed", "wrong_passphrase"})

OnFailure = Callable[[Failure], None]


class Opening(QObject):
    """Asks the engine about keys and the vault for the history; says when both are settled.

    ``about_to_move`` comes before and ``moved`` after the chats typed so far went into the file.
    """

    keys_changed = Signal(KeysStatus)
    passphrase_needed = Signal(Failure)
    failed = Signal(Failure)
    about_to_move = Signal()
    moved = Signal(object)
    settled = Signal()

    def __init__(
        self,
        engine: EngineProcess,
        vault: Vault,
        library: Library,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.keys = KeysStatus("")
        self._engine = engine
        self._vault = vault
        self._library = library
        vault.opened.connect(self._settle)
        vault.failed.connect(self._vault_failed)

    def open_history(self, passphrase: str | None = None) -> None:
        """Open the saved chats (again), after the first run or with a passphrase."""
        self._library.settled = False
        self._vault.open(passphrase)

    def use_keys(
        self,
        mode: str,
        passphrase: str | None,
        on_failure: OnFailure,
        on_used: Callable[[], None] | None = None,
    ) -> None:
        """Keep the master key in the keyring, under a passphrase, or for this session only."""

        def used(value: Json) -> None:
            self.take_keys(value)
            if on_used is not None:
                on_used()
            if mode == "session":
                self._settle(None)
            else:
                self.open_history(passphrase)

        fields = {"mode": mode, "passphrase": passphrase}
        self._engine.request("keys_use", fields, used, on_failure)

    def refresh_keys(self) -> None:
        """Ask the engine where the keys are."""
        self._engine.request("keys_status", None, self.take_keys)

    def take_keys(self, value: Json) -> None:
        """Take the engine's account of where the keys are."""
        self.keys = KeysStatus.parse(value)
        self.keys_changed.emit(self.keys)

    def _vault_failed(self, failure: Failure) -> None:
        if failure.code in NEEDS_PASSPHRASE:
            self.passphrase_needed.emit(failure)
            return
        self._settle(None)
        self.failed.emit(failure)

    def _settle(self, found: HistoryKey | None) -> None:
        early = self._library.history
        self.about_to_move.emit()
        failure = self._library.settle(found)
        if failure is not None:
            self.failed.emit(failure)
        if early is not self._library.history:
            self.moved.emit(early)
        self.settled.emit()

    # -- settings that lie in the history, encrypted ---------------------------------------------

    def system_prompt(self) -> str:
        """The system prompt; empty when there is none."""
        return self._library.history.secret_setting(SYSTEM_PROMPT) or ""

    def set_system_prompt(self, text: str) -> None:
        """Keep a system prompt, encrypted."""
        self._library.history.set_secret_setting(SYSTEM_PROMPT, text.strip() or None)

    def server_token(self, url: str) -> str:
        """The access token of a server; empty when there is none."""
        return self._library.history.secret_setting(TOKEN_SETTING + url) or ""

    def set_server_token(self, url: str, token: str) -> None:
        """Keep a server's access token, encrypted."""
        self._library.history.set_secret_setting(TOKEN_SETTING + url, token.strip() or None)
