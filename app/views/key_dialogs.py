"""One dialog for all that is done to keys: says what will happen, asks for secrets, shows what failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtWidgets import QCheckBox, QDialog, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from app import theme
from app.events import Failure
from app.views import parts
from app.views.key_choice import MIN_PASSPHRASE


@dataclass(frozen=True)
class Field:
    """A line to fill in: a secret, a new secret (``repeated``), or a word to type (``word``)."""

    label: str
    repeated: bool = False
    word: str = ""


Answer = Callable[["KeyDialog", list[str]], None]


class KeyDialog(QDialog):
    """Stays open until ``done`` or *Cancel*; ``force`` appears after the keyring could not be asked."""

    def __init__(
        self,
        title: str,
        text: str,
        fields: Sequence[Field],
        action: tuple[str, str],
        answer: Answer,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(460)
        self._answer = answer
        self._fields = list(fields)
        self.lines: list[QLineEdit] = []
        self.problem = parts.label("", "danger", wrap=True, name="keyProblem")
        self.force = QCheckBox(self.tr("Go on even though the keyring cannot be reached"))
        self.force.hide()
        self.go = parts.button(action[0], self._go, action[1], "keyGo")
        self.cancel = parts.button(self.tr("Cancel"), self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, theme.WIDE)
        layout.addWidget(parts.label(text, wrap=True))
        layout.addLayout(self._form())
        for widget in (self.problem, self.force):
            layout.addWidget(widget)
        layout.addLayout(parts.row(1, self.cancel, self.go))
        self.problem.hide()
        self._changed()

    def _form(self) -> QFormLayout:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for field in self._fields:
            self._line(form, field.label, secret=not field.word)
            if field.repeated:
                self._line(form, self.tr("The same again"), secret=True)
        return form

    def _line(self, form: QFormLayout, name: str, *, secret: bool) -> None:
        line = QLineEdit()
        line.setAccessibleName(name)
        if secret:
            line.setEchoMode(QLineEdit.EchoMode.Password)
        line.textChanged.connect(self._changed)
        self.lines.append(line)
        form.addRow(name, line)

    def _answers(self) -> list[str] | None:
        """One answer a field, or None while something is missing."""
        texts = iter([line.text() for line in self.lines])
        answers = []
        for field in self._fields:
            text = next(texts)
            if field.repeated and (next(texts) != text or len(text.strip()) < MIN_PASSPHRASE):
                return None
            if not text or (field.word and text.strip() != field.word):
                return None
            answers.append(text)
        return answers

    def _changed(self) -> None:
        self.go.setEnabled(self._answers() is not None)

    def _go(self) -> None:
        answers = self._answers()
        if answers is None:
            return
        self.problem.hide()
        self.go.setEnabled(False)
        self.cancel.setEnabled(False)
        self._answer(self, answers)

    def failed(self, failure: Failure) -> None:
        """Show why it did not happen; the user may try again."""
        self.problem.setText(f"{failure.message} {failure.next_step}".strip())
        self.problem.show()
        self.force.setVisible(failure.code == "keyring_unavailable")
        self.cancel.setEnabled(True)
        self._changed()
        self._make_room()

    def _make_room(self) -> None:
        # A window does not grow by itself for text that wraps: the lines would be cut instead.
        layout = self.layout()
        if layout is None:
            return
        layout.activate()
        width = max(self.width(), layout.totalMinimumSize().width())
        self.resize(width, max(self.height(), layout.totalHeightForWidth(width)))
