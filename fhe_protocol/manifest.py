"""The manifest of a served model: groups, shapes, sizes and digests, parsed strictly.

Two digests come from its canonical JSON. `model_digest` covers everything but the hints and names the public
masks (the hints depend on the masks, so they cannot be part of it). `digest` covers all of it: pinning that one
value pins weights' hints, row scales, biases, norms and w for the life of an epoch.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.errors import ManifestError, ParameterError
from fhe_protocol.masks import MaskName
from fhe_protocol.parameters import HintParameters, parameters_by_name

FORMAT = "tacita-manifest"
MAX_MANIFEST_BYTES = 8 << 20
MAX_GROUPS = 4096
MAX_DIMENSION = 1 << 20
MAX_FILE_BYTES = 1 << 32
HINT_BYTES = 2
KINDS = ("linear", "embedding")

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,400}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: object) -> bytes:
    """One byte string for one value: sorted keys, no spaces, ASCII, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


@dataclass(frozen=True, slots=True)
class Member:
    """One module of the model that a group computes: its dotted name and its number of outputs."""

    module: str
    outputs: int


@dataclass(frozen=True, slots=True)
class GroupPart:
    """A slice of a group's inputs with a mask, a pad and a gamma of its own.

    Attributes:
        start, stop: the slice of the group's inputs, stop - start = n.
        w_norm: largest L2 norm of a row of the int8 weights of this part.
        peak: largest absolute value of those weights.
        weights_sha256: digest of the int8 weights (m x n, row-major).
    """

    start: int
    stop: int
    w_norm: float
    peak: int
    weights_sha256: str

    @property
    def inputs(self) -> int:
        """n of this part."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Group:
    """Linear layers fed by the same tensor.

    Attributes:
        index: position in the manifest.
        name: unique, normalised.
        kind: "linear", or "embedding" (a look-up by one-hot vector).
        inputs: n of the whole group.
        outputs: m, the sum over members.
        members: in the order of the output rows.
        parts: contiguous slices that cover the inputs.
        first_part: index of the first part among all parts of the model.
    """

    index: int
    name: str
    kind: str
    inputs: int
    outputs: int
    members: tuple[Member, ...]
    parts: tuple[GroupPart, ...]
    first_part: int

    def part_name(self, part: int) -> str:
        """The mask name of one part. '/' cannot occur in a group's name, so names stay unique."""
        return f"{self.name}/{part}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the client's part of the model."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A parsed manifest. Build with `parse_manifest`; everything inside has been checked."""

    document: Mapping[str, Any]
    name: str
    parameters: HintParameters
    architecture: str
    model_type: str
    context_length: int
    vocabulary: int
    groups: tuple[Group, ...]
    files: tuple[FileEntry, ...]
    hint_digests: tuple[str, ...]

    @cached_property
    def model_digest(self) -> bytes:
        """SHA-256 of everything but the hints; part of every mask seed."""
        return hashlib.sha256(canonical_json(self.document["model"])).digest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole manifest, hexadecimal: the value that is pinned."""
        return hashlib.sha256(canonical_json(self.document)).hexdigest()

    @cached_property
    def parts(self) -> tuple[tuple[Group, int], ...]:
        """All parts in order, as (group, part position inside the group)."""
        return tuple((g, k) for g in self.groups for k in range(len(g.parts)))

    def mask_name(self, group: Group, part: int) -> MaskName:
        """The name of the public mask of one part."""
        return MaskName(
            model_digest=self.model_digest,
            part_index=group.first_part + part,
            name=group.part_name(part),
            inputs=group.parts[part].inputs,
            outputs=group.outputs,
        )

    def hint_bytes_of(self, group: Group) -> int:
        """Bytes of the hint of one part of `group`: m * N * 2."""
        return group.outputs * self.parameters.ring_degree * HINT_BYTES

    @cached_property
    def hint_offsets(self) -> tuple[int, ...]:
        """Byte offset of every part in the hint file, and the file's size as the last entry."""
        offsets = [0]
        for group, _ in self.parts:
            offsets.append(offsets[-1] + self.hint_bytes_of(group))
        return tuple(offsets)

    @property
    def hint_bytes(self) -> int:
        """Bytes of all hints."""
        return self.hint_offsets[-1]

    def query_bytes(self, rows: int = 1) -> int:
        """Payload of one pass over all groups, client to server."""
        return rows * sum(3 * g.inputs for g in self.groups)

    def answer_bytes(self, rows: int = 1) -> int:
        """Payload of one pass over all groups, server to client."""
        return rows * sum(2 * g.outputs * len(g.parts) for g in self.groups)

    def to_bytes(self) -> bytes:
        """The canonical bytes that are served and whose digest is pinned."""
        return canonical_json(self.document)


