from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig

from fhe_client.model.errors import ModelError, PromptTooLongError
from fhe_client.model.files import GenerationDefaults
from fhe_client.text import generation
from fhe_client.text.generation import GenerationOptions, GenerationResult, generate
from fhe_protocol.manifest import Group
from tests.clear_runner import ClearRunner, ClearSetting
from tests.small_artefacts import CONTEXT, small_tokenizer

TOKENIZER: Any = small_tokenizer()
PROMPT = [int(t) for t in np.random.default_rng(7).integers(3, 250, size=90)]
GREEDY = GenerationOptions(max_tokens=24, temperature=0)


class Setting(ClearSetting):
    """With the options of these tests."""

    def run(
        self, prompt: list[int], options: GenerationOptions = GREEDY, **more: Any
    ) -> GenerationResult:
        return generate(self.hybrid, TOKENIZER, prompt, options, **more)


def twin_tokens(twin: Any, prompt: list[int], count: int, **settings: Any) -> list[int]:
    config = GenerationConfig(
        max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0, **settings
    )
    twin.generation_config = GenerationConfig()
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = twin.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
    tokens: list[int] = out[0, len(prompt) :].tolist()
    return tokens


def test_greedy_text_equals_that_of_the_twin(family: Any) -> None:
    folder, twin = family
    setting = Setting(folder)
    pieces: list[str] = []
    result = setting.run(PROMPT, on_piece=pieces.append)
    due = twin_tokens(twin, PROMPT, 24)
    assert list(result.tokens) == due
    assert len(set(due)) > 2, "a model that repeats itself proves little"
    assert result.text == decoded(due)
    assert "".join(pieces) == result.text
    assert len(pieces) > 3
    assert (result.reason, result.stopped) == ("length", False)
    assert result.prompt_tokens == 90
    assert result.reused_tokens == 0
    assert result.seconds_first is not None
    assert result.seconds_per_token is not None


def test_repetition_penalty_of_the_model_is_used(family: Any) -> None:
    folder, twin = family
    due = twin_tokens(twin, PROMPT, 24, repetition_penalty=1.3)
    result = Setting(folder).run(PROMPT, defaults=GenerationDefaults(repetition_penalty=1.3))
    assert list(result.tokens) == due


