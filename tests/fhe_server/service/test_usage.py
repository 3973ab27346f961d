"""Sums of use: they survive restarts, add up over processes, and begin anew every day."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path

import pytest

from fhe_server.service import usage
from fhe_server.service.usage import UsageLedger, Used

DAY = 86_400.0


class Clock:
    def __init__(self, now: float = 100 * DAY + 5) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_use_survives_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "usage.json", Clock()
    first = UsageLedger(path, clock)
    first.add("ada", 1.5, 100)
    first.sync_now()
    second = UsageLedger(path, clock)
    assert second.used("ada") == Used(0.0, 0)
    second.sync_now()
    assert second.used("ada") == Used(1.5, 100)
    assert second.used("bob") == Used()
    assert path.stat().st_mode & 0o777 == 0o600


def test_processes_add_up(tmp_path: Path) -> None:
    clock = Clock()
    ledgers = [UsageLedger(tmp_path / "usage.json", clock) for _ in range(3)]
    for turn in range(4):
        for number, ledger in enumerate(ledgers):
            ledger.add("ada", 1.0, number)
            if turn % 2:
                asyncio.run(ledger.sync())
    for ledger in ledgers:
        ledger.sync_now()
        assert ledger.used("ada") == Used(12.0, 12)


def test_a_new_day_begins_at_nothing(tmp_path: Path) -> None:
    clock = Clock()
    ledger = UsageLedger(tmp_path / "usage.json", clock)
    ledger.add("ada", 5.0, 7)
    ledger.sync_now()
    assert ledger.resets_at == 101 * DAY
    clock.now += DAY
    assert ledger.used("ada") == Used()
    ledger.sync_now()
    assert ledger.used("ada") == Used()
    ledger.add("ada", 1.0, 1)
    ledger.sync_now()
    assert UsageLedger(tmp_path / "usage.json", clock)._read() == {"ada": Used(1.0, 1)}


def test_a_full_disk_loses_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = UsageLedger(tmp_path / "usage.json", Clock())

    def full(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(usage, "replace_private", full)
        for _ in range(2):
            ledger.add("ada", 1.0, 10)
            with pytest.raises(OSError, match="No space"):
                asyncio.run(ledger.sync())
            with pytest.raises(OSError, match="No space"):
                ledger.sync_now()
    assert ledger.used("ada") == Used(2.0, 20)
    ledger.sync_now()
    assert json.loads((tmp_path / "usage.json").read_text())["used"] == {"ada": [2.0, 20]}


ENDLESS = '{"day": 100, "used": {"a": [1, Infinity]}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"day": 100}',
        '{"day": 100, "used": {"a": 1}}',
        "[]",
        ENDLESS,
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "usage.json"
    path.write_text(text)
    ledger = UsageLedger(path, Clock())
    ledger.add("ada", 1.0, 1)
    ledger.sync_now()
    assert ledger.used("ada") == Used(1.0, 1)


def test_without_a_file_it_counts_in_memory() -> None:
    ledger = UsageLedger(None, Clock())
    ledger.add("ada", 1.0, 1)
    asyncio.run(ledger.sync())
    ledger.sync_now()
    assert ledger.used("ada") == Used(1.0, 1)
