"""Opening a chat against the real service in this process: order, first-use checks, cancelling, network trouble."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import pytest

from fhe_client import connect, environment
from fhe_client.background import Background
from fhe_client.chat_events import Callbacks, CancelledError, ConnectOptions, Status
from fhe_client.connect import open_chat
from fhe_client.crypto.errors import HintAuditError, SessionClosedError
from fhe_client.errors import TacitaError
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.network.catalogue import ClientFiles
from fhe_client.network.errors import NetworkError
from fhe_client.network.pins import PinStore
from fhe_client.open_chat import OpenChat
from fhe_client.preparing import Material, Preparing
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message
from fhe_protocol.manifest import Manifest, canonical_json, parse_manifest
from tests.servers import (
    CountingProxy,
    RunningServer,
    reply,
    running_server,
    scripted_server,
    self_signed,
)
from tests.tiny_world import MODEL, tiny_artefact

OPTIONS = GenerationOptions(max_tokens=5, temperature=0)
QUESTION = [Message("user", "the cat sat on the mat")]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What opening a chat puts into the environment ends with the test."""
    monkeypatch.setattr(environment.os, "environ", dict(environment.os.environ))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(tiny_artefact()) as running:
        yield running


@pytest.fixture
def key() -> Iterator[MasterKey]:
    with MasterKey.generate(origin="session") as fresh:
        yield fresh


class Told:
    """Callbacks that remember, and ask to stop at a given state."""

    def __init__(self, stop_at: str = "") -> None:
        self.states: list[str] = []
        self._stop_at = stop_at
        self.callbacks = Callbacks(
            on_status=self._status, should_stop=lambda: self._stop_at in self.states
        )

    def _status(self, status: Status) -> None:
        if self.states[-1:] != [status.state]:
            self.states.append(status.state)


def opened(url: str, key: MasterKey, told: Told | None = None, **more: object) -> OpenChat:
    options = replace(ConnectOptions(url=url), **more)  # type: ignore[arg-type]
    return open_chat(options, key, (told or Told()).callbacks)


def test_first_and_later_openings(server: RunningServer, key: MasterKey, tacita_home: Path) -> None:
    told = Told()
    with opened(server.url, key, told) as chat:
        assert told.states == ["connecting", "downloading_hints", "auditing", "preparing_keys"]
        assert (chat.model, chat.server, chat.local) == (MODEL, server.url, False)
        before = server.counters.rounds
        got = chat.ask(QUESTION, OPTIONS)
        assert got.rounds == server.counters.rounds - before == chat.traffic().rounds
        assert chat.traffic().of("hints")[1] > chat.manifest.hint_bytes
        assert chat.traffic().of("audit")[0] > 0
        assert chat.epochs_used == 1
    chat.close()
    again = Told()
    with opened(server.url, key, again) as chat:
        assert again.states == ["connecting", "preparing_keys"]
        assert chat.traffic().of("hints") == chat.traffic().of("audit") == (0, 0)
        assert chat.ask(QUESTION, OPTIONS).text == got.text
    assert PinStore(Home.at(tacita_home).config).all() == {
        server.url: {MODEL: chat.manifest.digest}
    }


class Watched(Preparing):
    """Remembers what was begun, and with which state as the last one told."""

    begun: ClassVar[list[tuple[Watched, list[str]]]] = []
    told = Told()

    def __init__(self, material: Material) -> None:
        self.begun.append((self, list(self.told.states)))
        super().__init__(material)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr(Watched, "begun", [])
    monkeypatch.setattr(Watched, "told", Told())
    monkeypatch.setattr(connect, "Preparing", Watched)
    return Watched


def test_a_later_opening_begins_before_the_server_is_asked(
    server: RunningServer, key: MasterKey, watched: type[Watched]
) -> None:
    with opened(server.url, key, watched.told):
        pass
    assert watched.begun[0][1][-1] == "auditing"  # nothing is known before
    watched.told = Told()
    with opened(server.url, key, watched.told, model=MODEL) as chat:
        assert chat.ask(QUESTION, OPTIONS).reply_tokens > 0
    assert [states for _, states in watched.begun[1:]] == [[]]


