"""Writing a model's artefact folder (docs/architecture.md): everything a server serves and a client downloads.

All of it is written into a hidden folder beside the target and renamed into place once the manifest has been parsed
back, so an interrupted import leaves nothing. The result depends on the checkpoint and the options alone: importing
a checkpoint twice gives the same digests, and the second time nothing is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.manifest import FORMAT, Manifest, parse_manifest
from fhe_protocol.parameters import HINT_1024_24, HintParameters, parameters_by_name
from fhe_server.artefact import Artefact
from fhe_server.calibration import input_scale, observe
from fhe_server.calibration_text import BUILTIN, calibration_text
from fhe_server.checkpoint import Checkpoint, Source, find_source, load_checkpoint
from fhe_server.client_files import local_tensors, write_configs, write_tokenizer
from fhe_server.errors import ArtefactError, CheckpointError, DiskSpaceError, ServerError
from fhe_server.hints import write_hints
from fhe_server.home import private_folder
from fhe_server.progress import Progress, silent
from fhe_server.publishing import publishing
from fhe_server.quantise import (
    DEFAULT_MAX_ERROR,
    QuantisedMatrix,
    quantise_group,
    rotation_order,
)
from fhe_server.tracing import TracedGroup, trace_groups, weight_matrix

IMPORT_VERSION = 2
"""Raised whenever the same checkpoint and options would give another artefact."""

_NOTES = "import.json"
_PLACEHOLDER = "0" * 64
_SPACE_MARGIN = 64 << 20
_WINDOW_SLOTS = 256
_UNSERVED_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class ImportOptions:
    """What an artefact depends on besides the checkpoint.

    Attributes:
        local: layers the client computes itself: "embed", "lm_head", patterns of module names.
        max_error: largest predicted decryption noise over a typical output, per group.
        equalise: let int8 rows be shorter than a peak of 127 where that lowers the total error.
        rotate: mix the inputs of linear groups by Hadamard matrices, which evens out the weights.
        calibrate: the text that input scales come from: "builtin", "none" for no scales, or the path of a file.
        parameters: name of the parameter set.
    """

    local: tuple[str, ...] = ()
    max_error: float = DEFAULT_MAX_ERROR
    equalise: bool = True
    rotate: bool = True
    calibrate: str = BUILTIN
    parameters: str = HINT_1024_24.name


@dataclass(frozen=True)
class ImportReport:
    """What an import came to.

    Attributes:
        unchanged: the same import had been done before, nothing was written.
        client_bytes: of client.safetensors.
        errors: predicted noise over a typical output, by group name; empty if unchanged.
    """

    folder: Path
    manifest: Manifest
    unchanged: bool
    client_bytes: int
    errors: dict[str, float]

    @property
    def client_memory(self) -> int:
        """Bytes of the client's tensors and of the pads of one window of 256 slots."""
        inputs = sum(group.inputs for group in self.manifest.groups)
        outputs = self.manifest.answer_bytes()
        return self.client_bytes + _WINDOW_SLOTS * (4 * inputs + outputs)

    def lines(self) -> list[str]:
        """The summary for the terminal."""
        manifest = self.manifest
        up, down = manifest.query_bytes() / 1e6, manifest.answer_bytes() / 1e6
        return [
            f"{manifest.name}: {manifest.architecture}, {len(manifest.groups)} groups in "
            f"{len(manifest.parts)} parts, digest {manifest.digest[:16]}",
            f"hints {manifest.hint_bytes / 1e6:.0f} MB, downloaded once; "
            f"client files {sum(f.size for f in manifest.files) / 1e6:.1f} MB",
            f"per token {up:.2f} MB up, {down:.2f} MB down",
            f"client memory about {self.client_memory / 1e6:.0f} MB for weights kept local and one window of pads",
        ]


def model_name(label: str) -> str:
    """A name that can be served, from what the user called the checkpoint.

    Raises:
        CheckpointError: nothing usable is left of it.
    """
    name = _UNSERVED_NAME.sub("-", label.rpartition("/")[2].lower()).strip("-._")[:80]
    if not name:
        raise CheckpointError("The checkpoint has no usable name.", "Give one with --name.")
    return name


