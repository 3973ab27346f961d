"""How quick the window is: start, a long chat, a long reply, and the event loop while a reply is made.

    python -m benchmarks.window [start|chat|stream|reply ...] [--json FILE]

Everything runs in this process or its children, without a display unless QT_QPA_PLATFORM says
otherwise. ``reply`` uses the real engine and the real local server with a tiny model, whose tokens
come faster than any useful model's. CPU figures are of the window's own thread: unlike wall times
they hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.controller import Controller
    from app.views.main_window import MainWindow

ROOT = Path(__file__).parents[1]
KEY = bytes(range(32))
MODEL = "tiny"
REPLY_TOKENS = 150
PATIENCE_S = 300.0
STARTING = """
import json, sys, time
began, target = float(sys.argv.pop(1)), sys.argv.pop(1)
from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication
from app import main
from app.vault import HistoryKey

found = {}
build = main.build

class Watcher(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and "painted" not in found:
            found["painted"] = time.monotonic() - began
            found["cpu"] = time.process_time()
            QTimer.singleShot(0, self, self.write)
        return False

    def write(self):
        from PySide6.QtTest import QTest
        draft = self.window.page.composer.draft
        QTest.keyClicks(draft, "early")
        found["typed"] = time.monotonic() - began
        assert draft.toPlainText() == "early"
        QTest.keyClick(draft, Qt.Key.Key_Return)
        found["queued"] = [m.text for m in self.controller.library.messages()]
        self.controller.failed.connect(lambda _failure: QTimer.singleShot(500, self, self.end))

    def end(self):
        from benchmarks.window_probes import heavy_modules
        found["after_error"] = [m.text for m in self.controller.library.messages()]
        found["waiting"] = self.controller.waiting
        found["heavy"] = heavy_modules()
        with open(target, "w") as file:
            json.dump(found, file)
        self.window.close()
        QApplication.quit()

def watched_build(app, command=None, source=None):
    controller, window = build(app, command, lambda _passphrase: HistoryKey(None, None))
    watcher = Watcher(window)
    watcher.controller, watcher.window = controller, window
    window.page.composer.draft.viewport().installEventFilter(watcher)
    return controller, window

main.build = watched_build
sys.exit(main.main([]))
"""


def environment(home: Path) -> dict[str, str]:
    """The environment of a child process."""
    return {**os.environ, "TACITA_HOME": str(home), "PYTHONPATH": str(ROOT)}


def choose(home: Path, **settings: Any) -> None:
    """Write the window's settings of a profile."""
    (home / "config").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"language": "en", **settings})
    (home / "config" / "window.json").write_text(text, encoding="utf-8")


