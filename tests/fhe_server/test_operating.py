"""The operator's commands: token, config, bench, and what `serve` makes of its settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fhe_server.cli import main
from fhe_server.home import tokens_file
from fhe_server.service import serving
from fhe_server.service.serving import ServeOptions
from fhe_server.service.tokens import Quotas, TokenFile, hash_token
from tests.servers import make_artefact


def test_tokens_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    create = ["token", "create", "Ada", "--days", "30", "--tokens-per-day", "5000"]
    assert main([*create, "--bytes-per-day", "2 GB", "--rounds-at-once", "2"]) == 0
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert "cannot be shown again" in printed.err
    (entry,) = TokenFile(tokens_file()).read()
    assert entry.sha256 == hash_token(token)
    assert entry.quotas == Quotas(5000, 2_000_000_000, 2)
    assert main(["token", "list"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("Ada  expires 20")
    assert "today 0 of 5,000 tokens, 0 of 2,000 MB" in line
    assert token not in line
    assert main(["token", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["used_today"] == {"tokens": 0.0, "bytes": 0}
    assert main(["token", "change", "Ada", "--tokens-per-day", "7", "--bytes-per-day", "none"]) == 0
    (changed,) = TokenFile(tokens_file()).read()
    assert changed.quotas == replace(entry.quotas, tokens_per_day=7, bytes_per_day=None)
    assert (changed.expires, changed.sha256) == (entry.expires, entry.sha256)
    assert "of 7 tokens, 0 of any MB" in capsys.readouterr().out
    assert main(["token", "change", "Ada", "--days", "none"]) == 0
    assert "never expires  today 0 of 7 tokens" in capsys.readouterr().out
    assert main(["token", "change", "Bob", "--days", "3"]) == 1
    assert "no token called 'Bob'" in capsys.readouterr().err
    assert main(["token", "create", "Ada"]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["token", "revoke", "Ada"]) == 0
    assert main(["token", "revoke", "Ada"]) == 1
    assert main(["token", "list"]) == 0
    assert "There is no token" in capsys.readouterr().err


def test_the_config_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert "[limits]" in capsys.readouterr().out


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[ServeOptions]:
    options: list[ServeOptions] = []
    monkeypatch.setattr(serving, "serve", lambda one: options.append(one) or 0)
    return options


def test_a_token_file_in_its_place_is_not_forgotten(seen: list[ServeOptions]) -> None:
    """Whoever made tokens wants them to be asked for, unless they say --open."""
    assert main(["serve"]) == 0
    TokenFile(tokens_file()).create("ada", Quotas())
    assert main(["serve"]) == 0
    assert main(["serve", "--open"]) == 0
    assert main(["serve", "--tokens", "elsewhere.json"]) == 0
    assert [o.tokens for o in seen] == [None, tokens_file(), None, Path("elsewhere.json")]


def test_settings_come_from_the_file_and_can_be_read_again(
    seen: list[ServeOptions], tmp_path: Path
) -> None:
    config = tmp_path / "server.toml"
    config.write_text('[models]\nmodel = ["a"]\n[limits]\nmax_waiting = 7\n')
    assert main(["serve", "--config", str(config), "--host", "::1"]) == 0
    (options,) = seen
    assert (options.names, options.host, options.settings.max_waiting) == (("a",), "::1", 7)
    config.write_text("[limits]\nmax_waiting = 8\n")
    assert options.reread is not None
    assert (options.reread().max_waiting, options.reread().host) == (8, "::1")


def test_a_config_that_is_wrong_is_two_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seen: list[ServeOptions]
) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[limits]\nmax = 7\n")
    assert main(["serve", "--config", str(config)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert seen == []


def test_bench_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_artefact(tmp_path / "tiny")
    arguments = ["bench", "tiny", "--models", str(tmp_path), "--clients", "1", "3"]
    assert main([*arguments, "--seconds", "0.5", "--threads", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["clients", "1", "3"]
    assert float(rows[1].split("|")[2]) > 0
    assert main(["bench", "none", "--models", str(tmp_path)]) == 1
