"""The parent of several server processes: what it hands on, and when."""

from __future__ import annotations

import signal
import subprocess

import pytest

from fhe_server.service.workers import Workers, _Worker

PATIENCE_S = 60
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")


def test_a_signal_waits_until_a_process_is_ready() -> None:
    """It may have read the models before the operator changed them, and be able to hear a signal only later."""
    workers = Workers((), 2, "127.0.0.1", 0)
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]  # a signal ends them
    try:
        ready, late = (_Worker(n, p) for n, p in enumerate(processes))
        ready.ready = True
        workers._workers = [ready, late]
        workers._note(signal.SIGHUP, None)
        workers._hand_on_signals()
        assert processes[0].wait(PATIENCE_S) == -signal.SIGHUP
        assert processes[1].poll() is None
        late.ready = True
        workers._hand_on_signals()
        assert processes[1].wait(PATIENCE_S) == -signal.SIGHUP
        assert [w.unheard for w in workers._workers] == [[], []]
    finally:
        for process in processes:
            process.kill()
            process.wait(PATIENCE_S)
