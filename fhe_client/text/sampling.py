"""Chooses tokens from a model's scores, with transformers' own processors, seeded apart from every other generator."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

LARGEST_SCORE = 1e12
"""Scores beyond this come from spoiled answers. Bounded, they cannot make a choice fail."""

COLDEST = 0.01
"""Below this temperature only the likeliest token is ever taken."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How tokens are chosen.

    Attributes:
        temperature: below COLDEST the likeliest token is taken, and top_k and top_p do not matter.
        top_k: 0 means all.
        repetition_penalty: 1 means none.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


class Sampler:
    """Chooses one token after another.

    Args:
        seed: makes the choices repeatable; None draws a new one.
    """

    def __init__(self, settings: SamplingSettings, seed: int | None = None) -> None:
        self._processors = _processors(settings)
        self._greedy = settings.temperature < COLDEST
        self._generator = torch.Generator()
        self._generator.manual_seed(secrets.randbits(63) if seed is None else seed)

    def choose(self, text: Sequence[int], scores: torch.Tensor) -> int:
        """The token that follows `text`.

        Args:
            text: all tokens before it.
            scores: float32 (vocabulary,). Any values: no error may depend on decrypted data.
        """
        row = torch.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
        row = row.clamp(-LARGEST_SCORE, LARGEST_SCORE)[None]
        if self._processors:
            row = self._processors(torch.tensor([list(text)], dtype=torch.int64), row)
        if self._greedy:
            return int(torch.argmax(row, dim=-1))
        odds = torch.softmax(row, dim=-1)
        return int(torch.multinomial(odds, 1, generator=self._generator))

    def verify(
        self, text: Sequence[int], guesses: Sequence[int], scores: torch.Tensor
    ) -> list[int]:
        """The tokens that follow `text`, as far as the guesses were right.

        Args:
            guesses: the tokens that the rows of `scores` took for granted.
            scores: float32 (1 + guesses, vocabulary): row i follows text + guesses[:i].

        Returns:
            1 to 1 + guesses tokens. All but the last equal the guesses.
        """
        chosen: list[int] = []
        for row in scores:
            chosen.append(self.choose([*text, *chosen], row))
            if chosen != list(guesses[: len(chosen)]):
                break
        return chosen


def _processors(settings: SamplingSettings) -> LogitsProcessorList:
    """In the order in which transformers' `generate` applies them."""
    found = LogitsProcessorList()
    if settings.repetition_penalty != 1:
        found.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.temperature < COLDEST:
        return found
    if settings.temperature != 1:
        found.append(TemperatureLogitsWarper(float(settings.temperature)))
    if settings.top_k:
        found.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        found.append(TopPLogitsWarper(settings.top_p))
    return found
