"""How long things take here: a running measure that turns into an estimate before a long prompt is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fhe_protocol.manifest import Manifest

FIRST_GUESS_PASS = 0.3
FIRST_GUESS_TOKEN = 0.02
"""Seconds of a pass, and of each further prompt token in it, before anything was measured here."""

_FRAME_OVERHEAD = 40
"""Bytes of headers of a round, both ways: frame header, WebSocket framing."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What reading a prompt would cost: the `estimate` result of the engine protocol."""

    prompt_tokens: int
    seconds: float
    mb: float


class Pace:
    """Seconds per pass and per prompt token, learnt from replies; and the tokens of the reply under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pass = FIRST_GUESS_PASS
        self._prompt_token = FIRST_GUESS_TOKEN
        self._starts: list[tuple[float, int]] = []  # of passes, with the tokens before them
        self._reply_began = 0
        self._tokens = 0

    @property
    def tokens(self) -> int:
        """Tokens of the reply that are finished (the pass under way makes the next ones)."""
        return self._tokens

    @property
    def seconds_per_token(self) -> float | None:
        """Of the reply under way, or of the last one; None before two of its passes have begun."""
        starts = self._starts[self._reply_began + 1 :]
        if len(starts) < 2 or starts[-1][1] <= starts[0][1]:
            return None
        return (starts[-1][0] - starts[0][0]) / (starts[-1][1] - starts[0][1])

    def begin_reply(self) -> None:
        """A prompt is about to be read."""
        self._starts, self._reply_began, self._tokens = [], 0, 0

    def pass_began(self) -> None:
        """The first round of a pass is through."""
        self._starts.append((self._clock(), self._tokens))

    def tokens_written(self, count: int) -> None:
        """The reply has so many tokens now."""
        self._tokens = count

    def prompt_read(self) -> None:
        """The passes so far were of the prompt alone."""
        self._reply_began = len(self._starts)

    def learn(self, new_tokens: int, passes: int, first: float | None, each: float | None) -> None:
        """Take a finished reply into account: seconds to its first token and of each pass after it."""
        if each is not None and each > 0:
            self._pass = each
        if first is not None and new_tokens > 1:
            self._prompt_token = max(0.0, first - passes * self._pass) / new_tokens

    def estimate(
        self, manifest: Manifest, prompt_tokens: int, new_tokens: int, rows: int
    ) -> Estimate:
        """What `new_tokens` of a prompt cost, in passes of at most `rows`."""
        passes = -(-new_tokens // rows)
        seconds = passes * self._pass + new_tokens * self._prompt_token
        return Estimate(prompt_tokens, seconds, prompt_bytes(manifest, new_tokens, passes) / 1e6)


def prompt_bytes(manifest: Manifest, new_tokens: int, passes: int) -> int:
    """Bytes both ways for a prompt: every layer for every token, but the scores for the last token only."""
    total = 0
    for group in manifest.groups:
        head = group.kind == "linear" and group.outputs == manifest.vocabulary
        rows, rounds = (1, 1) if head else (new_tokens, passes)
        total += rows * (3 * group.inputs + 2 * group.outputs * len(group.parts))
        total += rounds * _FRAME_OVERHEAD
    return total
