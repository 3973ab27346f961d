"""What a chat needs of its own computer: the session's first window, and the model. Made while a server starts.

Both follow from the manifest alone. Where it is the one that was served last time, they begin before the server has
said anything (`HintStore.recall`). A server that serves something else gets nothing of them: they are closed, their
pads erased unused, and begun again for what it serves. Nothing is sent before the server's manifest is known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhe_client.background import Background
from fhe_client.environment import quiet_libraries
from fhe_client.keys import MasterKey

if TYPE_CHECKING:
    from fhe_client.crypto.session import InferenceSession, RoundReport
    from fhe_client.model.hybrid import HybridModel
    from fhe_client.model.runner import LinearRunner
    from fhe_client.network.hint_store import HintFile
    from fhe_client.open_chat import ConversationChannel
    from fhe_protocol.manifest import Manifest


def import_heavy_modules() -> None:
    """Import torch, transformers and what builds a model. Takes seconds; safe to call from any thread, and again."""
    quiet_libraries()
    from fhe_client.model.lean_imports import prepare_transformers, without_compiler

    prepare_transformers()
    with without_compiler():
        import fhe_client.model.skeleton
        import fhe_client.open_chat

    del fhe_client


def build_model(manifest: Manifest, folder: Path, runner: LinearRunner) -> tuple[HybridModel, Any]:
    """The model, and the files that it was built from."""
    from fhe_client.model.files import read_model_files
    from fhe_client.model.hybrid import build_hybrid

    files = read_model_files(folder, manifest)
    return build_hybrid(manifest, files, runner), files


class Line:
    """The way of a session's rounds to a server that may not be known yet."""

    def __init__(self) -> None:
        self._channel: ConversationChannel | None = None
        self._on_round: Callable[[RoundReport], None] | None = None

    def connect(
        self, channel: ConversationChannel, on_round: Callable[[RoundReport], None]
    ) -> None:
        """Rounds go through `channel` from now on."""
        self._channel, self._on_round = channel, on_round

    def exchange(self, frame: bytes, answer_size: int) -> bytes | memoryview:
        """See `RoundChannel`."""
        assert self._channel is not None, "a round before the server's manifest was known"
        return self._channel.exchange(frame, answer_size)

    def report(self, report: RoundReport) -> None:
        """A round is through."""
        if self._on_round is not None:
            self._on_round(report)


@dataclass(frozen=True)
class Material:
    """What the session and the model are made of: checked, and on this disk.

    Attributes:
        folder: the client's part of the model.
        key: stays the caller's, and must stay open as long as the session.
    """

    manifest: Manifest
    folder: Path
    hints: HintFile
    key: MasterKey
    window_slots: int


class Preparing:
    """Makes both, beginning at once, on threads of their own. Close it, or what `session` gives, in the end."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.line = Line()
        self.progress = (0, 0)
        """Parts of the first window that are done, and all; 0 while not known."""
        self._lock = threading.Lock()
        self._made: InferenceSession | None = None
        self._closed = False
        self._session = Background(self._make_session)
        self._window = Background(self._make_window)
        self._model = Background(self._build)

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return self.material.manifest.digest

    def session(self, check_stop: Callable[[], None]) -> InferenceSession:
        """The session with its first window, waited for."""
        self._window.result(check_stop)
        return self._session.result()

    def model(self, check_stop: Callable[[], None]) -> tuple[HybridModel, Any]:
        """The model, and the files that it was built from, waited for."""
        return self._model.result(check_stop)

    def close(self) -> None:
        """Erase the session's pads, now or as soon as it is made. Safe to call twice."""
        with self._lock:
            self._closed, session = True, self._made
        if session is not None:
            session.close()

    def _make_session(self) -> InferenceSession:
        quiet_libraries()
        from fhe_client.crypto.session import InferenceSession

        its = self.material
        session = InferenceSession(
            its.manifest,
            self.line,
            its.hints,
            its.key,
            window_slots=its.window_slots,
            on_round=self.line.report,
        )
        with self._lock:
            self._made, closed = session, self._closed
        if closed:
            session.close()
        return session

    def _make_window(self) -> None:
        self._session.result().prepare(self._note)

    def _note(self, done: int, total: int) -> None:
        self.progress = (done, total)

    def _build(self) -> tuple[HybridModel, Any]:
        import_heavy_modules()
        return build_model(self.material.manifest, self.material.folder, self._session.result())
