"""The engine as the window sees it: a real process, a real server, lines in and lines out."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import running_server, self_signed
from tests.tiny_world import (
    EngineProcess,
    ServerProcess,
    ask_about,
    engine_process,
    install_tiny,
    process_exists,
    server_process,
    tiny_artefact,
    wait_until,
)

ENDLESS = 400


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process() as running:
        yield running


@pytest.fixture
def engine(tacita_home: Path) -> Iterator[EngineProcess]:
    with engine_process(tacita_home) as running:
        yield running


def piece_of(event: dict[str, object]) -> bool:
    return event["event"] == "piece"


def text_of(engine: EngineProcess, ident: int) -> str:
    return "".join(e["text"] for e in engine.events if piece_of(e) and e["id"] == ident)


def test_hello_tells_versions_without_importing_anything_heavy(engine: EngineProcess) -> None:
    hello = engine.do("hello")
    assert hello["protocol_version"] == 1
    assert {"tacita", "python", "torch"} <= hello["versions"].keys()
    assert hello["schemes"].keys() == {"hint", "glwe"}
    assert hello["schemes"]["hint"] is None
    assert hello["keyring"]["state"] in ("missing", "unavailable")
    assert engine.do("shutdown")["event"] == "result"
    assert engine.process.wait(60) == 0


def test_a_whole_conversation(engine: EngineProcess, server: ServerProcess) -> None:
    connected = engine.connect(server.url)
    assert connected["event"] == "result", connected
    assert connected["model"] == "tiny"
    assert connected["server"] == server.url
    assert connected["layers"] > 0
    assert connected["hint_bytes"] > 0
    assert connected["scheme"] == "hint"
    assert connected["schemes"]["hint"] is None
    states = engine.states()
    for early, late in (
        ("connecting", "downloading_hints"),
        ("downloading_hints", "auditing"),
        ("auditing", "preparing_keys"),
        ("preparing_keys", "ready"),
    ):
        assert states.index(early) < states.index(late)

    first = engine.send("ask", **ask_about("the cat sat on the mat"))
    reply = engine.end_of(first)
    assert reply["event"] == "result", reply
    assert reply["text"] == text_of(engine, first)
    assert 1 <= reply["reply_tokens"] <= 6
    assert reply["rounds"] == reply["reply_tokens"] * connected["layers"]
    assert reply["bytes_up"] > 0
    assert reply["bytes_down"] > 0
    assert reply["stopped"] is False
    meters = [e for e in engine.events if e["event"] == "meter"]
    assert meters[-1]["rounds"] == reply["rounds"]
    assert meters[-1]["hint_bytes"] > connected["hint_bytes"]
    used = reply["prompt_tokens"] + reply["reply_tokens"] - 1
    assert meters[-1]["tokens_left_in_epoch"] == 1024 - used
    assert [m["bytes_up"] for m in meters] == sorted(m["bytes_up"] for m in meters)

    talk = ask_about("and the dog")
    talk["messages"] = [
        *ask_about("the cat sat on the mat")["messages"],
        {"role": "assistant", "content": reply["text"]},
        *talk["messages"],
    ]
    estimate = engine.do("estimate", **talk)
    assert estimate["prompt_tokens"] > reply["prompt_tokens"]
    assert estimate["seconds"] > 0
    assert estimate["mb"] > 0
    second = engine.do("ask", **talk)
    assert second["prompt_tokens"] == estimate["prompt_tokens"]
    assert second["reused_tokens"] >= reply["prompt_tokens"]
    assert engine.states()[-1] == "ready"


def test_a_second_connection_needs_neither_download_nor_audit(
    engine: EngineProcess, server: ServerProcess
) -> None:
    assert engine.connect(server.url)["event"] == "result"
    engine.events.clear()
    assert engine.connect(server.url)["event"] == "result"
    assert not {"downloading_hints", "auditing"} & set(engine.states())


def test_a_reply_is_continued_where_it_was_cut(
    engine: EngineProcess, server: ServerProcess
) -> None:
    engine.connect(server.url)
    asked = ask_about("the cat sat on the mat", 12)
    whole = engine.do("ask", **asked)
    asked["options"]["max_tokens"] = 5
    begun = engine.do("ask", **asked)
    assert begun["reason"] == "length"
    asked["options"]["max_tokens"] = 7
    asked["messages"].append({"role": "assistant", "content": begun["text"]})
    estimate = engine.do("estimate", **{"continue": True}, **asked)
    rest = engine.do("ask", **{"continue": True}, **asked)
    assert estimate["prompt_tokens"] == rest["prompt_tokens"] > begun["prompt_tokens"]
    assert rest["reply_tokens"] == 7
    assert rest["text"] == text_of(engine, rest["id"])
    assert whole["text"].startswith(begun["text"])
    assert engine.do("ask", **asked)["code"] == "model"


def test_an_estimate_names_the_cost_of_padding(
    engine: EngineProcess, server: ServerProcess
) -> None:
    engine.connect(server.url)
    asked = ask_about("the cat sat on the mat", 3)
    plain = engine.do("estimate", **asked)
    assert (plain["padding_tokens"], plain["padding_mb"], plain["reply_mb"]) == (0, 0, 0)
    asked["options"]["pad"] = True
    padded = engine.do("estimate", **asked)
    assert padded["prompt_tokens"] == plain["prompt_tokens"]
    assert padded["mb"] == pytest.approx(plain["mb"] + padded["padding_mb"])
    assert padded["seconds"] == pytest.approx(plain["seconds"] + padded["padding_seconds"])
    assert padded["padding_seconds"] > 0
    reply = engine.do("ask", **asked)
    assert reply["padding_tokens"] == padded["padding_tokens"] + 32 - reply["reply_tokens"]
    moved = (reply["bytes_up"] + reply["bytes_down"]) / 1e6
    assert moved == pytest.approx(padded["mb"] + padded["reply_mb"], rel=0.05)


def test_padding_is_an_option_of_ask(engine: EngineProcess, server: ServerProcess) -> None:
    connected = engine.connect(server.url)
    asked = ask_about("the cat sat on the mat", 3)
    plain = engine.do("ask", **asked)
    asked["options"]["pad"] = True
    padded = engine.do("ask", **asked)
    assert (plain["padding_tokens"], padded["text"]) == (0, plain["text"])
    new = padded["prompt_tokens"] - padded["reused_tokens"]
    assert padded["padding_tokens"] == -new % 32 + 32 - padded["reply_tokens"]
    assert padded["rounds"] == 32 * connected["layers"]


def test_stop_ends_the_reply_and_keeps_what_is_there(
    engine: EngineProcess, server: ServerProcess
) -> None:
    engine.connect(server.url)
    ask = engine.send("ask", **ask_about("the house that jack built", ENDLESS))
    engine.wait_for(piece_of)
    stop = engine.send("stop")
    assert engine.end_of(stop)["event"] == "result"
    reply = engine.end_of(ask)
    assert reply["event"] == "result", reply
    assert reply["stopped"] is True
    assert reply["reason"] == "stopped"
    assert reply["text"] == text_of(engine, ask) != ""
    assert reply["reply_tokens"] < ENDLESS
    again = engine.do("ask", **ask_about("the house that jack built", 3))
    assert again["event"] == "result"
    assert again["stopped"] is False


def test_a_stop_with_nothing_to_stop_changes_nothing(
    engine: EngineProcess, server: ServerProcess
) -> None:
    assert engine.do("stop")["event"] == "result"
    engine.connect(server.url)
    engine.do("stop")
    assert engine.do("ask", **ask_about("the dog ran", 3))["stopped"] is False


def test_layers_and_the_servers_view_are_shown_on_demand(
    engine: EngineProcess, server: ServerProcess
) -> None:
    layers = engine.connect(server.url)["layers"]
    engine.do("ask", **ask_about("the cat", 3))
    assert not [e for e in engine.events if e["event"] in ("layer", "server_view")]
    engine.do("watch_layers", on=True)
    engine.do("ask", **ask_about("the dog ran after the cat", 3))
    shown = [e for e in engine.events if e["event"] == "layer"]
    views = [e for e in engine.events if e["event"] == "server_view"]
    assert shown
    assert {e["index"] for e in views} == set(range(layers))  # every layer can be looked at
    assert all(0 <= e["index"] < e["total"] == layers for e in shown)
    head = base64.b64decode(views[0]["head"], validate=True)
    assert len(head) == min(3072, 3 * views[0]["n"] * views[0]["rows"])
    assert len(set(head)) > 60  # ciphertext; activations as bytes would be mostly zeros
    engine.do("watch_layers", on=False)
    engine.events.clear()
    engine.do("ask", **ask_about("the mat", 3))
    assert not [e for e in engine.events if e["event"] in ("layer", "server_view")]


def test_a_server_that_dies_in_mid_reply_is_told_and_its_return_is_enough(
    engine: EngineProcess,
) -> None:
    with server_process() as server:
        engine.connect(server.url)
        ask = engine.send("ask", **ask_about("these are the words", ENDLESS))
        engine.wait_for(piece_of)
        server.kill()
        error = engine.end_of(ask)
        assert error["event"] == "error"
        assert error["code"] in ("refused", "connection_lost")
        assert error["message"]
        assert error["next_step"]
        assert {"reconnecting", "offline"} <= set(engine.states())
        with server_process(server.port):
            again = engine.do("ask", **ask_about("these are the words", 3))
            assert again["event"] == "result", again


@pytest.mark.parametrize(
    ("url", "model", "code"),
    [
        ("http://127.0.0.1:9", None, "refused"),
        ("ftp://example", None, "bad_url"),
        ("http://example.test", None, "tls"),
        ("", None, "bad_command"),
        (None, "no-such-model", "no_such_model"),
    ],
)
def test_what_cannot_be_connected_to_says_why(
    url: str | None, model: str | None, code: str, engine: EngineProcess, server: ServerProcess
) -> None:
    error = engine.connect(server.url if url is None else url, model=model, local=False)
    assert error["event"] == "error"
    assert error["code"] == code, error
    assert error["params"].keys() <= {"model", "served"}
    assert error["message"]
    assert error["next_step"]
    assert engine.states()[-1:] in ([], ["offline"])
    assert engine.do("ask", **ask_about("the cat"))["code"] == "not_connected"


def test_test_connection_reports_an_outcome(engine: EngineProcess, server: ServerProcess) -> None:
    good = engine.do("test_connection", server={"url": server.url, "token": None})
    assert good["outcome"] == "ok"
    assert good["models"] == ["tiny"]
    assert good["rtt_ms"] > 0
    assert good["mb_per_token"] > 0
    bad = engine.do("test_connection", server={"url": "http://127.0.0.1:9", "token": None})
    assert bad["outcome"] == "refused"
    assert bad["message"]


def test_a_certificate_can_be_looked_at_and_pinned(engine: EngineProcess, tmp_path: Path) -> None:
    pem, fingerprint = self_signed(tmp_path)
    with running_server(tiny_artefact(), certificate=pem) as secure:
        looked = engine.do("test_connection", server={"url": secure.url, "token": None})
        assert (looked["outcome"], looked["certificate_sha256"]) == ("tls", fingerprint)
        assert engine.connect(secure.url)["code"] == "tls"
        pinned = {"url": secure.url, "token": None, "pinned_certificate": fingerprint}
        assert engine.do("test_connection", server=pinned)["outcome"] == "ok"
        connected = engine.do("connect", server=pinned, model=None, local=False)
        assert connected["event"] == "result", connected
        assert engine.do("ask", **ask_about("the cat", 2))["event"] == "result"
        wrong = {**pinned, "pinned_certificate": "0" * 64}
        assert engine.do("connect", server=wrong, model=None, local=False)["code"] == "tls"


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"[1, 2]",
        b"{}",
        b'{"id": "1", "cmd": "hello"}',
        b'{"id": true, "cmd": "hello"}',
        b'{"id": 5, "cmd": "format_disk"}',
        b'{"id": 5}',
        b'{"id": 5, "cmd": "connect", "server": 7}',
        b'{"id": 5, "cmd": "keys_use", "mode": "anywhere"}',
        b'{"id": 5, "cmd": "connect", "local": true, "scheme": "rot13"}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"id": 5, "cmd": "hello", "x": "' + b"y" * (17 << 20) + b'"}',
    ],
)
def test_bad_input_is_answered_and_the_engine_goes_on(line: bytes, engine: EngineProcess) -> None:
    engine.write(line + b"\n")
    error = engine.wait_for(lambda event: event["event"] == "error")
    assert error["code"] == "bad_command"
    assert error["id"] in (None, 5)
    assert engine.do("stop")["event"] == "result"


def test_bad_messages_and_options_are_refused(engine: EngineProcess, server: ServerProcess) -> None:
    engine.connect(server.url)
    assert engine.do("ask", messages="hello")["code"] == "bad_messages"
    assert engine.do("ask", messages=[{"role": "ghost", "content": "x"}])["code"] == "bad_messages"
    assert engine.do("ask", messages=[])["code"] == "model"
    wrong = {**ask_about("the cat"), "options": {"temperature": -1}}
    assert engine.do("ask", **wrong)["code"] == "model"
    assert engine.do("ask", **ask_about("the cat " * 4000))["code"] == "prompt_too_long"
    assert engine.do("ask", **ask_about("the cat", 2))["event"] == "result"


def test_the_end_of_its_input_ends_it_and_the_local_server(
    engine: EngineProcess, tacita_home: Path
) -> None:
    install_tiny(tacita_home)
    connected = engine.connect(None, model="tiny")
    assert connected["event"] == "result", connected
    children = children_of(engine.process.pid)
    assert children
    engine.send("ask", **ask_about("the garden where nothing is heard", ENDLESS))
    engine.wait_for(piece_of)
    assert engine.close() == 0
    wait_until(lambda: not any(map(process_exists, children)), "a child process was left behind")


def test_sigterm_ends_it_cleanly(engine: EngineProcess, server: ServerProcess) -> None:
    engine.connect(server.url)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(60) == 0
    assert b"Traceback" not in engine.errors


def test_a_local_server_that_died_is_started_again(
    engine: EngineProcess, tacita_home: Path
) -> None:
    install_tiny(tacita_home)
    assert engine.connect(None, model="tiny")["event"] == "result"
    assert engine.do("ask", **ask_about("the cat", 2))["event"] == "result"
    for child in children_of(engine.process.pid):
        if b"fhe_server" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
    again = engine.do("ask", **ask_about("the dog", 2))
    assert again["event"] == "result", again
    assert engine.states().count("starting") == 2, engine.states()


def test_a_lost_passphrase_is_asked_for(tacita_home: Path, server: ServerProcess) -> None:
    passphrase = "a passphrase of some length"
    with engine_process(tacita_home) as first:
        used = first.do("keys_use", mode="passphrase", passphrase=passphrase)
        assert used["state"] == "passphrase", used
    with engine_process(tacita_home) as second:
        target = {"server": {"url": server.url, "token": None}, "model": None, "local": False}
        assert second.do("connect", **target)["code"] == "passphrase_needed"
        wrong = second.do("keys_use", mode="passphrase", passphrase="another one altogether")
        assert wrong["code"] == "wrong_passphrase"
        assert second.do("keys_use", mode="passphrase", passphrase=passphrase)["event"] == "result"
        assert second.do("connect", **target)["event"] == "result"
        assert second.do("keys_status")["state"] == "passphrase"


def test_an_unknown_failure_is_told_and_logged_without_content(tacita_home: Path) -> None:
    from fhe_client.engine import Engine
    from fhe_client.engine_protocol import EventWriter
    from fhe_client.home import Home

    read, write = os.pipe()
    with os.fdopen(read, "rb") as events, os.fdopen(write, "wb") as out:
        engine = Engine(EventWriter(out), Home.at(tacita_home))
        engine._connected = lambda: (_ for _ in ()).throw(KeyError("the secret prompt"))  # type: ignore[method-assign]
        line = json.dumps({"id": 1, "cmd": "ask", **ask_about("the secret prompt")})
        assert engine.take(line.encode())
        error = json.loads(events.readline())
        engine.close()
    assert error["code"] == "internal"
    assert "KeyError" in error["details"]
    log = (tacita_home / "log" / "client.log").read_text()
    assert "KeyError" in log
    assert "secret" not in log + json.dumps(error)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(c) for t in tasks.iterdir() for c in (t / "children").read_text().split()]
