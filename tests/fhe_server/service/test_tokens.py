"""Access tokens on disk: shown once, kept as digests, changed in one step."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fhe_server.service import tokens
from fhe_server.service.tokens import Quotas, TokenError, TokenFile, hash_token, unnamed
from fhe_server.service.usage import UsageLedger


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "config" / "tokens.json")


def test_a_token_is_random_and_kept_only_as_a_digest(file: TokenFile) -> None:
    made = [file.create(f"person {n}", Quotas()) for n in range(3)]
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"tacita_[A-Za-z0-9_-]{43}", token) for token in made)
    text = file.path.read_text()
    assert not any(token in text or token[7:] in text for token in made)
    assert [e.sha256 for e in file.read()] == [hash_token(t) for t in made]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert {p.name for p in file.path.parent.iterdir()} <= {"tokens.json", "tokens.json.lock"}


def test_limits_and_expiry_are_kept(file: TokenFile) -> None:
    file.create("Ada", Quotas(1000, 2_000_000, 3), days=2)
    (entry,) = file.read()
    assert entry.quotas == Quotas(1000, 2_000_000, 3)
    assert entry.expires == entry.created + 2 * 86_400
    assert not entry.expired(time.time())
    assert entry.expired(time.time() + 2 * 86_400 + 1)


def test_revoking_removes_one(file: TokenFile) -> None:
    for name in ("a", "b", "c"):
        file.create(name, Quotas())
    before = file.stamp()
    file.revoke("b")
    assert [e.name for e in file.read()] == ["a", "c"]
    assert file.stamp() != before
    with pytest.raises(TokenError, match="no token called 'b'"):
        file.revoke("b")


def test_a_name_is_taken_once(file: TokenFile) -> None:
    file.create("a", Quotas())
    with pytest.raises(TokenError, match="already"):
        file.create("a", Quotas())


@pytest.mark.parametrize("name", ["", " a", "a\n", "a" * 65, "é", '"', "../x"])
def test_a_name_must_be_plain(file: TokenFile, name: str) -> None:
    with pytest.raises(TokenError, match="can be called"):
        file.create(name, Quotas())
    assert file.read() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d | {"format": "other"},
        lambda d: d | {"version": 2},
        lambda d: d | {"tokens": {}} | {"tokens": [1]},
        lambda d: d | {"tokens": [d["tokens"][0] | {"sha256": "x"}]},
        lambda d: d | {"tokens": [d["tokens"][0] | {"name": ""}]},
        lambda d: d | {"tokens": [d["tokens"][0] | {"more": 1}]},
        lambda d: d | {"tokens": [d["tokens"][0] | {"expires": "soon"}]},
        lambda d: d | {"tokens": [d["tokens"][0] | {"quotas": {"tokens_per_day": -1}}]},
    ],
)
def test_a_damaged_file_is_said_and_lets_nobody_in(file: TokenFile, change: Any) -> None:
    file.create("a", Quotas())
    document = json.loads(file.path.read_text())
    file.path.write_text(json.dumps(change(document)))
    with pytest.raises(TokenError, match="not a token file"):
        file.read()


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_rubbish_is_no_token_file(file: TokenFile, text: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(text)
    with pytest.raises(TokenError, match="not a token file"):
        file.read()


def test_a_full_disk_changes_nothing(file: TokenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.create("a", Quotas())
    before = file.path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokens.os, "fsync", full)
    with pytest.raises(TokenError, match=r"No space left.*Nothing was changed"):
        file.create("b", Quotas())
    with pytest.raises(TokenError, match="No space left"):
        file.revoke("a")
    assert file.path.read_bytes() == before
    assert not [p for p in file.path.parent.iterdir() if p.suffix == ".tmp"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(TokenError, match=r"Cannot (write|read)"):
        TokenFile(tmp_path / "taken" / "tokens.json").create("a", Quotas())


def test_two_commands_at_a_time_lose_nothing(file: TokenFile) -> None:
    def make(number: int) -> None:
        for n in range(5):
            file.create(f"{number}-{n}", Quotas())

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(file.read()) == 20


def test_digests_alone_have_no_limits() -> None:
    hashes = {hash_token("x"), hash_token("y")}
    assert {t.sha256 for t in unnamed(hashes)} == hashes
    assert {t.quotas for t in unnamed(hashes)} == {Quotas()}
    assert os.linesep not in "".join(t.name for t in unnamed(hashes))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_what_root_makes_for_a_service_belongs_to_it(tmp_path: Path) -> None:
    """Else the server, which runs as a user of its own, could not open the file that it is to read."""
    os.chown(tmp_path, 12_345, 12_345)
    file = TokenFile(tmp_path / "config" / "tokens.json")
    file.create("ada", Quotas())
    ledger = UsageLedger(file.path.with_name("usage.json"))
    ledger.add("ada", 1.0, 10)
    ledger.sync_now()
    made = [file.path.parent, *file.path.parent.iterdir()]
    assert {p.name for p in made} >= {"config", "tokens.json", "usage.json"}
    assert {p.stat().st_uid for p in made} == {12_345}
