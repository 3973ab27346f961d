"""Which model of the server in use, and with which scheme."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QLabel,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from app import figures, profile, sentences, theme
from app.controller import Controller
from app.events import Connection, ConnectionReport
from app.settings import LOCAL, SavedServer
from app.views import parts


class ModelChoice(QWidget):
    """Takes effect with *Connect with these*: another model or scheme is another connection."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._asked = ""
        self._why_not = dict(controller.why_not)
        self.model = QComboBox()
        self.model.setEditable(True)
        self.model.setAccessibleName(self.tr("Model"))
        if (line := self.model.lineEdit()) is not None:
            line.setPlaceholderText(self.tr("the server's default"))
            line.setAccessibleName(self.tr("Model"))
        self.state = parts.label("", "muted", wrap=True, name="modelState")
        self.hint = QRadioButton(self.tr("&hint: fast, for conversation"))
        self.glwe = QRadioButton(self.tr("&glwe: the scheme of Concrete ML"))
        self._group = QButtonGroup(self)
        self.hint_cost, self.glwe_cost = self._costs()
        self.glwe_reason = parts.label("", "danger", wrap=True, name="glweReason")
        self.apply_button = parts.button(
            self.tr("Connect with these"), self.apply, "primary", "applyModel"
        )
        self._lay_out()
        self.fill()
        self._show_schemes()
        self._wire()

    def _costs(self) -> tuple[QLabel, QLabel]:
        found = self._controller.connection
        size = figures.megabytes(found.hint_bytes) if found and found.hint_bytes else ""
        hint = self.tr("Its hints are downloaded once for each model.")
        if size:
            hint = self.tr("Its hints are downloaded once for each model: {0} for this one.")
        glwe = self.tr(
            "No hints, but {0} of keys are uploaded at each connection, a token moves several "
            "megabytes and takes minutes to an hour. Without padding. For comparison, not for "
            "conversation."
        ).format(figures.megabytes(134_217_808))
        return parts.label(hint.format(size), "muted", wrap=True), parts.label(
            glwe, "muted", wrap=True
        )

    def _lay_out(self) -> None:
        frame, inside = parts.card()
        form = QFormLayout()
        form.setHorizontalSpacing(theme.WIDE)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.tr("&Model"), self.model)
        inside.addLayout(form)
        inside.addWidget(self.state)
        inside.addWidget(parts.label(self.tr("Scheme of encryption"), "strong"))
        for radio in (self.hint, self.glwe):
            self._group.addButton(radio)
        for widget in (self.hint, self.hint_cost, self.glwe, self.glwe_cost, self.glwe_reason):
            inside.addWidget(widget)
        inside.addLayout(parts.row(1, self.apply_button))
        layout = QVBoxLayout(self)
        parts.margins(layout, 0)
        layout.addWidget(frame)

    def _wire(self) -> None:
        self.model.editTextChanged.connect(lambda _text: self._changed())
        self._group.buttonToggled.connect(lambda *_: self._changed())
        self._controller.connected.connect(self._connected)

    # -- what is shown -----------------------------------------------------------------------------

    @property
    def scheme(self) -> str:
        """The scheme that is chosen here."""
        return "glwe" if self.glwe.isChecked() else "hint"

    def _present_model(self) -> str:
        settings = self._controller.settings
        if settings.server == LOCAL:
            return settings.local_model
        saved = settings.saved_server(settings.server)
        return saved.model if saved else ""

    def fill(self) -> None:
        """Show the present choice."""
        self.model.setEditText(self._present_model())
        (self.glwe if self._controller.settings.scheme == "glwe" else self.hint).setChecked(True)
        self._changed()

    def _changed(self) -> None:
        same_model = self.model.currentText().strip() == self._present_model()
        same_scheme = self.scheme == self._controller.settings.scheme
        blocked = self.scheme in self._why_not
        self.apply_button.setEnabled(not (same_model and same_scheme) and not blocked)

    def _show_schemes(self) -> None:
        """Say why ``glwe`` cannot be used, where it cannot. A choice made before stays visible."""
        why = self._why_not.get("glwe", "")
        parts.say(self.glwe_reason, self.tr("Not available: {0}").format(why) if why else "")
        self.glwe.setEnabled(not why or self.glwe.isChecked())
        self._changed()

    def showEvent(self, event: QShowEvent) -> None:
        """Ask the server what it offers, once for each server."""
        super().showEvent(event)
        server = self._controller.settings.server
        if server and server != self._asked:
            self._asked = server
            self._ask(server)

    def _ask(self, server: str) -> None:
        if server == LOCAL:
            self._offer(profile.local_models(), self.tr("Models that were imported here."))
            return
        self.state.setText(self.tr("Asking the server for its models…"))
        saved = self._controller.settings.saved_server(server) or SavedServer(server)
        token = self._controller.server_token(server)
        self._controller.test_connection(server, token, "", self._take, saved.pinned_certificate)

    def _take(self, report: ConnectionReport) -> None:
        if not isValid(self):  # the settings were closed meanwhile
            return
        if report.outcome != "ok":
            self._asked = ""  # tried again when the page is shown next
            self.state.setText(" ".join(sentences.connection_words(report)))
            return
        self._why_not = {**self._controller.why_not, **report.why_not}
        self._offer(report.models, self.tr("Models that this server offers."))
        self._show_schemes()

    def _offer(self, models: tuple[str, ...], text: str) -> None:
        chosen = self.model.currentText()
        self.model.clear()
        self.model.addItems(models)
        self.model.setEditText(chosen)
        self.state.setText(text if models else self.tr("No model was imported here yet."))

    def _connected(self, found: Connection) -> None:
        self._why_not = {**self._controller.why_not, **found.why_not}
        self._show_schemes()

    # -- actions -----------------------------------------------------------------------------------

    def apply(self) -> None:
        """Keep the choice and connect with it."""
        settings, model = self._controller.settings, self.model.currentText().strip()
        settings.scheme = self.scheme
        if settings.scheme == "glwe":
            settings.pad = False  # that scheme has no room for fillers
        if settings.server == LOCAL:
            settings.local_model = model
        else:
            saved = settings.saved_server(settings.server) or SavedServer(settings.server)
            settings.add_server(replace(saved, model=model))
        self._controller.save_settings()
        self._controller.reconnect()
        self._changed()

    def reset(self) -> None:
        """The server's default model and the default scheme, if another was in use."""
        self.model.setEditText("")
        self.hint.setChecked(True)
        if self.apply_button.isEnabled():
            self.apply()
