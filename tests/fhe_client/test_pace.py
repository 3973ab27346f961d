"""The running measure behind the estimate: passes are counted, replies are learnt from."""

from __future__ import annotations

import pytest

from fhe_client.pace import FIRST_GUESS_PASS, FIRST_GUESS_TOKEN, Pace, prompt_bytes
from fhe_protocol.manifest import Manifest, parse_manifest
from tests.tiny_world import tiny_artefact


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return parse_manifest((tiny_artefact() / "manifest.json").read_bytes())


def test_tokens_and_speed_of_a_reply_come_from_its_passes_and_tokens() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin_reply()
    assert (pace.tokens, pace.seconds_per_token) == (0, None)
    pace.prompt_read()
    pace.pass_began()  # a chunk of the prompt
    clock.now += 5
    pace.prompt_read()
    pace.pass_began()  # the rest of it, which makes the first token
    assert pace.seconds_per_token is None
    assert pace.tokens == 0
    for count in (1, 3, 4):  # a pass may bring several tokens
        clock.now += 0.6
        pace.tokens_written(count)
        pace.pass_began()
    assert pace.tokens == 4
    assert pace.seconds_per_token == pytest.approx(1.2 / 3)
    pace.begin_reply()
    assert pace.tokens == 0


def test_an_estimate_starts_from_a_guess_and_learns(manifest: Manifest) -> None:
    pace = Pace()
    guess = pace.estimate(manifest, 100, 80, 64)
    assert guess.prompt_tokens == 100
    assert guess.seconds == pytest.approx(2 * FIRST_GUESS_PASS + 80 * FIRST_GUESS_TOKEN)
    pace.learn(80, 2, first=9.0, each=0.5)
    assert pace.estimate(manifest, 100, 80, 64).seconds == pytest.approx(9.0)
    pace.learn(1, 1, first=None, each=None)
    assert pace.estimate(manifest, 100, 80, 64).seconds == pytest.approx(9.0)


def test_a_prompt_sends_every_layer_but_the_scores_for_every_token(manifest: Manifest) -> None:
    one, ten = prompt_bytes(manifest, 1, 1), prompt_bytes(manifest, 10, 1)
    head = manifest.groups[-1]
    assert head.outputs == manifest.vocabulary
    payload = manifest.query_bytes() + manifest.answer_bytes()
    assert one == payload + 40 * len(manifest.groups)
    assert ten - one == 9 * (payload - 3 * head.inputs - 2 * head.outputs * len(head.parts))
