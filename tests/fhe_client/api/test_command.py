"""`tacita api` as a process: what it shows, what it answers, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import requests

from fhe_client.api.command import PortTakenError, api_key, listen
from fhe_client.cli import main
from fhe_client.keys import MasterKey
from tests.tiny_world import MODEL, PATIENCE, ROOT, environment, install_tiny


@pytest.mark.skipif(sys.platform == "win32", reason="ends by a signal")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_ended(tacita_home: Path, end: signal.Signals) -> None:
    install_tiny(tacita_home)
    arguments = ["api", "--port", "0", "--local", "--model", MODEL, "--keys", "session"]
    with subprocess.Popen(
        [sys.executable, "-m", "fhe_client.cli", *arguments, "--max-tokens", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(tacita_home),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            process.stdout.readline()
            url, key, model = (process.stdout.readline().split()[-1] for _ in range(3))
            question = {"model": model, "messages": [{"role": "user", "content": "sesame"}]}
            answer = requests.post(
                f"{url}/chat/completions",
                json=question,
                headers={"Authorization": f"Bearer {key}"},
                timeout=PATIENCE,
            )
            assert answer.json()["usage"]["completion_tokens"] == 2
            senseless(int(url.split(":")[2].partition("/")[0]))
            process.send_signal(end)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "sesame" not in out + err
    assert not [word for word in ("Invalid", "upgrade", "WebSocket", "Traceback") if word in err]
    assert key not in json.dumps([p.read_text("latin-1") for p in tacita_home.rglob("*.json")])


def senseless(port: int) -> None:
    """What any page and any program can send. It must not fill the terminal, or a file in its place."""
    upgrade = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for sent in (b"\x16\x03\x01\x00\r\n\r\n", b"GET /v1/models HTTP/1.1\r\n" + upgrade):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as stranger:
            stranger.sendall(sent)
            assert stranger.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 403")


def test_the_key_is_the_master_keys_own() -> None:
    with closing(MasterKey.generate(origin="session")) as one:
        with closing(MasterKey.generate(origin="session")) as other:
            assert api_key(one) == api_key(one) != api_key(other)
        assert len(api_key(one)) == len("tacita-") + 32


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with listen(0) as first:
        assert first.getsockname()[0] == "127.0.0.1"
        port = first.getsockname()[1]
        with pytest.raises(PortTakenError):
            listen(port)
        with pytest.raises(PortTakenError):
            listen(1 << 20)
        assert main(["api", "--port", str(port), "--keys", "session"]) == 1
    assert f"Port {port}" in capsys.readouterr().err


def test_the_endpoint_never_listens_elsewhere() -> None:
    """The name of this computer in its network would be another address than the one that is bound."""
    with listen(0) as bound, socket.socket() as other:
        assert bound.family == socket.AF_INET
        other.bind(("127.0.0.2", bound.getsockname()[1]))
