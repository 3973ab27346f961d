"""From `--draft` on the command line to the number of tokens per pass."""

from __future__ import annotations

import contextlib
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from fhe_client import connect
from fhe_client.chat_events import Callbacks
from fhe_client.cli_parser import build_parser
from fhe_client.open_chat import ChatParts, OpenChat
from fhe_client.pace import Pace
from fhe_client.text.generation import GenerationOptions


class Recorder:
    """Stands for a channel and a chat; keeps the options that a reply would be written with."""

    options: GenerationOptions

    def stop_with(self, _should_stop: Any) -> None:
        """Nothing to stop."""

    def ensure_local_server(self) -> None:
        """There is none."""

    def ask(self, _messages: Any, options: GenerationOptions, **_more: Any) -> Any:
        self.options = options
        raise KeyboardInterrupt


def asked_with(options: GenerationOptions, round_trip: Any) -> GenerationOptions:
    recorder: Any = Recorder()
    parts: dict[str, Any] = dict.fromkeys(f.name for f in dataclasses.fields(ChatParts))
    parts |= {
        "manifest": type("Manifest", (), {"name": "small"}),
        "channel": recorder,
        "chat": recorder,
        "pace": Pace(),
        "callbacks": Callbacks(),
        "cleanup": contextlib.ExitStack(),
        "round_trip": round_trip,
    }
    with pytest.raises(KeyboardInterrupt):
        OpenChat(ChatParts(**parts)).ask([], options)
    found: GenerationOptions = recorder.options
    return found


def never() -> float:
    raise AssertionError("nobody asked for the round trip")


def test_auto_is_told_the_round_trip() -> None:
    found = asked_with(GenerationOptions(draft="auto"), lambda: 0.02)
    assert (found.draft, found.round_trip_s) == ("auto", 0.02)


@pytest.mark.parametrize("draft", [0, 4])
def test_a_number_needs_no_measurement(draft: int) -> None:
    options = GenerationOptions(draft=draft)
    assert asked_with(options, never) == options


def test_a_given_round_trip_is_not_measured_again() -> None:
    options = GenerationOptions(draft="auto", round_trip_s=0.5)
    assert asked_with(options, never) == options


def test_shortest_of_three_requests_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        calls = 0

        def health(self) -> None:
            self.calls += 1

    times = iter([0.0, 0.5, 1.0, 1.02, 2.0, 2.03])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr(connect, "time", clock)
    connection: Any = Connection()
    assert connect.shortest_round_trip(connection) == pytest.approx(0.02)
    assert connection.calls == 3


@pytest.mark.parametrize(("text", "draft"), [("0", 0), ("6", 6), ("auto", "auto")])
def test_command_line(text: str, draft: int | str) -> None:
    parser = build_parser()
    assert parser.parse_args(["ask", "hi"]).draft == 0
    assert parser.parse_args(["ask", "hi", "--draft", text]).draft == draft
    assert parser.parse_args(["chat", "--draft", text]).draft == draft


def test_command_line_refuses_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["ask", "hi", "--draft", "fast"])
    assert "--draft" in capsys.readouterr().err
