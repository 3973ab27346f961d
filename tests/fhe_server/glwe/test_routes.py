"""The HTTP of the `glwe` scheme: uploads, rounds, and what strangers may not do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from fhe_protocol import glwe
from fhe_protocol.manifest import Manifest
from fhe_protocol.wire import FrameHeader
from fhe_server.artefact import Artefact
from fhe_server.glwe.key_store import CHUNK, KeyLimits
from fhe_server.glwe.routes import GlweService, block_weights
from fhe_server.service.access import Access
from fhe_server.service.app import ServedModel, create_app, hash_token
from fhe_server.service.tokens import Quotas, TokenFile
from tests.glwe_keys import RealKeys, real_keys
from tests.servers import make_artefact

SHA = "0" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(folder)
    return folder


@pytest.fixture(scope="module")
def keys() -> RealKeys:
    return real_keys()


class Served:
    """The app in process, its service, and a client."""

    def __init__(self, folder: Path, client: TestClient, service: GlweService) -> None:
        self.client = client
        self.service = service
        self.artefact = Artefact(folder)

    @property
    def manifest(self) -> Manifest:
        return self.artefact.manifest

    def upload(self, data: bytes, token: str | None = None) -> str:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        wanted = {"parameters": "glwe-2048-27", "sha256": hashlib.sha256(data).hexdigest()}
        told = self.client.post("/v1/glwe/keys", json=wanted, headers=headers).json()
        assert told["size"] == len(data)
        for offset in range(0, len(data), told["chunk"]):
            path = f"/v1/glwe/keys/{told['key']}/chunks?offset={offset}"
            chunk = data[offset : offset + told["chunk"]]
            reply = self.client.post(path, content=chunk, headers=headers)
            assert reply.status_code == 200
        assert reply.json()["ready"] is True
        return str(told["key"])

    def round(self, key: str, frame: bytes, digest: str | None = None) -> Any:
        headers = {
            "x-tacita-model": self.manifest.digest if digest is None else digest,
            "x-tacita-glwe-key": key,
        }
        return self.client.post("/v1/models/tiny/glwe/rounds", content=frame, headers=headers)


def served(
    folder: Path, limits: KeyLimits | None = None, tokens: frozenset[str] = frozenset()
) -> Iterator[Served]:
    models = {"tiny": ServedModel(Artefact(folder))}
    service = GlweService(models, limits)
    with TestClient(create_app(models, tokens, service)) as client:
        yield Served(folder, client, service)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    yield from served(folder, KeyLimits(keys=20, keys_per_owner=20))


@pytest.fixture(scope="module")
def key(server: Served, keys: RealKeys) -> str:
    return server.upload(keys.key_bytes)


def error(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_the_server_says_that_it_offers_both_schemes(server: Served) -> None:
    assert server.client.get("/v1/info").json()["schemes"] == ["hint", "glwe"]


@pytest.mark.parametrize(("index", "rows"), [(0, 1), (1, 2)])
def test_rounds_are_answered(
    server: Served, keys: RealKeys, key: str, index: int, rows: int
) -> None:
    """The second group has two parts: they are one matrix here."""
    group = server.manifest.groups[index]
    x = np.random.default_rng(1).integers(-500, 500, size=(rows, group.inputs))
    header = FrameHeader(5, index, rows)
    frame = glwe.pack_query(header, keys.encrypt(x))
    reply = server.round(key, frame)
    assert reply.status_code == 200
    (result,) = glwe.parse_answer(reply.content, group, header)
    weights = block_weights(server.artefact, group, 0, group.outputs).astype(np.int64)
    found = keys.decrypt(result, group.outputs)
    assert np.abs(found - x @ weights.T).max() < glwe.GLWE_2048_27.guard


def test_hostile_rounds_never_reach_a_worker(server: Served, keys: RealKeys, key: str) -> None:
    frame = glwe.pack_query(FrameHeader(5, 0, 1), keys.encrypt(np.ones((1, 24), dtype=np.int64)))
    words = bytearray(frame)
    words[12 + 8 : 12 + 16] = (1 << 36).to_bytes(8, "little")
    worker = server.service.store.worker(key)
    before = worker.starts
    for data in (bytes(words), frame[:-1], b"", frame + b"\0" * 8):
        assert error(server.round(key, data)) == (400, "bad_frame")
    assert worker.starts == before
    limit = glwe.max_query_size(server.manifest)
    assert error(server.round(key, bytes(limit + 1))) == (413, "too_large")
    assert error(server.round(key, frame, digest="other")) == (409, "other_model")
    assert error(server.round("no such key", frame)) == (410, "no_such_key")


def test_quotas_hold_for_this_scheme_too(folder: Path, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.create("ada", Quotas(tokens_per_day=0))
    models = {"tiny": ServedModel(Artefact(folder))}
    app = create_app(models, other=GlweService(models), access=Access((), tokens))
    with TestClient(app, headers={"authorization": f"Bearer {token}"}) as client:
        reply = Served(folder, client, None).round("any", b"")  # type: ignore[arg-type]
        assert error(reply) == (429, "quota_exceeded")


def test_rounds_at_once_hold_for_this_scheme_too(
    folder: Path, tmp_path: Path, keys: RealKeys
) -> None:
    """And a round that is over counts no more, whether it was answered or refused."""
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.create("ada", Quotas(rounds_at_once=1))
    models = {"tiny": ServedModel(Artefact(folder))}
    service, access = GlweService(models, KeyLimits()), Access((), tokens)
    app = create_app(models, other=service, access=access)
    with TestClient(app, headers={"authorization": f"Bearer {token}"}) as client:
        server = Served(folder, client, service)
        key = server.upload(keys.key_bytes)
        frame = glwe.pack_query(
            FrameHeader(5, 0, 1), keys.encrypt(np.ones((1, 24), dtype=np.int64))
        )
        assert error(server.round(key, frame[:-1])) == (400, "bad_frame")
        assert server.round(key, frame).status_code == 200
        holder = access.admit(f"Bearer {token}")
        holder.begin_round()
        assert error(server.round(key, frame)) == (429, "too_many_requests")
        holder.end_round()
        assert server.round(key, frame).status_code == 200
        assert holder.rounds == 0


def test_the_bytes_of_a_key_count(folder: Path, tmp_path: Path) -> None:
    """Uploads are the largest thing that a client sends."""
    tokens = TokenFile(tmp_path / "tokens.json")
    token = tokens.create("ada", Quotas(bytes_per_day=2 * CHUNK))
    models = {"tiny": ServedModel(Artefact(folder))}
    access = Access((), tokens)
    app = create_app(models, other=GlweService(models), access=access)
    with TestClient(app, headers={"authorization": f"Bearer {token}"}) as client:
        wanted = {"parameters": "glwe-2048-27", "sha256": SHA}
        chunks = f"/v1/glwe/keys/{client.post('/v1/glwe/keys', json=wanted).json()['key']}/chunks"
        for offset in (0, CHUNK):
            reply = client.post(f"{chunks}?offset={offset}", content=bytes(CHUNK))
            assert reply.status_code == 200
        assert access.ledger.used("ada").bytes == 2 * CHUNK
        reply = client.post(f"{chunks}?offset={2 * CHUNK}", content=bytes(CHUNK))
        assert error(reply) == (429, "quota_exceeded")
        assert error(client.post("/v1/glwe/keys", json=wanted)) == (429, "quota_exceeded")


def test_workers_may_use_what_a_model_needs_that_came_later(folder: Path) -> None:
    models = {"tiny": ServedModel(Artefact(folder))}
    service = GlweService(models)
    before = service.store.worker_memory
    with TestClient(create_app(models, other=service)) as client:
        wide = Artefact(folder)
        groups = tuple(replace(g, outputs=2048, inputs=10**6) for g in wide.manifest.groups)
        wide.manifest = replace(wide.manifest, groups=groups)
        models["wide"] = ServedModel(wide)
        client.post("/v1/glwe/keys", json={"parameters": "glwe-2048-27", "sha256": SHA})
    assert service.store.worker_memory > before + 2048 * 10**6


def test_a_crash_costs_one_request(server: Served, keys: RealKeys, key: str) -> None:
    frame = glwe.pack_query(FrameHeader(5, 0, 1), keys.encrypt(np.ones((1, 24), dtype=np.int64)))
    assert server.round(key, frame).status_code == 200
    worker = server.service.store.worker(key)
    good = worker._command
    worker.stop()
    worker._command = ["false"]
    assert error(server.round(key, frame)) == (503, "worker_failed")
    worker._command = good
    assert server.round(key, frame).status_code == 200


def test_uploads_resume_where_they_stopped(server: Served) -> None:
    wanted = {"parameters": "glwe-2048-27", "sha256": SHA}
    place = f"/v1/glwe/keys/{server.client.post('/v1/glwe/keys', json=wanted).json()['key']}"
    assert server.client.post(f"{place}/chunks?offset=0", content=b"x" * 100).status_code == 200
    reply = server.client.post(f"{place}/chunks?offset=0", content=b"x" * 100)
    assert error(reply) == (409, "bad_offset")
    status = server.client.get(place).json()
    assert (status["received"], status["ready"]) == (100, False)
    assert 0 < status["expires_in"] <= 120
    reply = server.client.post(f"{place}/chunks?offset=100", content=bytes(CHUNK + 1))
    assert error(reply) == (413, "too_large")
    assert server.client.post(f"{place}/end").json() == {}
    assert error(server.client.get(place)) == (410, "no_such_key")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"parameters": "glwe-2048-27"}',
        b'{"parameters": "glwe-2048-27", "sha256": "00"}',
        b'{"parameters": "glwe-16-27", "sha256": "' + SHA.encode() + b'"}',
        b'{"parameters": 7, "sha256": "' + SHA.encode() + b'"}',
    ],
)
def test_malformed_wishes_are_refused(server: Served, body: bytes) -> None:
    assert error(server.client.post("/v1/glwe/keys", content=body)) == (400, "bad_request")


@pytest.mark.parametrize("offset", ["", "-1", "x", "1e3", "9" * 30])
def test_malformed_offsets_are_refused(server: Served, offset: str) -> None:
    reply = server.client.post(f"/v1/glwe/keys/none/chunks?offset={offset}", content=b"x")
    assert error(reply) == (400, "bad_request")
    reply = server.client.post("/v1/glwe/keys/none/chunks?offset=0", content=b"x")
    assert error(reply) == (410, "no_such_key")


def test_tokens_guard_every_route_and_each_has_a_quota(folder: Path) -> None:
    tokens = frozenset(map(hash_token, ("one" * 8, "two" * 8)))
    for server in served(folder, KeyLimits(keys_per_owner=1), tokens):
        for method, path in (
            ("POST", "/v1/glwe/keys"),
            ("GET", "/v1/glwe/keys/x"),
            ("POST", "/v1/glwe/keys/x/chunks?offset=0"),
            ("POST", "/v1/glwe/keys/x/end"),
            ("POST", "/v1/models/tiny/glwe/rounds"),
        ):
            assert error(server.client.request(method, path)) == (401, "unauthorised")
        wanted = {"parameters": "glwe-2048-27", "sha256": SHA}
        codes = []
        for words in ("Bearer one", "Bearer two", "Bearer one", "bearer  one", "BEARER two"):
            scheme, token = words.rsplit(" ", 1)
            headers = {"authorization": f"{scheme} {token * 8}"}
            codes.append(
                server.client.post("/v1/glwe/keys", json=wanted, headers=headers).status_code
            )
        assert codes == [200, 200, 429, 429, 429]


def test_everything_is_gone_when_the_app_ends(folder: Path) -> None:
    for server in served(folder):
        server.client.post("/v1/glwe/keys", json={"parameters": "glwe-2048-27", "sha256": SHA})
        place = server.service.store._folder
        assert place is not None
        assert place.exists()
    assert not place.exists()
    assert len(server.service.store) == 0
