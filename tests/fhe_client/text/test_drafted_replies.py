"""Replies with guesses: the same text in fewer passes, all of one length, and no row is used twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig

from fhe_client.model.errors import ModelError
from fhe_client.model.files import GenerationDefaults
from fhe_client.text import generation
from fhe_client.text.drafting import Drafter
from fhe_client.text.generation import GenerationOptions, GenerationResult, generate
from fhe_protocol.manifest import Group
from tests.clear_runner import ClearRunner, ClearSetting
from tests.small_artefacts import CONTEXT, small_tokenizer

TOKENIZER: Any = small_tokenizer()
PROMPT = [int(t) for t in np.random.default_rng(7).integers(3, 250, size=40)]


class Setting(ClearSetting):
    """With the options of these tests."""

    def run(
        self, draft: int, *, max_tokens: int = 40, temperature: float = 0.0, **more: Any
    ) -> GenerationResult:
        options = GenerationOptions(
            max_tokens=max_tokens, temperature=temperature, seed=9, draft=draft
        )
        return generate(self.hybrid, TOKENIZER, more.pop("prompt", PROMPT), options, **more)


class Oracle(Drafter):
    """Guesses right, wrong, or right as far as a number of tokens."""

    text: tuple[int, ...] = ()
    right = 0

    _known = 0

    def add(self, token: int) -> None:
        self._known += 1

    def propose(self, count: int) -> list[int]:
        ahead = self.text[self._known : self._known + count]
        return [
            ahead[i]
            if i < min(self.right, len(ahead))
            else (ahead[i] + 1) % 250
            if i < len(ahead)
            else 5
            for i in range(count)
        ]


def use_oracle(patch: pytest.MonkeyPatch, text: tuple[int, ...], right: int) -> None:
    patch.setattr(generation, "Drafter", Oracle)
    patch.setattr(Oracle, "text", text)
    patch.setattr(Oracle, "right", right)


@pytest.mark.parametrize("draft", [2, 5, 8])
def test_greedy_text_is_that_without_guesses(family: Any, draft: int) -> None:
    folder, _ = family
    plain, drafted = Setting(folder), Setting(folder)
    due, found = plain.run(0), drafted.run(draft)
    assert found.tokens == due.tokens
    assert found.text == due.text
    assert (found.reason, found.rows_per_pass, due.rows_per_pass) == ("length", draft, 1)
    assert (due.passes, len(due.tokens)) == (39, 40)
    assert drafted.runner.passes == [40] + [draft] * found.passes
    assert found.passes <= 39


@pytest.mark.parametrize("right", [0, 1, 2, 3])
def test_any_number_of_right_guesses_gives_the_same_text(
    folder: Path, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = Setting(folder).run(0)
    use_oracle(monkeypatch, with_prompt(due), right)
    setting = Setting(folder)
    found = setting.run(4)
    assert found.tokens == due.tokens
    assert found.passes == -(-39 // (right + 1))
    assert setting.runner.slots == 40 + 4 * found.passes, "each row of each pass burns a slot"
    assert setting.hybrid.cache.tokens == (*PROMPT, *due.tokens)[: len(setting.hybrid.cache)]


def with_prompt(reply: GenerationResult) -> tuple[int, ...]:
    return (*PROMPT, *reply.tokens)


def test_sampled_text_is_that_without_guesses(family: Any) -> None:
    """One draw from one generator for each token, guessed or not: with exact scores even the seed carries over."""
    folder, twin = family
    due = Setting(folder).run(0, temperature=0.8)
    assert Setting(folder).run(4, temperature=0.8).tokens == due.tokens
    twin.generation_config = GenerationConfig()
    config = GenerationConfig(
        max_new_tokens=40, do_sample=True, temperature=0.8, top_k=50, pad_token_id=0
    )
    ids = torch.tensor([PROMPT])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        out = twin.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
    assert out[0, len(PROMPT) :].tolist() == list(due.tokens)


def test_penalties_see_the_guesses_before_them(folder: Path) -> None:
    defaults = GenerationDefaults(repetition_penalty=1.3)
    due = Setting(folder).run(0, defaults=defaults)
    assert due.tokens != Setting(folder).run(0).tokens
    assert Setting(folder).run(6, defaults=defaults).tokens == due.tokens


def test_repetition_saves_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before is guessed by the real drafter when it comes again."""
    due = Setting(folder).run(0, max_tokens=60)
    setting = Setting(folder)
    monkeypatch.setattr(
        generation, "Drafter", lambda tokens: Drafter(with_prompt(due) + with_prompt(due)[:40])
    )
    found = setting.run(6, max_tokens=60)
    assert found.tokens == due.tokens
    assert found.passes <= 20, "59 tokens: 10 passes at best"


