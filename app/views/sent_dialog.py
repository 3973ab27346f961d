"""*Everything this app sends*: each kind of traffic, its bytes in this session, what a server learns."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtWidgets import QDialog, QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from app import figures, theme
from app.controller import Controller
from app.events import Meter
from app.i18n import translate
from app.views import parts


@dataclass(frozen=True)
class Kind:
    """One kind of traffic; ``meter`` is its name in the meter, empty where nothing is counted."""

    meter: str
    title: str
    what: str
    learned: str


def kinds() -> list[Kind]:
    """Every kind of thing that leaves this computer."""
    return [
        Kind(
            "rounds",
            translate("sent", "Encrypted numbers of your conversation"),
            translate("sent", "One query for each group of layers and token, and its answer."),
            translate(
                "sent", "How many tokens, how often and when. Not one of your words or the model's."
            ),
        ),
        Kind(
            "audit",
            translate("sent", "Test queries"),
            translate("sent", "Encrypted zeros that show whether the server's hints are true."),
            translate("sent", "That a new session begins."),
        ),
        Kind(
            "hints",
            translate("sent", "Hints"),
            translate("sent", "Fetched once for each model. They are the same for everyone."),
            translate("sent", "Which model you use, and how much of its hints you have."),
        ),
        Kind(
            "files",
            translate("sent", "The small part of the model"),
            translate("sent", "Vocabulary, norms and scales. They are the same for everyone."),
            translate("sent", "Which model you use."),
        ),
        Kind(
            "control",
            translate("sent", "Questions about the server"),
            translate("sent", "Its version and models, with your access token if it wants one."),
            translate("sent", "Who you are, if the token is yours alone."),
        ),
        Kind(
            "keys",
            translate("sent", "Compression key"),
            translate("sent", "With the scheme glwe only: a public key, new at each connection."),
            translate("sent", "That a new session begins."),
        ),
        Kind(
            "",
            translate("sent", "Test connection"),
            translate("sent", "A few kilobytes, only when you press it or look at the models."),
            translate("sent", "That someone looked, with which access token."),
        ),
        Kind(
            "",
            translate("sent", "Links"),
            translate("sent", "A link opens in your browser, only after you saw its address."),
            translate("sent", "That site sees your visit; the server does not."),
        ),
    ]


class SentDialog(QDialog):
    """The counts follow the meter while the dialog is open."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Everything this app sends"))
        parts.size_for_text(self, 640, 620)
        self.counts: dict[str, QLabel] = {}
        area = QScrollArea()
        area.setObjectName("messages")
        area.setWidgetResizable(True)
        area.setWidget(self._content())
        layout = QVBoxLayout(self)
        layout.setSpacing(0)
        parts.margins(layout, 0)
        layout.addWidget(area, 1)
        foot = parts.row(1, parts.button(self.tr("Close"), self.accept))
        parts.margins(foot, theme.WIDE, theme.NORMAL)
        layout.addLayout(foot)
        controller.meter_changed.connect(self.show_meter)
        self.show_meter(controller.meter)

    def _content(self) -> QWidget:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, theme.WIDE)
        layout.addWidget(parts.label(self.tr("Everything this app sends"), "title"))
        for text in (
            self.tr(
                "All of it goes to the server that you chose, and to nobody else. There is no "
                "telemetry, no update check and no crash report."
            ),
            self.tr(
                "Whatever is sent also shows your network address and the time. The figures are "
                "those of this session."
            ),
        ):
            layout.addWidget(parts.label(text, wrap=True))
        for kind in kinds():
            layout.addWidget(self._card(kind))
        layout.addStretch(1)
        return content

    def _card(self, kind: Kind) -> QFrame:
        frame, inside = parts.card()
        count = parts.label("", wrap=True)
        count.setAccessibleName(kind.title)
        inside.addWidget(parts.label(kind.title, "strong", wrap=True))
        inside.addWidget(parts.label(kind.what, wrap=True))
        learned = self.tr("The server learns: {0}").format(kind.learned)
        inside.addWidget(parts.label(learned, "muted", wrap=True))
        inside.addWidget(count)
        if kind.meter:
            self.counts[kind.meter] = count
        else:
            count.setText(self.tr("not counted"))
        return frame

    def show_meter(self, meter: Meter) -> None:
        """Show the bytes of this session."""
        for name, label in self.counts.items():
            up, down = meter.kinds.get(name, (0, 0))
            text = self.tr("{0} up · {1} down")
            label.setText(text.format(figures.megabytes(up), figures.megabytes(down)))
