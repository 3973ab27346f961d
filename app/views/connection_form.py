"""A server's URL, token and pinned certificate with *Test connection*: every outcome a sentence."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QFormLayout, QLineEdit, QVBoxLayout, QWidget
from shiboken6 import isValid

from app import sentences, theme
from app.controller import Controller
from app.events import ConnectionReport
from app.icons import pixmap
from app.views import parts

LOOPBACK = ("localhost", "127.", "[::1]")
FINGERPRINT = re.compile("[0-9a-f]{64}")


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


def bare_fingerprint(text: str) -> str:
    """A fingerprint as it is kept: lower-case hex without the signs that group it."""
    return re.sub(r"[\s:-]", "", text).lower()


def grouped(fingerprint: str) -> str:
    """A fingerprint as people compare it: groups of four, two lines."""
    groups = [fingerprint[at : at + 4].upper() for at in range(0, len(fingerprint), 4)]
    return "\n".join(" ".join(groups[at : at + 8]) for at in range(0, len(groups), 8))


class ConnectionForm(QWidget):
    """URL, token, certificate, model and the test. Does not decide what becomes of them."""

    changed = Signal()

    def __init__(
        self, controller: Controller, parent: QWidget | None = None, *, short: bool = False
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._short = short  # the certificate is asked for only where it is needed
        self._run = 0
        self._shown_certificate = ""
        self.report: ConnectionReport | None = None
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
        self.pin_field = QLineEdit()
        self.pin_field.setPlaceholderText(self.tr("only if your system does not trust it"))
        self.pin_field.setAccessibleName(self.tr("Pinned certificate (SHA-256)"))
        self.pin_button = parts.button(
            self.tr("Pin the certificate that this server showed"), self.pin_shown, name="pin"
        )
        self.fingerprint = parts.label("", name="fingerprint")
        self.fingerprint.setFont(theme.mono())
        self.fingerprint.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.test_button = parts.button(self.tr("Test connection"), self.test, name="test")
        self._icon = parts.label()
        self.outcome = parts.label("", "strong", wrap=True, name="outcome")
        self.next_step = parts.label("", "muted", wrap=True, name="nextStep")
        self._lay_out()
        for field in (self.url_field, self.pin_field):
            field.textChanged.connect(self._edited)
        self._edited()

    def _lay_out(self) -> None:
        self._form = form = QFormLayout()
        form.setHorizontalSpacing(theme.NORMAL)
        form.setVerticalSpacing(theme.SMALL)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.tr("&URL"), self.url_field)
        form.addRow(self.tr("Access &token"), self.token_field)
        form.addRow(self.tr("&Model"), self.model_field)
        form.addRow(self.tr("&Certificate"), self.pin_field)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.SMALL)
        parts.margins(layout, 0)
        layout.addLayout(form)
        texts = parts.column(self.outcome, self.next_step, spacing=2)
        line = parts.row(self.test_button, self._icon)
        line.addLayout(texts, 1)
        layout.addLayout(line)
        layout.addWidget(self.fingerprint)
        layout.addLayout(parts.row(self.pin_button, 1))
        for widget in (self._icon, self.outcome, self.next_step, self.fingerprint, self.pin_button):
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
    def pin(self) -> str:
        """The fingerprint of the only certificate to accept; empty for those the system trusts."""
        return bare_fingerprint(self.pin_field.text())

    @property
    def valid(self) -> bool:
        """Whether the URL can be tried."""
        good_pin = not self.pin or FINGERPRINT.fullmatch(self.pin) is not None
        return plausible_url(self.url) and good_pin

    def fill(self, url: str, token: str, model: str, pin: str = "") -> None:
        """Show a saved server."""
        self.url_field.setText(url)
        self.pin_field.setText(pin)
        self.token_field.setText(token)
        self.model_field.clear()
        self.model_field.setEditText(model)

    def _edited(self) -> None:
        self._run += 1  # an answer about an older URL is not shown
        self.test_button.setEnabled(self.valid)
        self._show("", "", None)
        self._show_certificate("")
        self.changed.emit()

    def test(self) -> None:
        """Test the connection through the engine."""
        self._run += 1
        run = self._run
        self.test_button.setEnabled(False)
        self._show(self.tr("Testing…"), "", None)
        self._show_certificate("")
        self._controller.test_connection(
            self.url, self.token, self.model, lambda report: self._take(run, report), self.pin
        )

    def _take(self, run: int, report: ConnectionReport) -> None:
        if run != self._run or not isValid(self):
            return
        self.report = report
        self.test_button.setEnabled(True)
        good = report.outcome == "ok"
        c = theme.colours()
        image = pixmap("status-ready", c.accent, 22, self.devicePixelRatioF())
        if not good:
            image = pixmap("warning", c.danger, 22, self.devicePixelRatioF())
        self._icon.setPixmap(image)
        self._show(*sentences.connection_words(report), good)
        self._show_certificate(report.certificate)
        self._offer_models(report.models)

    def _show(self, what: str, step: str, good: bool | None) -> None:
        self._icon.setVisible(good is not None)
        for widget, text in ((self.outcome, what), (self.next_step, step)):
            widget.setText(text)
            widget.setVisible(bool(text))

    def _show_certificate(self, fingerprint: str) -> None:
        """Offer to pin a certificate that was shown but is not trusted, once it was compared."""
        self._shown_certificate = fingerprint
        self.fingerprint.setText(grouped(fingerprint))
        self.fingerprint.setAccessibleName(
            self.tr("Fingerprint of the certificate: {0}").format(grouped(fingerprint))
        )
        needed = bool(fingerprint or self.pin) or not self._short
        self._form.setRowVisible(self.pin_field, needed)
        self.fingerprint.setVisible(bool(fingerprint))
        self.pin_button.setVisible(bool(fingerprint))

    def pin_shown(self) -> None:
        """Accept the certificate that was shown, and no other, and test again."""
        self.pin_field.setText(self._shown_certificate)
        self.test()

    def _offer_models(self, models: tuple[str, ...]) -> None:
        if models:
            chosen = self.model
            self.model_field.clear()
            self.model_field.addItems(models)
            self.model_field.setEditText(chosen)
