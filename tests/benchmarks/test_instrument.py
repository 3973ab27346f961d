"""`python -m benchmarks` runs whole, on a tiny model: every section, the tables, the pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import figures
from benchmarks.conversation import KINDS
from benchmarks.report import BEGIN, END, write
from benchmarks.sections import SECTIONS, SHAPES, shape_bytes
from benchmarks.timeline import PARTS
from tests.tiny_models import save_tiny
from tests.tiny_world import MODEL, PATIENCE, ROOT, environment, install_tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a quick run wrote its documents to."""
    home, docs = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("docs")
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "tiny"
    install_tiny(home)
    save_tiny(checkpoint, "llama")
    (docs / "benchmarks.md").write_text(f"# Kept\n\n{BEGIN}\nprevious\n{END}\n\nkept, too\n")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--model", MODEL]
    command += ["--checkpoint", str(checkpoint), "--docs", str(docs)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return docs


def test_all_sections_have_a_table_and_the_rest_of_the_page_is_kept(run: Path) -> None:
    page = (run / "benchmarks.md").read_text()
    assert page.startswith("# Kept\n")
    assert page.endswith("\nkept, too\n")
    assert "previous" not in page
    assert page.count("### ") == len(SECTIONS)
    for part in PARTS:
        assert f"| {part} |" in page


def test_the_figures_are_of_this_run(run: Path) -> None:
    result = json.loads((run / "benchmarks" / "instrument.json").read_text())
    assert set(SECTIONS) <= set(result)
    seconds = result["speed"]["seconds"]
    assert {f"{kind} token" for kind in ("encrypted", KINDS[0])} <= set(seconds)
    assert all(value > 0 for value in seconds.values())
    shares = result["milliseconds"]["ms"]
    assert set(shares) == set(PARTS)
    assert shares["kernel"] > 0
    # The client may have an answer before the server's stamp of having sent it.
    assert min(shares.values()) > -shares["kernel"] - 1
    payload = result["payload"]
    sent = payload["queries_mb"] + payload["answers_mb"]
    assert 0 < payload["framing_mb"] < sent
    warm = result["starts"]["warm"]
    assert warm["first_token_s"] > warm["ready_s"] > 0
    assert [c["round_trip_ms"] for c in result["distances"]["cells"]] == [1.0] * 3


def test_pictures_are_valid_and_text_is_escaped(run: Path) -> None:
    for name in ("milliseconds", "distances"):
        root = ElementTree.fromstring((run / "benchmarks" / f"{name}.svg").read_text())
        assert root.tag.endswith("svg")
    picture = figures.stacked("<&>", [("a < b", [("x & y", 1.0)])], "ms")
    assert "a < b" not in picture
    ElementTree.fromstring(picture)


def test_a_page_without_markers_is_started(tmp_path: Path) -> None:
    machine = {"cores": 1, "processor": "one", "load_before": None, "date": "today"}
    write({"model": "tiny", "machine": machine}, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert page.startswith(BEGIN)
    assert "Model tiny" in page
    assert END in page


def test_payload_by_shapes() -> None:
    """GPT-2: 12 blocks of 29,952 bytes, one-hot and scores of 50,257 tokens."""
    assert shape_bytes(*SHAPES["GPT-2"]) == 12 * 29952 + 5 * 50257 + 5 * 768
    assert shape_bytes(*SHAPES["Llama-3.2-1B"]) < 2_100_000
