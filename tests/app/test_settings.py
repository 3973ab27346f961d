from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from app import settings
from app.settings import LOCAL, SavedServer, Settings


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "config" / "window.json"
    chosen = Settings(server="https://a", seed=7, zoom=125)
    chosen.add_server(SavedServer("https://a", "A", "gpt2", "ab" * 32))
    chosen.scheme, chosen.pad, chosen.draft = "glwe", True, 4
    settings.save(path, chosen)
    assert settings.load(path) == chosen
    assert [entry.name for entry in path.parent.iterdir()] == ["window.json"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_the_file_is_private(tmp_path: Path) -> None:
    settings.save(tmp_path / "window.json", Settings())
    assert stat.S_IMODE((tmp_path / "window.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00"])
def test_a_damaged_file_gives_the_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "window.json"
    path.write_text(text, encoding="utf-8")
    assert settings.load(path) == Settings()
    assert settings.load(tmp_path / "missing.json") == Settings()


def test_a_damaged_value_gives_its_own_default(tmp_path: Path) -> None:
    path = tmp_path / "window.json"
    value = {
        "zoom": "large",
        "temperature": 1,
        "seed": True,
        "servers": [{"url": 3}, {"url": "https://b"}, None],
        "unknown": 1,
        "scheme": "rsa",
        "pad": 1,
        "draft": 9,
        "appearance": "dark",
    }
    path.write_text(json.dumps(value), encoding="utf-8")
    found = settings.load(path)
    assert (found.zoom, found.temperature, found.seed) == (100, 1.0, None)
    assert (found.scheme, found.pad, found.draft) == ("hint", False, "off")
    assert found.appearance == "dark"
    assert [server.url for server in found.servers] == ["https://b"]


@pytest.mark.parametrize("draft", ["off", "auto", 2, 8])
def test_choices_of_drafting(tmp_path: Path, draft: str | int) -> None:
    path = tmp_path / "window.json"
    settings.save(path, Settings(draft=draft))
    assert settings.load(path).draft == draft


@pytest.mark.parametrize("draft", [True, 1, 0, 2.0, "on", None, [2]])
def test_what_is_no_choice_of_drafting(draft: object) -> None:
    assert not settings.is_draft(draft)


def test_removing_the_server_in_use_falls_back_to_the_local_one() -> None:
    chosen = Settings(server="https://a", servers=[SavedServer("https://a")])
    chosen.remove_server("https://a")
    assert chosen.server == LOCAL
    assert chosen.servers == []
