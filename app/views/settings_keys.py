"""Settings: the buttons and dialogs around the key, and the hints kept on disk."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QVBoxLayout, QWidget
from shiboken6 import isValid

from app import figures, theme
from app.controller import Controller
from app.events import Failure, KeysStatus
from app.i18n import translate
from app.key_actions import KeyActions
from app.views import parts
from app.views.key_dialogs import Answer, Field, KeyDialog

ERASE_WORD = "erase"


class KeyTools(QWidget):
    """Change the key, save it, bring it back, erase it; and the cache of hints."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.work = KeyActions(controller)
        self.dialog: KeyDialog | None = None
        self.result = parts.label("", wrap=True, name="toolsResult")
        self.hints = parts.label("", name="hintsSize")
        self.rotate_button = parts.button(self.tr("Change the key…"), self.ask_rotate)
        self.export_button = parts.button(self.tr("Save a recovery file…"), self._choose_export)
        self.import_button = parts.button(self.tr("Use a recovery file…"), self._choose_import)
        self.clear_button = parts.button(self.tr("Delete unused hints"), self.clear_hints)
        self.erase_button = parts.button(
            self.tr("Erase keys and chats…"), lambda: self.ask_erase(everything=False), "danger"
        )
        self.result.hide()
        self._lay_out()
        controller.keys_changed.connect(self._enable)
        self._enable(controller.keys)
        self.work.hints_size(self._show_hints, self._failed)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0)
        frame, inside = parts.card()
        inside.addWidget(parts.label(self.tr("Recovery and erasing"), "strong"))
        inside.addLayout(parts.row(self.export_button, self.import_button, 1))
        inside.addLayout(parts.row(self.rotate_button, self.erase_button, 1))
        inside.addWidget(self.result)
        layout.addWidget(frame)
        frame, inside = parts.card()
        inside.addLayout(parts.row(self.hints, 1, self.clear_button))
        layout.addWidget(frame)

    def _enable(self, keys: KeysStatus) -> None:
        stored = keys.state in ("keyring", "passphrase")
        self.rotate_button.setEnabled(stored)
        self.export_button.setEnabled(stored)

    def _show_hints(self, size: int) -> None:
        if not isValid(self):  # the settings were closed meanwhile
            return
        self.hints.setText(self.tr("Hints on disk: {0}").format(figures.megabytes(size)))

    def clear_hints(self) -> None:
        """Delete the hints of models that are not in use."""
        self.work.clear_hints(self._show_hints, self._failed)

    def _failed(self, failure: Failure) -> None:
        if not isValid(self):
            return
        parts.say(self.result, f"{failure.message} {failure.next_step}".strip())

    def _opening(self) -> list[Field]:
        return [Field(self.tr("Passphrase"))] if self.work.asks_passphrase else []

    def _open(
        self, title: str, text: str, fields: list[Field], go: tuple[str, str], answer: Answer
    ) -> KeyDialog:
        self.dialog = KeyDialog(title, text, fields, go, answer, self)
        self.dialog.open()
        return self.dialog

    def _done(self, dialog: KeyDialog, text: str) -> None:
        dialog.accept()
        parts.say(self.result, text)

    def ask_rotate(self) -> KeyDialog:
        """Replace the key, after asking."""
        text = self.tr(
            "A new key is made and everything is sealed anew. Earlier recovery files and backups "
            "no longer open this profile."
        )

        def go(dialog: KeyDialog, answers: list[str]) -> None:
            done = self.tr("The key was changed. Save a new recovery file.")
            opening = answers[0] if answers else None
            self.work.rotate(opening, lambda: self._done(dialog, done), dialog.failed)

        button = (self.tr("Change the key"), "primary")
        return self._open(self.tr("Change the key"), text, self._opening(), button, go)

    def _choose_export(self) -> None:
        dialog = QFileDialog(self, self.tr("Save a recovery file"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("txt")
        dialog.fileSelected.connect(lambda path: self.ask_export(Path(path)))
        dialog.open()

    def ask_export(self, path: Path) -> KeyDialog:
        """Write a recovery file, locked by a passphrase of its own."""
        text = self.tr("Choose a passphrase for this file. Keep the file away from this computer.")
        button = (self.tr("Save"), "primary")
        if path.exists():
            replaced = self.tr("“{0}” exists already and will be replaced.").format(path.name)
            text, button = f"{replaced} {text}", (self.tr("Replace the file"), "danger")
        fields = [*self._opening(), Field(self.tr("Passphrase of the file"), repeated=True)]

        def go(dialog: KeyDialog, answers: list[str]) -> None:
            opening = answers[0] if len(answers) > 1 else None
            done = self.tr("The recovery file was written.")
            self.work.export(
                path, answers[-1], opening, lambda: self._done(dialog, done), dialog.failed
            )

        return self._open(self.tr("Save a recovery file"), text, fields, button, go)

    def _choose_import(self) -> None:
        dialog = QFileDialog(self, self.tr("Use a recovery file"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda path: self.ask_import(Path(path)))
        dialog.open()

    def ask_import(self, path: Path) -> KeyDialog:
        """Put the key of a recovery file in place: as the key is kept now, else in the keyring."""
        fields = [Field(self.tr("Passphrase of the file"))]
        if self.work.asks_passphrase or self._controller.keys.state == "unavailable":
            fields.append(Field(self.tr("New passphrase at each start"), repeated=True))

        def go(dialog: KeyDialog, answers: list[str]) -> None:
            new = answers[1] if len(answers) > 1 else None
            done = self.tr("The key is in place.")
            self.work.bring_back(
                path, answers[0], new, lambda: self._done(dialog, done), dialog.failed
            )

        text = self.tr("Data that needs another key is never replaced.")
        button = (self.tr("Use this key"), "primary")
        return self._open(self.tr("Use a recovery file"), text, fields, button, go)

    def ask_erase(self, *, everything: bool) -> KeyDialog:
        """Erase keys and chats, or the whole profile, after a word was typed."""
        return ask_erase(self.work, self, everything=everything)


def ask_erase(actions: KeyActions, parent: QWidget, *, everything: bool) -> KeyDialog:
    """Ask for a word, then erase; shared by *Privacy & security* and *Data*."""
    text = translate("erase", "The key and all saved chats are deleted. This cannot be undone.")
    title = translate("erase", "Erase keys and chats")
    if everything:
        title = translate("erase", "Factory reset")
        text = translate(
            "erase",
            "Settings, the key in the keyring, chats, hints, local models and logs are deleted. "
            "This cannot be undone.",
        )
    word = Field(translate("erase", "Type “{0}” to go on").format(ERASE_WORD), word=ERASE_WORD)

    def go(dialog: KeyDialog, _answers: list[str]) -> None:
        force = dialog.force.isChecked()
        actions.erase(everything=everything, force=force, done=dialog.accept, failed=dialog.failed)

    dialog = KeyDialog(title, text, [word], (title, "danger"), go, parent)
    dialog.open()
    return dialog
