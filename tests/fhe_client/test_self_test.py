"""The self-test of an installation: what it says of a broken one. From end to end it runs in tests/packaging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from fhe_client import self_test
from fhe_client.self_test import SelfTestError, Workspace
from tests.servers import make_artefact, running_server

if TYPE_CHECKING:
    from fhe_client.local_server import LocalServer

ROOT = Path(__file__).parents[2]


def well(_space: Workspace) -> str:
    return "as it should be"


def broken(_space: Workspace) -> str:
    raise SelfTestError("It is broken.", "Mend it.")


def crashing(_space: Workspace) -> str:
    raise ZeroDivisionError("by zero")


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


def test_the_program_tests_itself(tmp_path: Path) -> None:
    """The way from the command line, without the slow checks (all of them: tests/packaging)."""
    slow = ("keyring", "import", "server", "round trip", "reply")
    done = subprocess.run(
        [sys.executable, "-m", "app", "--self-test", *(f"--skip={name}" for name in slow)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, "TACITA_HOME": str(tmp_path / "home"), "QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.stdout.endswith("everything works\n"), done.stdout + done.stderr
    assert done.stdout.count("skipped ") == len(slow)
    assert done.returncode == 0


def test_wrong_products_are_noticed(tmp_path: Path) -> None:
    """The comparison is with the server's integers: a file of other integers must not pass."""
    space = Workspace(tmp_path)
    space.home.ensure()
    folder = space.models / self_test.MODEL
    make_artefact(folder, self_test.MODEL)
    with running_server(folder) as server:
        space.server = cast("LocalServer", server)  # of which the check takes the address
        assert "largest error" in self_test.check_round_trip(space)
        weights = folder / "weights.bin"
        weights.write_bytes(bytes(reversed(weights.read_bytes())))
        with pytest.raises(SelfTestError, match="off by"):
            self_test.check_round_trip(space)
