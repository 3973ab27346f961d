"""First run, settings, keys, export and import."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QWidget,
)

from app import settings as settings_file
from app import theme
from app.events import Failure
from app.settings import LOCAL
from app.views.connection_form import normalised_url, plausible_url
from app.views.main_window import MainWindow
from app.views.passphrase_dialog import PassphraseDialog
from app.views.settings_dialog import SettingsDialog
from tests.app.fake_engine import OUTCOMES
from tests.app.helpers import Desk


def settings_of(window: MainWindow) -> SettingsDialog:
    window.open_settings()
    assert window._settings_dialog is not None
    return window._settings_dialog


def click(desk: Desk, button: QAbstractButton) -> None:
    desk.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_first_run_with_the_local_server(desk: Desk, profile: Path) -> None:
    window = desk.build(first_run=True)
    page = window.first_run
    assert window.stack.currentWidget() is page
    desk.until(lambda: window.controller.keys.state == "keyring")
    assert not (profile / "data" / "history.db").exists()
    click(desk, page.start_button)
    desk.until(lambda: window.controller.ready)
    assert window.stack.currentIndex() == 0
    assert desk.commands("keys_use")[0]["mode"] == "keyring"
    assert desk.commands("connect")[0]["local"] is True
    saved = settings_file.load(profile / "config" / "window.json")
    assert saved.server == LOCAL
    desk.ask(window, "Hello")


def test_first_run_with_a_remote_server_keeps_the_token_out_of_the_settings(
    desk: Desk, profile: Path
) -> None:
    window = desk.build(first_run=True)
    page = window.first_run
    page.remote.setChecked(True)
    assert not page.start_button.isEnabled()
    desk.qtbot.keyClicks(page.form.url_field, "tacita.example.org")
    desk.qtbot.keyClicks(page.form.token_field, "s3cret-token")
    click(desk, page.form.test_button)
    desk.until(lambda: page.form.outcome.text().startswith("Connected"))
    assert page.form.model_field.findText("gpt2") >= 0
    click(desk, page.start_button)
    desk.until(lambda: window.controller.ready)
    connect = desk.commands("connect")[0]
    assert connect["server"] == {"url": "https://tacita.example.org", "token": "s3cret-token"}
    for path in profile.rglob("*"):
        if path.is_file():
            assert b"s3cret-token" not in path.read_bytes(), path


def test_first_run_without_a_keyring_offers_what_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE_KEYS", "unavailable")
    window = desk.build(first_run=True)
    keys = window.first_run.keys
    desk.until(lambda: not keys.keyring.isEnabled())
    assert keys.session.isChecked()
    assert "forgotten when you quit" in keys.note.text()
    keys.passphrase.setChecked(True)
    assert not window.first_run.start_button.isEnabled()
    keys.first.setText("correct horse")
    keys.second.setText("correct hors")
    assert not window.first_run.start_button.isEnabled()
    keys.second.setText("correct horse")
    click(desk, window.first_run.start_button)
    desk.until(lambda: window.controller.ready)
    assert desk.commands("keys_use")[0]["passphrase"] == "correct horse"
    assert keys.first.text() == ""


@pytest.mark.parametrize("host", sorted(OUTCOMES))
def test_every_outcome_of_test_connection_is_shown(desk: Desk, host: str) -> None:
    window = desk.ready()
    page = settings_of(window).server
    page.add()
    page.form.url_field.setText(f"https://{host}")
    click(desk, page.form.test_button)
    desk.until(lambda: page.form.next_step.text() != "")
    assert page.form.outcome.text().endswith(".")
    assert page.form.next_step.isVisibleTo(page)
    page.form.url_field.setText("https://other.test")
    assert page.form.outcome.text() == ""


def test_changing_and_removing_a_server(desk: Desk) -> None:
    window = desk.ready()
    page = settings_of(window).server
    page.add()
    page.form.fill("https://one.test", "tok", "gpt2")
    click(desk, page.use_button)
    desk.until(lambda: len(desk.commands("connect")) == 2 and window.controller.ready)
    sent = desk.commands("connect")[1]
    assert sent["server"] == {"url": "https://one.test", "token": "tok"}
    assert sent["model"] == "gpt2"
    assert page.chosen == "https://one.test"
    click(desk, page.remove_button)
    desk.until(lambda: len(desk.commands("connect")) == 3 and window.controller.ready)
    assert desk.commands("connect")[2]["local"] is True
    assert window.controller.server_token("https://one.test") == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("example.org", "https://example.org"),
        ("localhost:8470/", "http://localhost:8470"),
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        (" http://a.b ", "http://a.b"),
        ("", ""),
    ],
)
def test_urls(typed: str, meant: str) -> None:
    assert normalised_url(typed) == meant
    assert plausible_url(meant) == bool(meant)


@pytest.mark.parametrize("url", ["ftp://a", "https://", "http://a:99999", "http://[", "x"])
def test_urls_that_cannot_be_tried(url: str) -> None:
    assert not plausible_url(url)


def test_a_refused_connection_is_explained(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ENGINE_CONNECT_ERROR", "server_gone")
    window = desk.build()
    desk.until(lambda: window.page.error.isVisible())
    assert window.page.error.reconnect.isVisible()
    assert not window.page.error.retry.isVisible()
    assert window.page.meter.status.words.text() == "Offline"


def test_another_model_is_trusted_only_after_a_second_yes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE_CONNECT_ERROR", "model_changed")
    window = desk.build()
    card = window.page.error
    desk.until(lambda: card.isVisible())
    for answer, connects in (("Cancel", 1), ("Trust it", 2)):
        click(desk, card.accept_model)
        box = window.findChild(QMessageBox, "acceptModel")
        click(desk, next(b for b in box.buttons() if b.text().replace("&", "") == answer))
        desk.until(lambda: window.findChild(QMessageBox, "acceptModel") is None)
        desk.until(lambda n=connects: len(desk.commands("connect")) == n)
    plain, trusting = desk.commands("connect")
    assert "accept_model_change" not in plain
    assert trusting["accept_model_change"] is True


def test_sampling_and_system_prompt(desk: Desk, profile: Path) -> None:
    window = desk.ready()
    page = settings_of(window).model
    page.temperature.setValue(0.0)
    page.seed.setText("42")
    page.prompt.setPlainText("Speak like a CANARY-17.")
    page.save()
    desk.ask(window, "Hi")
    (ask,) = desk.commands("ask")
    assert (ask["options"]["temperature"], ask["options"]["seed"]) == (0.0, 42)
    assert ask["messages"][0] == {"role": "system", "content": "Speak like a CANARY-17."}
    for path in profile.rglob("*"):
        if path.is_file():
            assert b"CANARY" not in path.read_bytes(), path
    page.reset()
    assert window.controller.system_prompt() == ""
    assert window.controller.settings.temperature == 0.2


def test_appearance_changes_at_once(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "markdown")
    page = settings_of(window).appearance
    page.look.setCurrentIndex(page.look.findData("dark"))
    page.look.activated.emit(page.look.currentIndex())
    assert theme.colours().dark
    page.zoom.setCurrentIndex(page.zoom.findData(200))
    page.zoom.activated.emit(page.zoom.currentIndex())
    assert theme.points() == 21.0
    page.reset()
    window.controller.settings.appearance = "light"
    window.apply_theme()
    assert not theme.colours().dark
    window.zoom(1)
    assert window.controller.settings.zoom == 110
    window.zoom(0)
    assert window.controller.settings.zoom == 100


def test_keys_can_be_moved(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "still here")
    page = settings_of(window).privacy
    assert "system keyring" in page.state.text()
    assert not page.apply_button.isEnabled()
    page.choice.session.setChecked(True)
    click(desk, page.apply_button)
    desk.until(lambda: "memory only" in page.state.text())
    assert page.result.text() == "Done."
    page.choice.keyring.setChecked(True)
    click(desk, page.apply_button)
    desk.until(lambda: "system keyring" in page.state.text())
    desk.until(lambda: window.controller.library.settled)
    assert window.chats.list.count() == 1


def test_a_passphrase_is_asked_for_and_a_wrong_one_can_be_corrected(desk: Desk) -> None:
    window = desk.ready()
    window.controller.passphrase_needed.emit(
        Failure("passphrase_needed", "A passphrase is needed.")
    )
    (dialog,) = window.findChildren(PassphraseDialog)
    assert not dialog.unlock_button.isEnabled()
    desk.qtbot.keyClicks(dialog.field, "my passphrase")
    dialog._failed(Failure("wrong_passphrase", "The passphrase is wrong.", "Try again."))
    assert "wrong" in dialog.problem.text()
    click(desk, dialog.unlock_button)
    desk.until(lambda: len(desk.commands("keys_use")) == 1)
    assert desk.commands("keys_use")[0]["passphrase"] == "my passphrase"


def test_export_warns_and_import_brings_back(desk: Desk, tmp_path: Path) -> None:
    window = desk.ready()
    desk.ask(window, "Export me")
    chat = window.controller.library.current
    assert chat is not None
    window.data.export(chat)
    boxes = [w for w in QApplication.topLevelWidgets() if w.isVisible() and w is not window]
    assert any("not encrypted" in getattr(box, "text", str)() for box in boxes)
    for box in boxes:
        box.close()
    markdown, everything = tmp_path / "chat.md", tmp_path / "all.json"
    window.data.export_to(markdown, chat)
    window.data.export_to(everything, None)
    assert "## You\n\nExport me" in markdown.read_text(encoding="utf-8")
    window.data.export_to(tmp_path / "all.md", None)
    assert (tmp_path / "all.md").read_text(encoding="utf-8") == markdown.read_text(encoding="utf-8")
    if os.name == "posix":
        assert stat.S_IMODE(everything.stat().st_mode) == 0o600
    window.controller.delete_everything()
    assert window.chats.list.count() == 0
    window.data.import_from(everything)
    assert window.chats.list.count() == 1
    assert window.controller.library.messages()[0].text == "Export me"


def test_a_bad_import_says_why(desk: Desk, tmp_path: Path) -> None:
    window = desk.ready()
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"format": "other"}), encoding="utf-8")
    window.data.import_from(bad)
    assert window.page.error.isVisible()
    assert "Nothing was changed" in window.page.error.next_step.text()
    window.data.import_from(tmp_path / "missing.json")
    assert "could not be read" in window.page.error.message.text()
    window.data.export_to(tmp_path / "no" / "such" / "folder.json", None)
    assert "could not be written" in window.page.error.message.text()


def test_every_control_has_an_accessible_name(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "markdown")
    window.open_shortcuts()
    roots: list[QWidget] = [window, settings_of(window)]
    kinds = (QAbstractButton, QLineEdit, QComboBox, QAbstractSpinBox, QPlainTextEdit)
    unnamed = []
    for root in roots:
        for kind in kinds:
            for widget in root.findChildren(kind):
                inside = isinstance(widget.parent(), (QComboBox, QAbstractSpinBox, QLineEdit))
                own = widget.text() if isinstance(widget, QAbstractButton) else ""
                if not inside and not widget.accessibleName() and not own:
                    unnamed.append(f"{type(widget).__name__} {widget.objectName()}")
    assert [name for name in unnamed if "qt_" not in name] == []


def test_a_full_disk_is_explained(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    window = desk.ready()

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(settings_file, "save", full)
    window.controller.save_settings()
    assert "could not be saved" in window.page.error.message.text()
    monkeypatch.undo()


def test_connecting_can_be_given_up_and_tried_again(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv("FAKE_ENGINE_CONNECT_GATE", str(gate))
    window = desk.build()
    desk.until(lambda: len(desk.commands("connect")) == 1)
    click(desk, window.page.empty.cancel)
    desk.until(lambda: window.page.error.isVisible())
    assert window.page.meter.status.words.text() == "Offline"
    gate.touch()
    click(desk, window.page.error.reconnect)
    desk.until(lambda: window.controller.ready)
