"""What looks after a running service goes on, whatever fails once."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fhe_server.artefact import Artefact
from fhe_server.errors import ArtefactError
from fhe_server.service import housekeeping
from fhe_server.service.access import Access
from fhe_server.service.app import create_app
from fhe_server.service.batching import BatchLimits
from fhe_server.service.housekeeping import Housekeeper
from fhe_server.service.limits import Limits
from fhe_server.service.logs import LOGGER
from fhe_server.service.served_model import ServedModel
from fhe_server.service.service_state import ServiceState
from fhe_server.service.shelf import Shelf
from fhe_server.service.tokens import Quotas, TokenFile
from fhe_server.service.usage import UsageLedger
from tests.fhe_server.service.test_app import check, code, query, socket_path
from tests.servers import make_artefact

PATIENCE_S = 60


@pytest.fixture
def state(tmp_path: Path) -> ServiceState:
    make_artefact(tmp_path / "models" / "tiny")
    file = TokenFile(tmp_path / "tokens.json")
    file.create("ada", Quotas())
    access = Access((), file, UsageLedger(tmp_path / "usage.json"))
    model = ServedModel(Artefact(tmp_path / "models" / "tiny"))
    return ServiceState(Shelf({"tiny": model}), access)


class Events(logging.Handler):
    """What the server's log is told."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.append(record.getMessage())


@pytest.fixture
def events() -> Iterator[Events]:
    handler = Events()
    LOGGER.addHandler(handler)
    try:
        yield handler
    finally:
        LOGGER.removeHandler(handler)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.005)


