"""Writes a reply: the prompt in chunks, then token by token through transformers' own `generate`.

What the server can see of it is the number and sizes of the passes: they follow from the number of prompt tokens that
the cache does not hold, the window of slots, and the number of tokens written.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from fhe_client.hybrid import HybridModel
from fhe_client.model_errors import ModelError, PromptTooLongError
from fhe_client.model_files import GenerationDefaults
from fhe_client.passes import StopRequestedError
from fhe_client.pieces import PieceDecoder

PREFILL_ROWS = 64
"""Prompt tokens of one pass. Longer passes make fewer round trips but a slower answer to Stop."""

OnPiece = Callable[[str], None]
OnPrompt = Callable[[int, int], None]
"""(prompt tokens done, prompt tokens in all), reused ones included."""


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What a user may choose. None leaves it to the model.

    Attributes:
        max_tokens: most tokens of the reply.
        temperature: 0 always takes the likeliest token.
        top_p, top_k: sample among the likeliest tokens only; top_k 0 means all.
        seed: makes sampling repeatable, as far as decryption noise lets it.

    Raises:
        ModelError: a value is out of range.
    """

    max_tokens: int = 512
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("max_tokens", self.max_tokens, 1, 1 << 20, int)
        _check("temperature", self.temperature, 0, 10, float)
        _check("top_p", self.top_p, 0.001, 1, float)
        _check("top_k", self.top_k, 0, 1 << 20, int)
        _check("seed", self.seed, 0, (1 << 63) - 1, int)


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


def generate(
    hybrid: HybridModel,
    tokenizer: Any,
    input_ids: Sequence[int],
    options: GenerationOptions,
    *,
    defaults: GenerationDefaults = GenerationDefaults(),  # noqa: B008 - frozen
    context_length: int | None = None,
    stop_text: str = "",
    on_piece: OnPiece = lambda text: None,
    on_prompt: OnPrompt = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> GenerationResult:
    """Write the reply to a prompt.

    Args:
        hybrid: its cache is reused as far as the prompt begins alike, and is consistent after a failure, too.
        tokenizer: decodes the reply.
        input_ids: the whole prompt, at least one token, each below the vocabulary's size.
        context_length: most tokens of prompt and reply together; by default that of the manifest.
        stop_text: ends the reply where a model has no stop token for it.
        on_piece: gets each piece of text, in this thread.
        on_prompt: gets the progress of the prompt.
        should_stop: asked before each round; True ends the reply there.

    Raises:
        PromptTooLongError: the prompt leaves no room for a token.
        ModelError: a token is out of range, or the model broke the rules of a pass.
        Exception: whatever the runner raised; the cache keeps the passes that were completed.
    """
    context = context_length or hybrid.runner.manifest.context_length
    _check_prompt(input_ids, hybrid, context)
    room = min(options.max_tokens, context - len(input_ids))
    run = _Run(hybrid, PieceDecoder(tokenizer, stop_text), on_piece, defaults.stop_tokens)
    hybrid.state.should_stop = should_stop
    stopped = False
    try:
        reused = hybrid.cache.reuse(input_ids)
        _prefill(hybrid, input_ids, on_prompt)
        run.write(input_ids, _generation_config(options, defaults, room), options.seed)
    except StopRequestedError:
        stopped = True
    except _StopTextFoundError:
        pass
    finally:
        hybrid.state.should_stop = lambda: False
        hybrid.cache.trim()
    run.finish()
    return run.result(len(input_ids), reused, stopped, room < options.max_tokens)


class _StopTextFoundError(Exception):
    """Leaves `generate`, which knows stop tokens only, as soon as the stop text is there."""


class _Run:
    """One reply in the making."""

    def __init__(
        self,
        hybrid: HybridModel,
        decoder: PieceDecoder,
        on_piece: OnPiece,
        stop_tokens: Sequence[int],
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

    def write(self, prompt: Sequence[int], config: GenerationConfig, seed: int | None) -> None:
        """Let transformers write; tokens come back through the streamer."""
        ids = torch.tensor([list(prompt)], dtype=torch.int64)
        hybrid = self._hybrid
        # generate() draws from torch's global generator: seed a copy, and put the old state back.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(secrets.randbits(63) if seed is None else seed)
            hybrid.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                streamer=_Streamer(self),
                **{hybrid.cache_keyword: hybrid.cache.layers},
            )

    def take(self, token: int) -> None:
        """One more token of the reply."""
        self._times.append(time.perf_counter())
        self._tokens.append(token)
        if token not in self._stop_tokens:
            self._show(self.decoder.put(token))
        if self.decoder.stopped:
            raise _StopTextFoundError

    def finish(self) -> None:
        """Show what was held back."""
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


class _Streamer(BaseStreamer):  # type: ignore[misc, unused-ignore]
    """Hands tokens on. The first call brings the prompt, which is known already."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._prompt_due = True

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_due:
            self._prompt_due = False
            return
        self._run.take(int(value.reshape(-1)[0]))

    def end(self) -> None:
        """Nothing is left to do: `_Run.finish` runs after failures, too."""


def _prefill(hybrid: HybridModel, prompt: Sequence[int], on_prompt: OnPrompt) -> None:
    """Passes over the prompt until what is left fits into one, which `generate` makes itself."""
    total = len(prompt)
    on_prompt(len(hybrid.cache), total)
    while True:
        rows = min(PREFILL_ROWS, hybrid.runner.rows_until_window_end())
        done = len(hybrid.cache)
        if total - done <= rows:
            return
        hybrid.prefill(prompt[done : done + rows])
        on_prompt(len(hybrid.cache), total)


def _generation_config(
    options: GenerationOptions, defaults: GenerationDefaults, room: int
) -> GenerationConfig:
    """Transformers' settings. Everything the server could have chosen has passed `GenerationDefaults`."""
    values: dict[str, Any] = {"max_new_tokens": room, "use_cache": True}
    values["eos_token_id"] = list(defaults.stop_tokens) or None
    values["pad_token_id"] = defaults.stop_tokens[0] if defaults.stop_tokens else 0
    values["repetition_penalty"] = defaults.repetition_penalty
    temperature = options.temperature
    if temperature is None:
        temperature = defaults.temperature if defaults.sample else 0.0
    if temperature < 0.01:
        return GenerationConfig(do_sample=False, **values)
    top_p = defaults.top_p if options.top_p is None else options.top_p
    top_k = defaults.top_k if options.top_k is None else options.top_k
    return GenerationConfig(
        do_sample=True, temperature=temperature, top_p=top_p, top_k=top_k, **values
    )


def _check_prompt(input_ids: Sequence[int], hybrid: HybridModel, context: int) -> None:
    if not input_ids:
        raise ModelError("There is nothing to answer.", "Write a message first.")
    if len(input_ids) >= context:
        raise PromptTooLongError(
            f"The prompt has {len(input_ids)} tokens, this model takes fewer than {context}.",
            "Shorten the message.",
        )
    vocabulary = hybrid.runner.manifest.vocabulary
    if not all(0 <= token < vocabulary for token in input_ids):
        raise ModelError("The tokenizer made a token that the model does not know.")


def _check(name: str, value: object, low: float, high: float, kind: type) -> None:
    if value is None:
        return
    allowed = (int,) if kind is int else (int, float)
    if type(value) not in allowed or not low <= value <= high:  # type: ignore[operator]
        raise ModelError(f"{name} must be a number from {low} to {high}.")
