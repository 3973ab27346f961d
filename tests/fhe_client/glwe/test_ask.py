"""`tacita ask --scheme glwe` against a real server over HTTP."""

from __future__ import annotations

import json

import pytest

from fhe_client.cli import main
from fhe_protocol.glwe import KEY_SIZE
from fhe_server.glwe.routes import GlweService
from tests.glwe_world import glwe_artefact, glwe_server
from tests.servers import running_server


def ask(url: str, *more: str) -> int:
    arguments = ["ask", "--json", "--keys", "session", "--scheme", "glwe", "--server", url]
    return main([*arguments, "--max-tokens", "2", "--temperature", "0", *more, "ab"])


def test_a_question_is_answered_under_concrete_mls_scheme(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with glwe_server(glwe_artefact()) as server:
        assert ask(server.url) == 0
        service: GlweService = server.app.state.glwe
        assert len(service.store) == 0  # the client has told the server to forget its key
        counted = server.counters
    figures = json.loads(capsys.readouterr().out)
    assert figures["scheme"] == "glwe"
    assert 1 <= figures["reply_tokens"] <= 2
    assert figures["hint_bytes_downloaded"] == 0
    assert figures["key_bytes_uploaded"] > KEY_SIZE
    assert figures["rounds"] == counted.rounds > 0
    assert counted.query_bytes < figures["bytes_up"] < 2 * counted.query_bytes


def test_a_server_without_the_scheme_is_told_from_the_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("concrete_ml_extensions", reason="concrete-ml-extensions has no wheel here")
    with running_server(glwe_artefact()) as server:
        assert ask(server.url) == 1
    failure = json.loads(capsys.readouterr().out)["error"]
    assert failure["code"] == "glwe_unavailable"
    assert "--scheme hint" in failure["next_step"]


def test_a_missing_library_is_said_before_anything_is_downloaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "concrete-ml-extensions has no build for Windows."
    monkeypatch.setattr("fhe_client.glwe.opening.unavailable_reason", lambda: reason)
    with running_server(glwe_artefact()) as server:
        assert ask(server.url) == 1
    assert json.loads(capsys.readouterr().out)["error"]["message"] == reason
