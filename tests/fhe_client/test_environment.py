"""How child processes are started, in a source tree and in an installed bundle."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from fhe_client import local_server
from fhe_client.environment import RUN_MODULE, RUNNABLE, child_command
from fhe_client.text import templates


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", "/usr/lib/tacita/tacita")
    return sys.executable


def test_a_source_tree_starts_its_own_interpreter() -> None:
    assert child_command("fhe_server", "serve") == [sys.executable, "-m", "fhe_server", "serve"]
    assert templates.worker_command()[:2] == [sys.executable, "-P"]


def test_a_bundle_starts_itself(bundle: str) -> None:
    assert child_command("fhe_client.engine") == [bundle, RUN_MODULE, "fhe_client.engine"]
    assert local_server.server_command(["list"]) == [bundle, RUN_MODULE, "fhe_server", "list"]
    worker = [bundle, RUN_MODULE, "fhe_client.text.template_worker"]
    assert templates.worker_command() == worker
    local_server.require_server_packages()  # what is in the bundle is not looked for


def test_only_the_named_modules_are_run() -> None:
    with pytest.raises(AssertionError):
        child_command("fhe_client.cli")


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_named_module_is_there(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


def test_the_template_worker_runs_as_a_module_too() -> None:
    done = subprocess.run(
        child_command("fhe_client.text.template_worker"),
        input=b'{"template": "{{ who }}", "variables": {"who": "you"}}\n',
        capture_output=True,
        timeout=120,
    )
    assert done.stdout == b'{"text": "you"}\n'
    assert done.returncode == 0
