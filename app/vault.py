"""Opens the encrypted history off the window's thread: the keyring may wait for its own dialog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QRunnable, QThreadPool, Signal

from app.events import Failure
from app.i18n import translate
from app.sentences import failure_from
from fhe_client.errors import TacitaError

HISTORY_PURPOSE = "history"


@dataclass(frozen=True)
class HistoryKey:
    """The 32-byte key of the history file, or None for a history in memory only."""

    key: bytes | None
    path: Path | None


KeySource = Callable[[str | None], HistoryKey]


def keyring_source(passphrase: str | None) -> HistoryKey:
    """Open the profile's master key and unseal the history's own key with it.

    The history has a sealed random key rather than one derived from the master key, so that
    rotating the master key reseals 100 bytes instead of writing the whole database anew.

    Raises:
        TacitaError: the key cannot be opened.
    """
    from fhe_client.home import Home
    from fhe_client.keys import KeyStore, data_key

    store = KeyStore(Home.locate())
    if store.status().state == "session":
        return HistoryKey(None, None)
    path = store.home.data / "history.db"
    with store.open("auto", passphrase) as master:
        sealed = store.home.data / "history.key"
        return HistoryKey(data_key(sealed, master, HISTORY_PURPOSE, protects=path), path)


class Vault(QObject):
    """Asks a key source once per ``open`` and says what came of it."""

    opened = Signal(HistoryKey)
    failed = Signal(Failure)

    def __init__(self, source: KeySource, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._source = source
        self._pool = QThreadPool(self)

    def open(self, passphrase: str | None = None) -> None:
        """Start opening; ``opened`` or ``failed`` follows on the window's thread."""
        self._pool.start(_Opening(self, passphrase))

    def run(self, passphrase: str | None) -> None:
        """The work itself, on a pool thread."""
        try:
            found = self._source(passphrase)
        except TacitaError as error:
            self.failed.emit(failure_from(error))
        except Exception as error:  # the class alone: its text could name a secret
            text = translate("vault", "The saved chats cannot be opened.")
            self.failed.emit(Failure("history", text, "", type(error).__name__))
        else:
            self.opened.emit(found)

    def wait(self, milliseconds: int) -> bool:
        """Wait for an opening under way; False when it is still stuck in a keyring."""
        return self._pool.waitForDone(milliseconds)


class _Opening(QRunnable):
    def __init__(self, vault: Vault, passphrase: str | None) -> None:
        super().__init__()
        self._vault = vault
        self._passphrase = passphrase

    def run(self) -> None:
        self._vault.run(self._passphrase)
