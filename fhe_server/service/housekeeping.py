"""What runs beside the routes: loading, reloading, expiry, sums on disk.

Every second the token file and the manifests are looked at, and tokens whose time is over lose their connections.
SIGHUP reads models, tokens, limits and log settings again; no request notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fhe_server.artefact import Artefact, find_artefacts
from fhe_server.errors import ArtefactError, ServerError
from fhe_server.service.batching import BatchLimits
from fhe_server.service.hangup import listening
from fhe_server.service.limits import Limits
from fhe_server.service.logs import event
from fhe_server.service.refusals import ServiceError
from fhe_server.service.served_model import ServedModel
from fhe_server.service.service_state import ServiceState

T = TypeVar("T")

TICK_S = 1.0
_TICKS_PER_SYNC = 2


def open_models(models: Path, names: Sequence[str], device: str) -> dict[str, ServedModel]:
    """The named models, or all of them.

    Raises:
        ArtefactError: one is missing or damaged, or there is none at all.
    """
    wanted = list(names) or find_artefacts(models)
    if not wanted:
        raise ArtefactError(
            "There is no imported model to serve.", "Run `tacita-server pull smollm2-135m` first."
        )
    return {name: ServedModel(Artefact(models / name), device) for name in wanted}


@dataclass(frozen=True)
class Housekeeper:
    """Looks after one service.

    Attributes:
        models, names, device: where models come from when they are read again.
        preload: load what fits at once.
        name_tokens: say names of tokens in the log.
        on_reload: reads the settings again; it returns the limits from now on, of connections and of the queue.
    """

    models: Path
    names: Sequence[str] = ()
    device: str = "cpu"
    preload: bool = True
    name_tokens: bool = False
    on_reload: Callable[[], tuple[Limits, BatchLimits]] | None = None

    @asynccontextmanager
    async def run(self, state: ServiceState) -> AsyncIterator[None]:
        """Beside the app, as long as it runs."""
        state.ready = not self.preload
        reload_soon = asyncio.Event()
        tasks = [asyncio.create_task(self._tick_for_ever(state))]
        tasks += [asyncio.create_task(self._reload_for_ever(state, reload_soon))]
        tasks += [asyncio.create_task(self._preload(state))] if self.preload else []
        try:
            with listening(reload_soon.set):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._sync_at_end(state)

    def reload(self, state: ServiceState) -> None:
        """Read everything again. What cannot be read stays as it was, and the log says so."""
        if self.on_reload is not None:
            _try("config_not_reloaded", lambda: self._take_limits(state))
        self.reload_tokens(state)
        _try("models_not_reloaded", lambda: self._reload_models(state))
        event("reloaded", models=len(state.shelf), tokens=len(state.token_hashes))

    def reload_tokens(self, state: ServiceState) -> None:
        """Read the token file again; connections of tokens that are gone end."""
        self._tell_revoked(_try("tokens_not_reloaded", state.access.reload) or ())

    def _take_limits(self, state: ServiceState) -> None:
        assert self.on_reload is not None
        state.limits, state.batcher.limits = self.on_reload()

    def _reload_models(self, state: ServiceState) -> None:
        fresh = open_models(self.models, self.names, self.device)
        before = dict(state.shelf)
        for name, model in before.items():
            if name in fresh and fresh[name].manifest.digest == model.manifest.digest:
                model.artefact.accept(fresh[name].artefact)
                fresh[name] = model  # with its kernels, and its clients
        state.shelf.replace(fresh)
        for name, model in before.items():
            if fresh.get(name) is not model:
                what = "model_replaced" if name in fresh else "model_removed"
                event(what, model=name, connections=state.connections.leave(model))

    async def _preload(self, state: ServiceState) -> None:
        try:
            await state.shelf.preload()
        except ServiceError as error:
            event("not_preloaded", logging.WARNING, reason=error.detail)
        state.ready = True
        event("ready", models=len(state.shelf), loaded_bytes=state.shelf.loaded_bytes)

    async def _tick_for_ever(self, state: ServiceState) -> None:
        ticks = 0
        unread = _Complaint("tokens_not_reloaded", logging.ERROR)
        unsaved = _Complaint("usage_not_saved", logging.WARNING)
        failed = _Complaint("tokens_not_looked_after", logging.ERROR)
        outdated = _Complaint("models_not_reloaded", logging.ERROR)
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            with failed.about():
                self._look_after_tokens(state, unread)
            with outdated.about():
                self._look_after_models(state)
            if ticks % _TICKS_PER_SYNC == 0:
                with unsaved.about():
                    await state.access.ledger.sync()

    def _look_after_tokens(self, state: ServiceState, unread: _Complaint) -> None:
        if state.access.changed():
            with unread.about(state.access.stamp):
                self._tell_revoked(state.access.reload())
        for name in state.access.end_expired():
            event("token_expired", **self._named(name))

    async def _reload_for_ever(self, state: ServiceState, reload_soon: asyncio.Event) -> None:
        while True:
            await reload_soon.wait()
            reload_soon.clear()
            self.reload(state)

    def _sync_at_end(self, state: ServiceState) -> None:
        with suppress(OSError):
            state.access.ledger.sync_now()

    def _look_after_models(self, state: ServiceState) -> None:
        """One that was imported anew is served as it is now: nobody could fetch the hints of the old one any more."""
        if any(model.artefact.replaced for model in state.shelf.values()):
            self._reload_models(state)

    def _tell_revoked(self, names: Iterable[str]) -> None:
        for name in names:
            event("token_revoked", **self._named(name))

    def _named(self, name: str) -> dict[str, str]:
        return {"token": name} if self.name_tokens else {}


class _Complaint:
    """A failure that may last: written once for each cause, not at every look."""

    def __init__(self, what: str, level: int) -> None:
        self._what = what
        self._level = level
        self._said: tuple[str, object] | None = None

    @contextmanager
    def about(self, cause: object = None) -> Iterator[None]:
        """Whatever fails in the block is complained of; the task that looks after the service goes on."""
        try:
            yield
        except Exception as error:
            said = (_reason(error), cause)
            if said != self._said:
                event(self._what, self._level, reason=said[0])
            self._said = said
        else:
            self._said = None


def _try(what: str, work: Callable[[], T]) -> T | None:
    try:
        return work()
    except Exception as error:  # whatever it is, the task that looks after the service goes on
        event(what, logging.ERROR, reason=_reason(error))
        return None


def _reason(error: Exception) -> str:
    """In words where it has some of ours, else its kind: foreign ones may quote anything."""
    if isinstance(error, ServerError):
        return error.message
    return getattr(error, "strerror", None) or type(error).__name__
