"""The self-test of an installation: the real one from end to end, and what it says of a broken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fhe_client import self_test
from fhe_client.self_test import SelfTestError, Workspace

ROOT = Path(__file__).parents[2]


def well(_space: Workspace) -> str:
    return "as it should be"


def broken(_space: Workspace) -> str:
    raise SelfTestError("It is broken.", "Mend it.")


def crashing(_space: Workspace) -> str:
    raise ZeroDivisionError("by zero")


def test_this_installation_works_to_an_encrypted_reply(tmp_path: Path) -> None:
    """With the window's checks; whether there is a keyring depends on the machine (tests/fhe_client/keys)."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "--self-test", "--json", "--skip", "keyring"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280,
        env={**os.environ, "TACITA_HOME": str(tmp_path / "home"), "QT_QPA_PLATFORM": "offscreen"},
    )
    result = json.loads(done.stdout)
    outcomes = {check["name"]: check["outcome"] for check in result["checks"]}
    assert outcomes.pop("keyring") == "skipped"
    assert set(outcomes.values()) == {"ok"}, done.stdout
    assert {"window", "import", "round trip", "reply"} <= set(outcomes)
    assert result["ok"]
    assert done.returncode == 0
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert left == []


def test_one_failure_does_not_hide_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    findings = list(
        self_test.run((("a", well), ("b", broken), ("c", crashing), ("d", well)), ["d"])
    )
    assert [finding.outcome for finding in findings] == ["ok", "failed", "failed", "skipped"]
    assert findings[1].detail == "It is broken. Mend it."
    assert "ZeroDivisionError" in findings[2].detail


def test_a_failure_is_the_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test, "CHECKS", (("one", well), ("two", well), ("three", well)))
    assert self_test.main([]) == 0
    assert "everything works" in capsys.readouterr().out
    assert self_test.main([], (("window", broken),)) == 1
    assert "failed: window" in capsys.readouterr().out
    assert self_test.main(["--skip", "window"], (("window", broken),)) == 0


def test_wrong_products_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The comparison is with the server's integers: a file of other integers must not pass."""
    space = Workspace(tmp_path)
    with space.undo:
        self_test.check_import(space)
        self_test.check_server(space)
        self_test.check_round_trip(space)
        weights = space.models / self_test.MODEL / "weights.bin"
        data = bytearray(weights.read_bytes())
        data.reverse()
        weights.write_bytes(data)
        with pytest.raises(SelfTestError, match="off by"):
            self_test.check_round_trip(space)