def test_a_token_is_revoked_whatever_fails_beside_it(
    state: ServiceState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same task keeps the sums and looks at the tokens: no failure of the one may end the other."""
    monkeypatch.setattr(housekeeping, "TICK_S", 0.005)
    failed = {"sums": 0, "expiry": 0}

    def no_sums(_unsaved: object) -> None:
        failed["sums"] += 1
        raise RuntimeError("can't start new thread")

    def no_expiry() -> list[str]:
        failed["expiry"] += 1
        raise RuntimeError

    monkeypatch.setattr(state.access.ledger, "_store", no_sums)
    monkeypatch.setattr(state.access, "end_expired", no_expiry)
    state.access.ledger.add("ada", 1.0, 10)

    async def live() -> None:
        housekeeper = Housekeeper(tmp_path / "models", preload=False)
        async with housekeeper.run(state):
            await until(lambda: min(failed.values()) >= 2)
            TokenFile(tmp_path / "tokens.json").revoke("ada")
            await until(lambda: not state.token_hashes)
            monkeypatch.undo()  # the last sum, at the end, is written

    asyncio.run(live())
    later = UsageLedger(tmp_path / "usage.json")
    later.sync_now()
    assert later.used("ada").bytes == 10


def test_a_reload_that_fails_leaves_everything_as_it_was(
    state: ServiceState, tmp_path: Path
) -> None:
    def broken() -> tuple[Limits, BatchLimits]:
        raise PermissionError(13, "no")

    before, model = state.limits, state.shelf["tiny"]
    housekeeper = Housekeeper(tmp_path / "nothing here", on_reload=broken)
    with pytest.raises(ArtefactError):
        housekeeping.open_models(tmp_path / "nothing here", (), "cpu")
    housekeeper.reload(state)
    assert state.limits is before
    assert state.shelf["tiny"] is model
    assert len(state.token_hashes) == 1


def test_a_reload_brings_the_limits_of_the_queue_too(state: ServiceState, tmp_path: Path) -> None:
    limits, queue = Limits(max_connections=3), BatchLimits(max_waiting=7)
    Housekeeper(tmp_path / "models", on_reload=lambda: (limits, queue)).reload(state)
    assert state.limits is limits
    assert state.batcher.limits is queue


def test_a_damaged_token_file_is_complained_of_once_for_every_change(
    state: ServiceState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    """Every second would fill the disk; and the last good list stays in force."""
    monkeypatch.setattr(housekeeping, "TICK_S", 0.002)
    path, looks = tmp_path / "tokens.json", [0]
    good, look = path.read_bytes(), state.access.changed

    def counted() -> bool:
        looks[0] += 1
        return look()

    monkeypatch.setattr(state.access, "changed", counted)

    async def damaged(text: str, complaints: int) -> None:
        path.write_text(text)
        seen = looks[0]
        await until(lambda: looks[0] >= seen + 5)
        assert events.names.count("tokens_not_reloaded") == complaints
        assert len(state.token_hashes) == 1

    async def live() -> None:
        async with Housekeeper(tmp_path / "models", preload=False).run(state):
            await damaged("{", 1)
            await damaged('{"format": 1}', 2)
            path.write_bytes(good)
            await until(lambda: not look())
            await damaged("{}", 3)
            path.unlink()
            await until(lambda: not state.token_hashes)

    asyncio.run(live())


def reload(client: TestClient, housekeeper: Housekeeper) -> None:
    """On the event loop, as SIGHUP does it."""
    assert client.portal is not None
    client.portal.call(lambda: _reload(housekeeper, client))


async def _reload(housekeeper: Housekeeper, client: TestClient) -> None:
    housekeeper.reload(client.app.state.service)  # type: ignore[attr-defined]


def test_a_replaced_model_lets_its_clients_finish_their_round_and_go(tmp_path: Path) -> None:
    """They would keep it in memory for as long as they are open: an hour, or for ever."""
    models = tmp_path / "models"
    make_artefact(models / "tiny")
    housekeeper = Housekeeper(models)
    shelf = Shelf(housekeeping.open_models(models, (), "cpu"))
    old = weakref.ref(shelf["tiny"])
    app: Any = create_app(shelf)
    with TestClient(app) as client:
        manifest = shelf["tiny"].manifest
        planes, frame = query(manifest)
        with client.websocket_connect(socket_path(manifest)) as socket:
            socket.send_bytes(frame)
            check(shelf["tiny"], planes, socket.receive_bytes())
            shutil.copytree(models / "tiny", models / "same")
            shutil.rmtree(models / "tiny")
            (models / "same").rename(models / "tiny")
            reload(client, housekeeper)  # the same manifest: nothing happens to anyone
            socket.send_bytes(frame)
            check(shelf["tiny"], planes, socket.receive_bytes())
            shutil.rmtree(models / "tiny")
            make_artefact(models / "tiny", seed=2)
            reload(client, housekeeper)
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_bytes()
            assert (
                closed.value.code == 1012
            )  # as of a server that begins anew: the client comes back by itself
        with client.websocket_connect(socket_path(manifest)) as socket:
            assert socket.receive_json()["error"]["code"] == "other_model"
        response = client.get("/v1/models/tiny/manifest")
        assert response.headers["etag"] != f'"{manifest.digest}"'
        del planes, frame, socket
        gc.collect()
        assert old() is None
        stale = client.post(
            "/v1/models/tiny/rounds", content=b"", headers={"x-tacita-model": manifest.digest}
        )
        assert code(stale) == (409, "other_model")


def test_a_model_that_is_imported_anew_is_served_as_it_is_now(
    state: ServiceState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    """Without a signal. While the new folder is not whole, the old model stays, and that is said once."""
    monkeypatch.setattr(housekeeping, "TICK_S", 0.002)
    folder, old = tmp_path / "models" / "tiny", state.shelf["tiny"]
    made = make_artefact(tmp_path / "new", "tiny", seed=2)

    async def live() -> None:
        async with Housekeeper(tmp_path / "models", preload=False).run(state):
            shutil.rmtree(folder)  # removed: what is in memory is served on
            await asyncio.sleep(0.05)
            assert state.shelf["tiny"] is old
            folder.mkdir()
            shutil.copy(tmp_path / "new" / "manifest.json", folder)
            await until(lambda: "models_not_reloaded" in events.names)
            await asyncio.sleep(0.05)
            assert state.shelf["tiny"] is old
            shutil.copytree(tmp_path / "new", folder, dirs_exist_ok=True)
            await until(lambda: state.shelf["tiny"].manifest.digest == made.digest)
            new = state.shelf["tiny"]
            shutil.copy(tmp_path / "new" / "manifest.json", folder / "manifest.json")
            await until(lambda: not new.artefact.replaced)
            assert state.shelf["tiny"] is new  # the same once more: its kernels and clients stay

    asyncio.run(live())
    assert events.names.count("models_not_reloaded") == 1
