from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_client.keys.errors import MarkerDamagedError
from fhe_client.keys.marker import Marker, Rotation, load_marker, save_marker

A, B = "00112233445566aa", "ffeeddccbbaa9988"


@pytest.mark.parametrize(
    "marker",
    [
        Marker("session"),
        Marker("passphrase", A),
        Marker("keyring", A, "keyring.backends.SecretService.Keyring"),
        Marker("keyring", A, "x", Rotation(A, B)),
        Marker("passphrase", A, leaving="keyring", leaving_backend="x"),
    ],
)
def test_what_is_saved_is_loaded(tmp_path: Path, marker: Marker) -> None:
    path = tmp_path / "keys.json"
    save_marker(path, marker)
    assert load_marker(path) == marker
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_none(tmp_path: Path) -> None:
    assert load_marker(tmp_path / "keys.json") is None


def good() -> dict[str, object]:
    return {
        "format": 1,
        "mode": "keyring",
        "key_id": A,
        "backend": "x",
        "rotation": None,
        "leaving": "",
        "leaving_backend": "",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"mode": "plain"},
        {"mode": 3},
        {"key_id": ""},
        {"key_id": A.upper()},
        {"key_id": A[:-2]},
        {"key_id": "zz"},
        {"backend": None},
        {"rotation": {"old": A}},
        {"rotation": {"old": A, "new": 5}},
        {"rotation": {"old": A, "new": "x", "more": 1}},
        {"rotation": [A, B]},
        {"leaving": "elsewhere"},
        {"leaving": "keyring"},
        {"surprise": 1},
    ],
)
def test_anything_else_is_damage_and_never_a_first_run(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(good()))
    assert load_marker(path) == Marker("keyring", A, "x")
    path.write_text(json.dumps(good() | change))
    with pytest.raises(MarkerDamagedError):
        load_marker(path)


@pytest.mark.parametrize("missing", ["format", "mode", "rotation"])
def test_missing_words_are_damage(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "keys.json"
    content = good()
    del content[missing]
    path.write_text(json.dumps(content))
    with pytest.raises(MarkerDamagedError):
        load_marker(path)


@given(st.one_of(st.binary(max_size=100), st.just(b"[" * 60_000), st.just(b"")))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_bytes_are_damage(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(raw)
    with pytest.raises(MarkerDamagedError):
        load_marker(path)
