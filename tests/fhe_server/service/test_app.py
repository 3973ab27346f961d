"""The routes: what a client asks for and what it is told when it asks for something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fhe_protocol.manifest import Manifest, parse_manifest
from fhe_protocol.planes import from_planes
from fhe_protocol.wire import FrameHeader, pack_query, parse_answer
from fhe_server.artefact import Artefact
from fhe_server.kernel import reference_answer
from fhe_server.service import batching
from fhe_server.service.access import Access
from fhe_server.service.app import ServedModel, create_app, hash_token
from fhe_server.service.tokens import Quotas
from tests.servers import make_artefact

MODEL = "/v1/models/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(made)
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> ServedModel:
    return ServedModel(Artefact(folder))


@pytest.fixture(scope="module")
def manifest(served: ServedModel) -> Manifest:
    return served.manifest


@pytest.fixture
def client(served: ServedModel) -> Iterator[TestClient]:
    with TestClient(create_app({"tiny": served})) as client:
        yield client


@pytest.fixture
def guarded(served: ServedModel) -> Iterator[TestClient]:
    hashes = frozenset({hash_token("first"), hash_token("second")})
    with TestClient(create_app({"tiny": served}, hashes)) as client:
        yield client


def query(manifest: Manifest, group: int = 1, rows: int = 3, seed: int = 4) -> tuple[Any, bytes]:
    rng = np.random.default_rng(seed)
    parts = manifest.groups[group].parts
    planes = [rng.integers(-128, 128, size=(3, rows, p.inputs), dtype=np.int8) for p in parts]
    return planes, pack_query(FrameHeader(5, group, rows), planes)


def check(served: ServedModel, planes: Any, answer: bytes, group: int = 1) -> None:
    """The answer frame holds the clear products."""
    described = served.manifest.groups[group]
    header = FrameHeader(5, group, planes[0].shape[1])
    for k, found in enumerate(parse_answer(answer, described, header)):
        weights = served.artefact.weights(described.first_part + k)
        assert np.array_equal(found, reference_answer(weights, from_planes(planes[k])))


def code(response: Any) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert body["error"]["message"]
    return response.status_code, body["error"]["code"]


def post(client: TestClient, manifest: Manifest, frame: bytes, **headers: str) -> Any:
    return client.post(
        f"{MODEL}/rounds", content=frame, headers={"x-tacita-model": manifest.digest, **headers}
    )


def test_info_describes_what_is_served(client: TestClient, manifest: Manifest) -> None:
    info = client.get("/v1/info").json()
    assert (info["software"], info["protocol_version"]) == ("tacita", 1)
    assert info["schemes"] == ["hint"]
    described = info["models"][0]
    assert described["name"] == "tiny"
    assert described["digest"] == manifest.digest
    assert described["hint_bytes"] == manifest.hint_bytes
    assert described["query_bytes_per_token"] == manifest.query_bytes()


def test_the_manifest_is_served_as_it_is_pinned(client: TestClient, manifest: Manifest) -> None:
    response = client.get(f"{MODEL}/manifest")
    assert parse_manifest(response.content).digest == manifest.digest
    assert response.headers["etag"] == f'"{manifest.digest}"'


def test_client_files_are_served_and_nothing_else(client: TestClient, folder: Path) -> None:
    response = client.get(f"{MODEL}/files/config.json")
    assert response.content == (folder / "client" / "config.json").read_bytes()
    for path in (
        "weights.bin",
        "..%2Fmanifest.json",
        "%2e%2e%2fweights.bin",
        "config.json%00",
        "%2Fetc",
    ):
        assert client.get(f"{MODEL}/files/{path}").status_code == 404
    assert code(client.get(f"{MODEL}/files/none.json")) == (404, "no_such_file")


def test_hints_are_served_whole(client: TestClient, folder: Path) -> None:
    response = client.get(f"{MODEL}/hints")
    assert response.content == (folder / "hints.bin").read_bytes()
    assert response.headers["accept-ranges"] == "bytes"


def test_a_cache_keeps_only_what_cannot_change(client: TestClient, manifest: Manifest) -> None:
    """Under a model's name there may be another model tomorrow; under its digest never."""
    named = client.get(f"{MODEL}/hints?digest={manifest.digest}")
    assert named.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path in ("hints", "manifest", "files/config.json"):
        assert client.get(f"{MODEL}/{path}").headers["cache-control"] == "no-cache"
    other = client.get(f"{MODEL}/hints?digest={'0' * 64}")
    assert code(other) == (409, "other_model")
    assert other.headers["cache-control"] == "no-store"
    assert client.get("/nothing").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1000, 70_000), (17, None)])
def test_hints_are_served_in_ranges(
    client: TestClient, folder: Path, start: int, stop: int | None
) -> None:
    data = (folder / "hints.bin").read_bytes()
    asked = f"bytes={start}-{'' if stop is None else stop - 1}"
    response = client.get(f"{MODEL}/hints", headers={"range": asked})
    assert response.status_code == 206
    assert response.content == data[start:stop]
    last = len(data) if stop is None else stop
    assert response.headers["content-range"] == f"bytes {start}-{last - 1}/{len(data)}"