def import_model(
    source: str | Source,
    models: Path,
    name: str | None = None,
    options: ImportOptions | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import a checkpoint into `models/<name>`.

    Args:
        source: a Hugging Face id, a folder, a .gguf file, or where `find_source` found it.
        name: what clients ask for; from the source if None.

    Raises:
        ServerError: see CheckpointError, UnsupportedModelError, QuantisationError, DiskSpaceError.
    """
    options = options or ImportOptions()
    found = find_source(source) if isinstance(source, str) else source
    chosen = model_name(found.label) if name is None else _valid_name(name)
    text = calibration_text(options.calibrate)
    notes = {
        "import_version": IMPORT_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "source_sha256": found.digest(progress),
        "options": _noted(options, text),
    }
    target = models / chosen
    if (done := _already_done(target, notes)) is not None:
        return done
    progress("loading", 0, 0)
    checkpoint = load_checkpoint(found)
    progress("loading", 1, 1)
    with publishing(target) as folder:
        manifest, errors = _Writer(
            folder, checkpoint, chosen, options, text, notes, progress
        ).write()
    size = (target / "client" / "client.safetensors").stat().st_size
    return ImportReport(target, manifest, False, size, errors)


def _noted(options: ImportOptions, text: str | None) -> dict[str, Any]:
    """The options as JSON, with the calibration text's digest in place of its path."""
    fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(options)))
    fields["calibrate"] = None if text is None else hashlib.sha256(text.encode()).hexdigest()
    return fields


def _valid_name(name: str) -> str:
    if model_name(name) != name:
        raise ServerError(
            f"{name[:80]!r} is not a usable model name.",
            "Use small letters, digits, '.', '_' and '-', beginning with a letter or digit.",
        )
    return name


def _already_done(target: Path, notes: dict[str, Any]) -> ImportReport | None:
    """A report on `target` if it is complete and was made from the same things."""
    try:
        artefact = Artefact(target)
        if json.loads((target / _NOTES).read_text("utf-8")) != notes:
            return None
        size = (target / "client" / "client.safetensors").stat().st_size
    except (ArtefactError, OSError, ValueError):
        return None
    return ImportReport(target, artefact.manifest, True, size, {})


