"""The models of a server: all known by their manifests, in memory as many as the budget allows.

A model is loaded when its first round comes, in a thread; rounds wait a moment for it and are then asked to come back.
Where the budget is used up, the models that were idle for longest are put away again. On the CPU a loaded model is a
memory map whose pages all processes share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping

from fhe_server.errors import ArtefactError
from fhe_server.service.refusals import ServiceError
from fhe_server.service.served_model import ServedModel

LOAD_WAIT_S = 10.0
"""Seconds that a round waits for its model before it is sent away."""

_COME_BACK_S = 2

OnChange = Callable[[str, str], None]
"""Called with (what, model name); what is "loaded", "unloaded" or "failed"."""


class Shelf(Mapping[str, ServedModel]):
    """Models by name. Lives on one event loop.

    Args:
        models: what is served.
        budget: bytes of weights in memory at a time; None is no limit.
        on_change: told about what was loaded and put away.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        budget: int | None = None,
        on_change: OnChange = lambda what, name: None,
    ) -> None:
        self._models = dict(models)
        self._budget = budget
        self._on_change = on_change
        self._loading: dict[ServedModel, asyncio.Task[None]] = {}

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def loaded_bytes(self) -> int:
        """Weights in memory."""
        return sum(m.resident_bytes for m in self._models.values() if m.loaded)

    def replace(self, models: Mapping[str, ServedModel]) -> None:
        """Serve these from now on. Rounds that are under way end with the model that they began with."""
        self._models = dict(models)

    async def make_ready(self, model: ServedModel) -> None:
        """Return once the model's weights are in memory.

        Raises:
            ServiceError: 503; it is still being loaded, there is no room, or it could not be loaded.
        """
        model.last_used = time.monotonic()
        if model.loaded:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._begin_loading(model)), LOAD_WAIT_S)
        except TimeoutError:
            raise ServiceError(503, "loading", "the model is being loaded", _COME_BACK_S) from None

    def _begin_loading(self, model: ServedModel) -> asyncio.Task[None]:
        """The task that loads it, which may have begun before."""
        task = self._loading.get(model)
        if task is None:
            self._make_room(model)
            task = asyncio.create_task(self._load(model))
            task.add_done_callback(_retrieve)
            self._loading[model] = task
        return task

    async def preload(self) -> None:
        """Load what fits, in the order of the names, however long it takes.

        Raises:
            ServiceError: 503; one could not be loaded.
        """
        for model in list(self._models.values()):
            fits = self._budget is None or self.loaded_bytes + model.resident_bytes <= self._budget
            if fits and not model.loaded:
                await asyncio.shield(self._begin_loading(model))

    async def _load(self, model: ServedModel) -> None:
        name = model.manifest.name
        try:
            await asyncio.to_thread(model.load)
            if model.artefact.replaced:  # these weights are another model's
                model.unload()
                raise ArtefactError("the model was imported anew")
            self._on_change("loaded", name)
        except Exception as error:
            self._on_change("failed", name)
            message = "the model could not be loaded"
            raise ServiceError(503, "busy", message, _COME_BACK_S) from error
        finally:
            del self._loading[model]

    def _make_room(self, wanted: ServedModel) -> None:
        """Put idle models away until `wanted` fits."""
        if self._budget is None:
            return
        loading = sum(m.resident_bytes for m in self._loading)
        room = self._budget - self.loaded_bytes - loading
        idle = sorted(
            (m for m in self._models.values() if m.loaded and not m.rounds),
            key=lambda m: m.last_used,
        )
        for model in idle:
            if room >= wanted.resident_bytes:
                return
            room += model.resident_bytes
            model.unload()
            self._on_change("unloaded", model.manifest.name)
        nothing_else = not any(m.loaded for m in self._models.values()) and not loading
        if (
            room < wanted.resident_bytes and not nothing_else
        ):  # alone, even a model over the budget is served
            raise ServiceError(
                503, "loading", "other models use all the memory at the moment", _COME_BACK_S
            )


def _retrieve(task: asyncio.Task[None]) -> None:
    """Whoever waited may have gone; the failure was reported already."""
    if not task.cancelled():
        task.exception()
