"""Open connections: nobody takes all of them, and those of a model that is gone come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from fhe_protocol.manifest import Manifest
from fhe_server.artefact import Artefact
from fhe_server.service.app import ServedModel, create_app, hash_token
from fhe_server.service.connections import Connections
from fhe_server.service.exposition import exposition
from fhe_server.service.limits import Limits
from fhe_server.service.refusals import ServiceError
from tests.fhe_server.service.test_app import check, query, socket_path
from tests.servers import make_artefact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_artefact(folder)
    return ServedModel(Artefact(folder))


def told(client: TestClient, manifest: Manifest, **headers: str) -> tuple[dict[str, Any], int]:
    """The error that a socket is told before it is closed, and the code that it is closed with."""
    with client.websocket_connect(socket_path(manifest), headers=headers) as socket:
        error = socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_bytes()
    return error, closed.value.code


def works(client: TestClient, model: ServedModel, **headers: str) -> None:
    planes, frame = query(model.manifest)
    with client.websocket_connect(socket_path(model.manifest), headers=headers) as socket:
        socket.send_bytes(frame)
        check(model, planes, socket.receive_bytes())


def open_ones(client: TestClient) -> int:
    connections: Connections = client.app.state.service.connections  # type: ignore[attr-defined]
    return connections.count


@pytest.fixture
def guarded(model: ServedModel) -> Iterator[TestClient]:
    hashes = frozenset(map(hash_token, ("ada", "bob")))
    limits = Limits(max_connections=3, connections_per_token=2)
    with TestClient(create_app({"tiny": model}, hashes, limits=limits)) as client:
        yield client


def test_a_token_may_not_take_all_connections(guarded: TestClient, model: ServedModel) -> None:
    path = socket_path(model.manifest)
    with ExitStack() as held:
        for _ in range(2):
            header = {"authorization": "Bearer ada"}
            held.enter_context(guarded.websocket_connect(path, headers=header))
        error, closed = told(guarded, model.manifest, authorization="Bearer ada")
        assert (error["code"], error["retry_after"], closed) == ("too_many_connections", 5, 1013)
        assert "2 connections" in error["message"]
        works(guarded, model, authorization="Bearer bob")
    works(guarded, model, authorization="Bearer ada")
    text = exposition(guarded.app.state.service).decode()  # type: ignore[attr-defined]
    assert 'tacita_refused_total{code="too_many_connections"} 1.0' in text
    assert "tacita_connections 0.0" in text


def test_all_together_are_limited_too(guarded: TestClient, model: ServedModel) -> None:
    path = socket_path(model.manifest)
    with ExitStack() as held:
        for name in ("ada", "ada", "bob"):
            header = {"authorization": f"Bearer {name}"}
            held.enter_context(guarded.websocket_connect(path, headers=header))
        error, closed = told(guarded, model.manifest, authorization="Bearer bob")
        assert (error["code"], error["retry_after"], closed) == ("busy", 5, 1013)


@pytest.mark.parametrize("most", [1, None])
def test_an_address_is_limited_where_there_are_no_tokens(
    model: ServedModel, most: int | None
) -> None:
    app = create_app({"tiny": model}, limits=Limits(connections_per_address=most))
    with TestClient(app) as client, client.websocket_connect(socket_path(model.manifest)):
        if most is None:
            works(client, model)
            return
        error, _ = told(client, model.manifest)
        assert error["code"] == "too_many_connections"
        with TestClient(app, client=("192.0.2.7", 50_000)) as elsewhere:
            works(elsewhere, model)


def test_an_address_is_no_limit_for_tokens(model: ServedModel) -> None:
    """A hundred people may come from one office, or through a proxy that says nothing of them."""
    hashes = frozenset(map(hash_token, ("ada", "bob")))
    app = create_app({"tiny": model}, hashes, limits=Limits(connections_per_address=1))
    header = {"authorization": "Bearer ada"}
    with (
        TestClient(app) as client,
        client.websocket_connect(socket_path(model.manifest), headers=header),
    ):
        works(client, model, authorization="Bearer bob")


def test_owners_are_forgotten_when_they_leave(model: ServedModel) -> None:
    connections = Connections()
    calls: list[str] = []
    with (
        connections.joined("a", 1, Limits(), model, lambda: calls.append("first")),
        connections.joined("b", 1, Limits(), model, lambda: calls.append("second")),
    ):
        with (
            pytest.raises(ServiceError),
            connections.joined("a", 1, Limits(), model, lambda: None),
        ):
            raise AssertionError("it came in")
        assert connections.count == 2
        assert connections.leave(model) == 2
    assert sorted(calls) == ["first", "second"]
    assert connections.count == 0
    assert connections.leave(model) == 0
    assert vars(connections) == vars(Connections())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_one_subscriber_has_many_addresses(
    model: ServedModel, one: str, other: str, same: bool
) -> None:
    app = create_app({"tiny": model}, limits=Limits(connections_per_address=1))
    path = socket_path(model.manifest)
    with (
        TestClient(app, client=(one, 5)) as first,
        first.websocket_connect(path),
    ):
        second = TestClient(app, client=(other, 5))
        if same:
            assert told(second, model.manifest)[0]["code"] == "too_many_connections"
        else:
            works(second, model)


def test_a_round_that_crosses_the_goodbye(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed, and the client is sent to the server that comes after this one."""
    real = WebSocket.receive

    async def crossing(self: WebSocket) -> Any:
        message = await real(self)
        if message.get("bytes"):
            assert client.app.state.service.connections.leave(model) == 1  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        return message

    monkeypatch.setattr(WebSocket, "receive", crossing)
    with TestClient(create_app({"tiny": model})) as client:
        with client.websocket_connect(socket_path(model.manifest)) as socket:
            socket.send_bytes(query(model.manifest)[1])
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_bytes()
            assert closed.value.code == 1012
        assert client.app.state.service.counters.rounds == 0  # type: ignore[attr-defined]
        assert open_ones(client) == 0
