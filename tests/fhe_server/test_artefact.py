"""Reading a model's folder: what is missing or of another size is said, nothing outside is ever read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fhe_protocol.manifest import Manifest, canonical_json, parse_manifest
from fhe_protocol.planes import to_planes
from fhe_server.artefact import Artefact, find_artefacts
from fhe_server.errors import ArtefactError
from fhe_server.kernel import reference_answer
from tests.servers import make_artefact


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return folder, make_artefact(folder)


@pytest.fixture
def folder(made: tuple[Path, Manifest], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "tiny"))


def test_a_folder_is_read_as_it_was_written(made: tuple[Path, Manifest]) -> None:
    artefact = Artefact(made[0])
    assert artefact.manifest.digest == made[1].digest
    raw = (made[0] / "weights.bin").read_bytes()
    blobs = [artefact.weights(k) for k in range(len(made[1].parts))]
    assert b"".join(b.tobytes() for b in blobs) == raw
    assert [b.shape for b in blobs] == [(g.outputs, g.parts[k].inputs) for g, k in made[1].parts]


def test_kernels_multiply_the_weights_of_their_part(made: tuple[Path, Manifest]) -> None:
    artefact = Artefact(made[0])
    for index, kernel in enumerate(artefact.kernels()):
        weights = artefact.weights(index)
        values = np.arange(2 * weights.shape[1], dtype=np.uint32).reshape(2, -1) * np.uint32(99_991)
        values &= np.uint32(0xFFFFFF)
        assert np.array_equal(kernel.answer(to_planes(values)), reference_answer(weights, values))


def test_weights_on_disk_cannot_be_changed_through_the_artefact(folder: Path) -> None:
    before = (folder / "weights.bin").read_bytes()
    weights = Artefact(folder).weights(0)
    weights[:] = 0
    assert (folder / "weights.bin").read_bytes() == before


def test_listed_files_are_found_and_no_others(made: tuple[Path, Manifest]) -> None:
    artefact = Artefact(made[0])
    found = artefact.file("config.json")
    assert found is not None
    path, entry = found
    assert path.read_bytes() == (made[0] / "client" / "config.json").read_bytes()
    assert entry.size == path.stat().st_size
    for name in ("../manifest.json", "manifest.json", "", ".", "/etc/passwd", "CONFIG.JSON"):
        assert artefact.file(name) is None


@pytest.mark.parametrize(
    "name", ["manifest.json", "weights.bin", "hints.bin", "client/config.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=r"missing|readable"):
        Artefact(folder)


@pytest.mark.parametrize("name", ["weights.bin", "hints.bin", "client/client.safetensors"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_refused(folder: Path, name: str, change: int) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] if change < 0 else data + b"\0")
    with pytest.raises(ArtefactError, match="bytes where"):
        Artefact(folder)


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b"[" * 100_000])
def test_a_damaged_manifest_is_an_artefact_error(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(ArtefactError, match="not usable"):
        Artefact(folder)


def test_models_are_listed_by_folder(folder: Path) -> None:
    models = folder.parent
    (models / "empty").mkdir()
    (models / ".unfinished").mkdir()
    (models / ".unfinished" / "manifest.json").write_text("{}")
    (models / "a-file").write_text("x")
    assert find_artefacts(models) == ["tiny"]
    assert find_artefacts(models / "nowhere") == []
    document = parse_manifest((folder / "manifest.json").read_bytes()).document
    assert canonical_json(document) == (folder / "manifest.json").read_bytes()
