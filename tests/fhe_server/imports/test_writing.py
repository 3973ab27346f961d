"""Imports that are interrupted go on behind what is whole, and what was written is read back at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhe_server.artefact import Artefact, find_artefacts
from fhe_server.errors import ArtefactError, ServerError
from fhe_server.imports import hints, writing
from fhe_server.imports.importing import ImportOptions, ImportReport, import_model
from fhe_server.imports.writing import NOTES
from tests.tiny_models import HIDDEN, VOCABULARY, save_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "Tiny Llama"
    save_tiny(folder, "llama", num_hidden_layers=1)
    return folder


@pytest.fixture(scope="module")
def imported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ImportReport:
    return import_model(str(checkpoint), tmp_path_factory.mktemp("models"))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class StopAt:
    """Progress that raises at a stage."""

    def __init__(self, stage: str, error: BaseException) -> None:
        self.stage, self.error = stage, error

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == self.stage and done:
            raise self.error


GROUPS = 6
STAGES = ["loading", "calibrating", "verifying"]


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_import_publishes_nothing_and_can_be_taken_up_again(
    checkpoint: Path, tmp_path: Path, stage: str, imported: ImportReport
) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_model(str(checkpoint), tmp_path, progress=StopAt(stage, KeyboardInterrupt()))
    (left,) = entries(tmp_path)
    assert left.startswith(".tiny-llama.partial-")
    assert find_artefacts(tmp_path) == []
    again = import_model(str(checkpoint), tmp_path)
    assert entries(tmp_path) == ["tiny-llama"]
    assert entries(again.folder) == entries(imported.folder)
    assert again.manifest.digest == imported.manifest.digest
    assert (again.folder / NOTES).read_bytes() == (imported.folder / NOTES).read_bytes()


def interrupted_at(checkpoint: Path, models: Path, stage: str, piece: int) -> Path:
    """The folder of an import that was killed after some pieces of a stage."""

    def stop(now: str, done: int, _total: int) -> None:
        if (now, done) == (stage, piece):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_model(str(checkpoint), models, progress=stop)
    return models / entries(models)[0]


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    calls: list[Any] = []
    original = getattr(module, name)

    def call(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return original(*arguments, **named)

    monkeypatch.setattr(module, name, call)
    return calls


def test_nothing_that_is_whole_is_computed_again(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: ImportReport
) -> None:
    interrupted_at(checkpoint, tmp_path, "quantising", 4)
    read, rounded = (counted(monkeypatch, writing, n) for n in ("observe", "quantise_group"))
    answered = counted(monkeypatch, hints, "compute_hint")
    interrupted_at(checkpoint, tmp_path, "computing hints", 3)
    assert (len(read), len(rounded), len(answered)) == (0, 2, 3)
    again = import_model(str(checkpoint), tmp_path)
    assert (len(read), len(rounded), len(answered)) == (0, 2, 6)
    assert again.manifest.digest == imported.manifest.digest


@pytest.mark.parametrize(
    ("name", "kept"),
    [("weights.bin", 1), ("unfinished/scales-1.npz", 1), ("unfinished/weights.jsonl", 0)],
)
def test_a_piece_that_was_damaged_meanwhile_is_made_again_with_all_that_follow(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: ImportReport,
    name: str, kept: int,
) -> None:  # fmt: skip
    path = interrupted_at(checkpoint, tmp_path, "quantising", 4) / name
    data = bytearray(path.read_bytes())
    spot = VOCABULARY * HIDDEN + 5 if name == "weights.bin" else 5
    data[spot] ^= 1
    path.write_bytes(data)
    rounded = counted(monkeypatch, writing, "quantise_group")
    assert import_model(str(checkpoint), tmp_path).manifest.digest == imported.manifest.digest
    assert len(rounded) == GROUPS - kept


def test_a_damaged_hint_is_made_again(
    checkpoint: Path, tmp_path: Path, imported: ImportReport
) -> None:
    path = interrupted_at(checkpoint, tmp_path, "computing hints", 4) / "hints.bin"
    data = bytearray(path.read_bytes())
    data[imported.manifest.hint_offsets[2] + 9] ^= 0x40
    path.write_bytes(data)
    again = import_model(str(checkpoint), tmp_path)
    assert (again.folder / "hints.bin").read_bytes() == (imported.folder / "hints.bin").read_bytes()


def test_other_options_do_not_go_on_with_what_was_left(checkpoint: Path, tmp_path: Path) -> None:
    interrupted_at(checkpoint, tmp_path, "quantising", 4)
    report = import_model(str(checkpoint), tmp_path, None, ImportOptions(rotate=False))
    fresh = import_model(str(checkpoint), tmp_path / "b", None, ImportOptions(rotate=False))
    assert report.manifest.digest == fresh.manifest.digest


def test_a_disk_that_loses_what_was_written_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    def flip(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("computing hints", GROUPS):
            path = next(tmp_path.glob(".*")) / "hints.bin"
            data = bytearray(path.read_bytes())
            data[100] ^= 1
            path.write_bytes(data)

    with pytest.raises(ArtefactError, match="does not read back") as caught:
        import_model(str(checkpoint), tmp_path, progress=flip)
    assert "Check the disk" in caught.value.next_step
    assert entries(tmp_path) == []


def test_two_imports_of_one_model_do_not_write_into_one_folder(
    checkpoint: Path, tmp_path: Path, imported: ImportReport
) -> None:
    refused: list[ServerError] = []

    def start_another(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("quantising", 3):
            with pytest.raises(ServerError, match="Another process") as caught:
                import_model(str(checkpoint), tmp_path)
            refused.append(caught.value)

    report = import_model(str(checkpoint), tmp_path, progress=start_another)
    assert len(refused) == 1
    assert report.manifest.digest == imported.manifest.digest


def test_an_interrupted_import_leaves_what_was_there(checkpoint: Path, tmp_path: Path) -> None:
    first = import_model(str(checkpoint), tmp_path)
    stop = StopAt("computing hints", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        import_model(str(checkpoint), tmp_path, None, ImportOptions(local=("lm_head",)), stop)
    assert find_artefacts(tmp_path) == [first.folder.name]
    assert Artefact(first.folder).manifest.digest == first.manifest.digest
