"""The hint audit: honest servers pass, a hint off in one coefficient does not, and nothing of it can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fhe_client.crypto import audit
from fhe_client.crypto.audit import AUDIT_SLOTS, audit_hints
from fhe_client.crypto.errors import HintAuditError
from fhe_client.crypto.secrets import EpochSecrets
from fhe_protocol.errors import FrameError
from fhe_protocol.planes import from_planes
from fhe_protocol.wire import pack_answer, parse_query
from tests.security.world import Arrays, Channel, key, make_world

WORLD = make_world()
PARTS = len(WORLD.manifest.parts)


def run(hints: Any = WORLD, channel: Channel | None = None, **options: Any) -> Channel:
    link = channel or Channel(WORLD.answer)
    audit_hints(WORLD.manifest, link, hints, key(), **options)
    return link


def spoiled(part: int, row: int, place: int, amount: int) -> Arrays:
    """The honest hints with one coefficient of one row changed: H' = H + amount * X^place."""
    hints = list(WORLD.hints)
    hints[part] = hints[part].copy()
    hints[part][row, place] = (int(hints[part][row, place]) + amount) & 0xFFFF
    return Arrays(hints)


def test_an_honest_server_passes() -> None:
    for _ in range(3):
        run()


@pytest.mark.parametrize("slots", [2, 256])
def test_any_number_of_slots_passes(slots: int) -> None:
    channel = run(slots=slots)
    rows = {parse_query(frame, WORLD.manifest)[0].rows for frame in channel.frames}
    assert rows == {slots}


@pytest.mark.parametrize("slots", [1, 0, -1])
def test_fewer_than_two_slots_are_refused(slots: int) -> None:
    with pytest.raises(ValueError, match="at least two"):
        run(slots=slots)


@pytest.mark.parametrize("amount", [2000, 0x8000, 0xFFFF - 2000])
@pytest.mark.parametrize(
    ("part", "row", "place"), [(0, 0, 0), (0, 11, 511), (1, 4, 1023), (2, 9, 1), (4, 19, 512)]
)
def test_one_monomial_in_one_row_is_found(part: int, row: int, place: int, amount: int) -> None:
    with pytest.raises(HintAuditError, match="1 of 3 layers") as raised:
        run(spoiled(part, row, place, amount))
    assert raised.value.code == "hint_audit"
    assert raised.value.next_step


def test_other_hints_altogether_are_found() -> None:
    with pytest.raises(HintAuditError, match="3 of 3 layers"):
        run(Arrays([h[:, ::-1].copy() for h in WORLD.hints]))


def test_hints_of_another_mask_are_found() -> None:
    """Two parts of one shape swapped: right numbers, wrong place."""
    hints = list(WORLD.hints)
    hints[1], hints[2] = hints[2], hints[1]
    with pytest.raises(HintAuditError, match="1 of 3 layers"):
        run(Arrays(hints))


def test_answers_of_other_weights_are_found() -> None:
    other = make_world(seed=2)

    def answer(frame: bytes) -> bytes:
        header, planes = parse_query(frame, WORLD.manifest)
        first = WORLD.manifest.groups[header.group].first_part
        rounded = [
            ((from_planes(p).astype(np.int64) @ other.weights[first + k].T.astype(np.int64)) >> 8)
            for k, p in enumerate(planes)
        ]
        return pack_answer(header, [(r & 0xFFFF).astype(np.uint16) for r in rounded])

    with pytest.raises(HintAuditError, match="3 of 3 layers"):
        run(channel=Channel(answer))


def test_every_group_is_asked_whatever_the_answers_say() -> None:
    honest = run()
    lied_to = Channel(WORLD.answer)
    with pytest.raises(HintAuditError):
        run(spoiled(0, 0, 0, 4000), lied_to)
    assert [len(f) for f in lied_to.frames] == [len(f) for f in honest.frames]
    assert [f[8:12] for f in lied_to.frames] == [f[8:12] for f in honest.frames]
    assert lied_to.asked == honest.asked


def test_an_audit_looks_like_a_round() -> None:
    """Same frames, fresh masks: encryptions of zero cannot be told from encryptions of anything."""
    channel = run()
    for frame, group in zip(channel.frames, WORLD.manifest.groups, strict=True):
        header, planes = parse_query(frame, WORLD.manifest)
        assert (header.group, header.rows) == (group.index, AUDIT_SLOTS)
        for plane in planes:
            values = from_planes(plane)
            assert len(np.unique(values)) > 0.9 * values.size
            assert abs(float(values.mean()) / 2**23 - 1) < 0.4


def test_two_audits_ask_other_slots_with_other_secrets() -> None:
    first, second = run(), run()
    for one, other in zip(first.frames, second.frames, strict=True):
        same = np.frombuffer(one[12:], np.uint8) == np.frombuffer(other[12:], np.uint8)
        assert same.mean() < 0.05


def test_the_throw_away_secret_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[EpochSecrets] = []

    class Watched(EpochSecrets):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    def fail(_frame: bytes) -> bytes:
        raise ConnectionError

    monkeypatch.setattr(audit, "EpochSecrets", Watched)
    run()
    with pytest.raises(HintAuditError):
        run(spoiled(0, 0, 0, 4000))
    with pytest.raises(ConnectionError):
        run(channel=Channel(fail))
    assert len(made) == 3
    assert all(secrets._wiped for secrets in made)


def test_progress_is_told_by_group() -> None:
    steps: list[tuple[int, int]] = []
    run(on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_an_answer_that_is_no_answer_ends_the_audit() -> None:
    with pytest.raises(FrameError):
        run(channel=Channel(lambda frame: WORLD.answer(frame)[:-1]))


def test_what_passes_stays_below_the_noise() -> None:
    """A monomial that the audit cannot tell from noise is worth less than the guard: it moves no decrypted value more
    than honest noise may. SECURITY.md says what is left."""
    parameters = WORLD.manifest.parameters
    for index, (group, k) in enumerate(WORLD.manifest.parts):
        limit = parameters.guard(group.parts[k].w_norm) + parameters.step
        beyond = int(2 * limit / parameters.step) + 1
        with pytest.raises(HintAuditError):
            run(spoiled(index, 0, 7, beyond))
