"""Hints: the server's answer to the public masks, written part after part."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fhe_protocol.masks import expand_mask
from fhe_server.imports import hints
from fhe_server.imports.hints import compute_hint, write_hints
from fhe_server.kernel import reference_answer
from tests.security.world import make_world

WORLD = make_world()


def test_a_hint_is_the_answer_to_the_masks() -> None:
    for index, (group, part) in enumerate(WORLD.manifest.parts):
        mask = expand_mask(WORLD.manifest.parameters, WORLD.manifest.mask_name(group, part))
        expected = reference_answer(WORLD.weights[index], np.ascontiguousarray(mask.T)).T
        found = compute_hint(WORLD.manifest, group, part, WORLD.weights[index])
        assert found.shape == (group.outputs, 1024)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("at_once", [1000, 1024, 4096, 77])
def test_the_batch_does_not_matter(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    group, part = WORLD.manifest.parts[0]
    monkeypatch.setattr(hints, "_SLOTS_AT_ONCE", at_once)
    assert np.array_equal(
        compute_hint(WORLD.manifest, group, part, WORLD.weights[0]), WORLD.hints[0]
    )


def test_the_file_holds_all_parts_in_order(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    digests = write_hints(
        WORLD.manifest,
        lambda k: WORLD.weights[k],
        tmp_path / "hints.bin",
        lambda done, total: steps.append((done, total)),
    )
    data = (tmp_path / "hints.bin").read_bytes()
    offsets = WORLD.manifest.hint_offsets
    assert len(data) == WORLD.manifest.hint_bytes == offsets[-1]
    for index, hint in enumerate(WORLD.hints):
        piece = data[offsets[index] : offsets[index + 1]]
        assert piece == hint.astype("<u2").tobytes()
        assert digests[index] == hashlib.sha256(piece).hexdigest()
    assert tuple(digests) == WORLD.manifest.hint_digests
    assert steps == [(k, 5) for k in range(6)]


def test_hints_that_are_there_are_kept_and_what_follows_them_is_not(tmp_path: Path) -> None:
    path = tmp_path / "hints.bin"
    asked: list[int] = []
    noted: list[tuple[int, str]] = []

    def weights(part: int) -> NDArray[np.int8]:
        asked.append(part)
        return WORLD.weights[part]

    whole = write_hints(WORLD.manifest, weights, path, lambda *_: None)
    due = path.read_bytes()
    path.write_bytes(due[: WORLD.manifest.hint_offsets[2]] + b"rubbish of a cut write")
    asked.clear()
    again = write_hints(
        WORLD.manifest, weights, path, lambda *_: None, done=whole[:2],
        on_part=lambda part, digest: noted.append((part, digest)),
    )  # fmt: skip
    assert again == whole
    assert path.read_bytes() == due
    assert asked == [2, 3, 4]
    assert noted == list(enumerate(whole))[2:]
