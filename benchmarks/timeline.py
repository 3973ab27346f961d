"""Where each millisecond of a token goes, by time stamps on both sides of the connection.

Client and server run on one machine and read one clock. For every round the client notes when the group's input was
there, when the frame was complete, when the answer had come and when it was decrypted; the server notes when the query
had arrived, when the product began and ended, and when the answer had left (`benchmarks.traced_server`).
"""

from __future__ import annotations

import bisect
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.round_trips import server
from benchmarks.setting import Encrypted, Setting, opened

PARTS = (
    "model",
    "encrypt",
    "to the server",
    "server, before",
    "kernel",
    "server, after",
    "to the client",
    "decrypt",
)
"""In the order of a round. "model": norms, attention, activation, sampling, and the Python between the rounds."""

Stamps = list[int]
"""Input there, frame complete, answer here, answer decrypted: ns."""


class ClientClock:
    """Notes the client's four times of every round of a chat."""

    def __init__(self, encrypted: Encrypted) -> None:
        self.rounds: list[Stamps] = []
        self._session: Any = encrypted.chat._parts.session
        self._channel: Any = encrypted.chat._parts.channel

    @contextmanager
    def running(self) -> Iterator[None]:
        """Note while the block runs."""
        session, channel, now = self._session, self._channel, time.perf_counter_ns
        group, embedding, exchange = session.run_group, session.run_embedding, channel.exchange

        def carried(frame: bytes, size: int) -> Any:
            self.rounds[-1][1] = now()
            answer = exchange(frame, size)
            self.rounds[-1][2] = now()
            return answer

        def timed(work: Any) -> Any:
            def call(*arguments: Any) -> Any:
                self.rounds.append([now(), 0, 0, 0])
                result = work(*arguments)
                self.rounds[-1][3] = now()
                return result

            return call

        session.run_group, session.run_embedding = timed(group), timed(embedding)
        channel.exchange = carried
        try:
            yield
        finally:
            del session.run_group, session.run_embedding, channel.exchange


def measure(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a token by part: medians over the tokens of a reply, and of their sum."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        with (
            server(setting.model, "benchmarks.traced_server", str(trace)) as port,
            opened(setting.model, f"http://127.0.0.1:{port}") as encrypted,
        ):
            encrypted.write(4)
            encrypted.wait_ready()
            clock = ClientClock(encrypted)
            with clock.running():
                times = encrypted.write(setting.tokens)["times"]
            groups = len(encrypted.manifest.groups)
        theirs = json.loads(trace.read_text())
    tokens = _tokens(times, clock.rounds, theirs)
    medians = {part: statistics.median(t[part] for t in tokens) for part in PARTS}
    total = statistics.median(sum(t.values()) for t in tokens)
    return {"rounds": groups, "ms": medians, "token_ms": total}


def _tokens(times: list[int], ours: list[Stamps], theirs: list[Stamps]) -> list[dict[str, float]]:
    """Each token after the first, from the one before it on: ms by part."""
    arrivals = [round_[0] for round_ in theirs]
    found = []
    for start, stop in pairwise(times):
        parts = dict.fromkeys(PARTS, 0.0)
        for stamps in ours:
            if start <= stamps[0] < stop:
                index = bisect.bisect_left(arrivals, stamps[1])
                _add(parts, stamps, theirs[index])
        inside = sum(parts.values())
        parts["model"] = (stop - start) / 1e6 - inside
        found.append(parts)
    return found


def _add(parts: dict[str, float], ours: Stamps, theirs: Stamps) -> None:
    marks = [*ours[:2], *theirs, *ours[2:]]
    for part, begun, ended in zip(PARTS[1:], marks[:-1], marks[1:], strict=True):
        parts[part] += (ended - begun) / 1e6
