"""The meter against the wire: equal to what a TCP proxy counts, and its payload to what the server counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fhe_client.network.hint_store import HintStore
from fhe_client.network.meter import Traffic, TrafficMeter
from fhe_client.network.round_channel import ReconnectingChannel
from fhe_client.network.transport import ServerConnection
from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import FrameHeader, answer_size, pack_query
from tests.servers import CountingProxy, RunningServer, make_artefact, running_server


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact") / "tiny"
    make_artefact(folder)
    return folder


@pytest.fixture
def server(artefact: Path) -> Iterator[RunningServer]:
    with running_server(artefact) as running:
        yield running


def send_round(channel: ReconnectingChannel, manifest: Manifest, group: int, rows: int) -> bytes:
    found = manifest.groups[group]
    parts = [np.zeros((3, rows, part.inputs), np.int8) for part in found.parts]
    frame = pack_query(FrameHeader(7, group, rows), parts)
    channel.exchange(frame, answer_size(found, rows))
    return frame


def test_totals_by_kind_and_differences() -> None:
    meter = TrafficMeter()
    meter.add("rounds", 10, 20)
    earlier = meter.snapshot()
    meter.add("rounds", 1, 2)
    meter.add("hints", 0, 5)
    meter.add_round("rounds")
    meter.add_round("audit")
    now = meter.snapshot()
    assert (now.bytes_up, now.bytes_down, now.rounds) == (11, 27, 1)
    assert now.of("rounds") == (11, 22)
    assert now.of("nothing") == (0, 0)
    later = now.since(earlier)
    assert (later.bytes_up, later.bytes_down, later.rounds) == (1, 7, 1)
    assert later.of("hints") == (0, 5)
    assert Traffic().since(Traffic()) == Traffic()


def test_an_unknown_kind_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        TrafficMeter().add("chat", 1, 1)


def test_threads_lose_nothing() -> None:
    meter = TrafficMeter()

    def work() -> None:
        for _ in range(2000):
            meter.add("files", 1, 2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.snapshot().of("files") == (16_000, 32_000)


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_the_meter_equals_the_wire(server: RunningServer, tmp_path: Path, websocket: bool) -> None:
    with CountingProxy(server.port) as proxy, ServerConnection(proxy.url) as connection:
        manifest = connection.manifest("tiny")
        HintStore(tmp_path).ensure(manifest, connection)
        for entry in manifest.files:
            connection.file("tiny", entry)
        channel = connection.open_rounds(manifest)
        channel._upgrade_refused = not websocket
        for group in range(3):
            for rows in (1, 70, 256):
                send_round(channel, manifest, group, rows)
        assert channel.transport == ("websocket" if websocket else "http")
        channel.close()
        traffic = connection.meter.snapshot()
        assert (traffic.bytes_up, traffic.bytes_down) == (proxy.up, proxy.down)
        assert traffic.rounds == 9
        assert all(traffic.of(kind)[1] > 0 for kind in ("control", "files", "hints", "rounds"))


def test_rounds_equal_the_servers_own_count(server: RunningServer) -> None:
    with ServerConnection(server.url) as connection:
        manifest = connection.manifest("tiny")
        channel = connection.open_rounds(manifest)
        send_round(channel, manifest, 0, 1)
        after_first = connection.meter.snapshot()
        counted = (server.counters.query_bytes, server.counters.answer_bytes)
        payload_up = sum(len(send_round(channel, manifest, g, 200)) for g in (0, 1, 2))
        payload_down = sum(answer_size(manifest.groups[g], 200) for g in (0, 1, 2))
        channel.close()
        traffic = connection.meter.snapshot().since(after_first)
    assert server.counters.query_bytes - counted[0] == payload_up
    assert server.counters.answer_bytes - counted[1] == payload_down
    up, down = traffic.of("rounds")
    assert traffic.rounds == 3
    # What the wire carries beyond the payload are frame heads: 8 bytes up and 4 down for each of these messages.
    assert (up - payload_up, down - payload_down) == (3 * 8, 3 * 4)


def test_the_audit_is_counted_apart(server: RunningServer) -> None:
    with ServerConnection(server.url) as connection:
        manifest = connection.manifest("tiny")
        channel = connection.open_rounds(manifest, "audit")
        send_round(channel, manifest, 0, 2)
        channel.close()
        traffic = connection.meter.snapshot()
    assert traffic.rounds == 0
    assert traffic.of("rounds") == (0, 0)
    assert min(traffic.of("audit")) > 0
