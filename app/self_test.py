"""`tacita-app --self-test`: the engine's checks and the window's own: Qt's platform, pictures, translations."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.resources import resource_folder

if TYPE_CHECKING:
    from fhe_client.self_test import Workspace


def check_window(_space: Workspace) -> str:
    """A widget is drawn with text on it, on the screen's platform, or without one where there is no screen."""
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import qVersion
    from PySide6.QtGui import QFontDatabase, QGuiApplication
    from PySide6.QtWidgets import QApplication, QLabel

    from fhe_client.self_test import SelfTestError

    application = QApplication.instance() or QApplication(["tacita"])
    if not QFontDatabase.families():
        raise SelfTestError("There is no font: text would be boxes.", "Install fonts-dejavu-core.")
    label = QLabel("Tacita")
    label.resize(200, 60)
    picture = label.grab().toImage()
    plain = QLabel("")
    plain.resize(200, 60)
    if picture == plain.grab().toImage():
        raise SelfTestError("Text is not drawn.", "Install Tacita again.")
    name = QGuiApplication.platformName()
    del application
    return f"Qt {qVersion()}, platform {name}"


def check_resources(_space: Workspace) -> str:
    """Icons are there and can be drawn, and the translation can be loaded."""
    from PySide6.QtCore import QTranslator

    from app import icons
    from fhe_client.self_test import SelfTestError

    folder = resource_folder()
    drawn = icons.pixmap("send", "#000000", 16).toImage()
    if all(drawn.pixelColor(x, y).alpha() == 0 for x in range(16) for y in range(16)):
        raise SelfTestError("Icons cannot be drawn.", "Install Tacita again.")
    found = sorted((folder / "icons").glob("*.svg"))
    if not QTranslator().load("tacita_de", str(folder / "i18n")):
        raise SelfTestError("The German translation cannot be read.", "Install Tacita again.")
    return f"{len(found)} icons, translations"


def main(arguments: Sequence[str]) -> int:
    """The whole table; 0 if nothing failed."""
    # Not above: it loads the protocol, which the window's own process has no business with.
    from fhe_client import self_test

    return self_test.main(arguments, (("window", check_window), ("resources", check_resources)))
