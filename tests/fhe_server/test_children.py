"""Child processes of the server, from sources and from a bundle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fhe_server
from fhe_server.children import child_command
from fhe_server.glwe.worker_process import worker_command

LAUNCHER = Path(fhe_server.__file__).parents[1] / "packaging/server_launcher.py"


def runnable() -> tuple[str, ...]:
    """The modules that a bundle runs."""
    for node in ast.parse(LAUNCHER.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RUNNABLE":
            found: tuple[str, ...] = ast.literal_eval(node.value)
            return found
    raise AssertionError("no list of modules")


def test_from_sources_the_interpreter_runs_the_module() -> None:
    done = subprocess.run(
        child_command("fhe_server", "--version"), capture_output=True, check=True, timeout=120
    )
    assert done.stdout


def test_in_a_bundle_the_program_runs_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-m` would be taken for an argument of the server's command line."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert child_command("fhe_server", "serve")[1:] == ["--run-module", "fhe_server", "serve"]
    assert worker_command(1)[1] == "--run-module"


def test_a_bundle_knows_every_module_that_is_started() -> None:
    root = Path(fhe_server.__file__).parent
    started = set()
    for path in root.rglob("*.py"):
        text = path.read_text("utf-8")
        assert '"-m"' not in text or path.name == "children.py", f"{path.name} starts a module"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "child_command":
                started.add(ast.literal_eval(node.args[0]))
    assert started == set(runnable())
