"""The desktop chat's entry point: ``tacita-app`` or ``python -m app``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from PySide6.QtCore import QSocketNotifier, QTimer
from PySide6.QtGui import QGuiApplication, QIcon
from PySide6.QtWidgets import QApplication

from app import i18n, markdown, settings, theme
from app.controller import Controller
from app.engine_process import EngineProcess, engine_command
from app.resources import resource
from app.vault import KeySource, Vault, keyring_source
from app.views.main_window import MainWindow
from fhe_client.home import Home

WARM_UP_MS = 400  # after the window is there: what the first reply needs is loaded meanwhile


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tacita-app", description="Private chat.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--self-test", action="store_true", help="check this installation")
    parser.add_argument("--engine-command", help="the command that starts the engine (tests)")
    return parser.parse_args(arguments)


def version() -> str:
    """Tacita's version; ``unknown`` in a tree that was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("tacita")
    except PackageNotFoundError:
        return "unknown"


def build(
    app: QApplication, command: str | None = None, source: KeySource = keyring_source
) -> tuple[Controller, MainWindow]:
    """Make controller and window; nothing is shown or started yet."""
    home = Home.locate().ensure()
    path = home.config / "window.json"
    chosen = settings.load(path)
    i18n.install(app, chosen.language)
    theme.apply(app, chosen.appearance, chosen.zoom)
    engine = EngineProcess(engine_command(command))
    controller = Controller(engine, Vault(source), chosen, path)
    engine.setParent(controller)
    controller.vault.setParent(controller)
    return controller, MainWindow(controller, version)


def quit_on_signals(app: QApplication) -> None:
    """Let Ctrl+C and a session's end close the window in an orderly way (POSIX and Windows)."""
    import socket

    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read, app)
    app.setProperty("wakeup", (reader, writer))  # keeps both ends open
    notifier.activated.connect(lambda: reader.recv(64) and app.quit())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the window until it is closed; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--self-test"]:
        from app.self_test import main as self_test

        return self_test(given[1:])
    options = parse(given)
    if options.version:
        sys.stdout.write(f"tacita {version()}\n")
        return 0
    QGuiApplication.setDesktopFileName("tacita")
    app = QApplication(sys.argv[:1])
    app.setApplicationName("Tacita")
    app.setWindowIcon(QIcon(str(resource("icons/app-colour.svg"))))
    quit_on_signals(app)
    controller, window = build(app, options.engine_command)
    window.show()
    QTimer.singleShot(0, controller, controller.start)
    QTimer.singleShot(WARM_UP_MS, controller, markdown.warm_up)
    status = app.exec()
    window.hide()
    controller.quit()
    return int(status)
