"""The local endpoint over a real socket, with a real encrypted chat behind it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import uvicorn

from fhe_client.api import asking, command
from fhe_client.api import endpoint as endpoint_module
from fhe_client.api.asking import ChatQueue
from fhe_client.api.endpoint import Endpoint
from fhe_client.chat_events import Callbacks, ConnectOptions
from fhe_client.connect import open_chat
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.network.errors import ConnectionLostError
from fhe_client.open_chat import OpenChat
from fhe_client.text.generation import GenerationOptions
from tests.servers import running_server
from tests.tiny_world import MODEL, PATIENCE, tiny_artefact, wait_until

KEY = "tacita-test"
GREEDY = GenerationOptions(max_tokens=40, temperature=0)
"""Long enough for some pieces: a tiny model writes bytes that are no text, which are held back for a while."""
QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "the cat sat on the mat"}]}
LONG = {**QUESTION, "max_tokens": 400, "stream": True}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenChat]:
    home = Home.at(tmp_path_factory.mktemp("home"))
    with (
        running_server(tiny_artefact()) as server,
        closing(MasterKey.generate(origin="session")) as key,
    ):
        options = ConnectOptions(url=server.url)
        with open_chat(options, key, Callbacks(), home) as opened:
            yield opened


@dataclass
class Running:
    """An endpoint that listens."""

    port: int
    queue: ChatQueue
    session: requests.Session
    failures: list[Exception] = field(default_factory=list)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """The answer, of which nothing but the head has been read."""
        shown = {"Authorization": f"Bearer {KEY}"} | headers
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        return self.session.request(
            method, url, data=data, headers=shown, stream=True, timeout=PATIENCE
        )

    def ask(self, **more: Any) -> requests.Response:
        return self.send("POST", "/v1/chat/completions", QUESTION | more)


@pytest.fixture
def endpoint(chat: OpenChat) -> Iterator[Running]:
    with listening(chat) as running:
        yield running


@contextmanager
def listening(chat: OpenChat) -> Iterator[Running]:
    queue = ChatQueue(chat)
    bound = command.listen(0)
    running = Running(bound.getsockname()[1], queue, requests.Session())
    made = Endpoint(queue, KEY, GREEDY, running.failures.append)
    server = uvicorn.Server(command.configuration(made))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.session.close()
        server.should_exit = True
        thread.join(PATIENCE)
        bound.close()
        assert not thread.is_alive()
        queue.close()


def events(answer: Any) -> list[Any]:
    lines = [line for line in answer.content.split(b"\n\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    return [line[6:] if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_a_reply_in_one_piece_and_in_many_is_the_same(endpoint: Running) -> None:
    whole = endpoint.ask()
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
    document = whole.json()
    (choice,) = document["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 40
    assert document["tacita"]["bytes_up"] > 0

    streamed = endpoint.ask(stream=True, stream_options={"include_usage": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    first, *pieces, last, usage, done = events(streamed)
    assert done == b"[DONE]"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [piece["choices"][0]["delta"]["content"] for piece in pieces]
    assert len(texts) > 1
    assert "".join(texts) == choice["message"]["content"]
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert len({chunk["id"] for chunk in (first, *pieces, last, usage)}) == 1


def test_a_stop_text_ends_the_reply(endpoint: Running) -> None:
    text = endpoint.ask().json()["choices"][0]["message"]["content"]
    stop = text[len(text) // 2 :][:2]
    (choice,) = endpoint.ask(stop=[stop]).json()["choices"]
    assert choice["message"]["content"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"


def test_the_model_is_listed(endpoint: Running) -> None:
    listed = endpoint.send("GET", "/v1/models").json()["data"]
    assert [entry["id"] for entry in listed] == [MODEL]
    assert endpoint.send("GET", f"/v1/models/{MODEL}").json()["id"] == MODEL
    for answer in (endpoint.send("GET", "/v1/models/other"), endpoint.ask(model="other")):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer tacita-tesT"}, 401),
        ({"Authorization": "Bearer t\xe9"}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Origin": "http://localhost"}, 403),
        ({"Host": "rebound.example:80"}, 403),
        ({"Host": "127.0.0.1.rebound.example"}, 403),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/models"), ("POST", "/v1/chat/completions")]
)
def test_only_programs_that_know_the_key(
    endpoint: Running, headers: dict[str, str], status: int, method: str, path: str
) -> None:
    answer = endpoint.send(method, path, QUESTION, **headers)
    assert answer.status_code == status
    assert "message" in answer.json()["error"]


def test_names_of_this_computer_are_known(endpoint: Running) -> None:
    for name in ("localhost", f"LOCALHOST:{endpoint.port}", "[::1]:5", "127.0.0.1"):
        assert endpoint.send("GET", "/v1/models", Host=name).status_code == 200


def test_what_is_not_there_is_said_in_json(endpoint: Running) -> None:
    for method, path, status in (("GET", "/", 404), ("DELETE", "/v1/models", 405)):
        answer = endpoint.send(method, path)
        assert answer.status_code == status
        assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_too_much_is_refused(endpoint: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(endpoint_module, "MOST_BODY_BYTES", 1000)
        assert endpoint.send("POST", "/v1/chat/completions", b"x" * 1001).status_code == 413
    too_long = endpoint.ask(messages=[{"role": "user", "content": "the cat " * 900}])
    assert too_long.status_code == 400
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("stream", [True, False])
def test_a_program_that_goes_away_frees_the_model(endpoint: Running, stream: bool) -> None:
    """A whole reply of that length takes hundreds of rounds; a request that was given up stops it in one."""
    with socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE) as program:
        body = json.dumps(LONG | {"stream": stream}).encode()
        program.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (KEY.encode(), len(body), body)
        )
        wait_until(lambda: endpoint.queue.waiting == 1, "the request to begin")
    wait_until(lambda: endpoint.queue.waiting == 0, "the chat to be free")
    assert endpoint.failures == []
    assert endpoint.ask().status_code == 200


def test_requests_wait_for_one_another(endpoint: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_WAITING", 1)
    first = endpoint.send("POST", "/v1/chat/completions", LONG)
    found: list[Any] = []
    second = threading.Thread(target=lambda: found.append(endpoint.ask().status_code))
    second.start()
    wait_until(lambda: endpoint.queue.waiting == 2, "the second request to wait")
    refused = endpoint.ask()
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    first.close()
    second.join(PATIENCE)
    assert found == [200]


@pytest.mark.parametrize("before_first_piece", [True, False])
def test_a_failure_is_told_and_the_next_request_works(
    endpoint: Running, monkeypatch: pytest.MonkeyPatch, before_first_piece: bool
) -> None:
    """Before the first piece by the status, later in the stream."""
    channel = endpoint.queue.chat._parts.channel
    real, left = channel.exchange, 0

    def failing(frame: bytes, answer_size: int) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise ConnectionLostError("The connection was lost.", "Try again.")
        return real(frame, answer_size)

    endpoint.ask().json()  # the prompt is known from here on
    with monkeypatch.context() as patch:
        patch.setattr(channel, "exchange", failing)
        endpoint.ask().json()
        rounds = -left
        left = 1 if before_first_piece else rounds
        answer = endpoint.ask(stream=True)
        if before_first_piece:
            assert answer.status_code == 502
            error = answer.json()["error"]
        else:
            assert answer.status_code == 200
            error = events(answer)[-1]["error"]
    assert error["message"] == "The connection was lost. Try again."
    assert [type(one) for one in endpoint.failures] == [ConnectionLostError]
    assert endpoint.ask().status_code == 200
