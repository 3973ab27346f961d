"""The steps of an import: from an open checkpoint to a complete artefact folder.

Memory is bounded by the largest matrix of the model, not by the model: weights are read from mapped files, one group's
matrix is in memory at a time, and what has been computed goes to disk at once. Each step first looks at what an
interrupted attempt has left (fhe_server.imports.unfinished) and goes on behind it.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.manifest import FORMAT, Manifest, parse_manifest
from fhe_protocol.parameters import HintParameters, parameters_by_name
from fhe_server.artefact import Artefact
from fhe_server.errors import ArtefactError, DiskSpaceError
from fhe_server.home import private_folder
from fhe_server.imports.calibration import Observed, calibrated, observe
from fhe_server.imports.checkpoint import Checkpoint, Source, open_checkpoint
from fhe_server.imports.client_files import local_tensors, write_configs, write_tokenizer
from fhe_server.imports.hints import write_hints
from fhe_server.imports.import_options import ImportOptions
from fhe_server.imports.memory import give_back
from fhe_server.imports.placement import Cost, Planned
from fhe_server.imports.quantise import QuantisedMatrix, quantise_group
from fhe_server.imports.rotation import rotation_order
from fhe_server.imports.tracing import TracedGroup, group_matrix, trace_groups
from fhe_server.imports.unfinished import (
    Journal,
    PieceChecker,
    digest_of,
    load_arrays,
    open_behind,
    save_arrays,
)
from fhe_server.progress import Progress

NOTES = "import.json"
_PLACEHOLDER = "0" * 64
_SPACE_MARGIN = 64 << 20


def write_artefact(
    folder: Path,
    source: Source,
    name: str,
    options: ImportOptions,
    text: str | None,
    made_from: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Fill `folder`, which may hold what an interrupted attempt at the very same import has written.

    Args:
        text: to calibrate on, or None.
        made_from: goes into the notes, by which a later import knows this one.

    Raises:
        ServerError: as `import_model`.
    """
    kept = private_folder(folder / "unfinished")
    progress("loading", 0, 0)
    checkpoint = open_checkpoint(source, kept / "unpacked")
    progress("loading", 1, 1)
    writer = _Writer(folder, checkpoint, name, options, progress)
    writer.write(text, made_from)
    del writer, checkpoint
    gc.collect()  # before the file goes that the weights are views of
    shutil.rmtree(kept)
    _verify(folder, progress)


