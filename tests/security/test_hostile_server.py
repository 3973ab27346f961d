"""A server that lies. Each lie is a clear error or harmless garbage; no slot is used twice; nothing seen depends on it.

What the network itself can do (slow bytes, redirects, floods, wrong content lengths) is in test_transport.py and
test_round_channel.py; other hints and changed weights are in test_audit.py and test_hint_store.py.
"""

from __future__ import annotations

import json
import tracemalloc
import warnings
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest

from fhe_client.crypto.errors import ModelTooLargeError, SlotError
from fhe_client.crypto.session import InferenceSession
from fhe_protocol.errors import FrameError
from fhe_protocol.manifest import parse_manifest
from tests.security.cases import GARBAGE, REFUSED, Lie, campaign
from tests.security.parsers import parsers
from tests.security.world import Channel, key, make_world

WORLD = make_world()
LINEAR, TABLE, SPLIT = WORLD.manifest.groups


def lying(lie: Lie | None, from_round: int = 0) -> Channel:
    """A channel to a server that begins to lie at one round."""
    seen = 0

    def answer(frame: bytes) -> bytes:
        nonlocal seen
        seen += 1
        good = WORLD.answer(frame)
        return good if lie is None or seen <= from_round else lie(frame, good)

    return Channel(answer)


def open_session(channel: Channel) -> InferenceSession:
    return InferenceSession(WORLD.manifest, channel, WORLD, key(), window_slots=16)


def talk(session: InferenceSession) -> list[Any]:
    """A conversation whose later inputs come from earlier answers, as a model's do."""
    outputs: list[Any] = []
    y = np.ones((2, LINEAR.inputs), dtype=np.float32)
    for _ in range(3):
        session.begin_pass(2)
        outputs.append(session.run_embedding(TABLE, np.array([1, 40]), None))
        y = session.run_group(LINEAR, np.resize(y, (2, LINEAR.inputs)))
        y = session.run_group(SPLIT, np.resize(y, (2, SPLIT.inputs)))
        outputs.append(y)
    return outputs


@pytest.mark.parametrize("name", REFUSED)
def test_a_lie_in_the_frame_is_an_error_and_costs_its_slot(name: str) -> None:
    channel = lying(REFUSED[name], from_round=1)
    x = np.ones((2, LINEAR.inputs), dtype=np.float32)
    with open_session(channel) as session:
        session.begin_pass(2)
        session.run_group(LINEAR, x)
        session.begin_pass(2)
        with pytest.raises(FrameError) as raised:
            session.run_group(LINEAR, x)
        assert len(str(raised.value)) < 200
        with pytest.raises(SlotError, match="one plaintext, ever"):
            session.run_group(LINEAR, x)
        assert len(channel.frames) == 2  # nothing was sent a second time
        assert session.rounds == 1


@pytest.mark.parametrize("name", GARBAGE)
def test_a_lie_in_the_values_is_garbage_and_shows_in_nothing(name: str) -> None:
    honest, lied_to = lying(None), lying(GARBAGE[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for channel in (honest, lied_to):
            with open_session(channel) as session:
                outputs = talk(session)
                assert all(o.dtype == np.float32 for o in outputs)
                assert session.rounds == 9
    visible = [[(len(f), f[8:12]) for f in c.frames] for c in (honest, lied_to)]
    assert visible[0] == visible[1]
    assert honest.asked == lied_to.asked


def test_a_replayed_answer_is_refused() -> None:
    kept: list[bytes] = []

    def replay(_query: bytes, good: bytes) -> bytes:
        kept.append(good)
        return kept[0]

    channel = lying(replay)
    x = np.ones((1, LINEAR.inputs), dtype=np.float32)
    with open_session(channel) as session:
        session.begin_pass(1)
        session.run_group(LINEAR, x)
        session.begin_pass(1)
        with pytest.raises(FrameError, match="another query"):
            session.run_group(LINEAR, x)


def test_the_answer_to_another_slot_is_garbage() -> None:
    """The header is right, the values belong to the pass before."""
    kept: list[bytes] = []

    def other_slot(_query: bytes, good: bytes) -> bytes:
        kept.append(good)
        return good[:12] + kept[0][12:]

    x = np.ones((1, LINEAR.inputs), dtype=np.float32)
    with open_session(lying(other_slot)) as session:
        session.begin_pass(1)
        first = session.run_group(LINEAR, x)
        session.begin_pass(1)
        second = session.run_group(LINEAR, x)
    off = np.abs(second - WORLD.clear(LINEAR, x))
    assert not (off <= WORLD.bound(LINEAR, x)).all()
    assert (np.abs(first - WORLD.clear(LINEAR, x)) <= WORLD.bound(LINEAR, x)).all()


def test_scales_that_are_no_numbers_end_no_pass() -> None:
    channel = lying(None)
    scale = np.full(50, np.inf, dtype=np.float32)
    with warnings.catch_warnings(), open_session(channel) as session:
        warnings.simplefilter("error")
        session.begin_pass(1)
        assert session.run_embedding(TABLE, np.array([3]), scale).shape == (1, TABLE.outputs)


def monster(groups: int) -> bytes:
    """A manifest of some kilobytes that names a million inputs many times over."""
    document = json.loads(WORLD.manifest.to_bytes())
    part = {"w_norm": 128.0, "peak": 128, "weights_sha256": "0" * 64}
    size = 1 << 17
    document["model"]["groups"] = [
        {
            "name": f"g{i}",
            "kind": "linear",
            "inputs": size * 8,
            "outputs": 1,
            "members": [{"module": f"m{i}", "outputs": 1}],
            "parts": [{**part, "start": size * k, "stop": size * (k + 1)} for k in range(8)],
        }
        for i in range(groups)
    ]
    document["hints"] = ["0" * 64] * (8 * groups)
    return json.dumps(document).encode()


def test_a_manifest_that_asks_for_terabytes_costs_none() -> None:
    tracemalloc.start()
    try:
        manifest = parse_manifest(monster(100))
        with pytest.raises(ModelTooLargeError, match="memory"):
            InferenceSession(manifest, lying(None), WORLD, key())
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_every_parser_accepts_its_good_input() -> None:
    for parser in parsers(WORLD).values():
        parser.parse(parser.good)


def test_any_rubbish_is_refused_in_little_memory() -> None:
    """The short form of scripts/fuzz: 6,000 spoiled inputs for all parsers."""
    tracemalloc.start()
    try:
        seen = Counter(islice(campaign(WORLD, seed=1), 6000))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert {outcome.rpartition(" ")[0] for outcome in seen} == parsers(WORLD).keys()
    assert sum(n for outcome, n in seen.items() if outcome.endswith("refused")) > 3000
