from __future__ import annotations

import pytest

from fhe_client.pace import FIRST_GUESS_PASS, FIRST_GUESS_TOKEN, Pace
from fhe_client.text.chat import PromptSize
from fhe_protocol.manifest import parse_manifest
from tests.tiny_world import tiny_artefact


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reply(pace: Pace, clock: Clock, brought: list[int], seconds: float) -> None:
    """A prompt of one pass, then passes that bring so many tokens each."""
    pace.begin_reply()
    pace.prompt_read()
    pace.pass_began()
    written = 1
    for count in brought:
        pace.tokens_written(written)
        clock.now += seconds
        pace.pass_began()
        written += count
    pace.tokens_written(written)


@pytest.mark.parametrize(
    ("brought", "tokens", "per_token"),
    [
        ([], 1, None),
        ([1], 2, None),
        ([1, 1, 1], 4, 0.5),
        ([4, 2, 3], 10, 0.5 * 2 / 6),
    ],
)
def test_tokens_count_whatever_a_pass_brings(
    brought: list[int], tokens: int, per_token: float | None
) -> None:
    clock = Clock()
    pace = Pace(clock)
    reply(pace, clock, brought, 0.5)
    assert pace.tokens == tokens
    assert pace.seconds_per_token == (None if per_token is None else pytest.approx(per_token))


def test_a_new_reply_begins_at_nothing() -> None:
    clock = Clock()
    pace = Pace(clock)
    reply(pace, clock, [3, 3], 0.5)
    pace.begin_reply()
    assert (pace.tokens, pace.seconds_per_token) == (0, None)


def test_passes_of_the_prompt_do_not_count() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin_reply()
    for _ in range(3):
        pace.prompt_read()
        clock.now += 100.0
        pace.pass_began()
    pace.tokens_written(1)
    clock.now += 0.25
    pace.pass_began()
    pace.tokens_written(2)
    clock.now += 0.25
    pace.pass_began()
    assert pace.seconds_per_token == pytest.approx(0.25)


def test_an_estimate_tells_what_padding_takes_of_it() -> None:
    manifest = parse_manifest((tiny_artefact() / "manifest.json").read_bytes())
    pace = Pace(Clock())
    plain = pace.estimate(manifest, PromptSize(100, 70, 0), 64)
    padded = pace.estimate(manifest, PromptSize(100, 70, 0, 26), 64, 31)
    assert (plain.padding_seconds, plain.padding_mb, plain.reply_seconds) == (0, 0, 0)
    assert padded.mb == pytest.approx(plain.mb + padded.padding_mb)
    assert padded.seconds == pytest.approx(plain.seconds + 26 * FIRST_GUESS_TOKEN)
    assert padded.reply_seconds == pytest.approx(31 * FIRST_GUESS_PASS)
    each = manifest.query_bytes() + manifest.answer_bytes()
    framing = 40 * len(manifest.groups)
    assert padded.reply_mb == pytest.approx(31 * (each + framing) / 1e6)
    guessing = pace.estimate(manifest, PromptSize(100, 70, 0, 26), 64, 31, 4)
    assert guessing.reply_mb == pytest.approx(31 * (4 * each + framing) / 1e6)
