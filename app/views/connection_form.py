"""A server's URL and token with *Test connection*, whose every outcome is a sentence."""

from __future__ import annotations

from urllib.parse import urlsplit

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from app import sentences, theme
from app.controller import Controller
from app.events import ConnectionReport
from app.icons import pixmap
from app.views import parts

LOOPBACK = ("localhost", "127.", "[::1]")


def normalised_url(text: str) -> str:
    """The URL that is meant: ``https`` unless a scheme is given or the server is this computer."""
    url = text.strip().rstrip("/")
    if not url or "://" in url:
        return url
    return ("http://" if url.startswith(LOOPBACK) else "https://") + url


def plausible_url(url: str) -> bool:
    """Whether a URL can be tried at all."""
    try:
        split = urlsplit(url)
        return split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        return False


class ConnectionForm(QWidget):
    """URL, token, model and the test. Does not decide what becomes of them."""

    changed = Signal()

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._run = 0
        self.url_field = QLineEdit()
        self.url_field.setPlaceholderText("https://tacita.example.org")
        self.url_field.setAccessibleName(self.tr("Server URL"))
        self.token_field = QLineEdit()
        self.token_field.setEchoMode(QLineEdit.EchoMode.Password)
        self.token_field.setPlaceholderText(self.tr("only if the operator gave you one"))
        self.token_field.setAccessibleName(self.tr("Access token"))
        self.model_field = QComboBox()
        self.model_field.setEditable(True)
        self.model_field.setAccessibleName(self.tr("Model"))
        if (line := self.model_field.lineEdit()) is not None:
            line.setPlaceholderText(self.tr("the server's default"))
        self.test_button = parts.button(self.tr("Test connection"), self.test, name="test")
        self._icon = parts.label()
        self.outcome = parts.label("", "strong", wrap=True, name="outcome")
        self.next_step = parts.label("", "muted", wrap=True, name="nextStep")
        self._lay_out()
        self.url_field.textChanged.connect(self._edited)
        self._edited()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(theme.NORMAL)
        form.setVerticalSpacing(theme.SMALL)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.tr("&URL"), self.url_field)
        form.addRow(self.tr("Access &token"), self.token_field)
        form.addRow(self.tr("&Model"), self.model_field)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, 0)
        layout.addLayout(form)
        texts = parts.column(self.outcome, self.next_step, spacing=2)
        line = parts.row(self.test_button, self._icon)
        line.addLayout(texts, 1)
        layout.addLayout(line)
        for widget in (self._icon, self.outcome, self.next_step):
            widget.hide()

    @property
    def url(self) -> str:
        """The URL as it will be used."""
        return normalised_url(self.url_field.text())

    @property
    def token(self) -> str:
        """The token; empty for none."""
        return self.token_field.text().strip()

    @property
    def model(self) -> str:
        """The model's name; empty for the server's default."""
        return self.model_field.currentText().strip()

    @property
    def valid(self) -> bool:
        """Whether the URL can be tried."""
        return plausible_url(self.url)

    def fill(self, url: str, token: str, model: str) -> None:
        """Show a saved server."""
        self.url_field.setText(url)
        self.token_field.setText(token)
        self.model_field.clear()
        self.model_field.setEditText(model)

    def _edited(self) -> None:
        self._run += 1  # an answer about an older URL is not shown
        self.test_button.setEnabled(self.valid)
        self._show("", "", None)
        self.changed.emit()

    def test(self) -> None:
        """Test the connection through the engine."""
        self._run += 1
        run = self._run
        self.test_button.setEnabled(False)
        self._show(self.tr("Testing…"), "", None)
        self._controller.test_connection(
            self.url, self.token, self.model, lambda report: self._take(run, report)
        )

    def _take(self, run: int, report: ConnectionReport) -> None:
        if run != self._run:
            return
        self.test_button.setEnabled(True)
        good = report.outcome == "ok"
        c = theme.colours()
        image = pixmap("status-ready", c.accent, 22, self.devicePixelRatioF())
        if not good:
            image = pixmap("warning", c.danger, 22, self.devicePixelRatioF())
        self._icon.setPixmap(image)
        self._show(*sentences.connection_words(report), good)
        self._offer_models(report.models)

    def _show(self, what: str, step: str, good: bool | None) -> None:
        self._icon.setVisible(good is not None)
        for widget, text in ((self.outcome, what), (self.next_step, step)):
            widget.setText(text)
            widget.setVisible(bool(text))

    def _offer_models(self, models: tuple[str, ...]) -> None:
        if models:
            chosen = self.model
            self.model_field.clear()
            self.model_field.addItems(models)
            self.model_field.setEditText(chosen)
