"""SIGHUP never ends a server, whenever it comes. Each case in a process of its own, which a mistake would end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.tiny_world import ROOT

PATIENCE_S = 60
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")

START = """
import asyncio, os, signal
from fhe_server.service.hangup import catch_hangups, listening, take_early_hangup

def hang_up():
    os.kill(os.getpid(), signal.SIGHUP)

async def serve(during):
    asked = asyncio.Event()
    with listening(asked.set):
        during()
        await asyncio.wait_for(asked.wait(), 30)
"""


def run(body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", START + body],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


def test_one_that_comes_early_is_heeded_once() -> None:
    body = (
        "catch_hangups(); hang_up(); asyncio.run(serve(lambda: None)); print(take_early_hangup())"
    )
    assert run(body) == "False\n"


def test_one_that_comes_in_time_is_heeded() -> None:
    assert run("asyncio.run(serve(hang_up)); print('lives')") == "lives\n"


def test_one_that_comes_late_ends_nothing() -> None:
    """While the last sums are written, for example."""
    assert run("asyncio.run(serve(hang_up)); hang_up(); print('lives')") == "lives\n"


def test_another_thread_leaves_signals_alone() -> None:
    body = """
import threading
def other():
    catch_hangups()
    async def nothing():
        with listening(lambda: None):
            pass
    asyncio.run(nothing())
thread = threading.Thread(target=other)
thread.start()
thread.join()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL)
"""
    assert run(body) == "True\n"
