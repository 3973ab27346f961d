"""Export, import and deletion, each with what the user should know before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from app.controller import Controller
from app.events import Failure
from app.sentences import failure_from
from fhe_client.history import HistoryTransferError, export_json, export_markdown
from fhe_client.history.transfer import MAX_IMPORT_BYTES


class DataDialogs(QObject):
    """Asks, warns, and then does it."""

    def __init__(self, controller: Controller, window: QWidget) -> None:
        super().__init__(window)
        self._controller = controller
        self._window = window

    def ask(self, text: str, more: str, yes: str, then: Callable[[], None]) -> QMessageBox:
        """A question whose safe answer is the default."""
        box = QMessageBox(self._window)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setText(text)
        box.setInformativeText(more)
        go = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
        cancel = box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(cancel)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        go.clicked.connect(lambda: then())
        box.open()
        return box

    def export(self, chat_id: int | None) -> None:
        """Export one chat, or all of them."""
        self.ask(
            self.tr("The exported file is not encrypted."),
            self.tr("Anyone who can read the file can read the chat."),
            self.tr("Export"),
            lambda: self._choose_target(chat_id),
        )

    def _choose_target(self, chat_id: int | None) -> None:
        dialog = QFileDialog(self._window, self.tr("Export"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        filters = ["Markdown (*.md)", "JSON (*.json)"]
        dialog.setNameFilters(filters if chat_id is not None else filters[::-1])
        dialog.setDefaultSuffix("json" if chat_id is None else "md")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filterSelected.connect(
            lambda chosen: dialog.setDefaultSuffix("json" if "json" in chosen else "md")
        )
        dialog.fileSelected.connect(lambda path: self.export_to(Path(path), chat_id))
        dialog.open()

    def export_to(self, path: Path, chat_id: int | None) -> None:
        """Write the export, readable by its owner alone."""
        library = self._controller.library
        chosen = [chat.id for chat in library.chats()] if chat_id is None else [chat_id]
        if path.suffix == ".md":
            text = "\n---\n\n".join(export_markdown(library.history, one) for one in chosen)
        else:
            text = export_json(library.history, chosen)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self._say(self.tr("The file could not be written."), error)

    def ask_import(self) -> None:
        """Choose a file to import."""
        dialog = QFileDialog(self._window, self.tr("Import"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilter("JSON (*.json)")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda path: self.import_from(Path(path)))
        dialog.open()

    def import_from(self, path: Path) -> None:
        """Add the chats of an exported file."""
        try:
            if path.stat().st_size > MAX_IMPORT_BYTES:
                raise HistoryTransferError(
                    self.tr("The file is too large."), self.tr("Export fewer chats at once.")
                )
            chats = self._controller.library.import_text(path.read_text(encoding="utf-8"))
        except HistoryTransferError as error:
            self._controller.failed.emit(failure_from(error))
        except (OSError, UnicodeDecodeError) as error:
            self._say(self.tr("The file could not be read."), error)
        else:
            if chats:
                self._controller.library.open_chat(chats[-1].id)

    def ask_delete_everything(self) -> None:
        """Delete all chats, after asking."""
        self.ask(
            self.tr("Delete all chats?"),
            self.tr("This cannot be undone."),
            self.tr("Delete all"),
            self._controller.delete_everything,
        )

    def _say(self, message: str, error: Exception) -> None:
        step = self.tr("Check the folder's permissions and free space, then try again.")
        self._controller.failed.emit(Failure("history", message, step, type(error).__name__))
