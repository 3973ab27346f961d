from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from fhe_client.text.sampling import Sampler, SamplingSettings

VOCABULARY = 4
LENGTH = 3
TABLE = torch.tensor(np.random.default_rng(5).normal(size=(VOCABULARY, VOCABULARY)) * 1.5).float()
"""A model that sees one token back: row t scores what follows token t."""


def odds_of(settings: SamplingSettings, text: list[int], token: int) -> float:
    """By the definitions, without transformers."""
    scores = TABLE[text[-1]].double().numpy().copy()
    seen = sorted(set(text))
    penalty = settings.repetition_penalty
    scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    scores /= settings.temperature
    if settings.top_k:
        scores[scores < np.sort(scores)[-settings.top_k]] = -np.inf
    odds = np.exp(scores - scores.max())
    return float(odds[token] / odds.sum())


def write(sampler: Sampler, guess: list[int], rows: int) -> tuple[int, ...]:
    """LENGTH tokens after token 0, in passes of `rows` rows with fixed, mostly wrong guesses."""
    text = [0]
    while len(text) <= LENGTH:
        guesses = [guess[(len(text) + i) % len(guess)] for i in range(rows - 1)]
        fed = [text[-1], *guesses]
        text += sampler.verify(text, guesses, TABLE[fed])
    return tuple(text[1 : LENGTH + 1])


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=1.0),
        SamplingSettings(temperature=0.7, top_k=3, repetition_penalty=1.5),
    ],
)
def test_distribution_is_the_models_with_any_guesses(settings: SamplingSettings, rows: int) -> None:
    """Chi-square over all texts of three tokens, seeded: the outcome is always the same."""
    count = 2500
    sampler = Sampler(settings, seed=11)
    seen = dict.fromkeys(itertools.product(range(VOCABULARY), repeat=LENGTH), 0)
    for _ in range(count):
        seen[write(sampler, [1, 3, 2], rows)] += 1
    chi, cells = 0.0, 0
    for text, found in seen.items():
        due = float(count)
        for i, token in enumerate(text):
            due *= odds_of(settings, [0, *text[:i]], token)
        if due == 0:
            assert found == 0
            continue
        chi += (found - due) ** 2 / due
        cells += 1
    freedom = cells - 1
    assert freedom > 10
    # The 99.9 % point by Wilson and Hilferty.
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert chi < limit


def test_right_guesses_count_as_far_as_the_first_wrong_one() -> None:
    greedy = Sampler(SamplingSettings())
    first = int(TABLE[0].argmax())
    second = int(TABLE[first].argmax())
    rows = TABLE[[0, first, second]]
    third = int(TABLE[second].argmax())
    assert greedy.verify([0], [first, second], rows) == [first, second, third]
    wrong = (second + 1) % VOCABULARY
    assert greedy.verify([0], [first, wrong], TABLE[[0, first, wrong]]) == [first, second]
    wrong = (first + 1) % VOCABULARY
    assert greedy.verify([0], [wrong, second], TABLE[[0, wrong, second]]) == [first]


def test_seed_decides() -> None:
    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingSettings(temperature=2.0), seed)
        return [sampler.choose([0], TABLE[0]) for _ in range(64)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(None) != draw(None)


@pytest.mark.parametrize("temperature", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize(
    "row",
    [
        [float("nan")] * 4,
        [float("inf"), 1.0, float("-inf"), float("nan")],
        [3e38, -3e38, 0.0, 1.0],
        [float("-inf")] * 4,
    ],
)
def test_spoiled_scores_still_give_a_token(
    temperature: float, penalty: float, row: list[float]
) -> None:
    settings = SamplingSettings(temperature, top_p=0.9, top_k=2, repetition_penalty=penalty)
    sampler = Sampler(settings, seed=1)
    for _ in range(8):
        assert 0 <= sampler.choose([0, 1], torch.tensor(row)) < 4


def test_scores_are_left_as_they_were() -> None:
    row = torch.tensor([1.0, float("nan"), 2.0])
    kept = row.clone()
    Sampler(SamplingSettings(temperature=0.5, repetition_penalty=2.0), seed=1).choose([0], row)
    assert torch.equal(row.nan_to_num(7.0), kept.nan_to_num(7.0))
