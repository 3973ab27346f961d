"""Padded prompts and replies: the same text, and passes that follow from the number of buckets alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fhe_client.model.errors import ModelError, PassError, PromptTooLongError
from fhe_client.model.files import GenerationDefaults, read_model_files
from fhe_client.model.hybrid import build_hybrid
from fhe_client.text.chat import Chat
from fhe_client.text.generation import GenerationOptions, GenerationResult, generate
from fhe_client.text.padding import BUCKET, filler_rows
from fhe_client.text.transcript import Message
from fhe_protocol.manifest import Group
from tests.clear_runner import ClearRunner, ClearSetting
from tests.small_artefacts import CONTEXT, small_tokenizer, write_artefact

TOKENIZER: Any = small_tokenizer()
PROMPT = [int(t) for t in np.random.default_rng(7).integers(3, 250, size=120)]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    write_artefact(folder, request.param)
    return folder


class Setting(ClearSetting):
    """With the options of these tests."""

    def run(
        self,
        prompt: list[int],
        *,
        pad: bool = True,
        tokens: int = 20,
        draft: int = 0,
        stop_tokens: tuple[int, ...] = (),
        **more: Any,
    ) -> GenerationResult:
        options = GenerationOptions(max_tokens=tokens, temperature=0, draft=draft, pad=pad)
        defaults = GenerationDefaults(stop_tokens=stop_tokens)
        return generate(self.hybrid, TOKENIZER, prompt, options, defaults=defaults, **more)

    def view(self) -> tuple[list[int], list[tuple[int, int]]]:
        """What the server sees: rows of each pass, and group and rows of each round."""
        return self.runner.passes, self.runner.rounds


@pytest.mark.parametrize("draft", [0, 4])
def test_text_is_that_without_padding(family: Path, draft: int) -> None:
    for length in (1, 50, 90):
        plain = Setting(family).run(PROMPT[:length], pad=False, draft=draft)
        padded = Setting(family).run(PROMPT[:length], draft=draft)
        assert padded.tokens == plain.tokens
        assert (padded.text, padded.reason, padded.passes) == (
            plain.text,
            plain.reason,
            plain.passes,
        )
        assert plain.padding_tokens == 0


@pytest.mark.parametrize("window", [256, 72])
@pytest.mark.parametrize("draft", [0, 4])
def test_server_sees_the_number_of_buckets_alone(folder: Path, draft: int, window: int) -> None:
    """Prompts of 65 to 96 tokens and replies of 1 to 32 passes, the shortest one ended by its first token."""
    first = Setting(folder).run(PROMPT[:80], pad=False, tokens=1).tokens[0]
    views = []
    for length, tokens, stop in ((80, 20, first), (65, 2, -1), (80, 20, -1), (96, 32, -1)):
        setting = Setting(folder, ClearRunner(folder, window=window))
        result = setting.run(PROMPT[:length], tokens=tokens, draft=draft, stop_tokens=(stop,))
        assert (len(result.tokens), result.reason) == (
            (1, "end") if stop == first else (tokens, "length")
        )
        rows = max(1, draft)
        # Whatever is no real token is a filler (with guesses, rows of real passes are no fillers).
        spent = filler_rows(length) + rows * (BUCKET - 1 - result.passes)
        assert result.padding_tokens == spent
        views.append(setting.view())
    assert views[0] == views[1] == views[2] == views[3]
    if window == 256:
        assert views[0][0] == [96] + [max(1, draft)] * (BUCKET - 1)


def test_next_bucket_shows(folder: Path) -> None:
    short, longer = Setting(folder), Setting(folder)
    short.run(PROMPT[:32], tokens=32)
    longer.run(PROMPT[:33], tokens=33)
    assert short.runner.passes == [32] + [1] * 31
    assert longer.runner.passes == [64] + [1] * 63


def test_stop_text_pads_like_a_stop_token(folder: Path) -> None:
    plain = Setting(folder).run(PROMPT[:40], pad=False)
    setting = Setting(folder)
    result = setting.run(PROMPT[:40], stop_text=plain.text[5:8])
    assert result.reason == "end"
    assert len(result.tokens) < 20
    assert setting.runner.passes == [64] + [1] * 31


def test_cache_holds_no_filler_in_the_next_turn(family: Path) -> None:
    setting = Setting(family)
    first = setting.run(PROMPT[:40])
    turn = [*PROMPT[:40], *first.tokens, *PROMPT[40:50]]
    assert setting.hybrid.cache.tokens == tuple(turn[:59])
    assert {layer.get_seq_length() for layer in setting.hybrid.cache.layers.layers} == {59}
    second = setting.run(turn)
    assert second.reused_tokens == 59
    assert second.tokens == Setting(family).run(turn, pad=False).tokens
    assert setting.runner.passes == ([64] + [1] * 31) + ([32] + [1] * 31)


def test_stop_while_padding_ends_at_once_and_keeps_the_reply(folder: Path) -> None:
    setting = Setting(folder)
    pieces: list[str] = []
    plain = Setting(folder).run(PROMPT[:40], pad=False)
    groups = len(setting.runner.manifest.groups)
    due = groups * 20 + 2  # the reply's rounds, and two of the first pass behind it
    result = setting.run(
        PROMPT[:40],
        on_piece=pieces.append,
        should_stop=lambda: len(setting.runner.rounds) >= due,
    )
    assert len(setting.runner.rounds) == due
    assert (result.text, result.stopped, result.reason) == (plain.text, False, "length")
    assert "".join(pieces) == plain.text
    assert setting.run(PROMPT[:40]).tokens == plain.tokens


def test_stop_before_the_end_pads_no_more(folder: Path) -> None:
    setting = Setting(folder)
    result = setting.run(PROMPT[:40], should_stop=lambda: len(setting.runner.passes) >= 5)
    assert (result.stopped, result.reason) == (True, "stopped")
    assert len(setting.runner.passes) == 5


class DroppingRunner(ClearRunner):
    """Loses the connection in a certain pass."""

    drop_in = 0

    def run_group(self, group: Group, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(self.passes) == self.drop_in and group.index > 2:
            self.drop_in = 0
            raise ConnectionError("gone")
        return super().run_group(group, x)


@pytest.mark.parametrize("drop_in", [1, 5, 25])
def test_lost_connection_leaves_no_filler_in_the_cache(folder: Path, drop_in: int) -> None:
    runner = DroppingRunner(folder)
    setting = Setting(folder, runner)
    runner.drop_in = drop_in
    with pytest.raises(ConnectionError, match="gone"):
        setting.run(PROMPT[:40])
    assert setting.run(PROMPT[:40]).tokens == Setting(folder).run(PROMPT[:40], pad=False).tokens


@pytest.mark.parametrize("draft", [0, 8])
def test_fillers_fit_into_the_context(family: Path, draft: int) -> None:
    """gpt2 has no positions beyond its context: a filler out there would fail."""
    long = (PROMPT * (CONTEXT // len(PROMPT) + 1))[: CONTEXT - BUCKET]
    assert Setting(family).run(long, draft=draft).reason == "context"
    with pytest.raises(PromptTooLongError):
        Setting(family).run([*long, 5], draft=draft)


def test_windows_shorter_than_a_bucket_are_refused(folder: Path) -> None:
    setting = Setting(folder, ClearRunner(folder, window=16))
    with pytest.raises(PassError, match="too short for padding"):
        setting.run(PROMPT[:40])
    assert setting.runner.rounds == []


def test_pad_is_true_or_false() -> None:
    with pytest.raises(ModelError, match="pad"):
        GenerationOptions(pad=1)  # type: ignore[arg-type]


def test_chat_counts_what_padding_costs(folder: Path) -> None:
    runner = ClearRunner(folder)
    files = read_model_files(folder / "client", runner.manifest)
    chat = Chat(build_hybrid(runner.manifest, files, runner), files)
    options = GenerationOptions(max_tokens=4, temperature=0, pad=True)
    talk = [Message("user", "Hello")]
    size = chat.measure(talk, options)
    assert (size.new_tokens + size.padding_tokens) % BUCKET == 0
    reply = chat.ask(talk, options)
    assert reply.padding_tokens == size.padding_tokens + BUCKET - 4
    assert sum(runner.passes) == reply.prompt_tokens + reply.reply_tokens - 1 + reply.padding_tokens
    chat.close()
