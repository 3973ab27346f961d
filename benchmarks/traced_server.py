"""`tacita-server` with a clock: when each round arrived, was multiplied, and left.

    python -m benchmarks.traced_server TRACE_FILE serve ...

The four times of every round (CLOCK_MONOTONIC in ns, the same clock in all processes of a machine) are written to
TRACE_FILE when the server ends. Only for measurements; the arguments after TRACE_FILE are those of `tacita-server`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Times = list[int]
"""Arrived, product begun, product done, answer sent."""


def trace(rounds: list[Times]) -> None:
    """From now on the server's rounds are noted."""
    from fhe_server.service.round_socket import RoundSocket
    from fhe_server.service.served_model import ServedModel

    note_message, note_answer = RoundSocket.note_message, RoundSocket.note_answer
    multiply = ServedModel.multiply
    now = time.perf_counter_ns

    def arrived(self: RoundSocket) -> None:
        rounds.append([now(), 0, 0, 0])
        note_message(self)

    def multiplied(self: ServedModel, *arguments: Any) -> Any:
        begun = now()
        sums = multiply(self, *arguments)
        if rounds:
            rounds[-1][1:3] = begun, now()
        return sums

    def answered(self: RoundSocket) -> None:
        if rounds:
            rounds[-1][3] = now()
        note_answer(self)

    RoundSocket.note_message = arrived  # type: ignore[method-assign]
    RoundSocket.note_answer = answered  # type: ignore[method-assign]
    ServedModel.multiply = multiplied  # type: ignore[assignment, method-assign]


def main(arguments: Sequence[str]) -> int:
    """Serve, then write."""
    from fhe_server.cli import main as serve

    rounds: list[Times] = []
    trace(rounds)
    try:
        return serve(list(arguments[1:]))
    finally:
        Path(arguments[0]).write_text(json.dumps(rounds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
