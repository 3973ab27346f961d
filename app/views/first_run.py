"""The first page a stranger sees: what is private, what is not, where to compute, where keys go."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QBoxLayout,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QRadioButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.controller import Controller
from app.events import Failure, KeysStatus
from app.icons import pixmap
from app.settings import LOCAL, SavedServer
from app.views import parts
from app.views.connection_form import ConnectionForm
from app.views.key_choice import KeyChoice

WIDTH = 720
LARGE = 1.4  # from this zoom on the two cards stand one below the other


class FirstRunPage(QScrollArea):
    """Ends with ``finished`` when the keys are there and a server is chosen."""

    finished = Signal()

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("messages")
        self.setWidgetResizable(True)
        self._controller = controller
        self.local = QRadioButton(self.tr("&Start a local server on this computer"))
        self.remote = QRadioButton(self.tr("Use a &remote server"))
        self.form = ConnectionForm(controller, short=True)
        self.keys = KeyChoice()
        self.error = parts.label("", "danger", wrap=True, name="firstRunError")
        self.start_button = parts.button(
            self.tr("Start chatting"), self._start, "primary", "startChatting"
        )
        self._group = QButtonGroup(self)
        self._pictures: dict[str, QLabel] = {}
        self._content_widget = self._content()
        self.setWidget(parts.centred(self._content_widget, WIDTH))
        self.redraw()
        self._wire()
        self.local.setChecked(True)
        self._changed()

    def _wire(self) -> None:
        self._group.addButton(self.local)
        self._group.addButton(self.remote)
        self._group.buttonToggled.connect(self._changed)
        self.form.changed.connect(self._changed)
        self.keys.changed.connect(self._changed)
        self._controller.keys_changed.connect(self._show_keys)

    # -- building --------------------------------------------------------------------------------

    def _content(self) -> QWidget:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, 0, theme.HUGE)
        layout.addWidget(parts.label(self.tr("Welcome to Tacita"), "display"))
        layout.addWidget(
            parts.label(
                self.tr(
                    "A language model answers you, and the computer that does its large sums never "
                    "learns what you wrote: it calculates with encrypted numbers."
                ),
                wrap=True,
            )
        )
        layout.addLayout(self._privacy())
        layout.addWidget(self._server_card())
        layout.addWidget(self._keys_card())
        self.error.hide()
        layout.addWidget(self.error)
        layout.addLayout(parts.row(1, self.start_button))
        layout.addStretch(1)
        return content

    def _privacy(self) -> QBoxLayout:
        hidden = (
            self.tr("What you write and what the model answers"),
            self.tr("All numbers inside the model that follow from it"),
            self.tr("Saved chats: encrypted, on this computer only"),
        )
        seen = (
            self.tr("When you chat, and from which network address"),
            self.tr("How long prompts and replies are, and how many"),
            self.tr("Which model you use"),
        )
        self._side_by_side = line = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        line.setSpacing(theme.NORMAL)
        line.addWidget(self._points(self.tr("The server never sees"), hidden, "status-ready"), 1)
        line.addWidget(self._points(self.tr("The server does see"), seen, "eye"), 1)
        return line

    def _points(self, title: str, texts: tuple[str, ...], icon: str) -> QFrame:
        frame, layout = parts.card()
        head = QHBoxLayout()
        picture = QLabel()
        self._pictures[icon] = picture
        head.addWidget(picture)
        head.addWidget(parts.label(title, "strong", wrap=True), 1)
        layout.addLayout(head)
        for text in texts:
            layout.addWidget(parts.label(f"•  {text}", wrap=True))
        layout.addStretch(1)
        return frame

    def _server_card(self) -> QFrame:
        frame, layout = parts.card()
        layout.addWidget(parts.label(self.tr("Where the model runs"), "title"))
        layout.addWidget(self.local)
        layout.addWidget(
            parts.label(
                self.tr(
                    "Good for trying it out: everything stays on this computer. The model is "
                    "prepared once, which takes a few minutes."
                ),
                "muted",
                wrap=True,
            )
        )
        layout.addWidget(self.remote)
        layout.addWidget(self.form)
        return frame

    def _keys_card(self) -> QFrame:
        frame, layout = parts.card()
        layout.addWidget(parts.label(self.tr("Where your key is kept"), "title"))
        layout.addWidget(self.keys)
        return frame

    def redraw(self) -> None:
        """Draw the icons with the present palette."""
        large = theme.points() > LARGE * theme.BASE_POINTS
        way = QBoxLayout.Direction.TopToBottom if large else QBoxLayout.Direction.LeftToRight
        self._side_by_side.setDirection(way)
        self._content_widget.setMaximumWidth(theme.scaled(WIDTH))
        c = theme.colours()
        for icon, picture in self._pictures.items():
            colour = c.accent if icon == "status-ready" else c.warning
            picture.setPixmap(pixmap(icon, colour, 22, self.devicePixelRatioF()))

    # -- behaviour ---------------------------------------------------------------------------------

    def _show_keys(self, keys: KeysStatus) -> None:
        self.keys.show_keys(keys)

    def _changed(self) -> None:
        self.form.setVisible(self.remote.isChecked())
        server = self.local.isChecked() or self.form.valid
        self.start_button.setEnabled(server and self.keys.valid)

    def begin_again(self) -> None:
        """Be ready for another first run, after everything was erased."""
        self.error.hide()
        self.keys.clear()
        self._changed()

    def _start(self) -> None:
        server = LOCAL
        if self.remote.isChecked():
            server = self.form.url
            chosen = SavedServer(server, "", self.form.model, self.form.pin)
            self._controller.settings.add_server(chosen)
        self.error.hide()
        self.start_button.setEnabled(False)
        self._controller.finish_first_run(
            server, self.keys.mode, self.keys.secret, self._failed, self._done
        )

    def _done(self) -> None:
        if self.remote.isChecked() and self.form.token:
            self._controller.set_server_token(self.form.url, self.form.token)
        self.keys.clear()
        self.finished.emit()

    def _failed(self, failure: Failure) -> None:
        self.error.setText(f"{failure.message} {failure.next_step}".strip())
        self.error.show()
        self._changed()
