"""Takes pictures of every screen of the real window: ``python -m tests.app.screens DIR LOOK SCALE LANGUAGE``.

SCALE is the screen's (1, 2), or ``zoom`` for text at 200 %. The engine is the stand-in of the tests.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget

from app.events import Failure, Status
from app.main import build
from app.settings import LOCAL
from app.vault import HistoryKey
from app.views.main_window import MainWindow
from app.views.settings_dialog import SettingsDialog
from fhe_client.history import Role
from fhe_client.home import Home
from tests.app.helpers import fake_command

WAIT_S = 30.0


class Camera:
    """Drives the window and writes what it shows."""

    def __init__(self, folder: Path, look: str, scale: str, language: str) -> None:
        self.folder = folder
        size = scale if scale == "zoom" else f"{scale}x"
        self.suffix = f"{look}-{size}" if language == "en" else f"{look}-{size}-{language}"
        self.app = QApplication([])
        settings = Home.locate().ensure().config / "window.json"
        settings.write_text(json.dumps({"language": language}), encoding="utf-8")
        os.environ["FAKE_ENGINE_PACE"] = "0.03"
        self.gate = Home.locate().config / "gate"
        os.environ["FAKE_ENGINE_CONNECT_GATE"] = str(self.gate)
        self.controller, self.window = build(
            self.app, fake_command(), lambda _passphrase: HistoryKey(None, None)
        )
        self.controller.settings.appearance = look
        self.controller.settings.zoom = 200 if scale == "zoom" else 100
        self.window.apply_theme()
        self.window.show()
        self.controller.start()

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the window did not come to the next screen")
            self.app.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
        self.settle()

    def settle(self) -> None:
        loop = QEventLoop()
        QTimer.singleShot(250, loop.quit)
        loop.exec()

    def take(self, name: str, widget: QWidget | None = None) -> None:
        self.settle()
        (widget or self.window).grab().save(str(self.folder / f"{name}-{self.suffix}.png"))

    def ask(self, text: str) -> None:
        self.window.page.composer.draft.setPlainText(text)
        self.window.page.composer.submit()

    def run(self) -> None:
        self.until(lambda: self.controller.keys.state != "")
        self.take("01-first-run")
        self.window.first_run.remote.setChecked(True)
        self.window.first_run.form.url_field.setText("https://old.test")
        self.window.first_run.form.test()
        self.until(lambda: self.window.first_run.form.next_step.text() != "")
        self.take("02-first-run-remote")
        self.controller.finish_first_run(
            LOCAL, "keyring", None, lambda _f: None, self.window._choose_page
        )
        self.until(lambda: self.window.page.meter.status.status.state == "connecting")
        loading = Status("downloading_hints", 120_000_000, 420_000_000, "bytes")
        self.controller.status_changed.emit(loading)
        self.take("03-connecting")
        self.gate.touch()
        self.until(lambda: self.controller.ready)
        self.take("03-empty")
        self.conversation()
        self.dialogs()
        self.window.close()
        self.controller.quit()

    def conversation(self) -> None:
        page = self.window.page
        self.window.show_server_view(True)
        self.ask("Show me what markdown can do: a list, a table and some code.")
        self.until(lambda: not self.controller.busy)
        self.window.server_panel.slider.setValue(self.window.server_panel.slider.maximum() // 2 - 1)
        self.take("04-server-view")
        self.window.show_server_view(False)
        self.ask("What does the server know about this question?")
        self.until(lambda: not self.controller.busy)
        self.take("05-chat")
        self.side_bar()
        self.controller.regenerate(page.messages.views()[-1].message.id)
        self.until(lambda: not self.controller.busy)
        self.window.show_server_view(True)
        self.ask("Tell me a short story about a lighthouse.")
        self.until(lambda: self.controller.busy and "thank her" in shown_text(self.window))
        self.take("06-working-ribbon")
        self.window.show_server_view(False)
        self.take("06-writing")
        assert self.controller.busy, "the reply ended before its picture was taken"
        self.controller.stop()
        self.until(lambda: not self.controller.busy)
        page.show_failure(
            Failure("server_gone", "The server closed the connection.", "Check that it runs.", "x")
        )
        page.start_edit(page.messages.views()[-2].message.id)
        self.take("07-error-and-edit")
        page.cancel_edit()
        page.error.hide()
        self.controller.library.new_chat(temporary=True)
        self.take("08-temporary")

    def side_bar(self) -> None:
        """Folders, a pinned chat, and a search with its words marked."""
        library, chats = self.controller.library, self.window.chats
        shown = library.current
        for title, words in (
            ("Letter to the landlord", "Please help me to write about the server room."),
            ("A week in Lisbon", "Which museums are near the river?"),
            ("Weekly report", "Summarise these notes for the team."),
        ):
            chat = library.history.new_chat(title)
            library.history.add_message(chat.id, Role.USER, words, parent=None)
        listed = {chat.title: chat.id for chat in library.chats()}
        library.new_folder(
            "Private", [listed["Letter to the landlord"], listed["A week in Lisbon"]]
        )
        library.pin(listed["Weekly report"], True)
        self.take("09-folders")
        chats.search.setText("serv")
        self.until(lambda: chats.list.count() < 4)
        self.take("09-search")
        chats.search.clear()
        self.window.page.open_find()
        self.window.page.find_bar.field.setText("server")
        self.take("09-find")
        self.window.page.find_bar.close_bar()
        assert shown is not None
        library.open_chat(shown)
        self.until(lambda: chats.list.count() > 4)

    def dialogs(self) -> None:
        self.window.open_settings()
        dialog = self.window._settings_dialog
        assert dialog is not None
        for index in range(dialog.pages.count()):
            dialog.pages.setCurrentRow(index)
            self.take(f"1{index}-settings", dialog)
            self.whole_page(dialog, index)
        self.certificate(dialog)
        for name, made in (
            ("17-sent", dialog.privacy.show_sent()),
            ("18-licences", dialog.about.show_licences()),
        ):
            self.take(name, made)
            made.accept()
        self.bottom_of_privacy(dialog)
        self.key_dialogs(dialog)
        dialog.accept()
        self.window.open_shortcuts()
        for child in self.window.children():
            if type(child).__name__ == "ShortcutsDialog" and isinstance(child, QWidget):
                self.take("20-shortcuts", child)

    def whole_page(self, dialog: SettingsDialog, index: int) -> None:
        """What a person sees after scrolling, in one picture."""
        area = dialog.stack.currentWidget()
        assert isinstance(area, QScrollArea)
        if area.verticalScrollBar().maximum() > 0:
            self.take(f"1{index}-settings-whole", area.widget())

    def certificate(self, dialog: SettingsDialog) -> None:
        dialog.pages.setCurrentRow(0)
        dialog.server.add()
        dialog.server.name_field.setText("Office")
        dialog.server.form.url_field.setText("https://tls.test")
        dialog.server.form.test()
        self.until(lambda: dialog.server.form.fingerprint.isVisible())
        self.whole_page(dialog, 9)
        self.take("10-certificate", dialog)

    def bottom_of_privacy(self, dialog: SettingsDialog) -> None:
        dialog.pages.setCurrentRow(2)
        area = dialog.stack.currentWidget()
        assert isinstance(area, QScrollArea)
        dialog.privacy.tools.result.setText("The recovery file was written.")
        dialog.privacy.tools.result.show()
        self.settle()
        area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
        self.take("16-privacy-end", dialog)

    def key_dialogs(self, dialog: SettingsDialog) -> None:
        tools, target = dialog.privacy.tools, self.folder / "recovery.txt"
        keyring = Failure(
            "keyring_unavailable",
            "The system keyring did not answer.",
            "Unlock it, then try again.",
        )
        for number, open_dialog, failure in (
            (0, tools.ask_rotate, None),
            (1, lambda: tools.ask_export(target), None),
            (2, lambda: tools.ask_import(target), None),
            (3, lambda: tools.ask_erase(everything=False), None),
            (4, dialog.data.ask_reset, keyring),
        ):
            made = open_dialog()
            if failure is not None:
                made.failed(failure)
            self.take(f"3{number}-keys", made)
            made.reject()
            made.deleteLater()


def shown_text(window: MainWindow) -> str:
    """The text of the newest message."""
    return window.controller.library.messages()[-1].text


if __name__ == "__main__":
    os.environ["QT_SCALE_FACTOR"] = "1" if sys.argv[3] == "zoom" else sys.argv[3]
    Camera(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]).run()
