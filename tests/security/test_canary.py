"""A prompt and a reply are looked for wherever a session could leave them, and where it would show them.

Files below the profile, the home, the temporary and the current folder and the server's; logs; the environment and
command line of every process; core dumps, which the parent had allowed; every byte between client and server. The
sessions end badly: killed, or crashed, in the middle of a reply. That the search finds what is there is shown by
planting the canary in each place.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fhe_client.history import History
from fhe_client.history.records import Role
from fhe_client.home import Home
from fhe_client.keys import KeyStore, data_key
from tests.fhe_client.keys.fakes import CHEAP_ARGON2
from tests.security.canary import files_below, leaks, needles, shown_by_processes, with_children
from tests.test_end_to_end import Tap, websocket_messages
from tests.tiny_world import (
    PATIENCE,
    ROOT,
    EngineProcess,
    ServerProcess,
    environment,
    process_exists,
    server_process,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
PROMPT = "xylophone quagmire über 8127, said the zeppelin"
PASSPHRASE = "marmalade turnstile gingerbread"
WITH_CORES = ["sh", "-c", 'ulimit -c "$(ulimit -H -c)"; exec "$@"', "sh", sys.executable]
"""Starts a program that may dump as large a core as the system allows."""


@dataclass
class Scene:
    """The folders of a session, its server, and the tap between the two."""

    home: Path
    rest: Path
    server: ServerProcess
    tap: Tap

    def environment(self) -> dict[str, str]:
        rest = str(self.rest)
        return environment(self.home, HOME=rest, TMPDIR=rest, TACITA_DEBUG="1")

    def places(self) -> dict[str, bytes]:
        """Everything but the processes, which have ended."""
        found = files_below(self.home, self.rest, self.server._folder)
        for number, connection in enumerate(self.tap.connections):
            up, down = bytes(connection.up), bytes(connection.down)
            found[f"connection {number} up"], found[f"connection {number} down"] = up, down
            if b"upgrade: websocket" in up[:2000].lower():
                found[f"messages of connection {number}"] = b"\0".join(whole_messages(up))
        return found


def whole_messages(stream: bytes) -> Iterator[bytes]:
    """The messages of a stream that may have been cut within one."""
    messages = websocket_messages(stream)
    while True:
        try:
            yield next(messages)
        except (StopIteration, IndexError, ValueError):
            return


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process() as running:
        wait_until(lambda: listens(running.port), "nothing listens")
        yield running


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
        return True
    return False


@pytest.fixture
def scene(server: ServerProcess, tmp_path: Path) -> Iterator[Scene]:
    for name in ("home", "rest"):
        (tmp_path / name).mkdir()
    with Tap(server.port) as tap:
        yield Scene(tmp_path / "home", tmp_path / "rest", server, tap)


def end(process: subprocess.Popen[bytes], number: int) -> None:
    """End a process badly, and wait until all that it has started has ended, too."""
    family = list(with_children(process.pid))
    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: not any(map(process_exists, family)), "a child process was left behind")


def readable(text: str) -> list[str]:
    """The parts of a reply that could not stand in a file by chance."""
    return re.findall(r"[ -~]{8,}", text)


def test_a_question_on_the_command_line_that_is_killed_leaves_nothing(scene: Scene) -> None:
    command = ["-m", "fhe_client.cli", "ask", "--server", scene.tap.url, "--keys", "session"]
    command += ["--temperature", "3", "--seed", "5", "--max-tokens", "400", "-"]
    process = subprocess.Popen(
        [*WITH_CORES, *command],
        cwd=scene.rest, env=scene.environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(PROMPT.encode())
        process.stdin.close()
        said = process.stdout.read(60)
        shown = shown_by_processes(with_children(process.pid))
        assert_no_core_is_possible(process.pid)
        end(process, signal.SIGKILL)
        said += process.stdout.read()
        errors = process.stderr.read()
    finally:
        process.kill()
        process.wait(60)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    reply = readable(said.decode("utf-8", "replace"))
    assert reply, "the reply has nothing to look for"
    places = {**scene.places(), **shown, "standard error": errors}
    assert_complete(places)
    assert leaks(places, needles(PROMPT, *reply)) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_an_engine_that_dies_leaves_nothing_but_an_encrypted_history(
    number: int, scene: Scene
) -> None:
    store = KeyStore(Home.at(scene.home).ensure(), argon2=CHEAP_ARGON2)
    with store.use("passphrase", PASSPHRASE) as key:
        path = store.home.data / "history.db"
        history = History(path, data_key(store.home.data / "history.key", key, "history"))
    program = [*WITH_CORES, "-m", "fhe_client.engine"]
    engine = EngineProcess(scene.home, program, scene.rest, **scene.environment())
    try:
        used = engine.do("keys_use", mode="passphrase", passphrase=PASSPHRASE)
        assert used["state"] == "passphrase", used
        address = {"url": scene.tap.url, "token": None}
        assert engine.do("connect", server=address, model=None, local=False)["event"] == "result"
        chat = history.new_chat(PROMPT)
        question = history.add_message(chat.id, Role.USER, PROMPT, parent=None)
        engine.send("ask", **asked())
        said = said_by(engine)
        history.add_message(chat.id, Role.ASSISTANT, said, parent=question.id)
        shown = shown_by_processes(with_children(engine.process.pid))
        assert_no_core_is_possible(engine.process.pid)
        end(engine.process, number)
    finally:
        engine.close()
    kept = [m.text for m in history.all_messages(chat.id)]
    assert kept == [PROMPT, said], "the history did not hold what is looked for"
    places = {**scene.places(), **shown, "standard error": bytes(engine.errors)}
    history.close()
    assert_complete(places)
    assert str(path) in places
    assert leaks(places, needles(PROMPT, PASSPHRASE, *readable(said))) == []


def asked() -> dict[str, Any]:
    options = {"max_tokens": 400, "temperature": 3.0, "seed": 5}
    return {"messages": [{"role": "user", "content": PROMPT}], "options": options}


def said_by(engine: EngineProcess) -> str:
    """The reply so far, once there is something to look for in it."""
    while True:
        engine.wait_for(lambda event: event["event"] == "piece")
        said = "".join(e["text"] for e in engine.events if e["event"] == "piece")
        if readable(said):
            return said


def assert_no_core_is_possible(pid: int) -> None:
    """Whatever the parent allowed, the process has taken it back."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits), limits


