"""What looks after a running service goes on, whatever fails once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fhe_server.artefact import Artefact
from fhe_server.errors import ArtefactError
from fhe_server.service import housekeeping
from fhe_server.service.access import Access
from fhe_server.service.housekeeping import Housekeeper
from fhe_server.service.limits import Limits
from fhe_server.service.served_model import ServedModel
from fhe_server.service.service_state import ServiceState
from fhe_server.service.shelf import Shelf
from fhe_server.service.tokens import Quotas, TokenFile
from fhe_server.service.usage import UsageLedger
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
    def broken() -> Limits:
        raise PermissionError(13, "no")

    before, model = state.limits, state.shelf["tiny"]
    housekeeper = Housekeeper(tmp_path / "nothing here", on_reload=broken)
    with pytest.raises(ArtefactError):
        housekeeping.open_models(tmp_path / "nothing here", (), "cpu")
    housekeeper.reload(state)
    assert state.limits is before
    assert state.shelf["tiny"] is model
    assert len(state.token_hashes) == 1
