from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("torch", "numpy", "requests", "transformers", "fhe_protocol", "fhe_server")


def test_the_window_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import app.main, app.views.main_window, fhe_client.keys\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_version_needs_no_display() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tacita ")
