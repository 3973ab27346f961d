"""From a server's address to a chat that can be asked: one way in, for the command line and for the engine.

    server -> version, model -> manifest -> pin -> client files -> hints -> audit (new digests only) -> session -> model

Under the scheme `glwe` keys are made and uploaded where hints are downloaded and audited under `hint`.

Importing torch and transformers takes seconds, so it happens on a thread of its own from the start; the model is built
while the first window of pads is prepared. Every step can be cancelled. Nothing of the user's is sent before all of it
is done.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fhe_client.chat_events import Callbacks, CancelledError, ConnectOptions, Status, schemes
from fhe_client.environment import quiet_libraries
from fhe_client.errors import TacitaError
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.local_server import DEFAULT_MODEL, LocalServer, is_imported, pull_model

if TYPE_CHECKING:
    from fhe_client.glwe.http_channel import HttpGlweChannel
    from fhe_client.glwe.keys import GlweKeys
    from fhe_client.network.catalogue import ServerInfo
    from fhe_client.network.hint_store import HintFile
    from fhe_client.network.meter import TrafficMeter
    from fhe_client.network.pins import PinStore
    from fhe_client.network.transport import ServerConnection
    from fhe_client.open_chat import OpenChat
    from fhe_protocol.manifest import Manifest

T = TypeVar("T")
_FIRST_TRIES = 2
"""Attempts at the first request: a wrong address should be said soon."""


def import_heavy_modules() -> None:
    """Import torch, transformers and what builds a model. Takes seconds; safe to call from any thread, and again."""
    quiet_libraries()
    from fhe_client.model.lean_imports import prepare_transformers, without_compiler

    prepare_transformers()
    with without_compiler():
        import fhe_client.model.skeleton
        import fhe_client.open_chat

    del fhe_client


def open_chat(
    options: ConnectOptions, key: MasterKey, callbacks: Callbacks, home: Home | None = None
) -> OpenChat:
    """Connect and make everything ready for the first question.

    Args:
        key: stays the caller's, and must stay open as long as the chat.

    Raises:
        CancelledError: `callbacks.should_stop` became true. What was downloaded is kept.
        TacitaError: anything else, with the next step.
    """
    quiet_libraries()
    opening = _Opening(options, key, callbacks, (home or Home.locate()).ensure())
    try:
        with contextlib.ExitStack() as undo:
            return opening.run(undo)
    except TacitaError as error:
        if callbacks.should_stop() and error.code == "stopped":
            raise CancelledError("It was cancelled.", "Start again when you like.") from error
        raise


@dataclass(frozen=True)
class _Opening:
    """One run of `open_chat`."""

    options: ConnectOptions
    key: MasterKey
    callbacks: Callbacks
    home: Home

    def run(self, undo: contextlib.ExitStack) -> OpenChat:
        """Whatever must be closed in the end, or after a failure, is on the stack."""
        from fhe_client.network.meter import TrafficMeter

        imports = Background(import_heavy_modules)
        meter = TrafficMeter()
        local = self._local_server(undo) if self.options.url is None else None
        self._status("connecting")
        url = local.url if local is not None else self.options.url
        assert url is not None
        info = self._first_contact(url, meter)
        connection = undo.enter_context(self._connection(url, meter))
        manifest = connection.manifest(self._choose(info))
        self._check_pin(manifest, connection)
        folder = self._files(manifest, connection)
        hints = self._hints(manifest, connection) if self.options.scheme == "hint" else None
        if hints is not None:
            self._audit(manifest, connection, hints)
        imports.result(self._check_stop)
        return self._assemble(undo, manifest, folder, hints, connection, local, info)

    def _local_server(self, undo: contextlib.ExitStack) -> LocalServer:
        model = self.options.model or DEFAULT_MODEL
        self._status("starting")
        stop, folder = self.callbacks.should_stop, self.options.models
        if folder is None and not is_imported(model, self.home):
            self._status("importing")
            pull_model(model, self.home, lambda _, *n: self._status("importing", *n), stop)
            self._status("starting")
        server = LocalServer.start(model, self.home, models=folder, should_stop=stop)
        undo.callback(server.close)
        return server

    def _check_pin(self, manifest: Manifest, connection: ServerConnection) -> None:
        """Trust on first use: a model must be the one that was seen first under its name at this server."""
        from fhe_client.network.pins import LOCAL_SERVER

        pins = self._pins()
        if self.options.url is None:
            # Whoever could change the embedded server's model could change the pin, too: it is this computer.
            pins.accept(LOCAL_SERVER, manifest)
        elif self.options.accept_model_change:
            pins.accept(connection.origin.url, manifest)
        else:
            pins.check(connection.origin.url, manifest)

    def _pins(self) -> PinStore:
        from fhe_client.network.pins import PinStore

        return PinStore(self.home.config)

    def _connection(
        self, url: str, meter: TrafficMeter, tries: int | None = None
    ) -> ServerConnection:
        from fhe_client.network.retries import Timeouts
        from fhe_client.network.transport import ServerConnection

        timeouts = Timeouts() if tries is None else Timeouts(tries=tries)
        options = self.options
        connection = ServerConnection(
            url,
            token=options.token,
            pinned_certificate=options.pinned_certificate,
            meter=meter,
            timeouts=timeouts,
        )
        connection.should_stop = self.callbacks.should_stop
        return connection

    def _first_contact(self, url: str, meter: TrafficMeter) -> ServerInfo:
        from fhe_client.network.transport import check_info

        with self._connection(url, meter, _FIRST_TRIES) as connection:
            info = connection.info()
        check_info(info, self.options.model)
        if self.options.scheme == "glwe":
            from fhe_client.glwe.opening import check_glwe

            check_glwe(info)
        return info

    def _choose(self, info: ServerInfo) -> str:
        from fhe_client.network.errors import NoSuchModelError

        if self.options.model is not None:
            return self.options.model
        if not info.models:
            raise NoSuchModelError("The server serves no model.", "Ask whoever runs it.")
        return info.models[0].name

    def _files(self, manifest: Manifest, connection: ServerConnection) -> Path:
        from fhe_client.network.catalogue import ClientFiles

        return ClientFiles(self.home.cache).ensure(
            manifest, connection, should_stop=self.callbacks.should_stop
        )

    def _hints(self, manifest: Manifest, connection: ServerConnection) -> HintFile:
        from fhe_client.network.hint_store import HintStore

        store = HintStore(self.home.cache)

        def progress(done: int, total: int) -> None:
            if missing:
                self._status("downloading_hints", done, total, "bytes")

        missing = not store.has(manifest)
        progress(0, manifest.hint_bytes)
        return store.ensure(manifest, connection, progress, self.callbacks.should_stop)

    def _audit(self, manifest: Manifest, connection: ServerConnection, hints: HintFile) -> None:
        """Once for each digest, on this computer."""
        pins = self._pins()
        if pins.is_audited(manifest):
            return
        from fhe_client.crypto.audit import audit_hints

        channel = connection.open_rounds(manifest, "audit")
        channel.should_stop = self.callbacks.should_stop
        with contextlib.closing(channel):
            audit_hints(manifest, channel, hints, self.key, on_progress=self._progress("auditing"))
        pins.note_audited(manifest)

    def _glwe_keys(
        self, undo: contextlib.ExitStack, manifest: Manifest, connection: ServerConnection
    ) -> tuple[GlweKeys, HttpGlweChannel]:
        """Fresh keys of Concrete ML's scheme, uploaded."""
        from fhe_client.glwe.opening import make_channel

        def progress(done: int, total: int) -> None:
            self._status("preparing_keys", done, total, "bytes")

        self._status("preparing_keys")
        return make_channel(undo, manifest, connection, self.callbacks.should_stop, progress)

    def _assemble(
        self,
        undo: contextlib.ExitStack,
        manifest: Manifest,
        folder: Path,
        hints: HintFile | None,
        connection: ServerConnection,
        local: LocalServer | None,
        info: ServerInfo,
    ) -> OpenChat:
        from fhe_client.crypto.session import InferenceSession
        from fhe_client.glwe.session import GlweSession
        from fhe_client.model.files import read_model_files
        from fhe_client.model.hybrid import build_hybrid
        from fhe_client.open_chat import ChatParts, ConversationChannel, OpenChat, follow_passes
        from fhe_client.pace import Pace
        from fhe_client.text.chat import Chat

        pace = Pace()
        report = follow_passes(pace, self.callbacks.on_round)
        session: InferenceSession | GlweSession
        if hints is None:
            keys, rounds = self._glwe_keys(undo, manifest, connection)
            channel = ConversationChannel(rounds, self.callbacks.on_status, local)
            session = GlweSession(manifest, channel, keys, on_round=report)
        else:
            channel = ConversationChannel(
                connection.open_rounds(manifest), self.callbacks.on_status, local
            )
            slots = self.options.window_slots
            session = InferenceSession(
                manifest, channel, hints, self.key, window_slots=slots, on_round=report
            )
        undo.callback(channel.close)
        undo.callback(session.close)

        def build() -> tuple[Any, Any]:
            files = read_model_files(folder, manifest)
            return build_hybrid(manifest, files, session), files

        building = Background(build)
        if isinstance(session, InferenceSession):
            session.prepare(self._progress("preparing_keys"))
        hybrid, files = building.result(self._check_stop)
        meter = connection.meter
        chat = Chat(hybrid, files, lambda: _both_ways(meter))
        undo.callback(chat.close)
        server = connection.origin.url
        cleanup = undo.pop_all()
        return OpenChat(
            ChatParts(
                server,
                manifest,
                meter,
                session,
                channel,
                chat,
                pace,
                self.callbacks,
                local,
                cleanup,
                schemes(info.schemes, info.unavailable),
                lambda: shortest_round_trip(connection),
            )
        )

    def _status(self, state: str, done: int = 0, total: int = 0, unit: str = "items") -> None:
        self._check_stop()
        self.callbacks.on_status(Status(state, done, total, unit))

    def _progress(self, state: str) -> Callable[[int, int], None]:
        return lambda done, total: self._status(state, done, total)

    def _check_stop(self) -> None:
        if self.callbacks.should_stop():
            raise CancelledError("It was cancelled.", "Start again when you like.")


def shortest_round_trip(connection: ServerConnection) -> float:
    """Seconds of the shortest of three small requests. The first may have to connect."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        connection.health()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


class Background(Generic[T]):
    """One call on a thread of its own, whose result or exception is collected later."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._value = work()
        except BaseException as error:
            self._error = error

    def result(self, check_stop: Callable[[], None]) -> T:
        """Wait for the end; `check_stop` may raise meanwhile, and the work then ends unheard."""
        while self._thread.is_alive():
            self._thread.join(0.1)
            check_stop()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # None is a value of T wherever there is no error


def _both_ways(meter: TrafficMeter) -> tuple[int, int]:
    traffic = meter.snapshot()
    return traffic.bytes_up, traffic.bytes_down