def parse_manifest(data: bytes) -> Manifest:
    """Parse and check a manifest from untrusted bytes.

    Raises:
        ManifestError: anything is missing, out of range, contradictory, or of another protocol version.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"manifest larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError("manifest is not valid JSON") from error
    try:
        return _build(document)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        # RecursionError: what the JSON reader could still nest may be too deep to print or to write again.
        raise ManifestError(f"manifest is malformed: {type(error).__name__}") from error


def _build(document: Any) -> Manifest:
    if document["format"] != FORMAT:
        raise ManifestError("not a Tacita manifest")
    if type(document["version"]) is not int or document["version"] != PROTOCOL_VERSION:
        raise ManifestError(
            f"manifest is of protocol version {str(document['version'])[:20]}, "
            f"this program speaks {PROTOCOL_VERSION}"
        )
    if set(document) != {"format", "version", "model", "hints"}:
        raise ManifestError("manifest has unexpected fields")
    model = document["model"]
    parameters = _parameters(model["parameters"])
    groups = tuple(_groups(model["groups"], parameters))
    manifest = Manifest(
        document=document,
        name=_match(_MODEL_NAME, model["name"], "model name"),
        parameters=parameters,
        architecture=_match(_GROUP_NAME, model["architecture"], "architecture"),
        model_type=_match(_GROUP_NAME, model["model_type"], "model type"),
        context_length=_integer(model["context_length"], 1, 1 << 24, "context length"),
        vocabulary=_integer(model["vocabulary"], 1, MAX_DIMENSION, "vocabulary"),
        groups=groups,
        files=tuple(_files(_list(model["files"], "files"))),
        hint_digests=tuple(
            _match(_DIGEST, d, "hint digest") for d in _list(document["hints"], "hints")
        ),
    )
    canonical_json(document)  # refuses NaN and infinity anywhere
    if len(manifest.hint_digests) != len(manifest.parts):
        raise ManifestError("manifest needs one hint digest for every part")
    return manifest


def _parameters(name: object) -> HintParameters:
    if not isinstance(name, str):
        raise ManifestError("the parameter set must be named")
    try:
        return parameters_by_name(name)
    except ParameterError as error:
        raise ManifestError(str(error)) from error


def _groups(items: Any, parameters: HintParameters) -> Iterator[Group]:
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_GROUPS:
        raise ManifestError(f"manifest needs 1 to {MAX_GROUPS} groups")
    names: set[str] = set()
    modules: set[str] = set()
    first_part = 0
    for index, item in enumerate(items):
        group = _group(index, first_part, item, parameters)
        if group.name in names or modules & {m.module for m in group.members}:
            raise ManifestError(
                "group and module names must be unique: two groups may not share a mask"
            )
        names.add(group.name)
        modules.update(m.module for m in group.members)
        first_part += len(group.parts)
        yield group


def _group(index: int, first_part: int, item: Any, parameters: HintParameters) -> Group:
    outputs = _integer(item["outputs"], 1, MAX_DIMENSION, "outputs")
    inputs = _integer(item["inputs"], 1, MAX_DIMENSION, "inputs")
    members = tuple(_member(m) for m in _list(item["members"], "members"))
    if sum(m.outputs for m in members) != outputs or len({m.module for m in members}) != len(
        members
    ):
        raise ManifestError("members do not add up to the group's outputs")
    if item["kind"] not in KINDS:
        raise ManifestError("unknown kind of group")
    parts = tuple(_parts(_list(item["parts"], "parts"), inputs, parameters))
    name = _match(_GROUP_NAME, item["name"], "group name")
    return Group(index, name, item["kind"], inputs, outputs, members, parts, first_part)


def _member(item: Any) -> Member:
    return Member(
        _match(_GROUP_NAME, item["module"], "module name"),
        _integer(item["outputs"], 1, MAX_DIMENSION, "member outputs"),
    )


def _parts(items: Any, inputs: int, parameters: HintParameters) -> Iterator[GroupPart]:
    position = 0
    for item in items:
        start = _integer(item["start"], 0, inputs, "part start")
        stop = _integer(item["stop"], 1, inputs, "part stop")
        if start != position or stop <= start or stop - start > parameters.max_inputs:
            raise ManifestError(
                "parts must cover the inputs in order, each within the security bound"
            )
        position = stop
        yield _part(item, start, stop)
    if position != inputs:
        raise ManifestError("parts do not cover the group's inputs")


def _part(item: Any, start: int, stop: int) -> GroupPart:
    peak = _integer(item["peak"], 1, 128, "peak")
    w_norm = item["w_norm"]
    if type(w_norm) not in (int, float) or not math.isfinite(w_norm):
        raise ManifestError("w_norm must be a finite number")
    # A row with one entry of +-peak has norm `peak`; n entries of at most `peak` have norm peak*sqrt(n).
    if not peak <= w_norm * (1 + 1e-9) or not w_norm <= peak * math.sqrt(stop - start) * (1 + 1e-9):
        raise ManifestError("w_norm is impossible for int8 weights of this shape")
    return GroupPart(
        start, stop, float(w_norm), peak, _match(_DIGEST, item["weights_sha256"], "digest")
    )


def _files(items: Any) -> Iterator[FileEntry]:
    seen: set[str] = set()
    for item in items:
        path = _match(_FILE_NAME, item["path"], "file name")
        if path.lower() in seen:
            raise ManifestError("file names must be unique")
        seen.add(path.lower())
        size = _integer(item["size"], 0, MAX_FILE_BYTES, "file size")
        yield FileEntry(path, size, _match(_DIGEST, item["sha256"], "digest"))


def _match(pattern: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ManifestError(f"{what} is not valid")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ManifestError(f"{what} must be a list")
    return value


def _integer(value: object, low: int, high: int, what: str) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ManifestError(f"{what} must be an integer from {low} to {high}")
    return value
