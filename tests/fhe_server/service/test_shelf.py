"""Models within a memory budget: loaded when needed, put away when idle, 503 where neither is possible."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from fhe_server.artefact import Artefact
from fhe_server.service import shelf as module
from fhe_server.service.refusals import ServiceError
from fhe_server.service.served_model import ServedModel
from fhe_server.service.shelf import Shelf
from tests.servers import make_artefact

PATIENCE_S = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    for number in range(3):
        make_artefact(root / f"m{number}", f"m{number}", seed=number)
    return sorted(root.iterdir())


@pytest.fixture
def models(folders: list[Path]) -> dict[str, ServedModel]:
    return {f.name: ServedModel(Artefact(f)) for f in folders}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE_S))


def loaded(models: dict[str, ServedModel]) -> set[str]:
    return {name for name, model in models.items() if model.loaded}


def test_without_a_budget_all_are_loaded(models: dict[str, ServedModel]) -> None:
    changes: list[tuple[str, str]] = []
    shelf = Shelf(models, None, lambda what, name: changes.append((what, name)))
    assert loaded(models) == set()
    run(shelf.preload())
    assert loaded(models) == {"m0", "m1", "m2"}
    assert changes == [("loaded", f"m{n}") for n in range(3)]
    assert shelf.loaded_bytes == sum(m.resident_bytes for m in models.values())


def test_the_idlest_is_put_away(models: dict[str, ServedModel]) -> None:
    size = models["m0"].resident_bytes
    changes: list[tuple[str, str]] = []
    shelf = Shelf(models, 2 * size, lambda what, name: changes.append((what, name)))

    async def work() -> None:
        await shelf.preload()
        assert loaded(models) == {"m0", "m1"}
        await shelf.make_ready(models["m0"])  # so m1 is idle for longer
        await shelf.make_ready(models["m2"])
        assert loaded(models) == {"m0", "m2"}

    run(work())
    assert changes[-2:] == [("unloaded", "m1"), ("loaded", "m2")]


def test_a_model_at_work_stays(models: dict[str, ServedModel]) -> None:
    shelf = Shelf(models, models["m0"].resident_bytes)

    async def work() -> None:
        await shelf.make_ready(models["m0"])
        models["m0"].rounds = 1
        with pytest.raises(ServiceError) as error:
            await shelf.make_ready(models["m1"])
        assert (error.value.status_code, error.value.retry_after) == (503, 2)
        models["m0"].rounds = 0
        await shelf.make_ready(models["m1"])

    run(work())
    assert loaded(models) == {"m1"}


def test_alone_even_a_model_beyond_the_budget_is_served(models: dict[str, ServedModel]) -> None:
    shelf = Shelf(models, 1)

    async def work() -> None:
        await shelf.preload()
        assert loaded(models) == set()
        await shelf.make_ready(models["m1"])
        await shelf.make_ready(models["m2"])

    run(work())
    assert loaded(models) == {"m2"}


def test_rounds_wait_for_one_load_then_are_sent_away(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, calls = threading.Event(), []
    shelf, model = Shelf(models), models["m0"]
    load = model.load

    def slow() -> Any:
        calls.append(1)
        assert gate.wait(PATIENCE_S)
        return load()

    monkeypatch.setattr(model, "load", slow)
    monkeypatch.setattr(module, "LOAD_WAIT_S", 0.05)

    async def work() -> None:
        results = await asyncio.gather(
            *(shelf.make_ready(model) for _ in range(3)), return_exceptions=True
        )
        assert [r.code for r in results if isinstance(r, ServiceError)] == ["loading"] * 3
        gate.set()
        while not model.loaded:
            await asyncio.sleep(0.001)
        await shelf.make_ready(model)

    run(work())
    assert calls == [1]


def test_preloading_takes_its_time(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round is sent away after a while; a server that starts is not ready before its models are."""
    monkeypatch.setattr(module, "LOAD_WAIT_S", 0.01)
    for model in models.values():
        load = model.load

        def slow(load: Any = load) -> Any:
            time.sleep(0.1)
            return load()

        monkeypatch.setattr(model, "load", slow)
    run(Shelf(models).preload())
    assert loaded(models) == set(models)


def test_a_model_that_cannot_be_loaded_is_said_and_tried_again(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[str, str]] = []
    shelf = Shelf(models, None, lambda what, name: changes.append((what, name)))

    def broken() -> Any:
        raise MemoryError

    async def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(models["m0"], "load", broken)
            with pytest.raises(ServiceError, match="could not be loaded"):
                await shelf.make_ready(models["m0"])
        await shelf.make_ready(models["m0"])

    run(work())
    assert changes == [("failed", "m0"), ("loaded", "m0")]


def test_unloading_gives_the_map_back_and_loading_finds_the_same(
    models: dict[str, ServedModel],
) -> None:
    model = models["m0"]
    before = [k.outputs for k in model.load()]
    model.unload()
    assert not model.loaded
    assert model.artefact._weights is None
    assert [k.outputs for k in model.load()] == before


def test_replacing_keeps_what_is_named(models: dict[str, ServedModel]) -> None:
    shelf = Shelf(models)
    shelf.replace({"m1": models["m1"]})
    assert list(shelf) == ["m1"]
    assert shelf["m1"] is models["m1"]


def test_the_weights_of_another_import_are_not_taken_for_ours(tmp_path: Path) -> None:
    """Weights are read when they are needed; by then the folder may hold another model, of the same size."""
    make_artefact(tmp_path / "m", "m", seed=1)
    model = ServedModel(Artefact(tmp_path / "m"))
    shutil.rmtree(tmp_path / "m")
    make_artefact(tmp_path / "m", "m", seed=2)
    shelf = Shelf({"m": model})

    async def work() -> None:
        with pytest.raises(ServiceError) as refused:
            await shelf.make_ready(model)
        assert (refused.value.status_code, refused.value.retry_after) == (503, 2)

    run(work())
    assert not model.loaded