def start_once(home: Path) -> dict[str, Any]:
    """Start the real program with the real engine and a server that refuses; type at once.

    Returns:
        seconds since the process was asked for: ``painted``, ``typed``; ``cpu`` seconds until
        painted; messages ``queued`` at once and still there ``after_error``; ``heavy`` modules.
    """
    choose(home, server="http://127.0.0.1:1")
    target = home / "start.json"
    child = [sys.executable, "-c", STARTING, str(time.monotonic()), str(target)]
    subprocess.run(child, env=environment(home), check=True, timeout=PATIENCE_S, cwd=home)
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def start(repeats: int = 5) -> dict[str, Any]:
    """The window's start, several times: medians."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [start_once(Path(folder)) for _ in range(repeats)]
    last = runs[-1]
    return {
        "seconds until painted": median(run["painted"] for run in runs),
        "seconds until a key press is taken": median(run["typed"] for run in runs),
        "CPU seconds until painted": median(run["cpu"] for run in runs),
        "message queued at once": last["queued"] == ["early"],
        "message kept over an error": last["after_error"] == ["early"] and last["waiting"] == 1,
        "heavy modules": last["heavy"],
    }


def open_window(home: Path, command: str) -> tuple[Controller, MainWindow]:
    """A window of a profile with its history in memory, shown."""
    os.environ["TACITA_HOME"] = str(home)
    from PySide6.QtWidgets import QApplication

    from app import main
    from app.vault import HistoryKey

    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    controller, window = main.build(app, command, lambda _passphrase: HistoryKey(None, None))
    window.show()
    return controller, window


def close(controller: Controller, window: MainWindow) -> None:
    """End the engine and take the window down."""
    window.close()
    controller.quit()
    window.deleteLater()


def chat(messages: int = 2_000, steps: int = 400) -> dict[str, Any]:
    """Open a long chat from its encrypted file, scroll up and down, find a word in its first message."""
    from app.vault import HistoryKey
    from benchmarks import window_probes as probes

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        choose(home, server="local")
        path = home / "data" / "history.db"
        chat_id = probes.fill(path, KEY, messages)
        controller, window = open_window(home, shlex.join([sys.executable, "-c", ""]))
        controller.library.settle(HistoryKey(KEY, path))
        probes.painted(window)
        wall, cpu = time.perf_counter(), time.thread_time()
        controller.library.open_chat(chat_id)
        probes.painted(window)
        opened = (time.perf_counter() - wall, time.thread_time() - cpu)
        drawn = len(window.page.messages.views())
        up, most_up = probes.scroll(window.page.messages, steps, -200)
        down, most_down = probes.scroll(window.page.messages, steps, 200)
        wall = time.perf_counter()
        window.page.open_find()
        window.page.find_bar.field.setText("needle")
        probes.painted(window)
        found = time.perf_counter() - wall
        matches = window.page.find_bar.count.text()
        close(controller, window)
    bursts = up.bursts + down.bursts
    return {
        "messages": messages,
        "seconds to open": opened[0],
        "CPU seconds to open": opened[1],
        "messages drawn at once": drawn,
        "most messages drawn": max(most_up, most_down),
        "scrolling: CPU ms of a step, 50/99 %": [
            1e3 * probes.percentile(bursts, share) for share in (0.5, 0.99)
        ],
        "scrolling: late ms, 99 %": 1e3 * probes.percentile(up.lags + down.lags, 0.99),
        "seconds to find": found,
        "matches": matches,
    }


def stream(tokens: int = 4_000) -> dict[str, Any]:
    """CPU ms of each token of a growing reply, by eighths, for different kinds of text."""
    from PySide6.QtWidgets import QApplication

    from app import theme
    from benchmarks import window_probes as probes

    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    theme.apply(app, "light", 100)
    found: dict[str, Any] = {"tokens": tokens}
    for name, pieces in probes.streams(tokens).items():
        costs = probes.stream_costs(pieces)
        size = len(costs) // 8
        eighths = [1e3 * sum(costs[i * size : (i + 1) * size]) / size for i in range(8)]
        found[f"{name}: CPU ms a token"] = eighths
        found[f"{name}: last eighth / second"] = eighths[7] / eighths[1]
    return found


def install_tiny_model(home: Path) -> None:
    """Put the tiny model into a profile, in a child: importing a model needs torch, and we must not."""
    code = (
        "import sys; from pathlib import Path; from tests.tiny_world import install_tiny;"
        " install_tiny(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(home)]
    subprocess.run(command, env=environment(home), check=True, timeout=PATIENCE_S, cwd=ROOT)


def reply(tokens: int = REPLY_TOKENS, idle_ms: int = 3_000) -> dict[str, Any]:
    """The event loop while the real engine makes a reply, against the same loop doing nothing."""
    from benchmarks import window_probes as probes

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        install_tiny_model(home)
        choose(home, server="local", local_model=MODEL, max_tokens=tokens, temperature=0.0)
        os.environ["PYTHONPATH"] = str(ROOT)
        engine = shlex.join([sys.executable, "-m", "fhe_client.engine"])
        controller, window = open_window(home, engine)
        controller.start()
        controller.use_keys("session", None, lambda failure: None)
        wait_until(lambda: controller.ready)
        window.show_server_view(True)  # the most that there is to draw
        watch = probes.Watch()
        watch.start()
        probes.settle(idle_ms)
        watch.stop()
        idle = watch.lags
        watch.start()
        controller.submit("the house that jack built")
        wait_until(lambda: not controller.busy and not controller.waiting)
        watch.stop()
        figures = dict(controller.library.messages()[-1].stats)
        drawing = time.thread_time()
        window.grab()
        drawing = time.thread_time() - drawing
        close(controller, window)
    return {
        "tokens": figures.get("reply_tokens", 0),
        "seconds per token": figures.get("seconds_per_token"),
        "late ms while idle, 50/99 %": [
            1e3 * probes.percentile(idle, share) for share in (0.5, 0.99)
        ],
        "late ms while a reply is made, 50/99 %": [
            1e3 * probes.percentile(watch.lags, share) for share in (0.5, 0.99)
        ],
        "CPU ms of a piece of work, 99 %": 1e3 * probes.percentile(watch.bursts, 0.99),
        "CPU ms of a piece of work, most": 1e3 * max(watch.bursts),
        "CPU ms of drawing the whole window": 1e3 * drawing,
        "heavy modules": probes.heavy_modules(),
    }


def wait_until(condition: Callable[[], bool]) -> None:
    """Run the event loop until something is true, without asking for it all the time."""
    from benchmarks import window_probes as probes

    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the window did not come so far")
        probes.settle(100)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "start": start,
    "chat": chat,
    "stream": stream,
    "reply": reply,
}


def shown(value: Any) -> str:
    """A figure for the table."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return " / ".join(shown(item) for item in value) or "none"
    return str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; all")
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    found = {name: PARTS[name]() for name in chosen.parts or PARTS}
    for name, figures in found.items():
        print(f"\n{name}")
        for what, value in figures.items():
            print(f"  {what:45} {shown(value)}")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