def test_a_range_of_other_hints_is_the_whole_file(
    client: TestClient, folder: Path, manifest: Manifest
) -> None:
    """If-Range with a stale ETag: resuming would mix two models."""
    size = (folder / "hints.bin").stat().st_size
    same = {"range": "bytes=100-", "if-range": f'"{manifest.digest}"'}
    stale = {"range": "bytes=100-", "if-range": '"another"'}
    assert client.get(f"{MODEL}/hints", headers=same).status_code == 206
    response = client.get(f"{MODEL}/hints", headers=stale)
    assert response.status_code == 200
    assert len(response.content) == size


def test_a_range_beyond_the_end_is_refused(client: TestClient, manifest: Manifest) -> None:
    asked = {"range": f"bytes={manifest.hint_bytes}-"}
    assert client.get(f"{MODEL}/hints", headers=asked).status_code == 416


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_round_is_the_product(
    client: TestClient, served: ServedModel, manifest: Manifest, group: int
) -> None:
    planes, frame = query(manifest, group)
    response = post(client, manifest, frame)
    assert response.status_code == 200
    check(served, planes, response.content, group)


def test_large_rounds_are_answered_beside_the_event_loop(
    client: TestClient,
    served: ServedModel,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "INLINE_S", 0.0)
    planes, frame = query(manifest)
    check(served, planes, post(client, manifest, frame).content)


def test_only_payload_bytes_are_counted(client: TestClient, manifest: Manifest) -> None:
    _, frame = query(manifest)
    answer = post(client, manifest, frame).content
    post(client, manifest, b"rubbish")
    counters = client.app.state.service.counters  # type: ignore[attr-defined]
    assert (counters.rounds, counters.query_bytes) == (1, len(frame))
    assert counters.answer_bytes == len(answer)
    assert set(vars(counters)) == {"rounds", "query_bytes", "answer_bytes"}


def test_another_models_round_is_refused(client: TestClient, manifest: Manifest) -> None:
    _, frame = query(manifest)
    other = {"x-tacita-model": "f" * 64}
    assert code(client.post(f"{MODEL}/rounds", content=frame, headers=other)) == (
        409,
        "other_model",
    )
    assert code(client.post(f"{MODEL}/rounds", content=frame)) == (409, "other_model")
    nowhere = client.post("/v1/models/other/rounds", content=frame)
    assert code(nowhere) == (404, "no_such_model")


@pytest.mark.parametrize("name", ["manifest", "hints", "files/config.json"])
def test_an_unknown_model_is_not_found(client: TestClient, name: str) -> None:
    assert code(client.get(f"/v1/models/other/{name}")) == (404, "no_such_model")


def test_a_wrong_path_or_method_is_a_json_error(client: TestClient) -> None:
    assert code(client.get("/")) == (404, "http_error")
    assert code(client.get(f"{MODEL}/rounds"))[0] in (404, 405)
    assert code(client.post("/v1/info"))[0] == 405


@pytest.mark.parametrize("frame", [b"", b"T", b"x" * 500, b"TQ\1\0" + bytes(8)])
def test_a_malformed_round_is_a_client_error(
    client: TestClient, manifest: Manifest, frame: bytes
) -> None:
    assert code(post(client, manifest, frame)) == (400, "bad_frame")


def test_a_round_beyond_the_largest_query_is_refused(
    client: TestClient, served: ServedModel, manifest: Manifest
) -> None:
    too_long = bytes(served.max_query_size + 1)
    assert code(post(client, manifest, too_long)) == (413, "too_large")
    assert code(post(client, manifest, too_long[:-1])) == (400, "bad_frame")


