"""What an operator does to a running server, seen by the real client: revoke, limit, restart, kill, reload.

After every disturbance the client either goes on, with the very bytes that it had sent before, or says the right thing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.honest_client import HonestClient
from fhe_client.network.errors import (
    BusyError,
    ConnectionLostError,
    NetworkError,
    OtherModelError,
    QuotaError,
    UnauthorisedError,
)
from fhe_client.network.retries import Timeouts
from fhe_client.network.round_channel import ReconnectingChannel
from fhe_client.network.transport import ServerConnection
from fhe_server.service.tokens import Quotas, TokenFile
from tests.servers import make_artefact
from tests.tiny_world import ROOT, wait_until

PATIENCE_S = 120
PATIENT = Timeouts(connect=20, control=60, stall=60, tries=12, first_wait=0.05)
HASTY = Timeouts(connect=20, control=60, stall=60, tries=2, first_wait=0.01)


class Server:
    """`tacita-server serve` over a small model, as an operator starts it.

    Args:
        starting: called with the process as soon as there is one.
    """

    def __init__(
        self,
        home: Path,
        *arguments: str,
        port: int = 0,
        starting: Callable[[subprocess.Popen[bytes]], None] = lambda process: None,
    ) -> None:
        self.home = home
        self.models = home / "data" / "models"
        if not self.models.exists():
            make_artefact(self.models / "tiny")
        port_file = home / "port.json"
        port_file.unlink(missing_ok=True)
        self.log = home / "server.log"
        command = [sys.executable, "-m", "fhe_server", "serve", "--port", str(port), "--no-glwe"]
        command += ["--port-file", str(port_file), "--log-format", "json", "--threads", "1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--log-file", str(self.log), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "TACITA_HOME": str(home), "PYTHONPATH": str(ROOT)},
            )
        starting(self.process)
        wait_until(lambda: self._up(port_file), "the server did not start")
        self.port = int(json.loads(port_file.read_text())["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        wait_until(lambda: status(f"{self.url}/v1/ready") == 200, "the server did not get ready")

    def _up(self, port_file: Path) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return port_file.exists()

    def events(self) -> list[dict[str, Any]]:
        """The log."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_for(self, event: str, count: int = 1) -> None:
        """Until the log has had an event so often."""
        wait_until(
            lambda: [e["event"] for e in self.events()].count(event) >= count,
            f"no {event} in the log",
        )

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it and wait."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE_S)


@contextmanager
def serving(home: Path, *arguments: str, port: int = 0) -> Iterator[Server]:
    server = Server(home, *arguments, port=port)
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class Client:
    """A real session over a real channel; every answer is decrypted and checked."""

    def __init__(
        self,
        server: Server,
        token: str | None = None,
        url: str | None = None,
        times: Timeouts = PATIENT,
    ) -> None:
        self.connection = ServerConnection(url or server.url, token=token, timeouts=times)
        self.channel: ReconnectingChannel = self.connection.open_rounds(
            self.connection.manifest("tiny")
        )
        self.honest = HonestClient(server.models / "tiny", self.channel, slots=256)
        self.errors: list[NetworkError] = []
        self.channel.on_reconnect = self.errors.append

    def run(self, passes: int = 1) -> None:
        for _ in range(passes):
            self.honest.run_pass()

    def close(self) -> None:
        self.honest.close()
        self.channel.close()
        self.connection.close()


