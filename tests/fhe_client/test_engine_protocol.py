"""Lines of the engine protocol: what is refused, and that events are whole lines whoever writes them."""

from __future__ import annotations

import io
import json
import threading

import pytest

from fhe_client import engine_protocol
from fhe_client.chat_events import Status
from fhe_client.engine_meter import RoundWatcher
from fhe_client.engine_protocol import Command, CommandError, EventWriter, parse_command, read_lines
from fhe_client.failures import Failure


def test_a_command_gives_its_fields_checked_and_shows_none_of_them() -> None:
    line = {"id": 3, "cmd": "connect", "server": {"url": "u", "token": None}, "local": True}
    command = parse_command(json.dumps(line).encode())
    assert (command.ident, command.name) == (3, "connect")
    assert command.text_in("server", "url") == "u"
    assert command.text_in("server", "token") is None
    assert command.text("model") is None
    assert command.flag("local") is True
    assert command.flag("absent") is False
    assert command.mapping("options") == {}
    assert repr(command) == "Command(ident=3, name='connect')"
    with pytest.raises(CommandError, match="wrong type") as caught:
        command.text("local")
    assert caught.value.ident == 3
    with pytest.raises(CommandError):
        Command(1, "ask", {"options": []}).mapping("options")


def test_long_lines_are_skipped_and_empty_ones_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_protocol, "MAX_LINE_BYTES", 8)
    data = b"short\n\n  \n" + b"x" * 30 + b"\nafter\nlast"
    found = list(read_lines(io.BytesIO(data)))
    assert isinstance(found[1], CommandError)
    assert [f for f in found if not isinstance(f, CommandError)] == [
        b"short\n",
        b"after\n",
        b"last",
    ]


def test_events_of_many_threads_are_whole_lines() -> None:
    stream = io.BytesIO()
    writer = EventWriter(stream)
    threads = [
        threading.Thread(target=lambda n=n: [writer.event("piece", id=n, text="é\n" * 50) for _ in range(50)])
        for n in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 200
    assert {json.loads(line)["text"] for line in lines} == {"é\n" * 50}


def test_results_errors_and_states_have_the_documented_fields() -> None:
    stream = io.BytesIO()
    writer = EventWriter(stream)
    writer.result(1, {"a": 2})
    writer.error(None, Failure("c", "m", "n", "d"))
    writer.status(Status("ready"))
    with pytest.raises(ValueError):
        writer.event("meter", seconds_per_token=float("nan"))
    result, error, status = (json.loads(line) for line in stream.getvalue().splitlines())
    assert result == {"event": "result", "id": 1, "a": 2}
    assert error == {
        "event": "error", "id": None, "code": "c", "message": "m", "next_step": "n", "details": "d", "params": {},
    }  # fmt: skip
    assert status == {"event": "status", "state": "ready", "done": 0, "total": 0, "unit": "items"}


def test_a_window_that_has_gone_is_no_error() -> None:
    stream = io.BytesIO()
    writer = EventWriter(stream)
    stream.close()
    writer.event("piece", text="x")
    writer.event("piece", text="y")


def test_a_watcher_without_a_chat_says_nothing() -> None:
    stream = io.BytesIO()
    watcher = RoundWatcher(EventWriter(stream))
    watcher.end()
    watcher.on_round(None)  # type: ignore[arg-type]
    assert stream.getvalue() == b""
