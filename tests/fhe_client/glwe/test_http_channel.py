"""Uploads and rounds against the real service, over connections that break and servers that forget or lie."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from fhe_client.glwe.http_channel import HttpGlweChannel
from fhe_client.network.errors import (
    BusyError,
    NetworkError,
    OtherModelError,
    ProtocolBreachError,
    StoppedError,
)
from fhe_client.network.http_lane import Access
from fhe_client.network.meter import TrafficMeter
from fhe_client.network.origin import parse_origin
from fhe_client.network.retries import Timeouts
from fhe_protocol.glwe import (
    GLWE_2048_27,
    KEY_SIZE,
    answer_size,
    pack_query,
    parse_answer,
)
from fhe_protocol.manifest import Manifest, parse_manifest
from fhe_protocol.wire import FrameHeader
from fhe_server.artefact import Artefact
from fhe_server.glwe.key_store import KeyLimits
from fhe_server.glwe.routes import GlweService, block_weights
from fhe_server.service.app import ServedModel, create_app
from tests.glwe_keys import RealKeys, real_keys
from tests.glwe_world import glwe_server
from tests.servers import (
    CountingProxy,
    RunningServer,
    make_artefact,
    reply,
    running_app,
    scripted_server,
)

FAST = Timeouts(tries=3, first_wait=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with glwe_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def keys() -> RealKeys:
    return real_keys()


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return parse_manifest((folder / "manifest.json").read_bytes())


def channel_to(
    url: str, manifest: Manifest, key: bytes, meter: TrafficMeter | None = None
) -> HttpGlweChannel:
    access = Access(parse_origin(url), meter or TrafficMeter(), timeouts=FAST)
    return HttpGlweChannel(access, manifest, key)


def check_round(channel: HttpGlweChannel, manifest: Manifest, keys: RealKeys, folder: Path) -> None:
    group = manifest.groups[0]
    x = np.arange(group.inputs, dtype=np.int64).reshape(1, -1)
    header = FrameHeader(3, 0, 1)
    raw = channel.exchange(pack_query(header, keys.encrypt(x)), answer_size(group, 1))
    (result,) = parse_answer(raw, group, header)
    weights = block_weights(Artefact(folder), group, 0, group.outputs).astype(np.int64)
    error = keys.decrypt(result, group.outputs) - x @ weights.T
    assert np.abs(error).max() < GLWE_2048_27.guard


def test_key_and_rounds_over_http(
    server: RunningServer, manifest: Manifest, keys: RealKeys, folder: Path
) -> None:
    meter = TrafficMeter()
    channel = channel_to(server.url, manifest, keys.key_bytes, meter)
    seen: list[tuple[int, int]] = []
    channel.upload(lambda done, total: seen.append((done, total)))
    channel.upload()
    assert seen[0] == (0, KEY_SIZE)
    assert seen[-1] == (KEY_SIZE, KEY_SIZE)
    assert len(seen) > 10
    check_round(channel, manifest, keys, folder)
    traffic = meter.snapshot()
    assert traffic.rounds == 1
    assert KEY_SIZE < traffic.of("keys")[0] < KEY_SIZE * 1.001
    assert 10112 < traffic.of("rounds")[0] < 12000
    service: GlweService = server.app.state.glwe
    held = len(service.store)
    channel.close()
    assert len(service.store) == held - 1


def test_an_upload_survives_a_broken_connection(
    server: RunningServer, manifest: Manifest, keys: RealKeys
) -> None:
    with CountingProxy(server.port) as proxy:
        proxy.cut_after_up = 50 << 20
        channel = channel_to(proxy.url, manifest, keys.key_bytes)
        waits: list[NetworkError] = []
        channel.on_reconnect = waits.append
        channel.upload()
        assert len(waits) == 1
        assert proxy.up < KEY_SIZE + (6 << 20)  # resumed, not begun anew
        channel.close()


def test_a_lost_key_is_uploaded_again(
    server: RunningServer, manifest: Manifest, keys: RealKeys, folder: Path
) -> None:
    channel = channel_to(server.url, manifest, keys.key_bytes)
    channel.upload()
    service: GlweService = server.app.state.glwe
    assert channel._key_id is not None
    service.store.remove(channel._key_id)
    check_round(channel, manifest, keys, folder)
    assert channel.uploads == 2
    channel.close()


class Restarted:
    """The real service on one port, ended and begun anew: what it held is gone."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        self._folder = folder
        self._undo = undo
        self._port = 0
        self.starts = 0
        self.again()

    def again(self) -> None:
        self._undo.close()
        models = {"tiny": ServedModel(Artefact(self._folder))}
        app = create_app(models, frozenset(), GlweService(models))
        running = self._undo.enter_context(running_app(app, self._port))
        self.url, self._port = running.url, running.port
        self.starts += 1


