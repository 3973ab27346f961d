"""The nginx and the Caddy of docs/operating.md before a real server: its own words are what runs here.

Need the programs (`apt install nginx caddy`, or TACITA_NGINX and TACITA_CADDY with their paths); skipped without them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.honest_client import HonestClient
from fhe_client.network.errors import UnauthorisedError
from fhe_client.network.hint_store import HintFile
from fhe_client.network.transport import ServerConnection
from fhe_protocol.wire import max_query_size
from fhe_server.service.app import hash_token
from tests.servers import RunningServer, make_artefact, running_server, self_signed
from tests.tiny_world import ROOT, wait_until

TOKEN = "a-token-of-somebody"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    make_artefact(tmp_path / "models" / "tiny")
    hashes = frozenset({hash_token(TOKEN)})
    with running_server(tmp_path / "models" / "tiny", token_hashes=hashes) as running:
        yield running


@pytest.fixture(params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, server: RunningServer, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """URL of a proxy and the fingerprint of its certificate."""
    name: str = request.param
    program = os.environ.get(f"TACITA_{name.upper()}") or shutil.which(name)
    if program is None:
        pytest.skip(f"needs {name}: apt install {name}")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    certificate, fingerprint = self_signed(tmp_path)
    arguments = {"nginx": _nginx, "caddy": _caddy}[name](tmp_path, port, certificate, server.port)
    with (tmp_path / "error.log").open("ab") as log:
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, f"{name} did not start")
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        yield f"https://127.0.0.1:{port}", fingerprint
    finally:
        process.terminate()
        process.wait(60)


def _documented(name: str, changes: dict[str, str]) -> str:
    """The page's own configuration, at other addresses."""
    text = (ROOT / "docs" / "operating.md").read_text()
    found = re.search(rf"```{name}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    site = found[1]
    for old, new in changes.items():
        assert old in site
        site = site.replace(old, new)
    return site


def _nginx(folder: Path, port: int, certificate: Path, target: int) -> list[str]:
    site = _documented(
        "nginx",
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/tacita/fullchain.pem": str(certificate),
            "/etc/tacita/privkey.pem": str(certificate),
            "127.0.0.1:8471": f"127.0.0.1:{target}",
        },
    )
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {folders} {site} }}\n"
    )
    return ["-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, port: int, certificate: Path, target: int) -> list[str]:
    site = _documented(
        "caddy",
        {
            # Without a public name no certificate can be fetched: the test's own takes its place.
            "tacita.example.org {": f"https://127.0.0.1:{port} {{\n    tls {certificate} {certificate}",
            "127.0.0.1:8471": f"127.0.0.1:{target}",
        },
    )
    config = folder / "Caddyfile"
    config.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}")
    return ["run", "--config", str(config), "--adapter", "caddyfile"]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def test_rounds_files_and_hints_pass_the_proxy(
    proxy: tuple[str, str], server: RunningServer, tmp_path: Path
) -> None:
    url, fingerprint = proxy
    folder = tmp_path / "models" / "tiny"
    with ServerConnection(url, token=TOKEN, pinned_certificate=fingerprint) as connection:
        manifest = connection.manifest("tiny")
        hints = b"".join(connection.hint_stream(manifest, 1000))
        assert hints == (folder / "hints.bin").read_bytes()[1000:]
        assert HintFile(folder / "hints.bin", manifest).read(0).shape[1] == 1024
        channel = connection.open_rounds(manifest)
        client = HonestClient(folder, channel, slots=256)
        try:
            client.run_pass()
            assert channel.transport == "websocket"
            largest = 0
            for _ in range(3):  # the first windows are short
                largest = max(largest, rows := client.session.rows_until_window_end())
                client.run_pass(rows)
            assert largest > 100
        finally:
            client.close()
            channel.close()
    assert server.counters.rounds == 4 * len(manifest.groups)
    assert max_query_size(manifest) < 64 << 20


def test_a_stranger_is_told_so_through_the_proxy(proxy: tuple[str, str]) -> None:
    url, fingerprint = proxy
    with (
        ServerConnection(url, token="another", pinned_certificate=fingerprint) as connection,
        pytest.raises(UnauthorisedError),
    ):
        connection.manifest("tiny")
