"""A chat with one model: messages in, the reply's text out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fhe_client.model.errors import ModelError, PromptTooLongError
from fhe_client.model.files import ModelFiles
from fhe_client.model.hybrid import HybridModel
from fhe_client.text.generation import (
    GenerationOptions,
    GenerationResult,
    OnPiece,
    OnPrompt,
    OnTokens,
    generate,
)
from fhe_client.text.padding import BUCKET, filler_rows
from fhe_client.text.prompt_tokens import PromptEncoder
from fhe_client.text.templates import PLAIN_STOP, TemplateRenderer, plain_text
from fhe_client.text.transcript import Message, count_turns, without_oldest

_DROP_STEP = 4
"""Old turns are dropped in steps: each drop makes the model read the whole rest again, so not at every turn."""

Traffic = Callable[[], tuple[int, int]]
"""Bytes (up, down) so far."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The `ask` result of the engine protocol, and `warning`, what the user must be told, if anything."""

    text: str = field(repr=False)
    stopped: bool
    reason: str
    prompt_tokens: int
    reply_tokens: int
    reused_tokens: int
    seconds_first: float | None
    seconds_per_token: float | None
    bytes_up: int
    bytes_down: int
    rounds: int
    rows_per_pass: int
    passes: int
    truncated_turns: int
    warning: str | None
    padding_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PromptSize:
    """What a prompt would cost: tokens in all, those that the cache does not hold yet, and fillers behind these."""

    prompt_tokens: int
    new_tokens: int
    truncated_turns: int
    padding_tokens: int = 0


class Chat:
    """One conversation at a time with one model. Not for use by two threads at once.

    Args:
        hybrid: the model; its cache is what makes later turns cheap.
        files: the client's part of the same model.
        traffic: counts bytes; asked before and after a reply.
    """

    def __init__(
        self, hybrid: HybridModel, files: ModelFiles, traffic: Traffic = lambda: (0, 0)
    ) -> None:
        self._hybrid = hybrid
        self._files = files
        self._traffic = traffic
        self._context = hybrid.runner.manifest.context_length
        self._encoder = PromptEncoder(files.tokenizer)
        self._renderer: TemplateRenderer | None = None
        if files.chat_template is not None:
            self._renderer = TemplateRenderer(files.chat_template, _template_variables(files))
            self._renderer.start()

    def ask(
        self,
        messages: Sequence[Message],
        options: GenerationOptions,
        *,
        continuing: bool = False,
        on_piece: OnPiece = lambda text: None,
        on_prompt: OnPrompt = lambda done, total: None,
        on_tokens: OnTokens = lambda count: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> ChatReply:
        """Write the reply to the last message, or the rest of it.

        Args:
            messages: the conversation, the last one by the user.
            continuing: the last one is an unfinished reply; what is written, and returned, is what comes after it.

        Raises:
            PromptTooLongError: the last message alone does not fit.
            TemplateError: the model's template cannot be used.
            ModelError: see `generate`.
            Exception: whatever the runner raised.
        """
        tokens, dropped = self._prompt(messages, options, continuing)
        up, down = self._traffic()
        result = generate(
            self._hybrid,
            self._files.tokenizer,
            tokens,
            options,
            defaults=self._files.defaults,
            context_length=self._context,
            stop_text="" if self._renderer is not None else PLAIN_STOP,
            continuing=continuing,
            on_piece=on_piece,
            on_prompt=on_prompt,
            on_tokens=on_tokens,
            should_stop=should_stop,
        )
        up_now, down_now = self._traffic()
        return self._reply(result, up_now - up, down_now - down, dropped)

    def measure(
        self, messages: Sequence[Message], options: GenerationOptions, continuing: bool = False
    ) -> PromptSize:
        """What `ask` would have to read, without asking. Raises as `ask` does."""
        tokens, dropped = self._prompt(messages, options, continuing)
        known = self._hybrid.cache.tokens
        common = 0
        while common < min(len(known), len(tokens) - 1) and known[common] == tokens[common]:
            common += 1
        new = len(tokens) - common
        return PromptSize(len(tokens), new, dropped, filler_rows(new) if options.pad else 0)

    def forget(self) -> None:
        """Drop what the model has read: a later turn reads everything again."""
        self._hybrid.forget()

    def close(self) -> None:
        """End the helper process and drop the cache."""
        self.forget()
        if self._renderer is not None:
            self._renderer.close()

    def _prompt(
        self, messages: Sequence[Message], options: GenerationOptions, continuing: bool
    ) -> tuple[list[int], int]:
        """Token ids of the prompt and the number of turns that had to be left out."""
        _check_last(messages, continuing)
        room = self._context - min(options.max_tokens, max(1, self._context // 4))
        room -= BUCKET - 1 if options.pad else 0
        tokens = self._encode(messages, continuing)
        if len(tokens) <= room:
            return tokens, 0

        def without(dropped: int) -> list[int]:
            return self._encode(without_oldest(messages, dropped), continuing)

        most = count_turns(messages)
        steps = [*range(_DROP_STEP, most, _DROP_STEP), most]
        # By halves: step by step, a history of thousands of turns would take minutes, in which nobody asks for a stop.
        first = bisect_left(steps, True, key=lambda dropped: len(without(dropped)) <= room)
        dropped = steps[min(first, len(steps) - 1)]
        tokens = without(dropped)
        if len(tokens) <= room:
            return tokens, dropped
        raise PromptTooLongError(
            f"The message has {len(tokens)} tokens, this model takes {room}.",
            "Shorten the message.",
        ).about(tokens=len(tokens), limit=room)

    def _encode(self, messages: Sequence[Message], continuing: bool) -> list[int]:
        if self._renderer is None:
            return self._encoder.encode(messages, plain_text, True, continuing)
        return self._encoder.encode(messages, self._renderer.render, False, continuing)

    def _reply(self, result: GenerationResult, up: int, down: int, dropped: int) -> ChatReply:
        return ChatReply(
            text=result.text,
            stopped=result.stopped,
            reason=result.reason,
            prompt_tokens=result.prompt_tokens,
            reply_tokens=len(result.tokens),
            reused_tokens=result.reused_tokens,
            seconds_first=result.seconds_first,
            seconds_per_token=result.seconds_per_token,
            bytes_up=up,
            bytes_down=down,
            rounds=result.rounds,
            rows_per_pass=result.rows_per_pass,
            passes=result.passes,
            truncated_turns=dropped,
            warning=self._hybrid.take_warning(),
            padding_tokens=result.padding_tokens,
        )


def _check_last(messages: Sequence[Message], continuing: bool) -> None:
    last = messages[-1] if messages else None
    if not continuing:
        if last is None or last.role != "user":
            raise ModelError("The last message must be the user's.", "Write a message first.")
    elif last is None or last.role != "assistant" or not last.content:
        raise ModelError("There is no reply to continue.", "Write a message first.")


def _template_variables(files: ModelFiles) -> dict[str, str]:
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    tokens = {name: getattr(files.tokenizer, name, None) for name in names}
    return {name: token for name, token in tokens.items() if isinstance(token, str)}