def test_a_server_may_be_started_again_during_an_upload_and_after_it(
    manifest: Manifest, keys: RealKeys, folder: Path
) -> None:
    with ExitStack() as undo:
        server = Restarted(folder, undo)
        channel = channel_to(server.url, manifest, keys.key_bytes)
        seen: list[int] = []

        def progress(sent: int, _total: int) -> None:
            seen.append(sent)
            if sent > KEY_SIZE // 3 and server.starts == 1:
                server.again()

        channel.upload(progress)
        assert server.starts == 2
        assert seen.count(0) == 2  # from the beginning, and the progress says so
        assert seen[-1] == KEY_SIZE
        check_round(channel, manifest, keys, folder)
        server.again()
        check_round(channel, manifest, keys, folder)
        assert channel.uploads == 2
        channel.close()


def test_a_key_that_expired_is_uploaded_again(
    manifest: Manifest, keys: RealKeys, folder: Path
) -> None:
    with glwe_server(folder) as server:
        channel = channel_to(server.url, manifest, keys.key_bytes)
        check_round(channel, manifest, keys, folder)
        store = server.app.state.glwe.store
        clock = store._clock
        store._clock = lambda: clock() + store.limits.idle_seconds + 1
        check_round(channel, manifest, keys, folder)
        assert channel.uploads == 2
        assert len(store) == 1
        channel.close()


def test_a_server_that_loses_every_upload_is_given_up(manifest: Manifest) -> None:
    begun = json.dumps({"key": "abcdefgh", "size": KEY_SIZE, "chunk": 1 << 20}).encode()
    gone = json.dumps({"error": {"code": "no_such_key", "message": "gone"}}).encode()
    asked = 0

    def script(connection: socket.socket, head: bytes) -> None:
        nonlocal asked
        first = head.startswith(b"POST /v1/glwe/keys HTTP")
        asked += first
        answer = reply(begun) if first else reply(gone, status="410 Gone")
        answer(connection, head)

    with scripted_server(script) as url, pytest.raises(ProtocolBreachError, match="keeps losing"):
        channel_to(url, manifest, bytes(1000)).upload()
    assert asked == 3


def test_a_stop_ends_an_upload(server: RunningServer, manifest: Manifest, keys: RealKeys) -> None:
    channel = channel_to(server.url, manifest, keys.key_bytes)
    done = 0

    def progress(sent: int, _total: int) -> None:
        nonlocal done
        done = sent

    channel.should_stop = lambda: done > 10 << 20
    with pytest.raises(StoppedError):
        channel.upload(progress)
    assert done < 20 << 20
    channel.close()


def test_a_full_server_and_another_model_are_said(
    folder: Path, manifest: Manifest, keys: RealKeys
) -> None:
    with glwe_server(folder, limits=KeyLimits(keys=1)) as server:
        channel = channel_to(server.url, manifest, keys.key_bytes)
        channel.upload()
        with pytest.raises(BusyError):
            channel_to(server.url, manifest, keys.key_bytes).upload()
        channel._digest = "0" * 64
        with pytest.raises(OtherModelError):
            channel.exchange(b"frame", 10)
        channel.close()


@pytest.mark.parametrize(
    "told",
    [
        b"[]",
        b"no json",
        json.dumps({"key": "../x/yyyyy", "size": KEY_SIZE, "chunk": 1 << 20}).encode(),
        json.dumps({"key": "abcdefgh", "size": 1 << 40, "chunk": 1 << 20}).encode(),
        json.dumps({"key": "abcdefgh", "size": KEY_SIZE, "chunk": 1}).encode(),
        json.dumps({"key": "abcdefgh", "size": KEY_SIZE, "chunk": 1 << 30}).encode(),
        json.dumps({"key": 7, "size": KEY_SIZE, "chunk": 1 << 20}).encode(),
    ],
)
def test_replies_of_a_lying_server_are_refused(told: bytes, manifest: Manifest) -> None:
    with scripted_server(reply(told)) as url, pytest.raises(ProtocolBreachError):
        channel_to(url, manifest, bytes(1000)).upload()


@pytest.mark.parametrize("received", [0, -1, KEY_SIZE, "x", True])
def test_a_server_that_miscounts_is_refused(received: object, manifest: Manifest) -> None:
    answers = {"key": "abcdefgh", "size": KEY_SIZE, "chunk": 1 << 16, "received": received}
    with (
        scripted_server(reply(json.dumps(answers).encode())) as url,
        pytest.raises(ProtocolBreachError),
    ):
        channel_to(url, manifest, bytes(1 << 17)).upload()


def test_a_short_answer_is_refused(manifest: Manifest) -> None:
    with scripted_server(reply(b"x" * 10)) as url:
        channel = channel_to(url, manifest, b"")
        channel._key_id = "abcdefgh"
        with pytest.raises(ProtocolBreachError, match="size"):
            channel.exchange(b"frame", 20)
