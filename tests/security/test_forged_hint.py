"""The forged hint: a server that lies about one hint makes the client encrypt a function of a secret. It must not help.

The attack. Group 1 feeds group 2. Of group 1's rows, every even one gets the hint H' = round16(A' - B) with A' the
public mask of the matching input of group 2 and B = beta*X^k; every odd one gets the hint 0. The server answers 0 to
the even rows and the largest value to the odd ones. So the client opens v = -((A' - B)*s1)_t in the even rows and a
constant K in the odd ones, and sends, for each pair (v, K) in a part of its own with weights 1,

    query = gamma*v + (A'*s2)_t + e,     gamma*v = room * v / sqrt(v^2 + K^2)  ~=  v   while |v| is small beside K.

If s1 = s2, A'*s cancels whenever it happens to be small, and what is left is (B*s)_t: beta times one coefficient of
the secret. 256 tokens give each coefficient 32 such chances, which a vote makes the whole secret. With a secret for
every group and part, A'*s1 and A'*s2 have nothing to do with each other, and the votes are noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fhe_client.crypto.audit import audit_hints
from fhe_client.crypto.errors import HintAuditError
from fhe_client.crypto.secrets import EpochSecrets
from fhe_client.crypto.session import InferenceSession
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import from_planes
from fhe_protocol.wire import pack_answer, parse_query
from tests.security.world import Arrays, Channel, World, build_world, key

DEGREE = 1024
PAIRS = 128
TOKENS = 256
BETA = 1 << 17
LARGEST = 0x7FFF

Votes = Any


def attackers_model() -> World:
    """Group 1 of random weights feeds group 2, which comes in parts of two inputs with weights 1."""
    rng = np.random.default_rng(9)
    first = rng.integers(-127, 128, size=(2 * PAIRS, 4)).astype(np.int8)
    second = np.tile(np.eye(2, dtype=np.int8), PAIRS)
    cuts = tuple(range(0, 2 * PAIRS + 1, 2))
    shapes = (("linear", 2 * PAIRS, (0, 4)), ("linear", 2, cuts))
    return build_world(shapes, [first, second])


@pytest.fixture(scope="module")
def world() -> World:
    return attackers_model()


def shift(pair: int) -> int:
    """k of B = beta*X^k for one pair: spread, so that every coefficient is aimed at equally often."""
    return pair * (DEGREE // PAIRS)


def forged(world: World) -> Arrays:
    """The honest hints with that of part 0 replaced."""
    manifest = world.manifest
    hint = np.zeros((2 * PAIRS, DEGREE), dtype=np.uint16)
    for pair in range(PAIRS):
        mask = expand_mask(manifest.parameters, manifest.mask_name(manifest.groups[1], pair), 0, 1)
        wanted = mask[0].astype(np.int64)
        wanted[shift(pair)] -= BETA
        hint[2 * pair] = ((wanted + 128) >> 8) & 0xFFFF
    return Arrays([hint, *world.hints[1:]])


class LyingServer:
    """Answers group 1 as the attack needs it, group 2 honestly, and votes on what group 2's queries tell."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.votes: Votes = np.zeros((DEGREE, 3), dtype=np.int64)
        self._slots_before = 0  # slots are used in order, from the first on

    def answer(self, frame: bytes) -> bytes:
        header, planes = parse_query(frame, self._world.manifest)
        if header.group == 1:
            for pair, plane in enumerate(planes):
                self._vote(pair, from_planes(plane[:, :, :1])[:, 0])
            self._slots_before += header.rows
            return self._world.answer(frame)
        lie = np.tile(np.array([0, LARGEST], dtype=np.uint16), PAIRS)
        return pack_answer(header, [np.tile(lie, (header.rows, 1))])

    def _vote(self, pair: int, queries: Any) -> None:
        """(B*s)_t = beta * s_(t-k), with the sign turned where t - k wraps."""
        centred = (queries.astype(np.int64) + (1 << 23)) % (1 << 24) - (1 << 23)
        nearest = np.clip(np.rint(centred / BETA), -1, 1).astype(np.int64)
        hits = np.abs(centred - nearest * BETA) < BETA // 4
        for slot in np.flatnonzero(hits):
            place = self._slots_before + int(slot) - shift(pair)
            sign = -1 if place < 0 else 1
            self.votes[place % DEGREE, sign * nearest[slot] + 1] += 1

    def guess(self) -> Any:
        """The secret by majority: int (N,)."""
        return self.votes.argmax(axis=1) - 1


def attack(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, dict[int, Any], Channel]:
    """The first 256 tokens of a victim. Gives the server's guess, the true secrets by part, and what was sent."""
    true: dict[int, Any] = {}
    draw = EpochSecrets.secret

    def watched(self: EpochSecrets, part_index: int) -> Any:
        secret = draw(self, part_index)
        true.setdefault(part_index, secret.copy())  # the first epoch's; later windows repeat it
        return secret

    monkeypatch.setattr(EpochSecrets, "secret", watched)
    server = LyingServer(world)
    channel = Channel(server.answer)
    first, second = world.manifest.groups
    x = np.random.default_rng(4).normal(size=(TOKENS, first.inputs)).astype(np.float32)
    with InferenceSession(
        world.manifest, channel, forged(world), key(), window_slots=TOKENS
    ) as session:
        while len(x):
            rows = min(len(x), session.rows_until_window_end())
            session.begin_pass(rows)
            session.run_group(second, session.run_group(first, x[:rows]))
            x = x[rows:]
    return server.guess(), true, channel


def test_with_one_shared_secret_the_attack_reads_it_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation that shows that this test bites."""
    draw = EpochSecrets.secret
    monkeypatch.setattr(EpochSecrets, "secret", lambda self, _part: draw(self, 0))
    guess, true, _ = attack(world, monkeypatch)
    assert float((guess == true[0]).mean()) > 0.95


def test_with_a_secret_for_every_part_it_reads_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess, true, _ = attack(world, monkeypatch)
    assert len(true) == 1 + PAIRS
    agreement = [float((guess == secret).mean()) for secret in true.values()]
    # Chance is a third with a standard deviation of 0.015: eight of them for the best of 129.
    assert max(agreement) < 0.45
    assert abs(float(np.mean(agreement)) - 1 / 3) < 0.02


@pytest.mark.parametrize("answers", ["honest", "lying"])
def test_the_audit_refuses_the_forged_hint(world: World, answers: str) -> None:
    server = world.answer if answers == "honest" else LyingServer(world).answer
    with pytest.raises(HintAuditError, match="1 of 2 layers"):
        audit_hints(world.manifest, Channel(server), forged(world), key())


def test_the_honest_model_passes_the_audit(world: World) -> None:
    audit_hints(world.manifest, Channel(world.answer), world, key())
