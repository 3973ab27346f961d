"""The embedded server as a child process: start, health, restart, end, and what is said when it cannot be."""

from __future__ import annotations

import http.client
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fhe_client import environment, local_server
from fhe_client.chat_events import CancelledError
from fhe_client.home import Home
from fhe_client.local_server import LocalServer, LocalServerError, is_imported, pull_model
from tests.tiny_world import (
    MODEL,
    PATIENCE,
    ROOT,
    install_tiny,
    process_exists,
    wait_until,
)
from tests.tiny_world import environment as child_environment

PARENT = """
import os, signal
from fhe_client.home import Home
from fhe_client.local_server import LocalServer
server = LocalServer.start("tiny", Home.locate())
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tacita_home: Path) -> Home:
    install_tiny(tacita_home)
    return Home.at(tacita_home).ensure()


def health(url: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("GET", "/v1/health")
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_starts_serves_comes_back_on_its_port_and_ends(home: Home) -> None:
    assert is_imported(MODEL, home)
    server = LocalServer.start(MODEL, home)
    try:
        url, first = server.url, server.pid
        assert url.startswith("http://127.0.0.1:")
        assert health(url) == 200
        # Ctrl-C in the terminal goes to a process group: the server must not be in ours.
        assert os.getpgid(first) != os.getpgid(0)
        server.ensure_running()
        assert server.pid == first
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not server.alive, "the server did not end")
        server.ensure_running()
        assert server.url == url
        assert server.pid != first
        assert health(url) == 200
        last = server.pid
    finally:
        server.close()
    server.close()
    assert server.pid == 0
    assert not process_exists(last)
    with pytest.raises(OSError):
        health(url)
    server.ensure_running()  # after close it stays closed
    assert not server.alive
    log = home.log / "server.log"
    assert f"Serving {MODEL}" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_it_ends_when_its_parent_is_killed(tacita_home: Path) -> None:
    install_tiny(tacita_home)
    parent = subprocess.run(
        [sys.executable, "-c", PARENT],
        cwd=ROOT,
        env=child_environment(tacita_home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    pid = int(parent.stdout)
    wait_until(lambda: not process_exists(pid), "the server outlived its parent")


def test_a_missing_model_is_told_in_the_servers_words(home: Home) -> None:
    with pytest.raises(LocalServerError, match="absent") as caught:
        LocalServer.start("absent", home)
    assert caught.value.code == "local_server"
    assert not is_imported("absent", home)


def test_an_unknown_model_cannot_be_pulled(home: Home) -> None:
    with pytest.raises(LocalServerError, match="in the catalogue") as caught:
        pull_model("no-such-model", home)
    assert "smollm2-135m" in caught.value.next_step


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_progress_of_an_import_is_handed_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, json\n"
        "for n in range(3): print(json.dumps({'stage': 'hints', 'done': n, 'total': 2}), file=sys.stderr)\n"
        "print('{\"stage\" is no record', file=sys.stderr)"
    )
    monkeypatch.setattr(local_server, "server_command", lambda arguments: python(code))
    seen: list[tuple[str, int, int]] = []
    pull_model(MODEL, home, lambda *record: seen.append(record))
    assert seen == [("hints", 0, 2), ("hints", 1, 2), ("hints", 2, 2)]


def test_an_import_can_be_cancelled(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, time\n"
        'while True: print(\'{"stage": "x", "done": 0, "total": 0}\', file=sys.stderr, flush=True); time.sleep(0.05)'
    )
    monkeypatch.setattr(local_server, "server_command", lambda arguments: python(code))
    seen: list[str] = []
    with pytest.raises(CancelledError):
        pull_model(MODEL, home, lambda stage, *_: seen.append(stage), lambda: len(seen) > 3)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; print('tacita-server: Too bad.\\n  Do this.', file=sys.stderr); sys.exit(1)",
            "Too bad. Do this.",
        ),
        ("raise SystemExit(3)", "ended at once"),
    ],
)
def test_a_server_that_ends_at_once_is_told(
    code: str, said: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "server_command", lambda arguments: python(code))
    with pytest.raises(LocalServerError) as caught:
        LocalServer.start(MODEL, home)
    assert said in str(caught.value)


def test_a_start_that_hangs_ends_by_itself_or_on_request(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = python("import sys; sys.stdin.read()")
    monkeypatch.setattr(local_server, "server_command", lambda arguments: hanging)
    with pytest.raises(LocalServerError, match="did not start in time"):
        LocalServer.start(MODEL, home, timeout_s=0.3)
    with pytest.raises(CancelledError):
        LocalServer.start(MODEL, home, should_stop=lambda: True)


def test_without_the_servers_packages_it_says_how_to_get_them(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = local_server.importlib.util.find_spec
    monkeypatch.setattr(
        local_server.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "uvicorn" else real(name, *rest),
    )
    with pytest.raises(LocalServerError, match="uvicorn missing") as caught:
        LocalServer.start(MODEL, home)
    assert "pip install" in caught.value.next_step


def test_a_child_gets_the_users_environment_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_ours", set())
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("TACITA_HOME", "somewhere/relative")
    for name in environment._QUIET:
        if name not in os.environ:
            monkeypatch.setenv(name, "")  # so that monkeypatch puts it back
            monkeypatch.delenv(name)
    environment.quiet_libraries()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    child = environment.child_environment()
    assert "HF_HUB_OFFLINE" not in child
    assert child["OMP_NUM_THREADS"] == "7"
    assert child["TACITA_HOME"] == os.path.abspath("somewhere/relative")
