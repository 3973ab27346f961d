"""The nginx of docs/operating.md before a real server: its own words are the configuration that runs here.

Needs nginx (`apt install nginx`, or TACITA_NGINX=path of the program); skipped without it.
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
from fhe_client.network.hint_store import HintFile
from fhe_client.network.transport import ServerConnection
from fhe_protocol.wire import MAX_ROWS, max_query_size
from tests.servers import RunningServer, make_artefact, running_server, self_signed
from tests.tiny_world import ROOT, wait_until

NGINX = os.environ.get("TACITA_NGINX") or shutil.which("nginx")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt install nginx")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    make_artefact(tmp_path / "models" / "tiny")
    with running_server(tmp_path / "models" / "tiny") as running:
        yield running


@pytest.fixture
def proxy(server: RunningServer, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL of nginx and the fingerprint of its certificate."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    certificate, fingerprint = self_signed(tmp_path)
    text = (ROOT / "docs" / "operating.md").read_text()
    found = re.search(r"```nginx\n(.*?)```", text, re.DOTALL)
    assert found is not None
    site = found[1]
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/tacita/fullchain.pem", str(certificate)),
        ("/etc/tacita/privkey.pem", str(certificate)),
        ("127.0.0.1:8471", f"127.0.0.1:{server.port}"),
    ):
        assert old in site
        site = site.replace(old, new)
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {folders} {site} }}\n"
    )
    assert NGINX is not None
    process = subprocess.Popen(
        [NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], stdin=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, "nginx did not start")
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        yield f"https://127.0.0.1:{port}", fingerprint
    finally:
        process.terminate()
        process.wait(60)


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
    with ServerConnection(url, pinned_certificate=fingerprint) as connection:
        manifest = connection.manifest("tiny")
        hints = b"".join(connection.hint_stream(manifest, 1000))
        assert hints == (folder / "hints.bin").read_bytes()[1000:]
        assert HintFile(folder / "hints.bin", manifest).read(0).shape[1] == 1024
        channel = connection.open_rounds(manifest)
        client = HonestClient(folder, channel, slots=256)
        try:
            client.run_pass()
            assert channel.transport == "websocket"
            client.run_pass(rows=200)
            assert client.checked > 0
        finally:
            client.close()
            channel.close()
    assert server.counters.rounds == 2 * len(manifest.groups)
    assert max_query_size(manifest) < 64 << 20
    assert MAX_ROWS >= 200