def in_background(work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread, failures


class Writing:
    """A reply being written in the background until someone says stop."""

    def __init__(self, client: Client) -> None:
        self.passes = 0
        self._stop = threading.Event()

        def write() -> None:
            while not self._stop.is_set() and self.passes < 250:
                client.run()
                self.passes += 1
                self._stop.wait(
                    0.05
                )  # lasts longer than a server needs to notice, however fast it is

        self.thread, self.failures = in_background(write)

    def wait_for_more(self, passes: int = 2) -> None:
        """Until it has come further, or has failed."""
        goal = self.passes + passes
        wait_until(
            lambda: self.passes >= goal or not self.thread.is_alive(), "the reply stands still"
        )

    def end(self) -> list[BaseException]:
        self._stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        return self.failures


def test_revoking_a_token_in_mid_reply_ends_it_with_the_right_message(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "config" / "tokens.json")
    tokens = {name: file.create(name, Quotas()) for name in ("ada", "bob")}
    with serving(tmp_path) as server:
        with pytest.raises(UnauthorisedError):
            Client(server)
        with (
            closing(Client(server, tokens["ada"])) as ada,
            closing(Client(server, tokens["bob"])) as bob,
        ):
            writing, other = Writing(ada), Writing(bob)
            writing.wait_for_more()
            file.revoke("ada")
            writing.thread.join(PATIENCE_S)
            (error,) = writing.failures
            assert isinstance(error, UnauthorisedError)
            assert "revoked" in str(error) or "valid access token" in str(error)
            other.wait_for_more()
            assert other.end() == []
        server.wait_for("token_revoked")
        assert "ada" not in server.log.read_text()
        assert tokens["ada"] not in server.log.read_text()


def test_a_quota_says_when_it_begins_anew_and_is_not_retried(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "config" / "tokens.json")
    token = file.create("ada", Quotas(tokens_per_day=2))
    with serving(tmp_path) as server, closing(Client(server, token)) as client:
        client.run(2)
        with pytest.raises(QuotaError, match=r"2 tokens, is used up; it begins anew at .* UTC"):
            client.run()
        assert client.errors == []
        server.end()
    # A restart forgets nothing.
    with (
        serving(tmp_path) as server,
        closing(Client(server, token)) as client,
        pytest.raises(QuotaError),
    ):
        client.run()


def test_the_same_bytes_go_to_the_server_that_comes_after(tmp_path: Path) -> None:
    """Killed in mid-reply and started again on the same port: the frame that was lost is sent again as it was."""
    with serving(tmp_path) as first, closing(Client(first)) as client:
        asked: list[bytes] = []
        tried: list[bytes] = []
        exchange, attempt = client.channel.exchange, client.channel._try

        def noted(frame: bytes, size: int) -> Any:
            asked.append(bytes(frame))
            return exchange(frame, size)

        def noted_try(frame: bytes, size: int) -> Any:
            tried.append(bytes(frame))
            return attempt(frame, size)

        client.channel.exchange = noted  # type: ignore[method-assign]
        client.channel._try = noted_try  # type: ignore[method-assign]
        writing = Writing(client)
        writing.wait_for_more()
        first.end(signal.SIGKILL)
        with serving(tmp_path, port=first.port):
            writing.wait_for_more(4)
            assert writing.end() == []
        assert client.errors
        assert len(tried) > len(asked)
        # Whatever was tried again is what had been asked: nothing was encrypted a second time.
        assert set(tried) == set(asked)
        assert len(set(asked)) == len(asked)


def test_a_drained_server_loses_no_round(tmp_path: Path) -> None:
    with serving(tmp_path) as first, closing(Client(first)) as client:
        writing = Writing(client)
        writing.wait_for_more()
        first.end(signal.SIGTERM)
        names = [e["event"] for e in first.events()]
        assert names[-2:] == ["draining", "ended"]
        with serving(tmp_path, port=first.port):
            writing.wait_for_more(3)
            assert writing.end() == []


def test_reload_brings_models_and_limits_without_dropping_a_round(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[limits]\nmax_connections = 100\n")
    with serving(tmp_path, "--config", str(config)) as server, closing(Client(server)) as client:
        writing = Writing(client)
        writing.wait_for_more()
        make_artefact(server.models / "other", "other", seed=5)
        config.write_text("[limits]\nmax_connections = 1\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded")
        assert {m.name for m in client.connection.info().models} == {"tiny", "other"}
        with (
            closing(Client(server, times=HASTY)) as second,
            pytest.raises(BusyError, match="connections") as refused,
        ):
            second.run()
        assert refused.value.retry_after == 5
        config.write_text("[limits]\nmax_conections = 1\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("config_not_reloaded")
        shutil.rmtree(server.models / "other")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("model_removed")
        writing.wait_for_more()
        assert writing.end() == []
        assert client.errors == []


def test_a_reply_outlives_the_same_model_and_is_told_of_another(tmp_path: Path) -> None:
    with serving(tmp_path) as server, closing(Client(server)) as client:
        writing = Writing(client)
        writing.wait_for_more()
        for seed, event in ((1, "reloaded"), (2, "model_replaced")):
            make_artefact(tmp_path / f"new{seed}", "tiny", seed=seed)
            (server.models / "tiny").rename(tmp_path / f"old{seed}")
            (tmp_path / f"new{seed}").rename(server.models / "tiny")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(event)
            if seed == 1:
                writing.wait_for_more(3)
                assert client.errors == []
        writing.thread.join(PATIENCE_S)
        (error,) = writing.failures
        assert isinstance(error, OtherModelError)
        assert "the model changed on the server" in str(error)
        assert "Connect again" in error.next_step
        # It came back by itself first: behind a load balancer another server may have the model still.
        assert [type(e) for e in client.errors] == [ConnectionLostError]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_for_everyone_is_said_to_be_one(tmp_path: Path, host: str) -> None:
    with serving(tmp_path, "--host", host) as server:
        server.wait_for("ready")
        names = [e["event"] for e in server.events()]
        assert ("open_to_everyone" in names) == (host != "127.0.0.1")


def test_a_hangup_while_the_server_starts_is_heeded_later(tmp_path: Path) -> None:
    """The config file is a pipe: the server waits at it until the signal has been sent."""
    make_artefact(tmp_path / "data" / "models" / "tiny")
    config, settled = tmp_path / "server.toml", tmp_path / "settled.toml"
    os.mkfifo(config)
    settled.write_text("")

    def hang_up(process: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: opened(config) or process.poll() is not None, "it reads no config file")
        process.send_signal(signal.SIGHUP)
        settled.replace(config)
        os.close(pipes.pop())

    pipes: list[int] = []

    def opened(pipe: Path) -> bool:
        """Whether the server has opened the other end; then it waits at ours."""
        try:
            pipes.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    server = Server(tmp_path, "--config", str(config), starting=hang_up)
    try:
        server.wait_for("reloaded")
        with closing(Client(server)) as client:
            client.run()
    finally:
        server.end(signal.SIGKILL)


def worker_pids(server: Server) -> set[int]:
    return {e["pid"] for e in server.events() if e["event"] == "ready"}


def test_a_worker_that_is_killed_is_replaced_and_clients_go_on(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        server.wait_for("ready", 2)
        clients = [Client(server) for _ in range(4)]
        try:
            replies = [Writing(client) for client in clients]
            for reply in replies:
                reply.wait_for_more()
            victim = min(worker_pids(server))
            os.kill(victim, signal.SIGKILL)
            server.wait_for("worker_died")
            for reply in replies:
                reply.wait_for_more()
            server.wait_for("ready", 3)  # another one took its place
            assert [reply.end() for reply in replies] == [[], [], [], []]
        finally:
            for client in clients:
                client.close()
        workers = worker_pids(server) - {victim}
        server.end(signal.SIGTERM)
        assert server.process.returncode == 0
        wait_until(lambda: not any(map(alive, workers)), "a worker outlived its parent")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        server.wait_for("ready", 2)
        workers = worker_pids(server)
        assert len(workers) == 2
        server.end(signal.SIGKILL)
        wait_until(lambda: not any(map(alive, workers)), "a worker outlived its parent")


def test_a_log_that_cannot_be_written_costs_no_round(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with serving(tmp_path, "--log-file", "/dev/full", "--log-level", "debug") as server:
        with closing(Client(server)) as client:
            client.run(3)
        server.end()
    assert "Traceback" not in server.log.read_text()


def test_the_log_holds_no_content(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "config" / "tokens.json")
    token = file.create("ada", Quotas())
    with serving(tmp_path, "--log-level", "debug") as server:
        with closing(Client(server, token)) as client:
            client.run(2)
        stranger = ServerConnection(server.url, token="canary-in-a-token-12345")
        with closing(stranger), pytest.raises(UnauthorisedError):
            stranger.info()
        status(f"{server.url}/v1/models/canary-in-a-path/manifest")
        time.sleep(0.1)
        server.end()
    text = server.log.read_text()
    assert "canary" not in text
    assert token not in text
    assert "ada" not in text
    assert {"started", "ready", "draining", "ended"} <= {e["event"] for e in server.events()}