def test_hints_that_were_not_audited_are_not_used_ahead(
    server: RunningServer, key: MasterKey, watched: type[Watched]
) -> None:
    with opened(server.url, key):
        pass
    (pins,) = Home.locate().config.glob("*pin*.json")
    document = json.loads(pins.read_bytes())
    pins.write_text(json.dumps({**document, "audited": []}))
    watched.begun.clear()
    with opened(server.url, key, watched.told, model=MODEL):
        pass
    assert [states[-1] for _, states in watched.begun] == ["auditing"]


def test_what_was_made_ahead_for_another_model_is_erased_unused(
    server: RunningServer, key: MasterKey, watched: type[Watched]
) -> None:
    with opened(server.url, key):
        pass
    with running_server(tiny_artefact(seed=2)) as other, CountingProxy(other.port) as proxy:
        PinStore(Home.locate().config).accept(proxy.url, chat_manifest())
        watched.begun.clear()
        with opened(proxy.url, key, model=MODEL, accept_model_change=True) as chat:
            ahead, used = (made for made, _ in watched.begun)
            assert ahead.digest == chat_manifest().digest
            assert used.digest == chat.manifest.digest != ahead.digest
            with pytest.raises(SessionClosedError):
                ahead._session.result().begin_pass(1)
            assert ahead.line._channel is None  # it never had a way to the server
            before = other.counters.rounds
            assert chat.ask(QUESTION, OPTIONS).rounds == other.counters.rounds - before


def test_damaged_files_are_not_used_ahead(
    server: RunningServer, key: MasterKey, watched: type[Watched]
) -> None:
    with opened(server.url, key) as chat:
        folder = ClientFiles(Home.locate().cache).folder(chat.manifest)
    (folder / "config.json").write_bytes(b"{}")
    watched.begun.clear()
    watched.told = Told()
    with opened(server.url, key, watched.told, model=MODEL) as chat:
        assert chat.ask(QUESTION, OPTIONS).reply_tokens > 0
    assert [states for _, states in watched.begun] == [["connecting"]]


@pytest.mark.parametrize("state", ["connecting", "downloading_hints", "auditing", "preparing_keys"])
def test_every_step_can_be_cancelled_and_done_again(
    state: str, server: RunningServer, key: MasterKey
) -> None:
    with pytest.raises(CancelledError):
        opened(server.url, key, Told(stop_at=state))
    with opened(server.url, key) as chat:
        assert chat.ask(QUESTION, OPTIONS).reply_tokens > 0


def test_a_model_that_changed_stops_everything_until_it_is_accepted(
    server: RunningServer, key: MasterKey
) -> None:
    with opened(server.url, key):
        pass
    with running_server(tiny_artefact(seed=2)) as other, CountingProxy(other.port) as proxy:
        # The same address, as the client sees it, must serve another model: pin the proxy's to the first one.
        home = Home.locate()
        PinStore(home.config).accept(proxy.url, chat_manifest())
        with pytest.raises(NetworkError) as caught:
            opened(proxy.url, key)
        assert caught.value.code == "model_changed"
        with opened(proxy.url, key, accept_model_change=True):
            pass
        with opened(proxy.url, key) as chat:
            assert chat.manifest.digest != chat_manifest().digest


def chat_manifest() -> Manifest:
    return parse_manifest((tiny_artefact() / "manifest.json").read_bytes())


def test_hints_that_lie_fail_the_audit_each_time(key: MasterKey, tmp_path: Path) -> None:
    folder = tmp_path / MODEL
    shutil.copytree(tiny_artefact(), folder)
    document = json.loads((folder / "manifest.json").read_bytes())
    hints = bytearray((folder / "hints.bin").read_bytes())
    first_part = parse_manifest(canonical_json(document)).hint_offsets[1]
    hints[1:first_part:2] = bytes(b ^ 0x40 for b in hints[1:first_part:2])
    document["hints"][0] = sha256(hints[:first_part]).hexdigest()
    (folder / "hints.bin").write_bytes(hints)
    (folder / "manifest.json").write_bytes(canonical_json(document))
    with running_server(folder) as lying:
        for _ in range(2):
            with pytest.raises(HintAuditError):
                opened(lying.url, key)