class _Writer:
    """One import: fills `folder` and returns the manifest."""

    def __init__(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        name: str,
        options: ImportOptions,
        text: str | None,
        notes: dict[str, Any],
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._client = folder / "client"
        self._checkpoint = checkpoint
        self._name = name
        self._options = options
        self._text = text
        self._parameters = parameters_by_name(options.parameters)
        self._notes = notes
        self._progress = progress
        self._tensors: dict[str, torch.Tensor] = {}
        self._errors: dict[str, float] = {}
        self._rms: dict[str, NDArray[np.float64]] = {}

    def write(self) -> tuple[Manifest, dict[str, float]]:
        """Write every file; the manifest is parsed back from its own bytes before it is written."""
        self._progress("tracing", 0, 0)
        traced = trace_groups(self._checkpoint.model, self._options.local)
        self._progress("tracing", 1, 1)
        _require_space(self._folder, traced, self._parameters)
        self._calibrate(traced)
        groups = self._write_weights(traced)
        self._write_client(traced)
        document = self._document(groups)
        hints = self._write_hints(_parsed(document, len(_parts_of(groups)) * [_PLACEHOLDER]))
        manifest = _parsed(document, hints)
        (self._folder / "manifest.json").write_bytes(manifest.to_bytes())
        (self._folder / _NOTES).write_text(json.dumps(self._notes, indent=2) + "\n", "utf-8")
        for path in self._folder.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        Artefact(self._folder)
        return manifest, self._errors

    def _calibrate(self, traced: Sequence[TracedGroup]) -> None:
        if self._text is not None:
            self._progress("calibrating", 0, 0)
            model, tokenizer = self._checkpoint.model, self._checkpoint.tokenizer
            self._rms = observe(model, tokenizer, traced, self._text)
            self._progress("calibrating", 1, 1)

    def _write_weights(self, traced: Sequence[TracedGroup]) -> list[dict[str, Any]]:
        """weights.bin, group after group; one group's float matrix is in memory at a time."""
        groups = []
        with (self._folder / "weights.bin").open("wb") as file:
            for index, group in enumerate(traced):
                matrix = self._quantised(group)
                groups.append(self._group(group, matrix, file))
                self._keep_scales(index, group, matrix)
                self._progress("quantising", index + 1, len(traced))
        return groups

    def _quantised(self, group: TracedGroup) -> QuantisedMatrix:
        modules = [self._checkpoint.model.get_submodule(m.module) for m in group.members]
        weight = torch.cat([weight_matrix(module) for module in modules]).numpy()
        members = [member.outputs for member in group.members]
        rms = self._rms.get(group.name)
        return quantise_group(
            weight,
            self._parameters,
            embedding=group.kind == "embedding",
            members=members,
            input_scale=None if rms is None else input_scale(weight, members, rms),
            rotation=rotation_order(group.inputs) if self._rotates(group) else 1,
            max_error=self._options.max_error,
            equalise=self._options.equalise,
        )

    def _rotates(self, group: TracedGroup) -> bool:
        return self._options.rotate and group.kind == "linear"

    def _group(self, group: TracedGroup, matrix: QuantisedMatrix, file: Any) -> dict[str, Any]:
        parts = []
        for (start, stop), (norm, peak) in zip(matrix.slices, matrix.part_bounds(), strict=True):
            data = np.ascontiguousarray(matrix.weights[:, start:stop]).tobytes()
            file.write(data)
            digest = hashlib.sha256(data).hexdigest()
            parts.append(
                {
                    "start": start,
                    "stop": stop,
                    "w_norm": norm,
                    "peak": peak,
                    "weights_sha256": digest,
                }
            )
        return {
            "name": group.name,
            "kind": group.kind,
            "inputs": group.inputs,
            "outputs": group.outputs,
            "members": [dataclasses.asdict(member) for member in group.members],
            "parts": parts,
        }

    def _keep_scales(self, index: int, group: TracedGroup, matrix: QuantisedMatrix) -> None:
        self._errors[group.name] = matrix.noise_error
        self._tensors[f"group/{index}/row_scale"] = torch.from_numpy(matrix.row_scale)
        if matrix.input_scale is not None:
            self._tensors[f"group/{index}/input_scale"] = torch.from_numpy(matrix.input_scale)
        if matrix.rotation != 1:
            self._tensors[f"group/{index}/rotation"] = torch.tensor([float(matrix.rotation)])

    def _write_client(self, traced: Sequence[TracedGroup]) -> None:
        """The client's part: configuration, tokenizer, and every tensor that is not served."""
        from safetensors.torch import save_file

        private_folder(self._client)
        remote = {member.module for group in traced for member in group.members}
        self._tensors |= local_tensors(self._checkpoint.model, remote)
        write_tokenizer(self._checkpoint.tokenizer, self._client)
        write_configs(self._checkpoint.model, self._client)
        save_file(self._tensors, self._client / "client.safetensors")

    def _document(self, groups: list[dict[str, Any]]) -> dict[str, Any]:
        config = self._checkpoint.config
        return {
            "name": self._name,
            "parameters": self._parameters.name,
            "architecture": type(self._checkpoint.model).__name__,
            "model_type": config.model_type,
            "context_length": _context_length(self._checkpoint),
            "vocabulary": int(self._checkpoint.model.get_input_embeddings().num_embeddings),
            "groups": groups,
            "files": [_file_entry(path) for path in sorted(self._client.iterdir())],
            "source": {"sha256": self._notes["source_sha256"]},
        }

    def _write_hints(self, manifest: Manifest) -> list[str]:
        shapes = [(group.outputs, group.parts[k].inputs) for group, k in manifest.parts]
        offsets = np.cumsum([0, *(m * n for m, n in shapes)])
        flat = np.memmap(self._folder / "weights.bin", dtype=np.int8, mode="c")

        def weights(part: int) -> NDArray[np.int8]:
            return np.asarray(flat[offsets[part] : offsets[part + 1]]).reshape(shapes[part])

        return write_hints(
            manifest,
            weights,
            self._folder / "hints.bin",
            lambda done, total: self._progress("computing hints", done, total),
        )


def _context_length(checkpoint: Checkpoint) -> int:
    """Positions the model was made for; a bound of the tokenizer where the configuration names none."""
    config = checkpoint.config.get_text_config()
    length = (
        getattr(config, "max_position_embeddings", None) or checkpoint.tokenizer.model_max_length
    )
    return max(1, min(int(length), 1 << 24))


def _file_entry(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"path": path.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _parts_of(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for group in groups for part in group["parts"]]


def _parsed(model: dict[str, Any], hints: Sequence[str]) -> Manifest:
    document = {"format": FORMAT, "version": PROTOCOL_VERSION, "model": model, "hints": list(hints)}
    return parse_manifest(json.dumps(document, allow_nan=False).encode())


def _require_space(folder: Path, groups: Sequence[TracedGroup], parameters: HintParameters) -> None:
    weights = sum(group.inputs * group.outputs for group in groups)
    hints = sum(2 * group.outputs * parameters.ring_degree for group in groups)
    needed, free = weights + hints + _SPACE_MARGIN, shutil.disk_usage(folder).free
    if free < needed:
        raise DiskSpaceError(
            f"{folder.parent} has {free // 10**6} MB free, {needed // 10**6} MB are needed.",
            "Free some space, or choose another disk with --models.",
        )
