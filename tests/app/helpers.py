"""What the window tests share."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


def fake_command() -> str:
    """The command line of the fake engine."""
    return shlex.join([sys.executable, str(FAKE_ENGINE)])
