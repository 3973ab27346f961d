"""Where `concrete-ml-extensions` has no wheel everything else works, and every way in says why the scheme is missing.

Its import is blocked in real processes: server, command line and engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhe_client.cli import main
from fhe_client.network.transport import ServerConnection
from fhe_protocol.glwe_library import unavailable_reason
from tests.tiny_world import PATIENCE, ROOT, ServerProcess, engine_process, environment

REASON = "concrete-ml-extensions is not installed"


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH under which the library cannot be imported."""
    folder = tmp_path_factory.mktemp("blocked")
    # What `import` and `find_spec` take for a module that is not there.
    code = "import sys\nsys.modules['concrete_ml_extensions'] = None\n"
    (folder / "sitecustomize.py").write_text(code)
    return os.pathsep.join((str(folder), str(ROOT)))


@pytest.fixture(scope="module")
def server(blocked: str) -> Iterator[ServerProcess]:
    running = ServerProcess(PYTHONPATH=blocked)
    yield running
    running.close()


def tacita(home: Path, path: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "fhe_client.cli", *arguments],
        cwd=ROOT,
        env=environment(home, PYTHONPATH=path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )


def test_the_server_says_why_it_does_not_offer_the_scheme(server: ServerProcess) -> None:
    with ServerConnection(
        server.url
    ) as connection:  # which waits for a server that only begins to listen
        info = connection.info()
    assert info.schemes == ("hint",)
    assert REASON in info.unavailable["glwe"]


def test_testing_a_connection_shows_the_reason(
    server: ServerProcess, blocked: str, tmp_path: Path
) -> None:
    done = tacita(tmp_path, blocked, "test", server.url)
    assert done.returncode == 0, done.stderr
    assert f"--scheme glwe cannot be used: {REASON}" in done.stdout.decode()


def test_the_default_scheme_answers_and_the_other_one_says_why_not(
    server: ServerProcess, blocked: str, tmp_path: Path
) -> None:
    question = ["ask", "--json", "--keys", "session", "--server", server.url, "--max-tokens", "2"]
    done = tacita(tmp_path, blocked, *question, "ab")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scheme"] == "hint"
    done = tacita(tmp_path, blocked, *question, "--scheme", "glwe", "ab")
    assert done.returncode == 1
    failure = json.loads(done.stdout)["error"]
    assert failure["code"] == "glwe_unavailable"
    assert failure["message"].startswith(REASON)
    assert "--scheme hint" in failure["next_step"]


def test_the_engine_says_so_in_its_hello(blocked: str, tmp_path: Path) -> None:
    with engine_process(tmp_path, PYTHONPATH=blocked) as engine:
        assert REASON in engine.do("hello")["schemes"]["glwe"]


def test_the_servers_reason_reaches_a_client_that_has_the_library(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    if unavailable_reason() is not None:
        pytest.skip("concrete-ml-extensions has no wheel here")
    arguments = ["ask", "--json", "--keys", "session", "--scheme", "glwe", "--server", server.url]
    assert main([*arguments, "ab"]) == 1
    failure = json.loads(capsys.readouterr().out)["error"]
    assert f"It says: {REASON}" in failure["message"]
