"""A client that lies to the server: every input is answered or refused, none costs more than its size, none stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fhe_protocol.errors import FrameError
from fhe_protocol.wire import HEADER, query_size
from fhe_server.artefact import Artefact
from fhe_server.service.app import ServedModel, create_app
from tests.servers import make_artefact

PATH = "/v1/models/tiny/rounds"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(folder)
    return ServedModel(Artefact(folder))


@pytest.fixture(scope="module")
def client(served: ServedModel) -> Iterator[TestClient]:
    with TestClient(create_app({"tiny": served})) as client:
        yield client


def good(served: ServedModel, group: int = 1, rows: int = 2) -> bytes:
    size = query_size(served.manifest.groups[group], rows)
    return HEADER.pack(b"TQ", 1, 0, 1, group, rows) + bytes(size - HEADER.size)


@settings(max_examples=200)
@given(data=st.binary(max_size=300), keep=st.integers(0, 400))
def test_any_frame_is_answered_or_refused(served: ServedModel, data: bytes, keep: int) -> None:
    for frame in (data, good(served)[:keep] + data, data + good(served)[len(data) :]):
        try:
            answer = served.answer(frame)
        except FrameError:
            continue
        assert answer[:2] == b"TA"


@settings(max_examples=60)
@given(
    fields=st.tuples(
        st.sampled_from([b"TQ", b"TA", b"\0\0"]),
        st.integers(0, 255),
        st.integers(0, 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 65535) | st.integers(0, 3),
        st.integers(0, 65535) | st.integers(0, 3),
    ),
    length=st.integers(0, 700),
)
def test_any_header_is_answered_or_refused(
    served: ServedModel, fields: tuple[Any, ...], length: int
) -> None:
    try:
        answer = served.answer(HEADER.pack(*fields) + bytes(length))
    except FrameError:
        return
    group = served.manifest.groups[fields[4]]
    assert len(answer) == 12 + 2 * fields[5] * group.outputs * len(group.parts)


@settings(max_examples=60)
@given(data=st.binary(max_size=200), digest=st.text(max_size=70) | st.just("good"))
def test_any_request_gets_an_http_answer(
    client: TestClient, served: ServedModel, data: bytes, digest: str
) -> None:
    wanted = served.manifest.digest if digest == "good" else digest
    headers = {"x-tacita-model": wanted.encode("utf-8", "surrogatepass").hex()[:64]}
    if digest == "good":
        headers = {"x-tacita-model": wanted}
    response = client.post(PATH, content=data, headers=headers)
    assert response.status_code in (400, 409)
    assert len(response.content) < 500


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../../etc/passwd/manifest",
        "/v1/models/%2e%2e/manifest",
        "/v1/models/tiny%00/manifest",
        "/v1/models//manifest",
        "/v1/models/tiny/files/../../../etc/passwd",
        "/v1/models/tiny/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/models/tiny/files/....//x",
        "/v1/models/" + "a" * 5000 + "/manifest",
    ],
)
def test_no_path_leads_outside(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert b"root:" not in response.content


@pytest.mark.parametrize(
    "ranges",
    ["bytes=-1", "bytes=5-1", "bytes=x-y", "items=0-1", "bytes=0-0," * 500, "bytes=" + "9" * 400],
)
def test_no_range_breaks_the_hints(client: TestClient, served: ServedModel, ranges: str) -> None:
    response = client.get("/v1/models/tiny/hints", headers={"range": ranges})
    assert response.status_code in (200, 206, 400, 416)
    assert len(response.content) <= served.manifest.hint_bytes + 100_000


@pytest.mark.parametrize("count", [1, 20])
def test_bad_messages_cost_only_their_own_connection(
    client: TestClient, served: ServedModel, count: int
) -> None:
    address = f"{PATH}?digest={served.manifest.digest}"
    for _ in range(count):
        with client.websocket_connect(address) as socket:
            socket.send_bytes(b"\xff" * 100)
            assert socket.receive_json()["error"]["code"] == "bad_frame"
            with pytest.raises(WebSocketDisconnect):
                socket.receive_bytes()
    with client.websocket_connect(address) as socket:
        socket.send_bytes(good(served))
        assert socket.receive_bytes()[:2] == b"TA"


def test_an_error_quotes_nothing_that_was_sent(client: TestClient, served: ServedModel) -> None:
    canary = b"CANARY-7d1f"
    headers = {"x-tacita-model": served.manifest.digest}
    for body in (canary, b"TQ" + canary, good(served) + canary):
        assert canary not in client.post(PATH, content=body, headers=headers).content