def test_passes_of_a_reply(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full chunks without the output layer, the rest with it, then one row a token; the last token is never read."""
    monkeypatch.setattr(generation, "PREFILL_ROWS", 64)
    setting = Setting(folder)
    progress: list[tuple[int, int]] = []
    result = setting.run(PROMPT, on_prompt=lambda done, total: progress.append((done, total)))
    assert setting.runner.passes == [64, 26] + [1] * 23
    groups = len(setting.runner.manifest.groups)
    assert len(setting.runner.rounds) == (groups - 1) + 24 * groups == result.rounds
    assert progress == [(0, 90), (64, 90)]


def test_passes_end_where_a_window_of_slots_ends(folder: Path) -> None:
    whole = Setting(folder).run(PROMPT)
    setting = Setting(folder, ClearRunner(folder, window=25))
    assert setting.run(PROMPT).tokens == whole.tokens
    assert setting.runner.passes == [25, 25, 25, 15] + [1] * 23


def test_next_turn_reads_only_what_is_new(folder: Path) -> None:
    setting = Setting(folder)
    first = setting.run(PROMPT[:40])
    turn = [*PROMPT[:40], *first.tokens, *PROMPT[40:50]]
    before = setting.runner.slots
    second = setting.run(turn)
    # All but the last token of the first reply were read while it was written.
    assert second.reused_tokens == 40 + 23
    assert setting.runner.slots - before == 1 + 10 + 23
    assert second.tokens == Setting(folder).run(turn).tokens


def test_edited_turn_keeps_the_common_beginning(folder: Path) -> None:
    setting = Setting(folder)
    setting.run(PROMPT[:40])
    edited = [*PROMPT[:30], 7, 8, 9]
    result = setting.run(edited)
    assert result.reused_tokens == 30
    assert result.tokens == Setting(folder).run(edited).tokens
    again = setting.run(edited)
    assert again.reused_tokens == len(edited) - 1
    assert again.tokens == result.tokens


@pytest.mark.parametrize("rounds", [0, 1, 4, 9, 12, 19, 25, 60])
def test_stop_anywhere_then_go_on_gives_the_text_of_a_fresh_run(folder: Path, rounds: int) -> None:
    setting = Setting(folder)
    stop: Callable[[], bool] = lambda: len(setting.runner.rounds) >= rounds  # noqa: E731
    stopped = setting.run(PROMPT, should_stop=stop)
    assert len(setting.runner.rounds) == rounds
    assert (stopped.stopped, stopped.reason) == (True, "stopped")
    whole = Setting(folder).run(PROMPT)
    assert whole.text.startswith(stopped.text)
    assert whole.tokens[: len(stopped.tokens)] == stopped.tokens
    assert setting.run(PROMPT).tokens == whole.tokens


class DroppingRunner(ClearRunner):
    """Loses the connection once, after a number of rounds."""

    drop_after = 10**9

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(self.rounds) >= self.drop_after:
            self.drop_after = 10**9
            raise ConnectionError("gone")
        return super().run_group(group, x)


@pytest.mark.parametrize("rounds", [3, 11, 33])
def test_lost_connection_leaves_the_cache_usable(folder: Path, rounds: int) -> None:
    runner = DroppingRunner(folder)
    setting = Setting(folder, runner)
    runner.drop_after = rounds
    pieces: list[str] = []
    with pytest.raises(ConnectionError, match="gone"):
        setting.run(PROMPT, on_piece=pieces.append)
    whole = Setting(folder).run(PROMPT)
    assert whole.text.startswith("".join(pieces))
    assert setting.run(PROMPT).tokens == whole.tokens


def test_failure_of_the_listener_leaves_the_cache_usable(folder: Path) -> None:
    def refuse(piece: str) -> None:
        raise ValueError("closed")

    setting = Setting(folder)
    with pytest.raises(ValueError, match="closed"):
        setting.run(PROMPT, on_piece=refuse)
    assert setting.run(PROMPT).tokens == Setting(folder).run(PROMPT).tokens


def test_stop_from_another_thread(folder: Path) -> None:
    setting = Setting(folder)
    event = threading.Event()
    result = setting.run(
        PROMPT,
        GenerationOptions(max_tokens=300, temperature=0),
        on_piece=lambda _: event.set(),
        should_stop=event.is_set,
    )
    assert result.stopped
    assert 1 <= len(result.tokens) < 24


def decoded(tokens: Sequence[int]) -> str:
    """Their text, without a character that is not complete in the end."""
    text: str = TOKENIZER.decode(list(tokens), skip_special_tokens=True)
    return text[:-1] if text.endswith("\ufffd") and not text.endswith("\ufffd\ufffd") else text


def test_stop_token_ends_the_reply_and_is_not_shown(folder: Path) -> None:
    whole = Setting(folder).run(PROMPT)
    position = next(i for i in range(2, 24) if whole.tokens[i] not in whole.tokens[:i])
    stop = whole.tokens[position]
    result = Setting(folder).run(PROMPT, defaults=GenerationDefaults(stop_tokens=(stop,)))
    assert result.tokens == whole.tokens[: position + 1]
    assert result.text == decoded(whole.tokens[:position])
    assert result.reason == "end"


def test_stop_text_ends_the_reply(folder: Path) -> None:
    whole = Setting(folder).run(PROMPT)
    middle = whole.text[len(whole.text) // 2 :][:3]
    setting = Setting(folder)
    result = setting.run(PROMPT, stop_text=middle)
    assert result.text == whole.text[: whole.text.index(middle)]
    assert result.reason == "end"
    assert len(result.tokens) < 24
    assert setting.run(PROMPT).tokens == whole.tokens


def test_sampling_follows_the_seed(folder: Path) -> None:
    def sample(seed: int | None, **more: Any) -> tuple[int, ...]:
        options = GenerationOptions(max_tokens=16, temperature=1.5, seed=seed, **more)
        return Setting(folder).run(PROMPT[:20], options).tokens

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert sample(None) != sample(None)
    assert sample(5, top_k=1) == sample(6, top_k=1)
    assert sample(5, top_p=0.001) == sample(6, top_p=0.001)


def test_global_generator_is_left_alone(folder: Path) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    Setting(folder).run(PROMPT[:5], GenerationOptions(max_tokens=4, temperature=1.0, seed=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_models_own_wish_to_sample(folder: Path) -> None:
    options = GenerationOptions(max_tokens=16, seed=3)
    greedy = Setting(folder).run(PROMPT[:20], options)
    defaults = GenerationDefaults(sample=True, temperature=2.0)
    sampled = Setting(folder).run(PROMPT[:20], options, defaults=defaults)
    assert greedy.tokens == Setting(folder).run(PROMPT[:20], GREEDY).tokens[:16]
    assert sampled.tokens != greedy.tokens


class SpoilingRunner(ClearRunner):
    """Every answer is full of NaN and infinity."""

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = super().run_group(group, x)
        answer[:, ::2] = np.nan
        answer[:, 1::3] = np.inf
        return answer


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_spoiled_answers_do_not_change_the_number_of_rounds(
    folder: Path, temperature: float
) -> None:
    options = GenerationOptions(max_tokens=8, temperature=temperature, seed=1)
    clean, spoiled = Setting(folder), Setting(folder, SpoilingRunner(folder))
    clean.run(PROMPT, options)
    spoiled.run(PROMPT, options)
    assert spoiled.runner.rounds == clean.runner.rounds
    assert spoiled.hybrid.take_warning() is not None
    assert clean.hybrid.take_warning() is None


def test_reply_ends_where_the_context_is_full(folder: Path) -> None:
    result = Setting(folder).run(PROMPT, context_length=100)
    assert len(result.tokens) == 10
    assert result.reason == "context"
    with pytest.raises(PromptTooLongError, match="90 tokens"):
        Setting(folder).run(PROMPT, context_length=90)
    with pytest.raises(PromptTooLongError):
        Setting(folder).run([5] * CONTEXT)


def test_bad_prompts_are_refused(folder: Path) -> None:
    setting = Setting(folder)
    for prompt in ([], [5, -1], [5, 288]):
        with pytest.raises(ModelError):
            setting.run(prompt)
    assert setting.runner.passes == []


@pytest.mark.parametrize(
    "values",
    [
        {"max_tokens": 0},
        {"max_tokens": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": 1.5},
        {"seed": -1},
    ],
)
def test_options_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(values))):
        GenerationOptions(**values)
