"""The real program under a real X server: it shows something, and it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtGui import QImage

from app.settings import LOCAL, Settings, save
from tests.app.helpers import fake_command

pytestmark = [
    pytest.mark.xvfb,
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed"),
]
WINDOW_SCRIPT = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from app import main
from app.vault import HistoryKey

target = sys.argv.pop(1)
build = main.build

def build_and_watch(app, command=None, source=None):
    controller, window = build(app, command, lambda _passphrase: HistoryKey(None, None))
    timer = QTimer(window, interval=50)

    def look():
        if controller.ready and window.isVisible():
            timer.stop()
            QTimer.singleShot(300, shoot)

    def shoot():
        app.primaryScreen().grabWindow(0).save(target)
        print("shown", app.platformName(), controller.engine.pid, flush=True)

    timer.timeout.connect(look)
    timer.start()
    return controller, window

main.build = build_and_watch
sys.exit(main.main())
"""


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A private X server on a display number that it chose itself."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()
    if not number:
        server.wait(timeout=30)
        pytest.skip("Xvfb did not start")
    yield f":{number}"
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture
def environment(display: str, profile: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of the window."""
    save(profile / "config" / "window.json", Settings(server=LOCAL, language="en"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WAYLAND")}
    kept.pop("DBUS_SESSION_BUS_ADDRESS", None)
    return {**kept, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb", "TACITA_HOME": str(profile)}


def test_the_window_is_shown_and_quits_cleanly(environment: dict[str, str], tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    program = subprocess.Popen(
        [sys.executable, "-c", WINDOW_SCRIPT, str(picture), "--engine-command", fake_command()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        shown = program.stdout.readline().split()
        if not shown:
            _, errors = program.communicate(timeout=60)
            pytest.fail(f"the window did not come up: {errors[-2000:]}")
        assert shown[:2] == ["shown", "xcb"]
        engine = int(shown[2])
        assert psutil.pid_exists(engine)
        program.send_signal(signal.SIGTERM)
        _, errors = program.communicate(timeout=60)
    finally:
        program.kill()
        program.wait(timeout=60)
    assert program.returncode == 0, errors
    assert errors == ""
    assert not psutil.pid_exists(engine)
    assert colours_of(picture) > 20


def colours_of(picture: Path) -> int:
    """How many different colours a picture has, looking at every fourth pixel."""
    image = QImage(str(picture))
    assert not image.isNull()
    return len(
        {image.pixel(x, y) for x in range(0, image.width(), 4) for y in range(0, image.height(), 4)}
    )