def assert_complete(places: dict[str, bytes]) -> None:
    """The search looked at what it should: without this it could pass on nothing."""
    names = " ".join(places)
    for part in ("pins.json", "environ of", "cmdline of", "messages of connection"):
        assert part in names, f"nothing was looked at in {part}"
    assert sum(len(data) for name, data in places.items() if name.endswith(" up")) > 50_000


# --- the search finds what is there ---


@pytest.mark.parametrize("form", ["utf-8", "utf-16-le", "utf-32-le", "JSON", "base64", "hex"])
def test_a_canary_in_a_file_is_found(form: str, tmp_path: Path) -> None:
    wanted = needles(PROMPT)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "x").write_bytes(b"before " + wanted[f"'quagmire' in {form}"] + b" after")
    assert leaks(files_below(tmp_path), wanted)


def test_a_canary_in_the_name_of_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / f"chat about {PROMPT.split()[1]}.txt").touch()
    assert leaks(files_below(tmp_path), needles(PROMPT))


@pytest.mark.parametrize("where", ["environ", "cmdline"])
def test_a_canary_in_a_process_is_found(where: str) -> None:
    more = {"CANARY": PROMPT} if where == "environ" else {}
    arguments = [PROMPT] if where == "cmdline" else []
    command = ["sh", "-c", "echo ready; read x; exit", "sh", *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, **more})
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"  # before, /proc may still be empty
        found = leaks(shown_by_processes(with_children(process.pid)), needles(PROMPT))
    finally:
        process.communicate(b"\n", timeout=60)
    assert found
    assert all(where in one for one in found)


def test_a_canary_in_a_packet_is_found(server: ServerProcess, tmp_path: Path) -> None:
    with Tap(server.port) as tap:
        import urllib.error
        import urllib.request

        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{tap.url}/v1/models/{PROMPT.split()[0]}/manifest", timeout=60)
        places = Scene(tmp_path, tmp_path, server, tap).places()
    assert leaks(places, needles(PROMPT))


CRASH = f"import os; kept = {PROMPT[:9]!r} + {PROMPT[9:]!r}; os.abort()"


def test_a_core_dump_would_be_found(tmp_path: Path) -> None:
    """A program that switches nothing off does leave one here, if the system writes cores into files at all."""
    done = subprocess.run(
        [*WITH_CORES, "-c", CRASH], cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == -signal.SIGABRT
    cores = files_below(tmp_path)
    if not cores:
        pytest.skip("this system writes no cores into the current folder")
    assert leaks(cores, needles(PROMPT))
    hardened = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    hardened += f"from fhe_client.crypto.hardening import harden_process; harden_process(); {CRASH}"
    clean = tmp_path / "hardened"
    clean.mkdir()
    subprocess.run(
        [*WITH_CORES, "-c", hardened],
        cwd=clean,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert files_below(clean) == {}
