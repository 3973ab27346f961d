"""The prompt library: system prompts under names, kept encrypted with the chats."""

from __future__ import annotations

from PySide6.QtWidgets import QComboBox, QInputDialog, QLineEdit, QPlainTextEdit, QWidget

from app.controller import Controller
from app.views import parts

PRESET = "prompt:"


class PromptPresets(QWidget):
    """Choosing a preset puts it into the editor; saving under its name changes it."""

    def __init__(
        self, controller: Controller, editor: QPlainTextEdit, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._editor = editor
        self._deleted: tuple[str, str] | None = None
        self.names = QComboBox()
        self.names.setAccessibleName(self.tr("Presets"))
        self.save_button = parts.button(self.tr("Save as…"), self.ask_save, name="savePreset")
        self.delete_button = parts.button(self.tr("Delete"), self.delete, name="deletePreset")
        self.undo_button = parts.button(self.tr("Undo"), self.undo, name="undoPreset")
        self.undo_button.hide()
        layout = parts.row(self.names, self.save_button, self.delete_button, self.undo_button)
        layout.setStretch(0, 1)
        self.setLayout(layout)
        self.refresh()
        self.names.activated.connect(lambda _index: self._load())
        editor.textChanged.connect(self._enable)
        self._enable()

    def _presets(self) -> dict[str, str]:
        """Text by name, by name."""
        found = self._controller.library.history.secret_settings()
        named = {
            key.removeprefix(PRESET): text for key, text in found.items() if key.startswith(PRESET)
        }
        return dict(sorted(named.items(), key=lambda entry: entry[0].casefold()))

    def refresh(self, choose: str = "") -> None:
        """List the presets."""
        self.names.clear()
        self.names.addItem(self.tr("Presets…"), "")
        for name in self._presets():
            self.names.addItem(name, name)
        self.names.setCurrentIndex(max(self.names.findData(choose), 0))
        self._enable()

    @property
    def chosen(self) -> str:
        """The chosen preset's name, or an empty one."""
        return str(self.names.currentData() or "")

    def _enable(self) -> None:
        self.save_button.setEnabled(bool(self._editor.toPlainText().strip()))
        self.delete_button.setEnabled(bool(self.chosen))

    def _load(self) -> None:
        if self.chosen:
            self._editor.setPlainText(self._presets()[self.chosen])
        self._enable()

    def ask_save(self) -> None:
        """Ask for a name; the name of a preset that exists changes it."""
        dialog = QInputDialog(self)
        dialog.setWindowTitle(self.tr("Save the system prompt"))
        dialog.setLabelText(self.tr("Name (the name of a preset that exists changes it)"))
        dialog.setTextValue(self.chosen)
        dialog.textValueSelected.connect(self.save)
        dialog.finished.connect(lambda _result: dialog.deleteLater())
        dialog.open()
        for line in dialog.findChildren(QLineEdit):
            line.setAccessibleName(self.tr("Name"))

    def save(self, name: str) -> None:
        """Keep the text of the editor under a name; an empty name is ignored."""
        name, text = name.strip(), self._editor.toPlainText().strip()
        if name and text:
            self._controller.library.history.set_secret_setting(PRESET + name, text)
            self.refresh(name)

    def delete(self) -> None:
        """Delete the chosen preset; the text in the editor stays."""
        if name := self.chosen:
            self._deleted = (name, self._presets()[name])
            self._controller.library.history.set_secret_setting(PRESET + name, None)
            self.refresh()
            self.undo_button.show()

    def undo(self) -> None:
        """Bring the preset that was deleted last back."""
        self.undo_button.hide()
        if self._deleted is not None:
            name, text = self._deleted
            self._controller.library.history.set_secret_setting(PRESET + name, text)
            self.refresh(name)
            self._deleted = None