def info(**changes: object) -> bytes:
    whole = {
        "software": "tacita", "protocol_version": 1, "version": "1", "schemes": ["hint"], "models": []
    }  # fmt: skip
    return json.dumps({**whole, **changes}).encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (info(protocol_version=99), "wrong_version"),
        (info(schemes=["other"]), "not_tacita"),
        (info(), "no_such_model"),
        (info(software="else"), "not_tacita"),
        (b"<html>", "not_tacita"),
    ],
)
def test_other_servers_are_refused(body: bytes, code: str, key: MasterKey) -> None:
    with scripted_server(reply(body)) as url, pytest.raises(TacitaError) as caught:
        opened(url, key)
    assert caught.value.code == code
    assert caught.value.next_step


def test_an_unknown_model_is_refused_with_those_there_are(
    server: RunningServer, key: MasterKey
) -> None:
    with pytest.raises(NetworkError, match=MODEL) as caught:
        opened(server.url, key, model="absent")
    assert caught.value.code == "no_such_model"


def test_a_wrong_token_is_told(key: MasterKey) -> None:
    good = "a-token-of-some-length"
    hashes = frozenset({sha256(good.encode()).hexdigest()})
    with running_server(tiny_artefact(), token_hashes=hashes) as private:
        for token in (None, "another-token-of-some-length"):
            with pytest.raises(NetworkError) as caught:
                opened(private.url, key, token=token)
            assert caught.value.code == "unauthorised"
            assert "another-token" not in str(caught.value)
        with opened(private.url, key, token=good) as chat:
            assert chat.ask(QUESTION, OPTIONS).reply_tokens > 0


def test_a_pinned_certificate_holds_for_the_whole_conversation(
    key: MasterKey, tmp_path: Path
) -> None:
    certificate, fingerprint = self_signed(tmp_path)
    with running_server(tiny_artefact(), certificate=certificate) as secure:
        for wrong in (None, "0" * 64):
            with pytest.raises(NetworkError) as caught:
                opened(secure.url, key, pinned_certificate=wrong)
            assert caught.value.code == "tls"
            assert "fingerprint" in caught.value.next_step
        assert secure.counters.rounds == 0
        with opened(secure.url, key, pinned_certificate=fingerprint) as chat:
            assert chat.ask(QUESTION, OPTIONS).reply_tokens > 0
    assert secure.counters.rounds > 0


def test_a_broken_connection_is_mended_within_the_reply(
    server: RunningServer, key: MasterKey
) -> None:
    told = Told()
    with CountingProxy(server.port) as proxy, opened(proxy.url, key, told) as chat:
        whole = chat.ask(QUESTION, OPTIONS)
        chat.forget()
        proxy.cut_after_up = proxy.up + whole.bytes_up // 2
        mended = chat.ask(QUESTION, OPTIONS)
        assert "reconnecting" in told.states
        assert mended.reply_tokens == whole.reply_tokens
        assert mended.rounds == whole.rounds


def test_a_stop_while_the_network_hangs_keeps_the_text(
    server: RunningServer, key: MasterKey
) -> None:
    pieces: list[str] = []
    asked = False
    with CountingProxy(server.port) as proxy, opened(proxy.url, key) as chat:

        def lose_the_server(text: str) -> None:
            nonlocal asked
            pieces.append(text)
            proxy.__exit__()  # nobody listens any more, and the connection breaks
            asked = True

        options = GenerationOptions(max_tokens=100, temperature=0)
        stopped = chat.ask(QUESTION, options, on_piece=lose_the_server, should_stop=lambda: asked)
    assert stopped.stopped
    assert stopped.text == "".join(pieces) != ""


def test_background_work_hands_on_its_value_or_its_error() -> None:
    assert Background(lambda: 7).result(lambda: None) == 7

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Background(fail).result(lambda: None)
