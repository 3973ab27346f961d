"""From a server's address to a chat that can be asked: one way in, for the command line and for the engine.

    server -> version, model -> manifest -> pin -> client files -> hints -> audit (new digests only) -> session -> model

Under the scheme `glwe` keys are made and uploaded where hints are downloaded and audited under `hint`.

Importing torch and transformers takes seconds, so it happens on a thread of its own from the start, and so do the
model and the first window of pads where last time tells which they will be (preparing.py). Every step can be cancelled.
Nothing of the user's is sent before all of it is done.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhe_client.background import Background
from fhe_client.chat_events import Callbacks, CancelledError, ConnectOptions, Status, schemes
from fhe_client.environment import quiet_libraries
from fhe_client.errors import TacitaError
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.local_server import DEFAULT_MODEL, LocalServer, is_imported, pull_model
from fhe_client.preparing import Material, Preparing, build_model, import_heavy_modules

if TYPE_CHECKING:
    from fhe_client.crypto.session import InferenceSession
    from fhe_client.glwe.http_channel import HttpGlweChannel
    from fhe_client.glwe.keys import GlweKeys
    from fhe_client.model.hybrid import HybridModel
    from fhe_client.network.catalogue import ServerInfo
    from fhe_client.network.hint_store import HintFile
    from fhe_client.network.meter import TrafficMeter
    from fhe_client.network.pins import PinStore
    from fhe_client.network.transport import ServerConnection
    from fhe_client.open_chat import OpenChat
    from fhe_protocol.manifest import Manifest

_FIRST_TRIES = 2
"""Attempts at the first request: a wrong address should be said soon."""


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
        ahead = self._foresee(undo)
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
        if hints is not None and (ahead is None or ahead.digest != manifest.digest):
            if ahead is not None:
                ahead.close()
            ahead = self._prepare(undo, manifest, folder, hints)
        imports.result(self._check_stop)
        return self._assemble(undo, manifest, folder, ahead, connection, local, info)

    def _foresee(self, undo: contextlib.ExitStack) -> Preparing | None:
        """What is needed if the server serves what it served last time, begun before it is asked."""
        if self.options.scheme != "hint":
            return None
        with contextlib.suppress(TacitaError):  # what is wrong is told where it matters
            known = self._known()
            if known is not None:
                return self._prepare(undo, *known)
        return None

    def _known(self) -> tuple[Manifest, Path, HintFile] | None:
        """Manifest, files and hints of last time, if all of them are here and the hints have passed the audit."""
        from fhe_client.network.catalogue import ClientFiles
        from fhe_client.network.hint_store import HintStore
        from fhe_client.network.origin import parse_origin
        from fhe_client.network.pins import LOCAL_SERVER

        url, pins = self.options.url, self._pins()
        server = LOCAL_SERVER if url is None else parse_origin(url).url
        model = self.options.model or (DEFAULT_MODEL if url is None else "")
        digest = pins.all().get(server, {}).get(model)
        found = None if digest is None else HintStore(self.home.cache).recall(digest)
        if found is None or not pins.is_audited(found[0]):
            return None
        folder = ClientFiles(self.home.cache).find(found[0], self.callbacks.should_stop)
        return None if folder is None else (found[0], folder, found[1])

    def _prepare(
        self, undo: contextlib.ExitStack, manifest: Manifest, folder: Path, hints: HintFile
    ) -> Preparing:
        slots = self.options.window_slots
        made = Preparing(Material(manifest, folder, hints, self.key, slots))
        undo.callback(made.close)
        return made

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
        prepared: Preparing | None,
        connection: ServerConnection,
        local: LocalServer | None,
        info: ServerInfo,
    ) -> OpenChat:
        from fhe_client.glwe.session import GlweSession
        from fhe_client.open_chat import ChatParts, ConversationChannel, OpenChat, follow_passes
        from fhe_client.pace import Pace
        from fhe_client.text.chat import Chat

        pace = Pace()
        report = follow_passes(pace, self.callbacks.on_round)
        session: InferenceSession | GlweSession
        if prepared is None:
            keys, uploaded = self._glwe_keys(undo, manifest, connection)
            channel = ConversationChannel(uploaded, self.callbacks.on_status, local)
            session = glwe = GlweSession(manifest, channel, keys, on_round=report)
            building = Background(lambda: build_model(manifest, folder, glwe))
            hybrid, files = building.result(self._check_stop)
        else:
            rounds = connection.open_rounds(manifest)
            channel = ConversationChannel(rounds, self.callbacks.on_status, local)
            prepared.line.connect(channel, report)
            session, (hybrid, files) = self._await(prepared)
        undo.callback(channel.close)
        undo.callback(session.close)
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

    def _await(self, prepared: Preparing) -> tuple[InferenceSession, tuple[HybridModel, Any]]:
        """The session with its first window, and the model with its files."""
        self._status("preparing_keys")
        session = prepared.session(lambda: self._status("preparing_keys", *prepared.progress))
        model = prepared.model(self._check_stop)
        self._check_stop()
        return session, model

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


def _both_ways(meter: TrafficMeter) -> tuple[int, int]:
    traffic = meter.snapshot()
    return traffic.bytes_up, traffic.bytes_down
