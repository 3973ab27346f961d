"""Rotate, save, restore, erase and reset through the window, on a real key store (a passphrase: no keyring needed)."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QLineEdit

from app.events import Failure
from app.views.key_dialogs import KeyDialog
from app.views.main_window import MainWindow
from app.views.settings_keys import ERASE_WORD, KeyTools
from fhe_client.home import Home
from fhe_client.keys import KeyStore
from tests.app.helpers import Desk

PASSPHRASE, RECOVERY = "correct horse battery staple", "another long passphrase"


@pytest.fixture
def store(profile: Path, monkeypatch: pytest.MonkeyPatch) -> KeyStore:
    monkeypatch.setenv("FAKE_ENGINE_KEYS", "passphrase")
    made = KeyStore(Home.locate())
    made.use("passphrase", PASSPHRASE).close()
    return made


def tools_of(window: MainWindow) -> KeyTools:
    window.open_settings()
    assert window._settings_dialog is not None
    return window._settings_dialog.privacy.tools


def fill(dialog: KeyDialog, *texts: str) -> None:
    for line, text in zip(dialog.lines, texts, strict=True):
        line.setText(text)


def key_id(store: KeyStore) -> str:
    with store.open("auto", PASSPHRASE) as key:
        return key.key_id


def test_rotate_replaces_the_key_and_a_wrong_passphrase_says_so(
    desk: Desk, store: KeyStore
) -> None:
    before = key_id(store)
    tools = tools_of(desk.ready())
    dialog = tools.ask_rotate()
    assert dialog.lines[0].echoMode() is QLineEdit.EchoMode.Password
    fill(dialog, "not the passphrase")
    dialog.go.click()
    desk.until(lambda: dialog.problem.text() != "")
    assert key_id(store) == before
    fill(dialog, PASSPHRASE)
    dialog.go.click()
    desk.until(lambda: "changed" in tools.result.text())
    assert key_id(store) != before
    assert desk.commands("keys_use")[-1]["mode"] == "passphrase"


def test_a_recovery_file_brings_the_key_back(desk: Desk, store: KeyStore, tmp_path: Path) -> None:
    before = key_id(store)
    target = tmp_path / "recovery.txt"
    tools = tools_of(desk.ready())
    dialog = tools.ask_export(target)
    fill(dialog, PASSPHRASE, RECOVERY, "something else")
    assert not dialog.go.isEnabled()
    fill(dialog, PASSPHRASE, RECOVERY, RECOVERY)
    dialog.go.click()
    desk.until(lambda: "written" in tools.result.text())
    assert target.stat().st_mode & 0o077 == 0
    assert PASSPHRASE not in target.read_text(encoding="ascii")
    store.erase()
    dialog = tools.ask_import(target)
    fill(dialog, RECOVERY, PASSPHRASE, PASSPHRASE)
    dialog.go.click()
    desk.until(lambda: "in place" in tools.result.text())
    assert key_id(store) == before


@pytest.mark.parametrize("everything", [False, True])
def test_erasing_needs_the_word_and_ends_in_the_first_run(
    desk: Desk, store: KeyStore, profile: Path, everything: bool
) -> None:
    window = desk.ready()
    desk.ask(window, "a canary sentence")
    hints = profile / "cache" / "hints"
    hints.mkdir(parents=True)
    (hints / "a.hints").write_bytes(bytes(1_000_000))
    tools = tools_of(window)
    assert window._settings_dialog is not None
    page = window._settings_dialog.data
    dialog = page.ask_reset() if everything else tools.ask_erase(everything=False)
    fill(dialog, "erase it")
    assert not dialog.go.isEnabled()
    fill(dialog, ERASE_WORD)
    dialog.go.click()
    desk.until(lambda: window.controller.settings.first_run and window.controller.keys.state != "")
    assert store.status().state in ("missing", "unavailable")
    assert not (profile / "data" / "history.db").exists()
    assert (hints / "a.hints").exists() is not everything
    assert window.stack.currentIndex() == 1
    assert window.controller.library.chats() == []


def test_unused_hints_are_counted_and_deleted(desk: Desk, profile: Path) -> None:
    hints = profile / "cache" / "hints"
    hints.mkdir(parents=True)
    (hints / "a.hints").write_bytes(bytes(3_000_000))
    tools = tools_of(desk.ready())
    desk.until(lambda: tools.hints.text() == "Hints on disk: 3.00 MB")
    tools.clear_button.click()
    desk.until(lambda: tools.hints.text() == "Hints on disk: 0.00 MB")
    assert list(hints.iterdir()) == []


def test_a_failure_makes_the_dialog_tall_enough_for_every_line(desk: Desk) -> None:
    tools = tools_of(desk.ready())
    dialog = tools.ask_erase(everything=False)
    before = dialog.height()
    long = "The system keyring did not answer, for a reason that takes some words to tell. " * 3
    dialog.failed(Failure("keyring_unavailable", long, "Unlock it, then try again."))
    desk.until(lambda: dialog.height() > before)
    desk.until(
        lambda: dialog.problem.height() >= dialog.problem.heightForWidth(dialog.problem.width())
    )
    assert dialog.force.isVisible()
    dialog.reject()
