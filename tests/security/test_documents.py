"""What the security documents name exists: tests, scripts, decision notes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs" / "security").glob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("000[3-6]-*.md")),
]
INVARIANTS = ROOT / "tests" / "security" / "test_invariants.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    for name in re.findall(r"`([^`\s]*test_[^`\s]*)`", document.read_text()):
        path, _, function = name.rpartition("::")
        if name.endswith(".py"):
            path, function = name, ""
        source = (ROOT / path if path else INVARIANTS).read_text()
        assert f"def {function}" in source, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"`((?:tests|fhe_\w+|scripts|docs)/[^`\s:]+)", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_decision_and_script_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    for number in re.findall(r"decision (\d{4})", text):
        assert list((ROOT / "docs" / "decisions").glob(f"{number}-*.md")), number
    for script in re.findall(r"`(scripts/\w+)`", text):
        assert (ROOT / script).is_file(), script
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / link).is_file(), link


def test_the_table_of_promises_names_a_test_in_every_row() -> None:
    text = (ROOT / "SECURITY.md").read_text().partition("## What holds")[2].partition("\n## ")[0]
    text += (ROOT / "docs/security/hostile.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row.count("|") <= 4]  # tables of figures are wider
    promises = [row for row in rows if not row.startswith(("| sentence", "| kind"))]
    assert len(promises) > 40
    assert [r for r in promises if "test" not in r.rsplit("|", 2)[1] and "same" not in r] == []


def test_every_invariant_has_tests() -> None:
    source = INVARIANTS.read_text()
    assert all(f"def test_invariant_{number}_" in source for number in range(1, 8))


def test_every_mutation_fits_the_sources_and_names_a_test_that_exists() -> None:
    mutations = runpy.run_path(str(ROOT / "scripts" / "mutations"))["MUTATIONS"]
    assert len(mutations) > 20
    for mutation in mutations:
        path, _, function = mutation.test.partition("::")
        assert f"def {function}(" in (ROOT / path).read_text(), function
        assert (ROOT / mutation.file).read_text().count(mutation.old) == 1, mutation.what
