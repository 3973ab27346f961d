"""Who may come in: tokens, quotas, expiry, revocation while connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhe_server.service.access import Access, Holder
from fhe_server.service.refusals import ServiceError
from fhe_server.service.tokens import Quotas, TokenError, TokenFile, hash_token
from fhe_server.service.usage import UsageLedger

NOW = 1000 * 86_400.0 + 3600


class World:
    """A token file with one token, and the access of a server that reads it."""

    def __init__(self, folder: Path, quotas: Quotas, days: float | None = None) -> None:
        self.file = TokenFile(folder / "tokens.json")
        self.token = self.file.create("ada", quotas, days)
        self.now = NOW
        self.ledger = UsageLedger(None, lambda: NOW)
        self.access = Access((), self.file, self.ledger, lambda: self.now)

    def admit(self) -> Holder:
        return self.access.admit(f"Bearer {self.token}")


def refusal(error: pytest.ExceptionInfo[ServiceError]) -> tuple[int, str, int | None]:
    return (error.value.status_code, error.value.code, error.value.retry_after)


def test_a_server_without_tokens_lets_everyone_in() -> None:
    access = Access()
    holder = access.admit("")
    holder.begin_round()
    holder.spend(1e9, 10**12)
    holder.end_round()
    holder.begin_round()
    assert not access.hashes
    assert access.admit("Bearer x") is holder


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic {}", "{}", "Bearer {}x"])
def test_a_server_with_tokens_does_not(tmp_path: Path, header: str) -> None:
    world = World(tmp_path, Quotas())
    assert world.admit().name == "ada"
    with pytest.raises(ServiceError) as error:
        world.access.admit(header.format(world.token))
    assert refusal(error) == (401, "unauthorised", None)


def test_an_empty_token_file_lets_nobody_in(tmp_path: Path) -> None:
    access = Access((), TokenFile(tmp_path / "tokens.json"))
    with pytest.raises(ServiceError, match="valid access token"):
        access.admit("Bearer anything")


def test_a_daily_quota_is_used_up(tmp_path: Path) -> None:
    world = World(tmp_path, Quotas(tokens_per_day=2))
    holder = world.admit()
    for _ in range(2):
        holder.begin_round()
        holder.end_round()
        holder.spend(1.0, 10)
    with pytest.raises(ServiceError) as error:
        holder.begin_round()
    assert refusal(error) == (429, "quota_exceeded", 86_400 - 3600)
    assert "2 tokens" in error.value.detail
    assert "begins anew at 1972-09-28 00:00 UTC" in error.value.detail
    assert holder.rounds == 0


def test_a_quota_of_bytes_holds_for_downloads_too(tmp_path: Path) -> None:
    world = World(tmp_path, Quotas(bytes_per_day=1_000_000))
    holder = world.admit()
    holder.check_quotas()
    holder.spend(0.0, 1_000_000)
    with pytest.raises(ServiceError, match="1 MB"):
        holder.check_quotas()


def test_rounds_at_once(tmp_path: Path) -> None:
    holder = World(tmp_path, Quotas(rounds_at_once=2)).admit()
    holder.begin_round()
    holder.begin_round()
    with pytest.raises(ServiceError) as error:
        holder.begin_round()
    assert refusal(error) == (429, "too_many_requests", 1)
    holder.end_round()
    holder.begin_round()


def test_revoking_ends_connections(tmp_path: Path) -> None:
    world = World(tmp_path, Quotas())
    world.file.create("bob", Quotas())
    holder = world.admit()
    told: list[ServiceError] = []
    holder.connections.add(told.append)
    assert world.access.changed()
    assert world.access.reload() == []
    assert not world.access.changed()
    world.file.revoke("ada")
    assert world.access.changed()
    assert world.access.reload() == ["ada"]
    assert [e.detail for e in told] == ["this access token was revoked"]
    for act in (holder.begin_round, world.admit):
        with pytest.raises(ServiceError) as error:
            act()
        assert error.value.status_code == 401


def test_what_is_used_and_open_survives_other_limits(tmp_path: Path) -> None:
    """The same token with another quota: the open connection goes on under it."""
    world = World(tmp_path, Quotas(tokens_per_day=1))
    holder = world.admit()
    holder.begin_round()
    holder.spend(1.0, 0)
    world.file.path.write_text(
        world.file.path.read_text().replace('"tokens_per_day": 1', '"tokens_per_day": 5')
    )
    world.access.reload()
    assert world.admit() is holder
    holder.begin_round()
    assert holder.rounds == 2


def test_expiry_ends_connections(tmp_path: Path) -> None:
    world = World(tmp_path, Quotas(), days=1)
    (entry,) = world.file.read()
    assert entry.expires is not None
    world.now = entry.expires - 1
    holder = world.admit()
    told: list[ServiceError] = []
    holder.connections.add(told.append)
    assert world.access.end_expired() == []
    world.now = entry.expires
    assert world.access.end_expired() == ["ada"]
    assert world.access.end_expired() == []
    assert "expired at" in told[0].detail
    with pytest.raises(ServiceError, match="expired"):
        world.admit()


def test_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, Quotas())
    world.file.path.write_text("{")
    with pytest.raises(TokenError):
        world.access.reload()
    assert world.admit().name == "ada"


def test_plain_digests_still_work() -> None:
    access = Access({hash_token("a"), hash_token("b")})
    assert access.admit("Bearer a") is not access.admit("Bearer b")
    assert len(access.hashes) == 2


def test_a_token_in_two_places_is_one(tmp_path: Path) -> None:
    """Its open connections end when it is gone from both, however often the file was read meanwhile."""
    file = TokenFile(tmp_path / "tokens.json")
    token = file.create("ada", Quotas(rounds_at_once=3))
    access = Access([hash_token(token)], file)
    holder, ended = access.admit(f"Bearer {token}"), []
    holder.connections.add(ended.append)
    access.reload()
    assert access.admit(f"Bearer {token}") is holder
    assert holder.token.quotas.rounds_at_once == 3
    access._fixed = []
    file.revoke("ada")
    access.reload()
    assert [error.code for error in ended] == ["unauthorised"]
