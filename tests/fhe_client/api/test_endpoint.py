"""The local endpoint over a real socket, with a real encrypted chat behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from fhe_client.api import asking, command
from fhe_client.api import endpoint as endpoint_module
from fhe_client.api.asking import ChatQueue
from fhe_client.api.connections import MOST_CONNECTIONS
from fhe_client.api.endpoint import Endpoint
from fhe_client.api.requests import parse_request
from fhe_client.chat_events import Callbacks, ConnectOptions
from fhe_client.connect import open_chat
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.network.errors import ConnectionLostError
from fhe_client.open_chat import OpenChat
from fhe_client.text.chat import ChatReply
from fhe_client.text.generation import GenerationOptions
from tests.servers import running_server
from tests.tiny_world import MODEL, PATIENCE, tiny_artefact, wait_until

KEY = "tacita-test"
FINISH = {"length": "length", "end": "stop"}
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
    server: command.EndpointServer = field(init=False)

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
    server = command.EndpointServer(command.configuration(made), queue)
    running.server = server
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


@pytest.fixture
def slow_rounds(chat: OpenChat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long reply takes minutes, so that it is under way whenever a test looks; one that is stopped takes a round."""
    channel = chat._parts.channel
    real = channel.exchange

    def slow(frame: bytes, answer_size: int) -> Any:
        time.sleep(0.02)
        return real(frame, answer_size)

    monkeypatch.setattr(channel, "exchange", slow)


