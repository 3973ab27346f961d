"""Ray Serve with two replicas of the same app, one of which is killed while honest clients write.

Ray is 360 MB, so it is not in the usual environment: scripts/test_ray makes one and runs this file in it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from starlette.testclient import TestClient

from benchmarks.honest_client import HonestClient
from fhe_client.network.retries import Timeouts
from fhe_client.network.transport import ServerConnection
from fhe_server.service.ray_app import app_builder, make_replica_app
from fhe_server.service.tokens import Quotas, TokenFile
from tests.servers import make_artefact
from tests.tiny_world import ROOT, wait_until

PATIENT = Timeouts(connect=20, control=60, stall=60, tries=14, first_wait=0.05)


def test_a_replica_is_the_same_app(tmp_path: Path) -> None:
    make_artefact(tmp_path / "models" / "tiny")
    file = TokenFile(tmp_path / "tokens.json")
    token = file.create("ada", Quotas())
    with TestClient(make_replica_app(str(tmp_path / "models"), str(file.path))) as client:
        assert client.get("/v1/info").status_code == 401
        info = client.get("/v1/info", headers={"authorization": f"Bearer {token}"}).json()
    assert [m["name"] for m in info["models"]] == ["tiny"]
    assert info["schemes"] == ["hint"]


@pytest.fixture
def ray_server(tmp_path: Path) -> Iterator[str]:
    ray = pytest.importorskip("ray", reason="needs Ray: run scripts/test_ray")
    from ray import serve

    make_artefact(tmp_path / "models" / "tiny")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        object_store_memory=80 << 20,
        runtime_env={"env_vars": environment},
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        arguments = {"models": str(tmp_path / "models"), "replicas": "2", "cpus": "0.1"}
        serve.run(app_builder(arguments))
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()
    finally:
        ray.shutdown()


def replicas() -> list[int]:
    """Process ids of the replicas that run."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"] or []
        if command and command[0].startswith("ray::ServeReplica:default:tacita"):
            found.append(process.info["pid"])
    return found


@pytest.mark.slow
def test_honest_clients_go_on_when_a_replica_is_killed(ray_server: str, tmp_path: Path) -> None:
    failures: list[BaseException] = []
    passes = [0, 0, 0]
    stop = threading.Event()

    def write(number: int) -> None:
        try:
            with ServerConnection(ray_server, timeouts=PATIENT) as connection:
                channel = connection.open_rounds(connection.manifest("tiny"))
                client = HonestClient(tmp_path / "models" / "tiny", channel, number, slots=256)
                while not stop.is_set() and passes[number] < 250:
                    client.run_pass()
                    passes[number] += 1
                client.close()
                channel.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(passes) > 2 or bool(failures), "the clients stand still")
    before = replicas()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    goal = [n + 3 for n in passes]
    wait_until(
        lambda: bool(failures) or all(p >= g for p, g in zip(passes, goal, strict=True)),
        "the clients stand still after a replica died",
    )
    wait_until(lambda: len(replicas()) == 2, "no replica took the place of the dead one")
    stop.set()
    for thread in threads:
        thread.join(120)
    assert failures == []
