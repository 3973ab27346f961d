"""The history's key out of a real key store (a passphrase: no keyring is needed)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.vault import HistoryKey, Vault, keyring_source
from fhe_client.home import Home
from fhe_client.keys import KeyStore

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def store(profile: Path) -> KeyStore:
    made = KeyStore(Home.locate())
    made.use("passphrase", PASSPHRASE).close()
    return made


def test_the_key_is_the_same_at_each_start_and_survives_rotation(store: KeyStore) -> None:
    first = keyring_source(PASSPHRASE)
    assert first.key is not None
    assert len(first.key) == 32
    assert first.path == store.home.data / "history.db"
    store.rotate(PASSPHRASE).close()
    assert keyring_source(PASSPHRASE) == first


def test_a_wrong_passphrase_is_told_apart(qtbot: QtBot, store: KeyStore) -> None:
    vault = Vault(keyring_source)
    for given, code in ((None, "passphrase_needed"), ("something else", "wrong_passphrase")):
        with qtbot.waitSignal(vault.failed, timeout=60_000) as caught:
            vault.open(given)
        assert caught.args is not None
        assert caught.args[0].code == code


def test_a_session_keeps_nothing(profile: Path) -> None:
    KeyStore(Home.locate()).use("session").close()
    assert keyring_source(None) == HistoryKey(None, None)


def test_opening_does_not_run_on_the_windows_thread_and_quotes_nothing(qtbot: QtBot) -> None:
    threads: list[int] = []

    def source(_passphrase: str | None) -> HistoryKey:
        threads.append(threading.get_ident())
        raise RuntimeError("CANARY")

    vault = Vault(source)
    with qtbot.waitSignal(vault.failed, timeout=20_000) as caught:
        vault.open()
    assert threads != [threading.get_ident()]
    assert caught.args is not None
    assert caught.args[0].details == "RuntimeError"
    assert vault.wait(20_000)
