"""Writes a reply: the prompt in chunks, then pass by pass, one token each or, with guesses, several.

What the server can see of it is the number and sizes of the passes: they follow from the number of prompt tokens that
the cache does not hold, the window of slots, and the number of tokens written; with guesses (`drafting`), from how many
of them were right, too. With padding, all but the number of buckets of these is hidden.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fhe_client.model.errors import ModelError, PromptTooLongError
from fhe_client.model.files import GenerationDefaults
from fhe_client.model.hybrid import HybridModel
from fhe_client.model.passes import StopRequestedError
from fhe_client.text.drafting import Drafter, check_draft, rows_per_pass
from fhe_client.text.padding import BUCKET, filler_rows, prompt_rows
from fhe_client.text.pieces import PieceDecoder
from fhe_client.text.sampling import Sampler, SamplingSettings

PREFILL_ROWS = 256
"""Prompt tokens of one pass: all that a frame carries. Each pass costs its round trips; Stop waits for a round, not for
a pass."""

MOST_STOPS = 16

OnPiece = Callable[[str], None]
OnPrompt = Callable[[int, int], None]
"""(prompt tokens done, prompt tokens in all), reused ones included."""
OnTokens = Callable[[int], None]
"""(tokens of the reply so far), after each pass that brought some."""


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What a user may choose. None leaves it to the model.

    Attributes:
        max_tokens: most tokens of the reply.
        temperature: 0 always takes the likeliest token.
        top_p, top_k: sample among the likeliest tokens only; top_k 0 means all.
        seed: makes sampling repeatable, as far as decryption noise lets it.
        draft: tokens of each pass, 2 to 8, all but one of them guessed from the conversation (see `drafting`: faster
            over slow networks, more bytes, and the number of passes shows how much the reply repeats). 0 is off;
            "auto" decides by `round_trip_s` once, before the reply.
        round_trip_s: seconds of a round trip to the server, if known.
        pad: pads prompt and reply to whole buckets (see `padding`): the server sees less of their lengths, each
            reply costs at least BUCKET passes.

    Raises:
        ModelError: a value is out of range.
    """

    max_tokens: int = 512
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    draft: int | str = 0
    round_trip_s: float | None = None
    pad: bool = False
    stop: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check("max_tokens", self.max_tokens, 1, 1 << 20, int)
        _check("temperature", self.temperature, 0, 10, float)
        _check("top_p", self.top_p, 0.001, 1, float)
        _check("top_k", self.top_k, 0, 1 << 20, int)
        _check("seed", self.seed, 0, (1 << 63) - 1, int)
        _check("round_trip_s", self.round_trip_s, 0, 3600, float)
        check_draft(self.draft)
        if type(self.pad) is not bool:
            raise ModelError("pad must be true or false.")
        if len(self.stop) > MOST_STOPS or not all(type(one) is str and one for one in self.stop):
            raise ModelError(f"stop must be at most {MOST_STOPS} texts, none of them empty.")


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """A reply and what it took.

    Attributes:
        text: the reply, as it was streamed.
        tokens: its token ids, the stop token included.
        stopped: whether the user stopped it.
        reason: "end" (a stop token), "length" (max_tokens), "context" (the model's context is full) or "stopped".
        prompt_tokens: of the whole prompt; `reused_tokens` of them were in the cache.
        seconds_first: until the first token, None if there was none.
        seconds_per_token: between the tokens after it, None if there were fewer than two.
        rounds: groups computed, i.e. requests to the server.
        rows_per_pass: tokens of each pass after the prompt; 1 without guesses.
        passes: passes after the prompt without padding; (tokens - 1) / passes is what a pass brought.
        padding_tokens: rows that were spent on padding.
    """

    text: str = field(repr=False)
    tokens: tuple[int, ...] = field(repr=False)
    stopped: bool
    reason: str
    prompt_tokens: int
    reused_tokens: int
    seconds_first: float | None
    seconds_per_token: float | None
    rounds: int
    rows_per_pass: int
    passes: int
    padding_tokens: int = 0


