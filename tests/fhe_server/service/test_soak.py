"""A short soak: the ten minutes of scripts/soak in a few seconds, with a tiny model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.soak import soak
from tests.servers import make_artefact


def test_no_honest_request_fails_beside_bad_ones(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    make_artefact(folder)
    result = soak(folder, seconds=12, honest=1, load=6, bad=2)
    assert result.failures == []
    assert result.honest_passes > 0
    assert result.checked_values > 0
    assert min(result.load.rounds) > 0
    assert result.bad_acts > 5
    assert result.flat, result.growth
