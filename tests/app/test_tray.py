"""The tray icon and the notice: off by default, and never a word of a chat."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from app.views.main_window import MainWindow
from tests.app.helpers import Desk

CANARY = "kingfisher-canary-55"


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A desktop with a tray; what it was asked to show."""
    shown: list[tuple[str, ...]] = []

    def show(_icon: QSystemTrayIcon, title: str, text: str, _picture: QIcon, _time: int) -> None:
        shown.append((title, text))

    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", staticmethod(lambda: True))
    monkeypatch.setattr(QSystemTrayIcon, "setVisible", lambda _icon, _on: None)
    monkeypatch.setattr(QSystemTrayIcon, "isVisible", lambda _icon: True)
    monkeypatch.setattr(QSystemTrayIcon, "showMessage", show)
    monkeypatch.setattr(QApplication, "alert", lambda *_window: shown.append(("alert",)))
    return shown


def in_the_background(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "isActiveWindow", lambda: False)


def test_there_is_no_icon_unless_it_is_wanted(
    desk: Desk, notices: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = desk.ready()
    assert window.tray.icon is None
    in_the_background(window, monkeypatch)
    desk.ask(window, CANARY)
    assert notices == [("alert",)]


def test_the_icon_and_the_notice_say_nothing_of_the_chat(
    desk: Desk, notices: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = desk.ready()
    window.open_settings()
    dialog = window._settings_dialog
    assert dialog is not None
    assert dialog.appearance.tray.isEnabled()
    dialog.appearance.tray.click()
    assert window.controller.settings.tray
    icon = window.tray.icon
    assert icon is not None
    in_the_background(window, monkeypatch)
    desk.ask(window, CANARY)
    assert notices == [("alert",), ("Tacita", "An answer is ready.")]
    assert icon.toolTip() == "Tacita"
    menu = icon.contextMenu()
    assert menu is not None
    texts = [action.text() for action in menu.actions() if not action.isSeparator()]
    assert texts == ["Show the window", "New chat", "Quit"]


def test_a_window_in_front_and_a_user_who_does_not_want_it_are_left_alone(
    desk: Desk, notices: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = desk.ready()
    monkeypatch.setattr(window, "isActiveWindow", lambda: True)
    window.tray.notify()
    in_the_background(window, monkeypatch)
    window.controller.settings.notify = False
    window.tray.notify()
    assert notices == []