def test_an_endless_body_is_cut_off(
    client: TestClient, served: ServedModel, manifest: Manifest
) -> None:
    """Chunked, so no length is announced: reading ends as soon as it is too much."""
    given = 0

    def body() -> Iterator[bytes]:
        nonlocal given
        for _ in range(50):
            given += 1
            yield bytes(served.max_query_size // 4)

    headers = {"x-tacita-model": manifest.digest}
    assert code(client.post(f"{MODEL}/rounds", content=body(), headers=headers)) == (
        413,
        "too_large",
    )
    assert given <= 50


@pytest.mark.parametrize("length", ["x", "1e3", ""])
def test_a_length_that_is_no_number_is_refused(
    client: TestClient, manifest: Manifest, length: str
) -> None:
    _, frame = query(manifest)
    response = post(client, manifest, frame, **{"content-length": length})
    assert code(response)[0] == 400


@pytest.mark.parametrize("announced", [1 << 40, 1 << 70])
def test_an_announced_flood_is_refused_unread(
    client: TestClient, manifest: Manifest, announced: int
) -> None:
    response = post(client, manifest, b"", **{"content-length": str(announced)})
    assert code(response) == (413, "too_large")


def test_a_quota_is_looked_at_before_the_body(served: ServedModel, manifest: Manifest) -> None:
    """Megabytes are not sent, nor held in memory, to hear that the quota is used up."""
    access = Access((hash_token("first"),))
    holder = access.admit("Bearer first")
    holder.renew(replace(holder.token, quotas=Quotas(rounds_at_once=1)))
    under_way: list[int] = []

    def body() -> Iterator[bytes]:
        under_way.append(holder.rounds)
        yield b"rubbish"

    headers = {"x-tacita-model": manifest.digest, "authorization": "Bearer first"}
    with TestClient(create_app({"tiny": served}, access=access)) as client:
        response = client.post(f"{MODEL}/rounds", content=body(), headers=headers)
        assert code(response) == (400, "bad_frame")
        assert under_way == [1]  # it counts while its body comes
        assert holder.rounds == 0
        holder.begin_round()
        response = client.post(f"{MODEL}/rounds", content=body(), headers=headers)
        assert code(response) == (429, "too_many_requests")
        assert under_way == [1]  # unread
        assert holder.rounds == 1


GOOD = ["Bearer first", "bearer second", "BEARER  first "]
BAD = ["", "first", "Bearer", "Bearer ", "Bearer third", "Basic first", "Bearer first second"]
PATHS = ["/v1/info", *(f"{MODEL}/{x}" for x in ("manifest", "hints", "files/config.json"))]


@pytest.mark.parametrize("path", PATHS)
def test_a_token_opens_every_route(guarded: TestClient, path: str) -> None:
    for value in GOOD:
        assert guarded.get(path, headers={"authorization": value}).status_code == 200
    for value in BAD:
        assert code(guarded.get(path, headers={"authorization": value})) == (401, "unauthorised")
    assert code(guarded.get(path)) == (401, "unauthorised")


def test_rounds_need_the_token_too(guarded: TestClient, manifest: Manifest) -> None:
    _, frame = query(manifest)
    assert code(post(guarded, manifest, frame)) == (401, "unauthorised")
    assert post(guarded, manifest, frame, authorization="Bearer first").status_code == 200


def test_without_a_token_nothing_says_which_models_exist(guarded: TestClient) -> None:
    for name in ("tiny", "other"):
        assert code(guarded.get(f"/v1/models/{name}/manifest")) == (401, "unauthorised")
    assert guarded.get("/v1/health").json() == {"status": "ok", "models": 1}


def socket_path(manifest: Manifest) -> str:
    return f"{MODEL}/rounds?digest={manifest.digest}"


def test_a_socket_answers_in_order(
    client: TestClient, served: ServedModel, manifest: Manifest
) -> None:
    with client.websocket_connect(socket_path(manifest)) as socket:
        for group in (0, 2, 1, 1):
            planes, frame = query(manifest, group, seed=group)
            socket.send_bytes(frame)
            check(served, planes, socket.receive_bytes(), group)


def refused(client: TestClient, path: str, send: Any = None, **headers: str) -> str:
    """The error code that the socket gives before it closes."""
    with client.websocket_connect(path, headers=headers) as socket:
        if send is not None:
            (socket.send_text if isinstance(send, str) else socket.send_bytes)(send)
        error = socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_bytes()
        assert closed.value.code == 1008
    return str(error["code"])


def test_a_socket_for_another_model_is_refused(client: TestClient, manifest: Manifest) -> None:
    assert refused(client, f"{MODEL}/rounds?digest={'f' * 64}") == "other_model"
    assert refused(client, f"{MODEL}/rounds") == "other_model"
    assert refused(client, f"/v1/models/x/rounds?digest={manifest.digest}") == "no_such_model"


def test_a_socket_needs_the_token(guarded: TestClient, manifest: Manifest) -> None:
    assert refused(guarded, socket_path(manifest)) == "unauthorised"
    planes, frame = query(manifest)
    header = {"authorization": "Bearer first"}
    with guarded.websocket_connect(socket_path(manifest), headers=header) as socket:
        socket.send_bytes(frame)
        assert len(socket.receive_bytes()) > planes[0].shape[1]


@pytest.mark.parametrize("message", [b"", b"rubbish", "text", ""])
def test_a_malformed_message_ends_the_socket(
    client: TestClient, manifest: Manifest, message: Any
) -> None:
    assert refused(client, socket_path(manifest), message) == "bad_frame"
    assert client.get("/v1/health").status_code == 200


def test_leaving_is_no_error(client: TestClient, manifest: Manifest) -> None:
    with client.websocket_connect(socket_path(manifest)) as socket:
        socket.close()
    assert client.get("/v1/health").status_code == 200


def test_tokens_are_kept_as_digests() -> None:
    assert hash_token("first") != hash_token("second")
    assert len(hash_token("first")) == 64
    assert "first" not in repr(create_app({}, frozenset({hash_token("first")})).state.service)
