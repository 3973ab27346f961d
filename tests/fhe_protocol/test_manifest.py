"""The manifest: strict, canonical, and never anything but a ManifestError for what a server may send."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_protocol.errors import ManifestError
from fhe_protocol.manifest import (
    MAX_MANIFEST_BYTES,
    canonical_json,
    parse_manifest,
)
from fhe_protocol.masks import mask_seed
from tests.security.world import make_world

GOOD: dict[str, Any] = json.loads(make_world().manifest.to_bytes())
Change = Callable[[dict[str, Any]], object]


def parse(document: object) -> Any:
    return parse_manifest(json.dumps(document).encode())


def changed(change: Change) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    change(document)
    return document


def first_group(document: dict[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = document["model"]["groups"][0]
    return group


def first_part(document: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = first_group(document)["parts"][0]
    return part


def put(*path: str | int, value: object) -> Change:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


GROUP = ("model", "groups", 0)
PART = (*GROUP, "parts", 0)


def test_a_manifest_survives_whatever_its_spelling() -> None:
    spellings = [
        json.dumps(GOOD).encode(),
        json.dumps(GOOD, indent=3).encode(),
        json.dumps(dict(reversed(GOOD.items()))).encode(),
        json.dumps(GOOD).encode("utf-16"),
        canonical_json(GOOD),
    ]
    manifests = [parse_manifest(spelling) for spelling in spellings]
    assert len({m.digest for m in manifests}) == 1
    assert all(m.to_bytes() == canonical_json(GOOD) for m in manifests)
    assert manifests[0].digest == hashlib.sha256(canonical_json(GOOD)).hexdigest()


def test_sizes_follow_from_the_groups() -> None:
    manifest = parse(GOOD)
    assert [(g.name, k) for g, k in manifest.parts] == [
        ("g0", 0),
        ("g1", 0),
        ("g1", 1),
        ("g2", 0),
        ("g2", 1),
    ]
    assert [g.first_part for g in manifest.groups] == [0, 1, 3]
    hint_sizes = [12 * 2048, 10 * 2048, 10 * 2048, 20 * 2048, 20 * 2048]
    assert manifest.hint_offsets == tuple(sum(hint_sizes[:i]) for i in range(6))
    assert manifest.hint_bytes == sum(hint_sizes)
    assert manifest.query_bytes(4) == 4 * 3 * (24 + 50 + 16)
    assert manifest.answer_bytes(4) == 4 * 2 * (12 + 2 * 10 + 2 * 20)


def test_masks_are_named_apart() -> None:
    manifest = parse(GOOD)
    names = [manifest.mask_name(g, k) for g, k in manifest.parts]
    assert len({(n.name, n.part_index) for n in names}) == 5
    assert len({n.name for n in names}) == 5
    assert [n.part_index for n in names] == [0, 1, 2, 3, 4]


def test_hints_change_the_digest_but_not_the_masks() -> None:
    other = parse(changed(put("hints", 0, value="b" * 64)))
    assert other.digest != parse(GOOD).digest
    assert other.model_digest == parse(GOOD).model_digest


@pytest.mark.parametrize(
    "change",
    [
        put(*PART, "weights_sha256", value="c" * 64),
        put(*PART, "w_norm", value=GOOD["model"]["groups"][0]["parts"][0]["w_norm"] * 0.99),
        put("model", "files", 0, "sha256", value="b" * 64),
        put("model", "context_length", value=65),
        put("model", "note", value="unknown fields count too"),
    ],
)
def test_everything_else_changes_the_masks(change: Change) -> None:
    assert parse(changed(change)).model_digest != parse(GOOD).model_digest


BAD: dict[str, Change] = {
    "other format": put("format", value="zip"),
    "other version": put("version", value=2),
    "boolean version": put("version", value=True),
    "float version": put("version", value=1.0),
    "extra field": put("extra", value=1),
    "no hints": lambda d: d.pop("hints"),
    "no model": lambda d: d.pop("model"),
    "unknown parameters": put("model", "parameters", value="hint-512-16"),
    "parameters of its own": put("model", "parameters", value={"ring_degree": 512}),
    "parameters in a list": put("model", "parameters", value=["hint-1024-24"]),
    "a weaker version of the parameters": put("model", "parameters", value="hint-1024-24-weak"),
    "no groups": put("model", "groups", value=[]),
    "groups in an object": put("model", "groups", value={"0": 1}),
    "too many groups": lambda d: d["model"].update(groups=d["model"]["groups"] * 1400),
    "name with a path": put("model", "name", value="../../etc/passwd"),
    "upper-case name": put("model", "name", value="World"),
    "name with a line break": put("model", "name", value="world\n"),
    "negative inputs": put(*GROUP, "inputs", value=-24),
    "huge inputs": put(*GROUP, "inputs", value=1 << 40),
    "float inputs": put(*GROUP, "inputs", value=24.0),
    "boolean outputs": put(*GROUP, "outputs", value=True),
    "zero outputs": put(*GROUP, "outputs", value=0),
    "members that do not add up": put(*GROUP, "members", 0, "outputs", value=11),
    "member of a negative size": lambda d: first_group(d).update(
        members=[{"module": "a", "outputs": 13}, {"module": "b", "outputs": -1}]
    ),
    "a member twice": lambda d: first_group(d).update(
        members=[{"module": "a", "outputs": 6}, {"module": "a", "outputs": 6}]
    ),
    "no members": put(*GROUP, "members", value=[]),
    "unknown kind": put(*GROUP, "kind", value="convolution"),
    "kind in a list": put(*GROUP, "kind", value=["linear"]),
    "group name twice": put("model", "groups", 1, "name", value="g0"),
    "module in two groups": put("model", "groups", 1, "members", 0, "module", value="layer.0"),
    "group name with a slash": put(*GROUP, "name", value="g0/0"),
    "no parts": put(*GROUP, "parts", value=[]),
    "parts that overlap": put("model", "groups", 1, "parts", 1, "start", value=29),
    "parts with a hole": put("model", "groups", 1, "parts", 1, "start", value=31),
    "part that stops early": put(*PART, "stop", value=23),
    "part that goes beyond": put(*PART, "stop", value=25),
    "empty part": put(*PART, "stop", value=0),
    "more samples than the estimate covers": lambda d: (
        first_group(d).update(inputs=131_073),
        first_part(d).update(stop=131_073),
    ),
    "peak zero": put(*PART, "peak", value=0),
    "peak beyond int8": put(*PART, "peak", value=129),
    "w_norm below the peak": put(*PART, "w_norm", value=1.0),
    "w_norm beyond what int8 allows": put(*PART, "w_norm", value=128 * math.sqrt(24) * 1.01),
    "w_norm NaN": put(*PART, "w_norm", value=math.nan),
    "w_norm infinite": put(*PART, "w_norm", value=math.inf),
    "w_norm a huge integer": put(*PART, "w_norm", value=10**400),
    "w_norm a boolean": put(*PART, "w_norm", value=True),
    "w_norm a string": put(*PART, "w_norm", value="500"),
    "short digest": put(*PART, "weights_sha256", value="ab"),
    "upper-case digest": put(*PART, "weights_sha256", value="A" * 64),
    "file in a folder": put("model", "files", 0, "path", value="a/b"),
    "file above": put("model", "files", 0, "path", value=".."),
    "hidden file": put("model", "files", 0, "path", value=".bashrc"),
    "file with a drive": put("model", "files", 0, "path", value="C:x"),
    "absolute file": put("model", "files", 0, "path", value="/x"),
    "backslash": put("model", "files", 0, "path", value="..\\x"),
    "file with a null": put("model", "files", 0, "path", value="a\0b"),
    "negative file": put("model", "files", 0, "size", value=-1),
    "huge file": put("model", "files", 0, "size", value=1 << 33),
    "files that differ in case only": lambda d: d["model"]["files"].append(
        {"path": "CONFIG.json", "size": 2, "sha256": "a" * 64}
    ),
    "too few hints": lambda d: d["hints"].pop(),
    "too many hints": lambda d: d["hints"].append("0" * 64),
    "hints in an object": lambda d: d.update(hints={f"{i:064x}": 1 for i in range(5)}),
    "hint digest of a number": put("hints", 0, value=7),
    "NaN in an unknown field": put("model", "note", value=math.nan),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_manifest_is_refused(name: str) -> None:
    with pytest.raises(ManifestError) as raised:
        parse(changed(BAD[name]))
    assert len(str(raised.value)) < 300


ASKS_FOR_A_MASK: dict[str, Change] = {
    "seed for all": put("model", "mask_seed", value="00" * 32),
    "mask of a part": put(*PART, "mask", value="00" * 32),
    "name of another part": put(*PART, "mask_name", value="g1/0"),
    "digest of its own": put("model", "model_digest", value="00" * 32),
}


@pytest.mark.parametrize("name", ASKS_FOR_A_MASK)
def test_a_manifest_that_asks_for_a_mask_of_its_choosing_gets_an_unpredictable_one(
    name: str,
) -> None:
    """Masks are named by a digest that the client computes over the whole model, the request included."""
    asking, good = parse(changed(ASKS_FOR_A_MASK[name])), parse(GOOD)
    assert asking.model_digest != good.model_digest
    seeds = {
        mask_seed(manifest.parameters, manifest.mask_name(group, part))
        for manifest in (asking, good)
        for group, part in manifest.parts
    }
    assert len(seeds) == 2 * len(good.parts)
    for group, part in asking.parts:
        assert asking.mask_name(group, part).model_digest == asking.model_digest
        assert asking.mask_name(group, part).name == group.part_name(part)


def test_every_missing_field_is_refused() -> None:
    paths: list[tuple[str | int, ...]] = [(), ("model",), GROUP, PART, (*GROUP, "members", 0)]
    count = 0
    for path in [*paths, ("model", "files", 0)]:
        node: Any = GOOD
        for step in path:
            node = node[step]
        for name in node:
            document = copy.deepcopy(GOOD)
            target: Any = document
            for step in path:
                target = target[step]
            del target[name]
            count += 1
            with pytest.raises(ManifestError):
                parse(document)
    assert count == 4 + 8 + 6 + 5 + 2 + 3


def test_every_truncation_is_refused() -> None:
    data = canonical_json(GOOD)
    for length in range(len(data)):
        with pytest.raises(ManifestError):
            parse_manifest(data[:length])


@pytest.mark.parametrize("depth", [50, 200, 400, 600, 800, 900, 950, 980, 990, 100_000])
@pytest.mark.parametrize("place", ["top", "parameters", "version", "note"])
def test_deep_nesting_is_a_manifest_error(depth: int, place: str) -> None:
    nested = "[" * depth + "]" * depth
    text = nested
    if place != "top":
        path = ("version",) if place == "version" else ("model", place)
        text = json.dumps(changed(put(*path, value="@"))).replace('"@"', nested)
    if place == "note" and depth == 50:
        assert parse_manifest(text.encode()).groups
        return
    try:
        manifest = parse_manifest(text.encode())
    except ManifestError:
        return
    assert place == "note"  # a field that this version does not know may be as deep as it likes
    assert len(manifest.digest) == 64


def test_an_oversized_manifest_is_refused_before_it_is_read() -> None:
    with pytest.raises(ManifestError, match="larger than"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b'""', b"1", b"1e999", b"NaN", b"\xff\xfe", b"9" * 5000, b"{}"]
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def all_paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    steps = node.items() if isinstance(node, dict) else enumerate(node)
    for step, value in steps:
        here = (*path, step)
        found += all_paths(value, here) if isinstance(value, dict | list) else [here]
    return found


PATHS = all_paths(GOOD)


@settings(max_examples=300)
@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_accepted_or_a_manifest_error(
    path: tuple[Any, ...], value: object
) -> None:
    document = changed(put(*path, value=value))
    try:
        manifest = parse(document)
    except ManifestError:
        return
    assert manifest.to_bytes() == canonical_json(document)


@given(st.binary(max_size=60), st.integers(0, 4000))
def test_any_bytes_anywhere_are_accepted_or_a_manifest_error(noise: bytes, place: int) -> None:
    data = canonical_json(GOOD)
    for mutated in (noise, data[:place] + noise + data[place + len(noise) :]):
        try:
            parse_manifest(mutated)
        except ManifestError:
            continue


def test_canonical_json_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": math.nan})
    assert canonical_json({"b": "é", "a": [1]}) == b'{"a":[1],"b":"\\u00e9"}'
