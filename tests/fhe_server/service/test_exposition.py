"""Metrics: the numbers of a service as Prometheus reads them, on an address of their own."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from fhe_protocol.wire import FrameHeader, pack_query
from fhe_server.artefact import Artefact
from fhe_server.errors import ServerError
from fhe_server.service.app import create_app, hash_token
from fhe_server.service.exposition import exposition, serve_metrics
from fhe_server.service.metrics import BUCKETS_S, Histogram
from fhe_server.service.served_model import ServedModel
from tests.fhe_server.service.test_app import query
from tests.servers import make_artefact

TOKEN = "canary-token-of-some-length"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    make_artefact(tmp_path / "tiny")
    app = create_app(
        {"tiny": ServedModel(Artefact(tmp_path / "tiny"))}, frozenset({hash_token(TOKEN)})
    )
    return TestClient(app, headers={"authorization": f"Bearer {TOKEN}"})


def samples(text: str) -> dict[str, float]:
    return {
        s.name + "".join(f"{{{v}}}" for v in s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_rounds_refusals_and_times_are_counted(client: TestClient) -> None:
    state = client.app.state.service  # type: ignore[attr-defined]
    manifest = state.models["tiny"].manifest
    _, frame = query(manifest, rows=3)
    headers = {"x-tacita-model": manifest.digest}
    answer = client.post("/v1/models/tiny/rounds", content=frame, headers=headers).content
    client.post("/v1/models/tiny/rounds", content=b"rubbish", headers=headers)
    client.get("/v1/info", headers={"authorization": "Bearer wrong"})
    text = exposition(state).decode()
    found = samples(text)
    assert found["tacita_rounds_total"] == 1
    assert found["tacita_query_bytes_total"] == len(frame)
    assert found["tacita_answer_bytes_total"] == len(answer)
    assert found["tacita_rows_total"] == 3
    assert found["tacita_tokens_total{tiny}"] == pytest.approx(3 / len(manifest.groups))
    assert found["tacita_refused_total{bad_frame}"] == 1
    assert found["tacita_refused_total{unauthorised}"] == 1
    assert found["tacita_round_seconds_count"] == 1
    assert found["tacita_models"] == 1
    assert found["tacita_loaded_bytes"] == state.models["tiny"].weight_bytes
    assert found["process_resident_memory_bytes"] > 0
    assert "canary" not in text


def test_the_main_address_has_no_metrics(client: TestClient) -> None:
    assert client.get("/metrics").status_code == 404


def test_metrics_have_an_address_of_their_own(client: TestClient) -> None:
    state = client.app.state.service  # type: ignore[attr-defined]
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    end = serve_metrics(state, "127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            assert samples(response.read().decode())["tacita_rounds_total"] == 0
        with pytest.raises(ServerError, match="Choose another --metrics"):
            serve_metrics(state, "127.0.0.1", port)
    finally:
        end()


def test_a_histogram_sorts_by_upper_bound() -> None:
    histogram = Histogram()
    for seconds in (0.0, BUCKETS_S[0], BUCKETS_S[1], 1e9):
        histogram.add(seconds)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 4


def test_readiness_and_health_are_two_things(client: TestClient) -> None:
    state = client.app.state.service  # type: ignore[attr-defined]
    assert client.get("/v1/ready").json() == {"status": "ready"}
    state.ready = False
    response = client.get("/v1/ready")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert client.get("/v1/health").status_code == 200


def test_a_full_queue_is_503_with_a_time_to_come_back(client: TestClient) -> None:
    state = client.app.state.service  # type: ignore[attr-defined]
    manifest = state.models["tiny"].manifest
    header = FrameHeader(1, 1, 1)
    planes, _ = query(manifest, rows=1)
    state.batcher.limits = type(state.batcher.limits)(max_waiting=0)
    state.batcher.clients = 5
    headers = {"x-tacita-model": manifest.digest}
    response = client.post(
        "/v1/models/tiny/rounds", content=pack_query(header, planes), headers=headers
    )
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"] == {
        "code": "busy",
        "message": "the server has too much to do",
        "retry_after": 1,
    }