def generate(
    hybrid: HybridModel,
    tokenizer: Any,
    input_ids: Sequence[int],
    options: GenerationOptions,
    *,
    defaults: GenerationDefaults = GenerationDefaults(),  # noqa: B008 - frozen
    context_length: int | None = None,
    stop_text: str = "",
    continuing: bool = False,
    on_piece: OnPiece = lambda text: None,
    on_prompt: OnPrompt = lambda done, total: None,
    on_tokens: OnTokens = lambda count: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> GenerationResult:
    """Write the reply to a prompt.

    Args:
        hybrid: its cache is reused as far as the prompt begins alike, and is consistent after a failure, too.
        tokenizer: decodes the reply.
        input_ids: the whole prompt, at least one token, each below the vocabulary's size.
        context_length: most tokens of prompt and reply together; by default that of the manifest.
        stop_text: ends the reply where a model has no stop token for it.
        continuing: the prompt ends within a reply, and this one goes on from there.
        on_piece: gets each piece of text, in this thread.
        on_prompt: gets the progress of the prompt.
        on_tokens: gets the number of tokens after each pass.
        should_stop: asked before each round; True ends the reply there.

    Raises:
        PromptTooLongError: the prompt leaves no room for a token.
        ModelError: a token is out of range, or the model broke the rules of a pass.
        Exception: whatever the runner raised; the cache keeps the passes that were completed.
    """
    context = context_length or hybrid.runner.manifest.context_length
    # With padding the last rows of the context are for fillers.
    context -= BUCKET - 1 if options.pad else 0
    _check_prompt(input_ids, hybrid, context)
    rows = _rows_that_fit(options, context - len(input_ids))
    # The last pass must fit into the context with all its guesses.
    room = min(options.max_tokens, context - len(input_ids) - max(0, rows - 2))
    stops = (*options.stop, stop_text) if stop_text else options.stop
    decoder = PieceDecoder(tokenizer, stops, input_ids if continuing else ())
    run = _Run(hybrid, decoder, on_piece, defaults.stop_tokens, rows)
    run.on_tokens, run.pad = on_tokens, options.pad
    hybrid.state.should_stop = should_stop
    stopped = False
    try:
        reused = hybrid.cache.reuse(input_ids)
        _prefill(hybrid, input_ids, options.pad, on_prompt)
        with contextlib.suppress(_StopTextFoundError):
            run.write(input_ids, Sampler(_settings(options, defaults), options.seed), room)
        run.finish()
        run.fill_up(input_ids[-1])
    except StopRequestedError:
        stopped = not run.finished
    finally:
        hybrid.state.should_stop = lambda: False
        hybrid.cache.trim()
    run.finish()
    return run.result(len(input_ids), reused, stopped, room < options.max_tokens)


class _StopTextFoundError(Exception):
    """Leaves the reply as soon as the stop text is there."""


class _Run:
    """One reply in the making."""

    def __init__(
        self,
        hybrid: HybridModel,
        decoder: PieceDecoder,
        on_piece: OnPiece,
        stop_tokens: Sequence[int],
        rows: int,
    ) -> None:
        self._hybrid = hybrid
        self.decoder = decoder
        self._on_piece = on_piece
        self._stop_tokens = frozenset(stop_tokens)
        self._started = time.perf_counter()
        self._times: list[float] = []
        self._rounds_before = hybrid.state.rounds
        self._tokens: list[int] = []
        self._text: list[str] = []
        self._rows = rows
        self.on_tokens: OnTokens = lambda count: None
        self._passes = 0
        self.pad = False
        self.finished = False
        self._padding = 0

    def write(self, prompt: Sequence[int], sampler: Sampler, room: int) -> None:
        """Up to `room` tokens: one from the rest of the prompt, then passes of equal length."""
        rows = self._rows
        drafter = Drafter(prompt if rows > 1 else ())
        text, fed = list(prompt), list(prompt[len(self._hybrid.cache) :])
        fillers = filler_rows(len(fed)) if self.pad else 0
        guesses: list[int] = []
        while True:
            chosen = self._pass(fed, guesses, text, sampler, fillers)
            fillers = 0
            for token in chosen[: room - len(self._tokens)]:
                text.append(token)
                self.take(token)
                if token in self._stop_tokens or len(self._tokens) == room:
                    return
                if rows > 1:
                    drafter.add(token)
            self.on_tokens(len(self._tokens))
            guesses = drafter.propose(rows - 1)
            fed = [text[-1], *guesses]
            self._passes += 1
            self._hybrid.state.make_room(rows)

    def fill_up(self, filler: int) -> None:
        """With padding: passes like those of the reply until the bucket is full. The reply is whole before them."""
        made = self._passes + 1  # the prompt's last pass brought the first token
        for _ in range(filler_rows(made) if self.pad else 0):
            self._hybrid.state.make_room(self._rows)
            start = len(self._hybrid.cache)
            self._hybrid.logits([filler] * self._rows, self._rows)
            self._padding += self._rows
            self._hybrid.cache.trim(start)

    def _pass(
        self, fed: list[int], guesses: list[int], text: list[int], sampler: Sampler, fillers: int
    ) -> list[int]:
        """One pass over `fed`, which ends with the guesses, and fillers behind it; the tokens that follow `text`.
        Fillers and wrong guesses leave the cache at once, so that nothing that fails later finds them there."""
        start = len(self._hybrid.cache)
        padded = [*fed, *fed[-1:] * fillers]
        scores = self._hybrid.logits(padded, 1 + len(guesses), fillers)
        self._padding += fillers
        self._hybrid.cache.trim(start + len(fed))
        chosen = sampler.verify(text, guesses, scores)
        right = len(chosen) - 1
        self._hybrid.cache.trim(start + len(fed) - len(guesses) + right)
        return chosen

    def take(self, token: int) -> None:
        """One more token of the reply."""
        self._times.append(time.perf_counter())
        self._tokens.append(token)
        if token not in self._stop_tokens:
            self._show(self.decoder.put(token))
        if self.decoder.stopped:
            raise _StopTextFoundError

    def finish(self) -> None:
        """Show what was held back, once."""
        if not self.finished:
            self.finished = True
            self._show(self.decoder.end())

    def result(self, prompt_tokens: int, reused: int, stopped: bool, cut: bool) -> GenerationResult:
        """What came of it."""
        times = self._times
        pace = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None
        return GenerationResult(
            text="".join(self._text),
            tokens=tuple(self._tokens),
            stopped=stopped,
            reason=self._reason(stopped, cut),
            prompt_tokens=prompt_tokens,
            reused_tokens=reused,
            seconds_first=times[0] - self._started if times else None,
            seconds_per_token=pace,
            rounds=self._hybrid.state.rounds - self._rounds_before,
            rows_per_pass=self._rows,
            passes=self._passes,
            padding_tokens=self._padding,
        )

    def _reason(self, stopped: bool, cut: bool) -> str:
        if stopped:
            return "stopped"
        if self.decoder.stopped or (self._tokens and self._tokens[-1] in self._stop_tokens):
            return "end"
        return "context" if cut else "length"

    def _show(self, piece: str) -> None:
        if piece:
            self._text.append(piece)
            self._on_piece(piece)


def _prefill(hybrid: HybridModel, prompt: Sequence[int], pad: bool, on_prompt: OnPrompt) -> None:
    """Passes over the prompt until what is left fits into one, which brings the first token, too."""
    total = len(prompt)
    on_prompt(len(hybrid.cache), total)
    while True:
        left = hybrid.runner.rows_until_window_end()
        rows = prompt_rows(hybrid.state, PREFILL_ROWS) if pad else min(PREFILL_ROWS, left)
        done = len(hybrid.cache)
        if total - done <= rows:
            return
        hybrid.prefill(prompt[done : done + rows])
        on_prompt(len(hybrid.cache), total)


def _rows_that_fit(options: GenerationOptions, space: int) -> int:
    """Tokens of each pass after the prompt; no guesses where the context has no space for one such pass."""
    rows = rows_per_pass(options.draft, options.round_trip_s)
    return rows if rows <= space else 1


def _settings(options: GenerationOptions, defaults: GenerationDefaults) -> SamplingSettings:
    """The user's choices, the model's where there are none. What the server could have chosen has been checked."""
    temperature = options.temperature
    if temperature is None:
        temperature = defaults.temperature if defaults.sample else 0.0
    return SamplingSettings(
        temperature=temperature,
        top_p=defaults.top_p if options.top_p is None else options.top_p,
        top_k=defaults.top_k if options.top_k is None else options.top_k,
        repetition_penalty=defaults.repetition_penalty,
    )


def _check_prompt(input_ids: Sequence[int], hybrid: HybridModel, context: int) -> None:
    if not input_ids:
        raise ModelError("There is nothing to answer.", "Write a message first.")
    if len(input_ids) >= context:
        raise PromptTooLongError(
            f"The prompt has {len(input_ids)} tokens, this model takes fewer than {context}.",
            "Shorten the message.",
        ).about(tokens=len(input_ids), limit=context - 1)
    vocabulary = hybrid.runner.manifest.vocabulary
    if not all(0 <= token < vocabulary for token in input_ids):
        raise ModelError("The tokenizer made a token that the model does not know.")


def _check(name: str, value: object, low: float, high: float, kind: type) -> None:
    if value is None:
        return
    allowed = (int,) if kind is int else (int, float)
    if type(value) not in allowed or not low <= value <= high:  # type: ignore[operator]
        raise ModelError(f"{name} must be a number from {low} to {high}.")