def test_passes_are_equal_also_where_a_window_ends(folder: Path) -> None:
    due = Setting(folder).run(0)
    setting = Setting(folder, ClearRunner(folder, window=50))
    found = setting.run(8)
    assert found.tokens == due.tokens
    # What a pass does not fit into is given up: 10 slots are left after the prompt, then 50 in each window.
    passes = list(setting.runner.passes)
    assert passes[:4] == [40, 8, 2, 8]
    made = {rows for index, rows in setting.runner.rounds if index == 0}
    assert made == {40, 8}


def test_head_scores_every_row(folder: Path) -> None:
    setting = Setting(folder)
    result = setting.run(5)
    head = setting.runner.rounds[-1][0]
    assert [rows for index, rows in setting.runner.rounds if index == head] == [1] + [
        5
    ] * result.passes


def test_reply_ends_where_a_whole_pass_does_not_fit_into_the_context(family: Any) -> None:
    folder, _ = family
    long = [int(t) for t in np.random.default_rng(8).integers(3, 250, size=CONTEXT - 20)]
    due = Setting(folder).run(0, prompt=long)
    assert (len(due.tokens), due.reason) == (20, "context")
    found = Setting(folder).run(8, prompt=long)
    assert (len(found.tokens), found.reason) == (14, "context")
    assert found.tokens == due.tokens[:14]
    tight = Setting(folder).run(8, prompt=long, context_length=len(long) + 7)
    assert (tight.rows_per_pass, tight.tokens) == (1, due.tokens[:7])


def test_next_turn_reads_only_what_is_new(folder: Path) -> None:
    setting = Setting(folder)
    first = setting.run(4)
    turn = [*PROMPT, *first.tokens, *PROMPT[:10]]
    second = setting.run(4, prompt=turn)
    assert second.reused_tokens >= 40 + 39
    assert second.tokens == Setting(folder).run(0, prompt=turn).tokens


def test_stop_token_among_right_guesses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Setting(folder).run(0)
    position = next(i for i in range(6, 40) if whole.tokens[i] not in whole.tokens[:i])
    stops = GenerationDefaults(stop_tokens=(whole.tokens[position],))
    use_oracle(monkeypatch, with_prompt(whole), 7)
    setting = Setting(folder)
    result = setting.run(8, defaults=stops)
    assert (result.tokens, result.reason) == (whole.tokens[: position + 1], "end")
    assert setting.run(8, max_tokens=40).tokens == whole.tokens


def test_stop_text_among_right_guesses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Setting(folder).run(0)
    middle = whole.text[len(whole.text) // 2 :][:3]
    use_oracle(monkeypatch, with_prompt(whole), 7)
    setting = Setting(folder)
    result = setting.run(8, stop_text=middle)
    assert result.text == whole.text[: whole.text.index(middle)]
    assert setting.run(8).tokens == whole.tokens


@pytest.mark.parametrize("rounds", [8, 9, 13, 18, 22, 30])
def test_stop_anywhere_then_go_on(folder: Path, rounds: int) -> None:
    setting = Setting(folder)
    stopped = setting.run(4, should_stop=lambda: len(setting.runner.rounds) >= rounds)
    assert len(setting.runner.rounds) == rounds
    assert stopped.stopped
    whole = Setting(folder).run(0)
    assert whole.tokens[: len(stopped.tokens)] == stopped.tokens
    assert setting.run(4).tokens == whole.tokens


class DroppingRunner(ClearRunner):
    """Loses the connection once, after a number of rounds."""

    drop_after = 10**9

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(self.rounds) >= self.drop_after:
            self.drop_after = 10**9
            raise ConnectionError("gone")
        return super().run_group(group, x)


@pytest.mark.parametrize("rounds", [11, 21, 33])
def test_lost_connection_leaves_no_guess_in_the_cache(folder: Path, rounds: int) -> None:
    runner = DroppingRunner(folder)
    setting = Setting(folder, runner)
    runner.drop_after = rounds
    with pytest.raises(ConnectionError, match="gone"):
        setting.run(4)
    whole = Setting(folder).run(0)
    assert setting.hybrid.cache.tokens == with_prompt(whole)[: len(setting.hybrid.cache)]
    assert setting.run(4).tokens == whole.tokens


def test_choices_are_checked_and_auto_follows_the_network(folder: Path) -> None:
    with pytest.raises(ModelError, match="draft"):
        GenerationOptions(draft=9)
    with pytest.raises(ModelError, match="round_trip_s"):
        GenerationOptions(round_trip_s=-1.0)
    for seconds, rows in ((None, 1), (0.0001, 1), (0.05, 4)):
        options = GenerationOptions(max_tokens=3, temperature=0, draft="auto", round_trip_s=seconds)
        setting = Setting(folder)
        result = generate(setting.hybrid, TOKENIZER, PROMPT, options)
        assert (result.rows_per_pass > 1) == (rows > 1)
