"""Artefact folders: what is in them, that they come whole or not at all, and that doing it twice changes nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fhe_protocol.masks import expand_mask
from fhe_server.artefact import Artefact
from fhe_server.errors import (
    CheckpointError,
    DiskSpaceError,
    ServerError,
    UnsupportedModelError,
)
from fhe_server.imports import importing
from fhe_server.imports.importing import ImportOptions, ImportReport, import_model, model_name
from fhe_server.imports.rotation import rotated
from fhe_server.imports.tracing import weight_matrix
from fhe_server.kernel import reference_answer
from tests.tiny_models import CONTEXT, HIDDEN, VOCABULARY, save_tiny, save_tiny_gguf, tiny_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "Tiny Llama"
    save_tiny(folder, "llama")
    return folder


@pytest.fixture(scope="module")
def imported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ImportReport:
    return import_model(str(checkpoint), tmp_path_factory.mktemp("models"))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_folder_is_what_the_server_reads(imported: ImportReport) -> None:
    artefact = Artefact(imported.folder)
    assert artefact.manifest.digest == imported.manifest.digest
    assert imported.folder.name == imported.manifest.name == "tiny-llama"
    assert not imported.unchanged
    manifest = imported.manifest
    assert (manifest.architecture, manifest.model_type) == ("LlamaForCausalLM", "llama")
    assert (manifest.context_length, manifest.vocabulary) == (CONTEXT, VOCABULARY)
    assert len(manifest.groups) == 10
    assert entries(imported.folder) == [
        "client", "hints.bin", "import.json", "manifest.json", "weights.bin",
    ]  # fmt: skip
    assert {"config.json", "generation_config.json", "tokenizer.json", "client.safetensors"} <= {
        entry.path for entry in manifest.files
    }


def test_digests_and_bounds_are_those_of_the_files(imported: ImportReport) -> None:
    artefact, manifest = Artefact(imported.folder), imported.manifest
    hints = (imported.folder / "hints.bin").read_bytes()
    for index, (group, k) in enumerate(manifest.parts):
        weights, part = artefact.weights(index), group.parts[k]
        assert hashlib.sha256(weights.tobytes()).hexdigest() == part.weights_sha256
        assert np.sqrt((weights.astype(np.int64) ** 2).sum(axis=1).max()) == part.w_norm
        assert np.abs(weights.astype(int)).max() == part.peak <= 127
        hint = hints[manifest.hint_offsets[index] : manifest.hint_offsets[index + 1]]
        assert hashlib.sha256(hint).hexdigest() == manifest.hint_digests[index]
    for entry in manifest.files:
        data = (imported.folder / "client" / entry.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)


def test_a_hint_is_the_answer_to_the_final_manifests_mask(imported: ImportReport) -> None:
    artefact, manifest = Artefact(imported.folder), imported.manifest
    index = 2
    group, k = manifest.parts[index]
    mask = expand_mask(manifest.parameters, manifest.mask_name(group, k))
    raw = np.fromfile(imported.folder / "hints.bin", dtype="<u2")
    start, stop = (offset // 2 for offset in manifest.hint_offsets[index : index + 2])
    hint = raw[start:stop].reshape(group.outputs, manifest.parameters.ring_degree)
    assert (hint == reference_answer(artefact.weights(index), mask.T).T).all()


def test_the_client_gets_scales_and_every_tensor_that_is_not_served(
    imported: ImportReport,
) -> None:
    model, artefact = tiny_model("llama"), Artefact(imported.folder)
    tensors = load_file(imported.folder / "client" / "client.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    remote = {m.module for group in imported.manifest.groups for m in group.members}
    local = {n for n in model.state_dict() if n.rpartition(".")[0] not in remote}
    assert {n.removeprefix("state/") for n in tensors if n.startswith("state/")} == local
    for group in imported.manifest.groups:
        weights = (
            artefact.weights(group.first_part)
            * tensors[f"group/{group.index}/row_scale"][:, None].numpy()
        )
        assert (f"group/{group.index}/rotation" in tensors) == (group.kind == "linear")
        if group.kind == "linear":
            weights = rotated(weights, int(tensors[f"group/{group.index}/rotation"]))
        weights = weights * tensors[f"group/{group.index}/input_scale"].numpy()
        modules = [model.get_submodule(m.module) for m in group.members]
        due = torch.cat([weight_matrix(module) for module in modules]).numpy()
        assert np.linalg.norm(weights - due) < 0.02 * np.linalg.norm(due)


def test_no_path_of_this_machine_is_published(imported: ImportReport, checkpoint: Path) -> None:
    published = [imported.folder / "manifest.json", imported.folder / "import.json"]
    for path in (*published, *(imported.folder / "client").iterdir()):
        data = path.read_bytes()
        assert str(checkpoint).encode() not in data
        assert os.fsencode(checkpoint.parent.name) not in data
    config = json.loads((imported.folder / "client" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert not {"_name_or_path", "auto_map", "quantization_config"} & config.keys()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_are_the_owners_alone(imported: ImportReport) -> None:
    for path in imported.folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_importing_twice_does_nothing_the_second_time(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: ImportReport
) -> None:
    first = import_model(str(checkpoint), tmp_path)
    assert first.manifest.digest == imported.manifest.digest
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")}

    def loaded_again(*_: Any) -> None:
        raise AssertionError("nothing should be loaded")

    monkeypatch.setattr(importing, "write_artefact", loaded_again)
    again = import_model(str(checkpoint), tmp_path)
    assert again.unchanged
    assert again.manifest.digest == first.manifest.digest
    assert again.client_memory == first.client_memory
    assert {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")} == before


def test_a_damaged_artefact_is_made_again(checkpoint: Path, tmp_path: Path) -> None:
    first = import_model(str(checkpoint), tmp_path)
    (first.folder / "hints.bin").write_bytes(b"")
    again = import_model(str(checkpoint), tmp_path)
    assert not again.unchanged
    assert again.manifest.digest == first.manifest.digest
    assert (again.folder / "hints.bin").stat().st_size == again.manifest.hint_bytes


def test_layers_that_stay_local_are_published_instead(checkpoint: Path, tmp_path: Path) -> None:
    whole = import_model(str(checkpoint), tmp_path)
    report = import_model(
        str(checkpoint), tmp_path, None, ImportOptions(local=("embed", "lm_head"))
    )
    assert not report.unchanged
    assert entries(tmp_path) == ["tiny-llama"]
    assert [g.kind for g in report.manifest.groups] == ["linear"] * 8
    tensors = load_file(report.folder / "client" / "client.safetensors")
    table = tiny_model("llama").get_input_embeddings().weight.detach()
    for name in ("state/model.embed_tokens.weight", "state/lm_head.weight"):
        assert torch.equal(tensors[name], table)
    assert report.manifest.query_bytes() < whole.manifest.query_bytes() - 3 * VOCABULARY
    assert report.client_bytes > whole.client_bytes + 2 * 4 * HIDDEN * VOCABULARY - 4096


def test_the_error_limit_decides_the_number_of_parts(checkpoint: Path, tmp_path: Path) -> None:
    report = import_model(str(checkpoint), tmp_path, "split", ImportOptions(max_error=0.0015))
    assert len(report.manifest.parts) > len(report.manifest.groups)
    assert max(group.noise for group in report.groups) <= 0.0015
    with pytest.raises(UnsupportedModelError, match="cannot be served"):
        import_model(str(checkpoint), tmp_path, "none", ImportOptions(max_error=1e-7))
    assert entries(tmp_path) == ["split"]


def test_a_gguf_file_gives_the_same_weights_as_the_folder(
    imported: ImportReport, tmp_path: Path
) -> None:
    save_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    report = import_model(str(tmp_path / "tiny.gguf"), tmp_path / "models")
    assert report.manifest.name == "tiny"
    ours, theirs = (
        [p.weights_sha256 for g in r.manifest.groups for p in g.parts] for r in (report, imported)
    )
    assert ours == theirs


class StopAt:
    """Progress that raises at a stage."""

    def __init__(self, stage: str, error: BaseException) -> None:
        self.stage, self.error = stage, error

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == self.stage and done:
            raise self.error


def test_a_full_disk_is_noticed_before_writing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskSpaceError, match="are needed") as caught:
        import_model(str(checkpoint), tmp_path)
    assert "--models" in caught.value.next_step
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskSpaceError), (errno.EIO, ServerError)]
)
def test_a_disk_that_fails_while_writing_leaves_nothing(
    checkpoint: Path, tmp_path: Path, number: int, kind: type[Exception]
) -> None:
    stop = StopAt("computing hints", OSError(number, "as asked by the test"))
    with pytest.raises(kind):
        import_model(str(checkpoint), tmp_path, progress=stop)
    assert entries(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_reported(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ServerError, match="Cannot write"):
        import_model(str(checkpoint), tmp_path / "file")


def test_a_swap_that_fails_puts_the_old_model_back(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_model(str(checkpoint), tmp_path)
    replace = os.replace

    def fail_to_publish(source: Path, target: Path) -> None:
        if ".partial-" in source.name and not source.name.endswith(".old"):
            raise OSError(errno.EIO, "as asked by the test")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_to_publish)
    with pytest.raises(ServerError):
        import_model(str(checkpoint), tmp_path, None, ImportOptions(local=("lm_head",)))
    assert entries(tmp_path) == [first.folder.name]
    assert Artefact(first.folder).manifest.digest == first.manifest.digest


def test_what_a_killed_import_left_is_removed_once_it_is_old(
    checkpoint: Path, tmp_path: Path
) -> None:
    old, young = tmp_path / ".tiny-llama.partial-old", tmp_path / ".tiny-llama.partial-new"
    for folder in (old, young):
        folder.mkdir()
    past = time.time() - 2 * 24 * 3600
    os.utime(old, (past, past))
    import_model(str(checkpoint), tmp_path)
    assert entries(tmp_path) == [young.name, "tiny-llama"]


def test_every_stage_reports_its_end(checkpoint: Path, tmp_path: Path) -> None:
    last: dict[str, tuple[int, int]] = {}
    import_model(
        str(checkpoint), tmp_path, progress=lambda stage, *count: last.update({stage: count})
    )
    assert list(last) == [
        "checking", "loading", "tracing", "calibrating", "quantising", "computing hints",
        "verifying",
    ]  # fmt: skip
    assert all(done == total > 0 for done, total in last.values())


def test_names_are_made_servable() -> None:
    assert model_name("HuggingFaceTB/SmolLM2 135M_Instruct") == "smollm2-135m_instruct"
    assert model_name("..Über") == "ber"
    assert len(model_name("x" * 300)) == 80
    with pytest.raises(CheckpointError, match="no usable name"):
        model_name("...")


@pytest.mark.parametrize("name", ["Upper", "a/b", "..", "", ".hidden"])
def test_a_name_that_cannot_be_served_is_refused(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ServerError, match=r"name"):
        import_model(str(checkpoint), tmp_path, name)
    assert entries(tmp_path) == []


def test_the_summary_tells_sizes_and_traffic(imported: ImportReport) -> None:
    text = "\n".join(imported.lines())
    for word in ("10 groups", "hints", "MB up", "MB down", "client memory", imported.manifest.name):
        assert word in text
    for placement in ("everything remote", "embedding local", "lm_head local", "both local"):
        assert placement in text


def test_the_report_names_the_worst_groups_first(imported: ImportReport) -> None:
    lines = imported.error_lines(3)[2:]
    worst = max(imported.groups, key=lambda group: group.noise**2 + group.rounding**2)
    assert len(lines) == 3
    assert lines[0].endswith(worst.name)
    assert "dB" in lines[0]
    assert {group.name for group in imported.groups} == {g.name for g in imported.manifest.groups}


def test_the_calibration_text_is_part_of_what_an_import_was_made_from(
    checkpoint: Path, tmp_path: Path
) -> None:
    text = tmp_path / "own text.txt"
    text.write_text("the cat sat on the mat, and the dog did not", "utf-8")

    def imported_with(calibrate: str) -> ImportReport:
        options = ImportOptions(calibrate=calibrate)
        return import_model(str(checkpoint), tmp_path / "models", "tiny", options)

    own = imported_with(str(text))
    assert imported_with(str(text)).unchanged
    assert "own text" not in (own.folder / "import.json").read_text()
    builtin = imported_with("builtin")
    assert not builtin.unchanged
    none = imported_with("none")
    assert len({r.manifest.digest for r in (own, builtin, none)}) == 3
    tensors = load_file(none.folder / "client" / "client.safetensors")
    scaled = [n for n in tensors if n.endswith("/input_scale")]
    assert scaled == ["group/0/input_scale"]  # the embedding's own
    text.write_text("and now the text is another one", "utf-8")
    assert not imported_with(str(text)).unchanged


def test_without_rotation_no_group_is_rotated(checkpoint: Path, tmp_path: Path) -> None:
    report = import_model(str(checkpoint), tmp_path, None, ImportOptions(rotate=False))
    tensors = load_file(report.folder / "client" / "client.safetensors")
    assert not [n for n in tensors if n.endswith("/rotation")]