def events(answer: Any) -> list[Any]:
    lines = [line for line in answer.content.split(b"\n\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    return [line[6:] if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]


@pytest.fixture
def replies(chat: OpenChat, monkeypatch: pytest.MonkeyPatch) -> list[ChatReply]:
    """What the chat wrote. Noise makes two replies to one question differ now and then, in a model of a few bytes."""
    written: list[ChatReply] = []
    ask = chat.ask

    def noted(*arguments: Any, **more: Any) -> ChatReply:
        written.append(ask(*arguments, **more))
        return written[-1]

    monkeypatch.setattr(chat, "ask", noted)
    return written


def test_a_reply_in_one_piece_and_in_many(endpoint: Running, replies: list[ChatReply]) -> None:
    whole = endpoint.ask()
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
    document = whole.json()
    (choice,) = document["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == replies[0].text
    assert choice["finish_reason"] == FINISH[replies[0].reason]
    assert document["usage"]["completion_tokens"] == replies[0].reply_tokens
    assert document["tacita"]["bytes_up"] > 0

    streamed = endpoint.ask(stream=True, stream_options={"include_usage": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    first, *pieces, last, usage, done = events(streamed)
    assert done == b"[DONE]"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [piece["choices"][0]["delta"]["content"] for piece in pieces]
    assert len(texts) > 1
    assert "".join(texts) == replies[1].text
    assert last["choices"][0]["finish_reason"] == FINISH[replies[1].reason]
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert len({chunk["id"] for chunk in (first, *pieces, last, usage)}) == 1


def test_a_stop_text_ends_the_reply(endpoint: Running) -> None:
    """Where noise makes the second reply another one than the first, try again."""
    found = []
    for _ in range(20):
        text = endpoint.ask().json()["choices"][0]["message"]["content"]
        stop = text[len(text) // 2 :][:2] or "x"
        (choice,) = endpoint.ask(stop=[stop]).json()["choices"]
        found.append((choice["message"]["content"], choice["finish_reason"]))
        if found[-1] == (text.partition(stop)[0], "stop") and stop in text:
            return
    pytest.fail(f"never cut: {found}")


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
    assert endpoint.ask(messages=[{"role": "system", "content": "x"}]).status_code == 400
    assert (
        endpoint.failures == []
    )  # the program's doing, and told to it: nothing for the user's terminal


@pytest.mark.usefixtures("slow_rounds")
@pytest.mark.parametrize("stream", [True, False])
def test_a_program_that_goes_away_frees_the_model(endpoint: Running, stream: bool) -> None:
    """A whole reply of that length takes hundreds of rounds; a request that was given up stops it in one."""
    with socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE) as program:
        program.sendall(request(LONG | {"stream": stream}))
        wait_until(lambda: endpoint.queue.waiting == 1, "the request to begin")
    wait_until(lambda: endpoint.queue.waiting == 0, "the chat to be free")
    assert endpoint.failures == []
    assert endpoint.ask(max_tokens=1).status_code == 200


@pytest.mark.usefixtures("slow_rounds")
def test_requests_wait_for_one_another(endpoint: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_WAITING", 1)
    first = endpoint.send("POST", "/v1/chat/completions", LONG)
    found: list[Any] = []
    second = threading.Thread(target=lambda: found.append(endpoint.ask(max_tokens=1).status_code))
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
        left = 1 if before_first_piece else rounds * 3 // 4
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


def test_a_program_that_does_not_read_holds_up_nobody(chat: OpenChat) -> None:
    """The next reply begins when one is written, not when it has been taken."""
    short = parse_request(json.dumps(QUESTION | {"max_tokens": 2}).encode(), GREEDY)

    async def two(queue: ChatQueue) -> None:
        async with asyncio.timeout(PATIENCE), queue.asked(short) as first:
            await first.reply()
            assert queue.waiting == 0
            async with queue.asked(short) as second:
                assert (await second.reply()).reply_tokens == 2

    with closing(ChatQueue(chat)) as queue:
        asyncio.run(two(queue))


def request(body: Any, key: str = KEY) -> bytes:
    """As it is on the wire."""
    data = json.dumps(body).encode()
    head = f"Host: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(data)}\r\n\r\n"
    return b"POST /v1/chat/completions HTTP/1.1\r\n" + head.encode() + data


@pytest.mark.usefixtures("slow_rounds")
@pytest.mark.parametrize("stream", [True, False])
def test_replies_under_way_end_in_order_when_the_endpoint_does(
    chat: OpenChat, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(command, "_DRAIN_S", 0)
    monkeypatch.setattr(command, "_ROUND_S", PATIENCE)
    with listening(chat) as endpoint:
        answers: list[requests.Response] = []
        threads = []
        for waiting in (1, 2):
            threads.append(
                threading.Thread(
                    target=lambda: answers.append(endpoint.ask(max_tokens=400, stream=stream))
                )
            )
            threads[-1].start()
            wait_until(lambda due=waiting: endpoint.queue.waiting == due, "it to wait")
        endpoint.server.should_exit = True
        for thread in threads:
            thread.join(PATIENCE)
    errors = [
        (events(answer)[-1] if answer.status_code == 200 else answer.json())["error"]
        for answer in answers
    ]
    assert [error["code"] for error in errors] == ["closing", "closing"]
    assert endpoint.failures == []


def test_silent_connections_make_room(endpoint: Running) -> None:
    """A program of another user could otherwise shut out everybody without knowing the key."""
    silent = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(200)]
    try:
        assert endpoint.ask(max_tokens=1).status_code == 200
        assert len(endpoint.server.server_state.connections) <= MOST_CONNECTIONS + 1
    finally:
        for one in silent:
            one.close()


def test_a_head_without_end_is_cut(endpoint: Running) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                stranger.sendall(b"x" * 100_000)
            pytest.fail("forty megabytes of a head were taken")


def test_strangers_are_not_sent_elsewhere(endpoint: Running) -> None:
    answer = endpoint.send("GET", "/v1/models/x/../", Host="evil.example", Authorization="")
    assert answer.status_code in (403, 404)
    answer = endpoint.session.get(
        f"http://127.0.0.1:{endpoint.port}/v1/chat/completions/",
        headers={"Host": "evil.example"}, allow_redirects=False, timeout=PATIENCE,
    )  # fmt: skip
    assert answer.status_code == 404
