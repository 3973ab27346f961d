"""A text view for untrusted text: loads nothing by itself, opens a link only after showing it."""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QByteArray, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QResizeEvent, QTextOption, QWheelEvent
from PySide6.QtWidgets import QFrame, QMessageBox, QSizePolicy, QTextBrowser, QWidget

from app import theme
from app.i18n import translate
from app.markdown import safe_link


def document_style() -> str:
    """The style sheet of message text, from the palette."""
    c = theme.colours()
    return (
        f"a {{ color: {c.accent}; }}"
        f"code {{ background-color: {c.code}; font-family: monospace; }}"
        f"table {{ border-collapse: collapse; border-color: {c.border}; margin-top: 6px; "
        "margin-bottom: 6px; }"
        f"blockquote {{ color: {c.muted}; }}"
        f"th {{ background-color: {c.code}; font-weight: 600; }}"
    )


class SafeBrowser(QTextBrowser):
    """As tall as its text. Copying is possible, loading is not."""

    def __init__(self, parent: QWidget | None = None, *, wrap: bool = True) -> None:
        super().__init__(parent)
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setUndoRedoEnabled(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.viewport().setAutoFillBackground(False)
        self.setStyleSheet("QTextBrowser { background: transparent; padding: 0; border: none; }")
        self.document().setDocumentMargin(0)
        self._wrap = wrap
        if wrap:
            self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        else:
            self.setLineWrapMode(QTextBrowser.LineWrapMode.NoWrap)
        self.anchorClicked.connect(self.ask_to_open)

    def loadResource(self, _type: int, _url: QUrl | str) -> Any:
        """Nothing is ever loaded: no image, no file, no network path."""
        return QByteArray()

    def show_html(self, html: str) -> None:
        """Show HTML that ``app.markdown`` made."""
        self.document().setDefaultStyleSheet(document_style())
        self.setHtml(html)
        self.fit()

    def show_text(self, text: str) -> None:
        """Show text as it is."""
        self.setPlainText(text)
        self.fit()

    def fit(self) -> None:
        """Take the height of the text at the present width."""
        if self._wrap:
            self.document().setTextWidth(self.viewport().width())
        height = math.ceil(self.document().size().height())
        if not self._wrap and self.document().idealWidth() > self.viewport().width():
            height += self.horizontalScrollBar().sizeHint().height()
        if height != self.height():
            self.setFixedHeight(max(height, 1))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Text that is narrower is taller."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The list around this view scrolls; only a sideways turn stays here."""
        sideways = abs(event.angleDelta().x()) > abs(event.angleDelta().y())
        if sideways and not self._wrap:
            super().wheelEvent(event)
        else:
            event.ignore()

    def ask_to_open(self, url: QUrl) -> None:
        """Show where a link leads and open it in the browser if the user agrees."""
        address = url.toString(QUrl.ComponentFormattingOption.FullyEncoded)
        if not safe_link(address):
            return
        box = QMessageBox(self.window())
        box.setObjectName("openLink")
        box.setIcon(QMessageBox.Icon.Question)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(translate("SafeBrowser", "Open this address in your browser?"))
        box.setInformativeText(
            address
            + "\n\n"
            + translate("SafeBrowser", "The site will see your visit. The model chose this link.")
        )
        box.setStandardButtons(QMessageBox.StandardButton.Open | QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(QMessageBox.StandardButton.Cancel)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.accepted.connect(lambda: QDesktopServices.openUrl(url))
        box.open()
