"""How long things take here: a running measure that turns into an estimate before a long prompt is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fhe_protocol.manifest import Manifest

FIRST_GUESS_PASS = 0.3
FIRST_GUESS_TOKEN = 0.02
"""Seconds of a pass, and of each further prompt token in it, before anything was measured here."""

_FRAME_OVERHEAD = 40
"""Bytes of headers of a round, both ways: frame header, WebSocket framing."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What reading a prompt would cost, before a reply is written: the `estimate` result of the engine protocol.

    Attributes:
        prompt_tokens: of the whole prompt, without padding; those that are known already cost nothing.
        seconds, mb: of reading it, its padding included.
        padding_tokens, padding_seconds, padding_mb: the part of these that padding takes.
        reply_seconds, reply_mb: what the shortest reply costs after that: with padding a whole bucket of passes, and
            nothing without.
    """

    prompt_tokens: int
    seconds: float
    mb: float
    padding_tokens: int = 0
    padding_seconds: float = 0.0
    padding_mb: float = 0.0
    reply_seconds: float = 0.0
    reply_mb: float = 0.0


class Prompt(Protocol):
    """The size of a prompt; see `text.chat.PromptSize`."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def new_tokens(self) -> int: ...
    @property
    def padding_tokens(self) -> int: ...


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
        self,
        manifest: Manifest,
        size: Prompt,
        rows: int,
        reply_passes: int = 0,
        reply_rows: int = 1,
    ) -> Estimate:
        """What a prompt costs in passes of at most `rows`, and then `reply_passes` of `reply_rows`."""
        seconds, mb = self._reading(manifest, size.new_tokens, rows)
        padded, padded_mb = self._reading(manifest, size.new_tokens + size.padding_tokens, rows)
        each = pass_bytes(manifest, reply_rows, reply_rows) / 1e6
        return Estimate(
            size.prompt_tokens,
            padded,
            padded_mb,
            size.padding_tokens,
            padded - seconds,
            padded_mb - mb,
            reply_passes * self._pass,
            reply_passes * each,
        )

    def _reading(self, manifest: Manifest, tokens: int, rows: int) -> tuple[float, float]:
        """Seconds and megabytes of reading so many tokens."""
        passes = -(-tokens // rows)
        seconds = passes * self._pass + tokens * self._prompt_token
        return seconds, prompt_bytes(manifest, tokens, passes) / 1e6


def prompt_bytes(manifest: Manifest, new_tokens: int, passes: int) -> int:
    """Bytes both ways for a prompt: every layer for every token, but the scores for the last token only."""
    return pass_bytes(manifest, new_tokens, 1, passes)


def pass_bytes(manifest: Manifest, rows: int, scored: int, passes: int = 1) -> int:
    """Bytes both ways of `rows` tokens in so many passes, with scores for `scored` of them."""
    total = 0
    for group in manifest.groups:
        head = group.kind == "linear" and group.outputs == manifest.vocabulary
        count, rounds = (scored, 1) if head else (rows, passes)
        total += count * (3 * group.inputs + 2 * group.outputs * len(group.parts))
        total += rounds * _FRAME_OVERHEAD
    return total