class _Writer:
    """One import."""

    def __init__(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        name: str,
        options: ImportOptions,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._unfinished = folder / "unfinished"
        self._client = folder / "client"
        self._checkpoint = checkpoint
        self._name = name
        self._options = options
        self._parameters = parameters_by_name(options.parameters)
        self._progress = progress

    def write(self, text: str | None, made_from: Mapping[str, Any]) -> None:
        """Write every file; the manifest is parsed back from its own bytes before it is written."""
        self._progress("tracing", 0, 0)
        traced = trace_groups(self._checkpoint.model, self._options.local)
        self._progress("tracing", 1, 1)
        _require_space(self._folder, traced, self._parameters)
        records = self._write_weights(traced, self._observed(traced, text))
        kept = self._write_client(traced)
        document = self._document(traced, records, str(made_from["source_sha256"]))
        parts = sum(len(record["parts"]) for record in records)
        hints = self._write_hints(_parsed(document, parts * [_PLACEHOLDER]))
        manifest = _parsed(document, hints)
        notes = {
            "made_from": made_from,
            "groups": [_error_note(record) for record in records],
            "placements": [dataclasses.asdict(c) for c in self._costs(traced, records, kept)],
        }
        (self._folder / NOTES).write_text(json.dumps(notes, indent=2) + "\n", "utf-8")
        (self._folder / "manifest.json").write_bytes(manifest.to_bytes())

    def _observed(self, traced: Sequence[TracedGroup], text: str | None) -> dict[str, Observed]:
        """What the calibration text showed, from disk if it has been read before."""
        if text is None:
            return {}
        path = self._unfinished / "observed.npz"
        journal = Journal(
            self._unfinished / "observed.jsonl", lambda record: digest_of(path) == record["sha256"]
        )
        if not journal.records:
            self._progress("calibrating", 0, 0)
            model, tokenizer = self._checkpoint.model, self._checkpoint.tokenizer
            seen = observe(model, tokenizer, traced, text)
            arrays = {f"rms/{name}": o.rms for name, o in seen.items()}
            arrays |= {f"gains/{name}": np.array(o.gains) for name, o in seen.items()}
            journal.append({"sha256": save_arrays(path, arrays)})
        self._progress("calibrating", 1, 1)
        arrays = load_arrays(path)
        names = [name.removeprefix("rms/") for name in arrays if name.startswith("rms/")]
        return {n: Observed(arrays[f"rms/{n}"], tuple(arrays[f"gains/{n}"])) for n in names}

    def _write_weights(
        self, traced: Sequence[TracedGroup], seen: Mapping[str, Observed]
    ) -> list[dict[str, Any]]:
        """weights.bin, group after group; one group's float matrix is in memory at a time.

        Returns:
            A record for each group: its parts as the manifest has them, and its predicted errors.
        """
        path = self._folder / "weights.bin"
        checker = PieceChecker(path)

        def is_whole(record: dict[str, Any]) -> bool:
            group = traced[record["group"]]
            sizes = [(part["stop"] - part["start"]) * group.outputs for part in record["parts"]]
            scales = digest_of(self._scales_path(record["group"]))
            digests = [part["weights_sha256"] for part in record["parts"]]
            return scales == record["scales_sha256"] and checker(sizes, digests)

        journal = Journal(self._unfinished / "weights.jsonl", is_whole)
        self._progress("quantising", len(journal.records), len(traced))
        with open_behind(path, checker.offset) as file:
            for index in range(len(journal.records), len(traced)):
                matrix = self._quantised(traced[index], seen.get(traced[index].name))
                parts = list(_write_parts(matrix, file))
                journal.append(self._record(index, traced[index], matrix, parts))
                give_back()
                self._progress("quantising", index + 1, len(traced))
        return journal.records

    def _quantised(self, group: TracedGroup, seen: Observed | None) -> QuantisedMatrix:
        modules = [self._checkpoint.model.get_submodule(m.module) for m in group.members]
        weight = group_matrix(modules)
        members = [member.outputs for member in group.members]
        rotates = self._options.rotate and group.kind == "linear"
        return quantise_group(
            weight,
            self._parameters,
            embedding=group.kind == "embedding",
            members=members,
            rotation=rotation_order(group.inputs) if rotates else 1,
            **({} if seen is None else calibrated(weight, members, seen)),
            max_error=self._options.max_error,
            equalise=self._options.equalise,
            consume=True,
        )

    def _record(
        self, index: int, group: TracedGroup, matrix: QuantisedMatrix, parts: list[dict[str, Any]]
    ) -> dict[str, Any]:
        scales = {"row_scale": matrix.row_scale}
        if matrix.input_scale is not None:
            scales["input_scale"] = matrix.input_scale
        if matrix.rotation != 1:
            scales["rotation"] = np.array([matrix.rotation], dtype=np.float32)
        return {
            "group": index,
            "name": group.name,
            "parts": parts,
            "noise": matrix.noise_error,
            "rounding": matrix.rounding_error,
            "scales_sha256": save_arrays(self._scales_path(index), scales),
        }

    def _scales_path(self, index: int) -> Path:
        return self._unfinished / f"scales-{index}.npz"

    def _write_client(self, traced: Sequence[TracedGroup]) -> int:
        """The client's part: configuration, tokenizer, and every tensor that is not served.

        Returns:
            Number of float32 values in tensors that are no scales.
        """
        from safetensors.torch import save_file

        shutil.rmtree(self._client, ignore_errors=True)
        private_folder(self._client)
        remote = {member.module for group in traced for member in group.members}
        tensors = local_tensors(self._checkpoint.model, remote)
        kept = sum(tensor.numel() for tensor in tensors.values())
        for index in range(len(traced)):
            for name, values in load_arrays(self._scales_path(index)).items():
                tensors[f"group/{index}/{name}"] = torch.from_numpy(values)
        write_tokenizer(self._checkpoint.tokenizer, self._client)
        write_configs(self._checkpoint.model, self._client)
        save_file(tensors, self._client / "client.safetensors")
        return kept

    def _costs(
        self, traced: Sequence[TracedGroup], records: Sequence[dict[str, Any]], kept: int
    ) -> Iterable[Cost]:
        scales = [
            sum(values.size for values in load_arrays(self._scales_path(index)).values())
            for index in range(len(traced))
        ]
        parts = [len(record["parts"]) for record in records]
        planned = Planned(self._checkpoint.model, self._parameters, self._options)
        return planned.costs(list(zip(traced, parts, scales, strict=True)), kept)

    def _document(
        self, traced: Sequence[TracedGroup], records: Sequence[dict[str, Any]], source: str
    ) -> dict[str, Any]:
        model = self._checkpoint.model
        return {
            "name": self._name,
            "parameters": self._parameters.name,
            "architecture": type(model).__name__,
            "model_type": model.config.model_type,
            "context_length": _context_length(self._checkpoint),
            "vocabulary": int(model.get_input_embeddings().num_embeddings),
            "groups": [_group(g, r["parts"]) for g, r in zip(traced, records, strict=True)],
            "files": [_file_entry(path) for path in sorted(self._client.iterdir())],
            "source": {"sha256": source},
        }

    def _write_hints(self, manifest: Manifest) -> list[str]:
        """hints.bin, part after part."""
        path = self._folder / "hints.bin"
        checker = PieceChecker(path)
        offsets = manifest.hint_offsets

        def is_whole(record: dict[str, Any]) -> bool:
            # Masks are named by the model's digest: hints of another one are of no use.
            if record["model"] != manifest.model_digest.hex():
                return False
            part = record["part"]
            return checker([offsets[part + 1] - offsets[part]], [record["sha256"]])

        journal = Journal(self._unfinished / "hints.jsonl", is_whole)
        flat = np.memmap(self._folder / "weights.bin", dtype=np.int8, mode="c")
        return write_hints(
            manifest,
            _weights_of(manifest, flat),
            path,
            lambda done, total: self._progress("computing hints", done, total),
            done=[record["sha256"] for record in journal.records],
            on_part=lambda part, digest: journal.append(
                {"model": manifest.model_digest.hex(), "part": part, "sha256": digest}
            ),
        )


def _write_parts(matrix: QuantisedMatrix, file: Any) -> Iterable[dict[str, Any]]:
    for (start, stop), (norm, peak) in zip(matrix.slices, matrix.part_bounds(), strict=True):
        data = np.ascontiguousarray(matrix.weights[:, start:stop]).data.cast("B")
        file.write(data)
        yield {
            "start": start,
            "stop": stop,
            "w_norm": norm,
            "peak": peak,
            "weights_sha256": hashlib.sha256(data).hexdigest(),
        }
    file.flush()


def _group(group: TracedGroup, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": group.name,
        "kind": group.kind,
        "inputs": group.inputs,
        "outputs": group.outputs,
        "members": [dataclasses.asdict(member) for member in group.members],
        "parts": parts,
    }


def _error_note(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": record["name"],
        "parts": len(record["parts"]),
        "noise": record["noise"],
        "rounding": record["rounding"],
    }


def _weights_of(manifest: Manifest, flat: NDArray[np.int8]) -> Any:
    shapes = [(group.outputs, group.parts[k].inputs) for group, k in manifest.parts]
    offsets = np.cumsum([0, *(m * n for m, n in shapes)])

    def weights(part: int) -> NDArray[np.int8]:
        return np.asarray(flat[offsets[part] : offsets[part + 1]]).reshape(shapes[part])

    return weights


def _context_length(checkpoint: Checkpoint) -> int:
    """Positions the model was made for; a bound of the tokenizer where the configuration names none."""
    config = checkpoint.config.get_text_config()
    length = (
        getattr(config, "max_position_embeddings", None) or checkpoint.tokenizer.model_max_length
    )
    return max(1, min(int(length), 1 << 24))


def _file_entry(path: Path) -> dict[str, Any]:
    return {"path": path.name, "size": path.stat().st_size, "sha256": digest_of(path)}


def _parsed(model: dict[str, Any], hints: Sequence[str]) -> Manifest:
    document = {"format": FORMAT, "version": PROTOCOL_VERSION, "model": model, "hints": list(hints)}
    return parse_manifest(json.dumps(document, allow_nan=False).encode())


def _require_space(folder: Path, groups: Sequence[TracedGroup], parameters: HintParameters) -> None:
    weights = sum(group.inputs * group.outputs for group in groups)
    hints = sum(2 * group.outputs * parameters.ring_degree for group in groups)
    there = sum(
        (folder / name).stat().st_size
        for name in ("weights.bin", "hints.bin")
        if (folder / name).exists()
    )
    needed, free = weights + hints + _SPACE_MARGIN - there, shutil.disk_usage(folder).free
    if free < needed:
        raise DiskSpaceError(
            f"{folder.parent} has {free // 10**6} MB free, {needed // 10**6} MB are needed.",
            "Free some space, or choose another disk with --models.",
        )


def _verify(folder: Path, progress: Progress) -> None:
    """Read everything back and compare it with the manifest.

    Raises:
        ArtefactError: the disk does not give back what was written.
    """
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    manifest = Artefact(folder).manifest
    weights, hints = PieceChecker(folder / "weights.bin"), PieceChecker(folder / "hints.bin")
    for index, (group, k) in enumerate(manifest.parts):
        part, offsets = group.parts[k], manifest.hint_offsets
        whole = weights([group.outputs * part.inputs], [part.weights_sha256])
        if not whole or not hints(
            [offsets[index + 1] - offsets[index]], [manifest.hint_digests[index]]
        ):
            raise _damaged(group.name)
        progress("verifying", index + 1, len(manifest.parts))
    for entry in manifest.files:
        if digest_of(folder / "client" / entry.path) != entry.sha256:
            raise _damaged(entry.path)


def _damaged(what: str) -> ArtefactError:
    return ArtefactError(
        f"What was written for {what} does not read back from the disk as it was.",
        "Check the disk, then import again.",
    )
