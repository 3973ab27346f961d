"""Connecting: to which server, when it is possible, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from app.engine_process import EngineProcess
from app.events import Connection, ConnectionReport, Failure, Json, Status
from app.library import Library
from app.opening import NEEDS_PASSPHRASE
from app.settings import LOCAL, Settings


class Connecting(QObject):
    """Connects as soon as engine, keys and history allow it."""

    status_changed = Signal(Status)
    ready_changed = Signal(bool)
    connected = Signal(Connection)
    passphrase_needed = Signal(Failure)
    failed = Signal(Failure)

    def __init__(
        self,
        engine: EngineProcess,
        library: Library,
        settings: Settings,
        token_of: Callable[[str], str],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.ready = False
        self.engine_greeted = False
        self.connection: Connection | None = None
        self._engine = engine
        self._library = library
        self._settings = settings
        self._token_of = token_of
        self._under_way = False
        self._run = 0
        self._accept_model_change = False

    def connect_when_possible(self) -> None:
        """Connect, if nothing is missing and it is not done or under way already."""
        missing = not self.engine_greeted or not self._library.settled or self._settings.first_run
        if missing or self.ready or self._under_way:
            return
        self._under_way = True
        self._run += 1
        run = self._run  # an answer to an older attempt no longer counts
        self.status_changed.emit(Status("connecting"))
        self._engine.request(
            "connect",
            self._target() | self._acceptance(),
            lambda value: self._take(run, value),
            lambda failure: self._not_connected(run, failure),
        )

    def connect_again(self) -> None:
        """Connect with the present settings, whatever there is now."""
        self.drop()
        self.connect_when_possible()

    def accept_model(self) -> None:
        """Connect once more and trust the model that the server has now in place of the one known before."""
        self._accept_model_change = True
        self.connect_again()

    def _acceptance(self) -> dict[str, bool]:
        accept, self._accept_model_change = self._accept_model_change, False
        return {"accept_model_change": True} if accept else {}

    def drop(self) -> None:
        """What there is, or is under way, no longer counts."""
        self._under_way = False
        self._set_ready(False)

    def forget(self) -> None:
        """Drop the connection and what is known about it."""
        self.drop()
        self.connection = None

    def cancel(self) -> None:
        """Give up connecting, downloading or importing; what was loaded so far is kept."""
        if self._under_way:
            self._engine.request("stop")

    def _target(self) -> dict[str, Any]:
        url, scheme = self._settings.server, self._settings.scheme
        if url == LOCAL:
            server: dict[str, str | None] = {"url": None, "token": None}
            model = self._settings.local_model
        else:
            saved = self._settings.saved_server(url)
            server = {"url": url, "token": self._token_of(url) or None}
            if saved is not None and saved.pinned_certificate:
                server["pinned_certificate"] = saved.pinned_certificate
            model = saved.model if saved else ""
        return {"server": server, "model": model or None, "local": url == LOCAL, "scheme": scheme}

    def _take(self, run: int, value: Json) -> None:
        if run != self._run:
            return
        self._under_way = False
        self.connection = Connection.parse(value)
        self.status_changed.emit(Status("ready"))
        self._set_ready(True)
        self.connected.emit(self.connection)

    def _not_connected(self, run: int, failure: Failure) -> None:
        if run != self._run:
            return
        self._under_way = False
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

    def engine_died(self) -> None:
        """Without an engine there is no connection."""
        self.engine_greeted = False
        self.drop()
        self.status_changed.emit(Status("offline"))

    def test(
        self,
        url: str,
        token: str,
        model: str,
        on_report: Callable[[ConnectionReport], None],
        pinned_certificate: str = "",
    ) -> None:
        """Ask the engine to test a server; the answer comes within seconds."""
        server: dict[str, str | None] = {"url": url, "token": token or None}
        if pinned_certificate:
            server["pinned_certificate"] = pinned_certificate
        self._engine.request(
            "test_connection",
            {"server": server, "model": model or None},
            lambda value: on_report(ConnectionReport.parse(value)),
            lambda failure: on_report(ConnectionReport("failed", failure.message)),
        )
