"""Writing a model's artefact folder (docs/architecture.md): everything a server serves and a client downloads.

All of it is written into a hidden folder beside the target, read back, and renamed into place: a model is there whole
or not at all, and an import that was interrupted goes on when it is started again. The result depends on the checkpoint
and the options alone: importing a checkpoint twice gives the same digests, and the second time nothing is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.manifest import Manifest
from fhe_server.artefact import Artefact
from fhe_server.errors import ArtefactError, CheckpointError, ServerError
from fhe_server.imports.calibration_text import calibration_text
from fhe_server.imports.checkpoint import Source, find_source
from fhe_server.imports.import_options import ImportOptions
from fhe_server.imports.placement import HEADER, WINDOW_SLOTS, Cost
from fhe_server.imports.publishing import publishing
from fhe_server.imports.writing import NOTES, write_artefact
from fhe_server.progress import Progress, silent

__all__ = ["ImportOptions", "ImportReport", "import_model", "model_name"]

IMPORT_VERSION = 5
"""Raised whenever the same checkpoint and options would give another artefact."""

_UNSERVED_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class ImportReport:
    """What an import came to.

    Attributes:
        unchanged: the same import had been done before, nothing was written.
        client_bytes: of client.safetensors.
        groups: parts and predicted errors of every group.
        placements: what each place of the two largest layers costs the client.
    """

    folder: Path
    manifest: Manifest
    unchanged: bool
    client_bytes: int
    groups: tuple[GroupError, ...]
    placements: tuple[Cost, ...]

    @property
    def client_memory(self) -> int:
        """Bytes of the client's tensors and of the pads of one window of 256 slots."""
        inputs = sum(group.inputs for group in self.manifest.groups)
        outputs = self.manifest.answer_bytes()
        return self.client_bytes + WINDOW_SLOTS * (4 * inputs + outputs)

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
            "",
            "Where the two largest layers can be (--local embed,lm_head), and what the client pays:",
            HEADER,
            *(cost.line() for cost in self.placements),
        ]

    def error_lines(self, count: int = 12) -> list[str]:
        """The groups with the largest predicted error, worst first."""
        ranked = sorted(self.groups, key=lambda group: -group.total)
        return [
            "Worst groups, predicted error over the output's norm:",
            f"  {'noise':>8} {'rounding':>9} {'together':>9} {'SNR':>8} {'parts':>6}  group",
            *(group.line() for group in ranked[:count]),
        ]


@dataclass(frozen=True)
class GroupError:
    """How well a group is served: predicted error over the norm of its output, by cause."""

    name: str
    parts: int
    noise: float
    rounding: float

    @property
    def total(self) -> float:
        """Both causes together."""
        return math.hypot(self.noise, self.rounding)

    def line(self) -> str:
        """A row of the table."""
        decibels = -20 * math.log10(max(self.total, 1e-9))
        return (
            f"  {self.noise:>8.2%} {self.rounding:>9.2%} {self.total:>9.2%} {decibels:>5.1f} dB "
            f"{self.parts:>6}  {self.name}"
        )


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

    An import that was interrupted goes on where it was when it is started again with the same arguments.

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
    if _is_done(target, notes):
        return _report(target, unchanged=True)
    key = hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()[:16]
    with publishing(target, key) as folder:
        write_artefact(folder, found, chosen, options, text, notes, progress)
    return _report(target, unchanged=False)


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


def _is_done(target: Path, notes: dict[str, Any]) -> bool:
    """Whether `target` is complete and was made from the same things."""
    try:
        Artefact(target)
        return bool(_read_notes(target)["made_from"] == notes)
    except (ArtefactError, OSError, ValueError, KeyError, TypeError):
        return False


def _read_notes(folder: Path) -> Any:
    return json.loads((folder / NOTES).read_text("utf-8"))


def _report(folder: Path, unchanged: bool) -> ImportReport:
    notes = _read_notes(folder)
    return ImportReport(
        folder,
        Artefact(folder).manifest,
        unchanged,
        (folder / "client" / "client.safetensors").stat().st_size,
        tuple(GroupError(**group) for group in notes["groups"]),
        tuple(Cost(**cost) for cost in notes["placements"]),
    )
