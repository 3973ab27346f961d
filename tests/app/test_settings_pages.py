"""The pages of the settings: certificates, names, model and scheme, presets, padding, what is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QInputDialog

from app.events import Meter
from app.settings import SavedServer
from app.views.connection_form import bare_fingerprint, grouped
from app.views.licences import libraries
from app.views.main_window import MainWindow
from app.views.settings_dialog import SettingsDialog
from tests.app.fake_engine import SHOWN
from tests.app.helpers import Desk


def settings_of(window: MainWindow) -> SettingsDialog:
    window.open_settings()
    assert window._settings_dialog is not None
    return window._settings_dialog


def test_a_certificate_that_is_not_trusted_can_be_compared_and_pinned(desk: Desk) -> None:
    window = desk.ready()
    page = settings_of(window).server
    page.add()
    form = page.form
    form.url_field.setText("https://tls.test")
    form.test()
    desk.until(lambda: form.fingerprint.isVisible())
    assert form.fingerprint.text() == grouped(SHOWN)
    assert "does not trust" in form.outcome.text()
    assert form.pin == ""  # nothing is accepted by itself
    form.pin_button.click()
    desk.until(lambda: form.outcome.text().startswith("Connected"))
    assert not form.fingerprint.isVisible()
    page.use_button.click()
    desk.until(lambda: len(desk.commands("connect")) == 2 and window.controller.ready)
    assert desk.commands("connect")[1]["server"]["pinned_certificate"] == SHOWN
    saved = window.controller.settings.saved_server("https://tls.test")
    assert saved == SavedServer("https://tls.test", "", "", SHOWN)


def test_fingerprints() -> None:
    text = grouped("ab" * 32)
    assert text.split() == ["ABAB"] * 16
    assert bare_fingerprint(text) == bare_fingerprint(":".join(["AB"] * 32)) == "ab" * 32


def test_a_fingerprint_with_a_slip_cannot_be_used(desk: Desk) -> None:
    page = settings_of(desk.ready()).server
    page.add()
    page.form.url_field.setText("https://one.test")
    assert page.use_button.isEnabled()
    page.form.pin_field.setText("ab" * 31)
    assert not page.use_button.isEnabled()


def test_a_server_is_named_moved_and_kept_apart_from_its_token(desk: Desk, profile: Path) -> None:
    window = desk.ready()
    page = settings_of(window).server
    page.add()
    page.name_field.setText("Office")
    page.form.fill("https://one.test", "CANARY-token", "")
    assert page.save_button.isEnabled()
    page.save_button.click()
    assert page.list.currentItem().text() == "Office"
    assert window.controller.settings.server == "local"  # saved, not used
    assert not page.save_button.isEnabled()
    page.form.url_field.setText("https://two.test")
    page.save_button.click()
    urls = [server.url for server in window.controller.settings.servers]
    assert urls == ["https://two.test"]
    assert window.controller.server_token("https://two.test") == "CANARY-token"
    assert window.controller.server_token("https://one.test") == ""
    desk.qtbot.keyClick(page.list, Qt.Key.Key_Return)
    desk.until(lambda: window.controller.settings.server == "https://two.test")
    for path in profile.rglob("*"):
        if path.is_file():
            assert b"CANARY" not in path.read_bytes(), path


def test_model_and_scheme_of_the_server_in_use(desk: Desk) -> None:
    window = desk.ready()
    window.controller.settings.add_server(SavedServer("https://one.test", "One", "", "ab" * 32))
    window.controller.choose_server("https://one.test")
    desk.until(lambda: len(desk.commands("connect")) == 2 and window.controller.ready)
    dialog = settings_of(window)
    dialog.pages.setCurrentRow(1)
    choice = dialog.model.choice
    desk.until(lambda: choice.model.findText("gpt2") >= 0)
    assert desk.commands("test_connection")[0]["server"]["pinned_certificate"] == "ab" * 32
    assert not choice.apply_button.isEnabled()
    choice.model.setEditText("gpt2")
    window.controller.settings.pad = True
    choice.glwe.click()
    choice.apply_button.click()
    desk.until(lambda: len(desk.commands("connect")) == 3 and window.controller.ready)
    sent = desk.commands("connect")[2]
    assert (sent["model"], sent["scheme"]) == ("gpt2", "glwe")
    assert not window.controller.settings.pad
    assert window.controller.settings.servers[0] == SavedServer(
        "https://one.test", "One", "gpt2", "ab" * 32
    )
    dialog.model.reset()
    desk.until(lambda: len(desk.commands("connect")) == 4)
    assert (desk.commands("connect")[3]["model"], desk.commands("connect")[3]["scheme"]) == (
        None,
        "hint",
    )


def test_why_a_scheme_cannot_be_used_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ENGINE_NO_GLWE", "concrete-ml-extensions is not installed.")
    choice = settings_of(desk.ready()).model.choice
    assert not choice.glwe.isEnabled()
    assert "concrete-ml-extensions" in choice.glwe_reason.text()
    assert "134 MB" in choice.glwe_cost.text()


def test_presets_of_the_system_prompt(desk: Desk, profile: Path) -> None:
    window = desk.ready()
    page = settings_of(window).model
    presets = page.presets
    page.prompt.setPlainText("Answer as a CANARY poet.")
    presets.ask_save()
    (dialog,) = presets.findChildren(QInputDialog)
    dialog.setTextValue("Poet")
    dialog.accept()
    assert presets.chosen == "Poet"
    page.prompt.setPlainText("Answer in one CANARY word.")
    presets.save("Short")
    presets.names.setCurrentIndex(presets.names.findData("Poet"))
    presets.names.activated.emit(presets.names.currentIndex())
    assert page.prompt.toPlainText() == "Answer as a CANARY poet."
    page.save()
    assert window.controller.system_prompt() == "Answer as a CANARY poet."
    presets.delete()
    assert presets.names.findData("Poet") == -1
    presets.undo()
    assert presets.chosen == "Poet"
    for path in profile.rglob("*"):
        if path.is_file():
            assert b"CANARY" not in path.read_bytes(), path


def test_drafting_and_padding_reach_the_engine(desk: Desk) -> None:
    window = desk.ready()
    dialog = settings_of(window)
    dialog.pages.setCurrentRow(2)
    desk.until(lambda: dialog.privacy.padding.cost.isVisible())
    assert "cost about" in dialog.privacy.padding.cost.text()
    dialog.privacy.padding.pad.click()
    dialog.model.draft.setCurrentIndex(dialog.model.draft.findData(4))
    dialog.model.save()
    desk.ask(window, "Hi")
    (ask,) = desk.commands("ask")
    assert (ask["options"]["draft"], ask["options"]["pad"]) == (4, True)
    dialog.model.reset()
    dialog.privacy.reset()
    assert (window.controller.settings.draft, window.controller.settings.pad) == ("off", False)


def test_everything_that_is_sent_is_shown_with_its_bytes(desk: Desk) -> None:
    window = desk.ready()
    desk.ask(window, "Hi")
    sent = settings_of(window).privacy.show_sent()
    assert sent.counts["rounds"].text() == "2.70 MB up · 3.60 MB down"
    assert sent.counts["hints"].text() == "0.00 MB up · 420 MB down"
    window.controller.meter_changed.emit(Meter(kinds={"rounds": (12_000_000, 0)}))
    assert sent.counts["rounds"].text() == "12.0 MB up · 0.00 MB down"
    sent.accept()


def test_a_recovery_file_is_not_replaced_without_a_word(desk: Desk, tmp_path: Path) -> None:
    target = tmp_path / "recovery.txt"
    tools = settings_of(desk.ready()).privacy.tools
    dialog = tools.ask_export(target)
    assert dialog.go.text() == "Save"
    dialog.reject()
    target.write_text("older", encoding="utf-8")
    dialog = tools.ask_export(target)
    assert dialog.go.text() == "Replace the file"
    dialog.reject()
    assert target.read_text(encoding="utf-8") == "older"


def test_the_licences_of_what_is_used_are_listed(desk: Desk) -> None:
    names = {one.name.lower() for one in libraries()}
    assert {"pyside6_essentials", "cryptography", "torch"} <= names
    dialog = settings_of(desk.ready()).about.show_licences()
    assert "cryptography" in dialog.list.toPlainText()
    dialog.accept()
