from __future__ import annotations

import argparse
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from keyring.errors import InitError

from fhe_client.home import Home
from fhe_client.keys import commands
from fhe_client.keys.errors import PassphraseNeededError, WeakPassphraseError
from fhe_client.keys.passphrase_input import FD_VARIABLE, PassphraseInput
from fhe_client.keys.store import KeyStore
from tests.fhe_client.keys.fakes import PASSPHRASE, RECOVERY, MemoryKeyring

Tacita = Callable[..., int]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tacita")
    commands.add_parser(parser.add_subparsers(dest="command", required=True))
    return parser.parse_args(["keys", *words])


def from_fd(*lines: str) -> PassphraseInput:
    """The way of scripts: one passphrase a line from a file descriptor."""
    reader, writer = os.pipe()
    os.write(writer, "".join(f"{line}\n" for line in lines).encode())
    os.close(writer)
    return PassphraseInput({FD_VARIABLE: str(reader)})


@pytest.fixture
def tacita(store: KeyStore) -> Tacita:
    def call(*words: str, lines: tuple[str, ...] = ()) -> int:
        return commands.run(parse(*words), store, from_fd(*lines))

    return call


def test_status_in_words_and_json(
    tacita: Tacita, store: KeyStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tacita("status") == 0
    assert "No key yet" in capsys.readouterr().out
    key_id = store.open().key_id
    assert tacita("status") == 0
    assert key_id in capsys.readouterr().out
    assert tacita("status", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["key_id"]) == ("keyring", key_id)
    assert shown["backend"]


def test_status_of_trouble_is_an_exit_code(
    tacita: Tacita, backend: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.fails = InitError("x")
    assert tacita("status") == 1
    assert "cannot be reached" in capsys.readouterr().out


def test_use_moves_the_key_there_and_back(
    tacita: Tacita, store: KeyStore, backend: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tacita("use", "keyring") == 0
    key_id = store.status().key_id
    assert tacita("use", "passphrase", lines=(PASSPHRASE,)) == 0
    assert backend.values == {}
    assert tacita("use", "passphrase", lines=(PASSPHRASE, "another passphrase")) == 0
    assert tacita("use", "keyring", lines=(PASSPHRASE,)) == 1
    assert "not the right one" in capsys.readouterr().err
    assert tacita("use", "keyring", lines=("another passphrase",)) == 0
    assert store.open().key_id == key_id
    assert tacita("use", "session") == 0
    assert "stays where it is" in capsys.readouterr().out
    assert store.open().key_id == key_id


def test_rotate(tacita: Tacita, store: KeyStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert tacita("rotate") == 1
    assert "no key yet" in capsys.readouterr().err
    before = store.create("passphrase", PASSPHRASE).key_id
    assert tacita("rotate") == 1
    assert tacita("rotate", lines=(PASSPHRASE,)) == 0
    after = store.status().key_id
    assert after != before
    assert after in capsys.readouterr().out


def test_export_and_import(
    tacita: Tacita,
    store: KeyStore,
    backend: MemoryKeyring,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key_id = store.open().key_id
    file = tmp_path / "recovery.txt"
    assert tacita("export", str(file), lines=("short",)) == 1
    assert not file.exists()
    assert tacita("export", str(file), lines=(RECOVERY,)) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tacita("export", str(file), lines=(RECOVERY,)) == 1
    assert "exists already" in capsys.readouterr().err

    backend.values.clear()
    assert tacita("import", str(file), lines=("wrong passphrase",)) == 1
    assert tacita("import", str(tmp_path / "none"), lines=(RECOVERY,)) == 1
    assert tacita("import", str(file), lines=(RECOVERY,)) == 0
    assert store.open().key_id == key_id
    lines = (RECOVERY, PASSPHRASE)
    assert tacita("import", str(file), "--mode", "passphrase", lines=lines) == 0
    assert backend.values == {}
    assert store.open(passphrase=PASSPHRASE).key_id == key_id
    assert PASSPHRASE not in "".join(capsys.readouterr())


def test_erase_asks_first(
    tacita: Tacita,
    store: KeyStore,
    backend: MemoryKeyring,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.open()
    for answer in ("", "y\n", "no\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert tacita("erase") == 1
        assert len(backend.values) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("erase\n"))
    assert tacita("erase") == 0
    assert "Erased 1 key and 0 sealed files" in capsys.readouterr().out
    store.open()
    assert tacita("erase", "--yes") == 0
    assert backend.values == {}


@pytest.mark.parametrize(
    "words", [(), ("use",), ("use", "plain"), ("export",), ("rotate", "secret passphrase")]
)
def test_wrong_words_are_argparse_errors(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_profile_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TACITA_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv(FD_VARIABLE, raising=False)
    assert commands.run(parse("status", "--json")) == 1
    assert "forgets" in json.loads(capsys.readouterr().out)["detail"]
    assert Home.locate().config.is_dir()


def test_passphrases_are_typed_twice_on_a_terminal() -> None:
    asked: list[str] = []

    def typing(*answers: str) -> PassphraseInput:
        left = list(answers)

        def ask(prompt: str) -> str:
            asked.append(prompt)
            return left.pop(0)

        return PassphraseInput({}, ask, lambda: True)

    assert typing(PASSPHRASE, PASSPHRASE).fresh("New") == PASSPHRASE
    assert asked == ["New: ", "New, once more: "]
    assert typing(PASSPHRASE).existing("Old") == PASSPHRASE
    with pytest.raises(PassphraseNeededError, match="differ"):
        typing(PASSPHRASE, RECOVERY).fresh("New")
    with pytest.raises(WeakPassphraseError):
        typing("short").fresh("New")
    with pytest.raises(PassphraseNeededError):
        typing("").existing("Old")


def test_nobody_to_ask_is_an_error_not_a_hang() -> None:
    nobody = PassphraseInput({}, terminal=lambda: False)
    with pytest.raises(PassphraseNeededError, match=FD_VARIABLE):
        nobody.existing("Old")


@pytest.mark.parametrize("number", ["x", "-1", "999999"])
def test_a_bad_descriptor_is_said_so(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PassphraseNeededError, match=FD_VARIABLE):
        PassphraseInput({FD_VARIABLE: number})


def test_lines_are_read_in_order_and_as_they_are() -> None:
    asking = from_fd(" with spaces ", "caf\u00e9 au lait")
    assert asking.existing("a") == " with spaces "
    assert asking.fresh("b") == "caf\u00e9 au lait"
    with pytest.raises(PassphraseNeededError):
        asking.existing("c")
    asking.close()
