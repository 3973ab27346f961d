"""The middle of the window: messages, errors, composer, meter, and finding in the chat."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QFrame, QLabel, QStackedWidget, QVBoxLayout, QWidget

from app import figures, sentences, theme
from app.controller import Controller
from app.events import Estimate, Failure, Meter, Status
from app.views import parts
from app.views.composer import Composer
from app.views.empty_chat import EmptyChat
from app.views.error_card import ErrorCard
from app.views.find_bar import FindBar
from app.views.message_list import MessageList
from app.views.meter_bar import MeterBar
from app.views.server_view import LayerRibbon
from fhe_client.history import Message


class ChatPage(QWidget):
    """One chat."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.controller = controller
        self._editing: int | None = None
        self.messages = MessageList(controller.library)
        self.empty = EmptyChat(controller)
        self.error = ErrorCard()
        self.composer = Composer()
        self.meter = MeterBar()
        self.ribbon = LayerRibbon()
        self.ribbon.hide()
        self.find_bar = FindBar(self.messages, controller.library)
        self.banner, self._banner_text = self._make_banner()
        self._stack = QStackedWidget()
        self._lay_out()
        self._wire()
        self.reload()

    def _make_banner(self) -> tuple[QFrame, QLabel]:
        frame = QFrame()
        frame.setObjectName("banner")
        text = parts.label("", wrap=True, name="bannerText")
        cancel = parts.button(self.tr("Cancel"), self.cancel_edit, name="cancelEdit")
        layout = parts.row(text, cancel)
        layout.setStretch(0, 1)
        parts.margins(layout, theme.NORMAL, theme.TIGHT)
        frame.setLayout(layout)
        frame.hide()
        return frame, text

    def _lay_out(self) -> None:
        self._stack.addWidget(self.messages)
        self._stack.addWidget(self.empty)
        below = QWidget()
        stack = QVBoxLayout(below)
        stack.setSpacing(theme.SMALL)
        parts.margins(stack, 0, theme.SMALL)
        for widget in (self.error, self.banner, self.ribbon, self.composer, self.meter):
            stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setSpacing(0)
        parts.margins(layout, 0)
        layout.addWidget(self.find_bar)
        layout.addWidget(self._stack, 1)
        layout.addWidget(parts.centred(below))

    def _wire(self) -> None:
        controller, composer = self.controller, self.composer
        composer.submitted.connect(self._submit)
        composer.stop_asked.connect(controller.stop)
        composer.estimate_asked.connect(self._estimate)
        controller.status_changed.connect(self._show_status)
        controller.meter_changed.connect(self._show_meter)
        controller.busy_changed.connect(self._busy_changed)
        controller.queue_changed.connect(lambda _count: self._say_waiting())
        controller.ready_changed.connect(lambda _ready: self._say_waiting())
        controller.message_added.connect(self._add)
        controller.piece_added.connect(self.messages.add_piece)
        controller.message_continued.connect(self._continued)
        controller.message_finished.connect(self._finished)
        controller.failed.connect(self.show_failure)
        self.messages.regenerate_asked.connect(controller.regenerate)
        self.messages.continue_asked.connect(controller.continue_last)
        self.messages.edit_asked.connect(self.start_edit)
        self.messages.branch_asked.connect(self._step_branch)
        self.error.restart_asked.connect(controller.restart_engine)
        self.error.retry_asked.connect(controller.retry)
        self.error.reconnect_asked.connect(controller.reconnect)
        self.error.accept_model_asked.connect(controller.accept_model)

    # -- contents --------------------------------------------------------------------------------

    def reload(self) -> None:
        """Show the chat that is chosen."""
        self.cancel_edit()
        self.controller.save_now()
        self.messages.reload()
        self.empty.refresh()
        self._stack.setCurrentIndex(0 if self.controller.library.current is not None else 1)
        self.find_bar.close_bar()

    def _add(self, message: Message) -> None:
        if self.controller.is_shown(message):
            self._stack.setCurrentIndex(0)
            self.messages.add(message)

    def _continued(self, message: Message) -> None:
        if self.controller.is_shown(message):
            self.messages.update_message(message)
            self.messages.follow()

    def _finished(self, message: Message) -> None:
        if self.controller.is_shown(message):
            self.messages.update_message(message)

    def show_failure(self, failure: Failure) -> None:
        """Show what went wrong above the composer."""
        self.error.show_failure(failure, ready=self.controller.ready)

    def _show_status(self, status: Status) -> None:
        self.meter.show_status(status)
        self.empty.show_status(sentences.status_words(status), status)

    def _show_meter(self, meter: Meter) -> None:
        self.meter.show_meter(meter)

    def _busy_changed(self, busy: bool) -> None:
        self.composer.set_busy(busy)
        if busy:
            self.error.hide()
        else:
            self.ribbon.clear()

    def _say_waiting(self) -> None:
        waits = self.controller.waiting > 0 and not self.controller.ready
        text = self.tr("Your message is sent as soon as the server is ready.") if waits else ""
        self.composer.show_note(text)

    def _estimate(self, draft: str) -> None:
        self.controller.estimate(draft, self._show_estimate)

    def _show_estimate(self, found: Estimate) -> None:
        text = self.tr("Reading this prompt takes about {0} and {1} of traffic.")
        if self.controller.settings.pad:
            text = self.tr(
                "Reading this prompt takes about {0} and {1} of traffic, padding included."
            )
        size = figures.megabytes(found.mb * 1e6)
        self.composer.show_note(text.format(figures.seconds(found.seconds), size))

    # -- writing ---------------------------------------------------------------------------------

    def _submit(self, text: str) -> None:
        self.error.hide()
        if self._editing is None:
            self.controller.submit(text)
            return
        edited, self._editing = self._editing, None
        self.banner.hide()
        self.controller.edit_and_resend(edited, text)

    def start_edit(self, message_id: int) -> None:
        """Put a sent message into the composer; sending makes a branch."""
        if self.controller.busy:
            return
        self._editing = message_id
        self._banner_text.setText(
            self.tr(
                "Editing: sending starts a new branch here. What follows the old message stays "
                "reachable with the arrows beside it."
            )
        )
        self.banner.show()
        self.composer.edit(self.controller.library.store.message(message_id).text)

    def cancel_edit(self) -> None:
        """Leave editing; the draft is emptied, the message stays as it is."""
        if self._editing is not None:
            self._editing = None
            self.composer.draft.clear()
        self.banner.hide()

    def _step_branch(self, message_id: int, step: int) -> None:
        library = self.controller.library
        if self.controller.busy:
            return
        library.step_branch(message_id, step)
        for view in self.messages.views():
            if message_id in library.store.siblings(view.message.id):
                QTimer.singleShot(0, view, lambda found=view: found.focus_arrow(step))

    def escape(self) -> None:
        """Esc: close the search, leave editing, or stop the reply, whichever is first."""
        if self.find_bar.isVisible():
            self.find_bar.close_bar()
            self.composer.draft.setFocus(Qt.FocusReason.ShortcutFocusReason)
        elif self._editing is not None:
            self.cancel_edit()
        else:
            self.controller.stop()

    def copy_last_reply(self) -> None:
        """Copy the newest reply."""
        replies = [view for view in self.messages.views() if view.body is not None]
        if replies:
            replies[-1].copy()

    def regenerate_last(self) -> None:
        """Make another reply to the last question."""
        self.controller.regenerate_last()

    def continue_last(self) -> None:
        """Let the last reply go on where it ended."""
        self.controller.continue_last()

    def open_find(self) -> None:
        """Find words in this chat."""
        self.find_bar.open_bar()

    def redraw(self) -> None:
        """Draw with the present palette and font."""
        parts.recolour(self)
        self.messages.redraw()
        self.meter.status.redraw()
        self.empty.refresh()
