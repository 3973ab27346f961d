"""The byte formulas and structure checks of the `glwe` scheme, against the native library's own bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_protocol import glwe
from fhe_protocol.errors import FrameError, ParameterError
from fhe_protocol.manifest import Manifest, canonical_json, parse_manifest
from fhe_protocol.wire import HEADER, FrameHeader
from tests.glwe_keys import real_keys


def manifest(shapes: list[tuple[int, int]]) -> Manifest:
    """A manifest of groups of (outputs, inputs), one part each."""
    groups = [
        {
            "name": f"g{k}",
            "kind": "linear",
            "inputs": n,
            "outputs": m,
            "members": [{"module": f"m{k}", "outputs": m}],
            "parts": [
                {"start": 0, "stop": n, "w_norm": 127.0, "peak": 127, "weights_sha256": "0" * 64}
            ],
        }
        for k, (m, n) in enumerate(shapes)
    ]
    model: dict[str, Any] = {
        "name": "tiny",
        "parameters": "hint-1024-24",
        "architecture": "Tiny",
        "model_type": "tiny",
        "context_length": 64,
        "vocabulary": 64,
        "groups": groups,
        "files": [],
    }
    hints = ["0" * 64] * len(groups)
    document = {"format": "tacita-manifest", "version": 1, "model": model, "hints": hints}
    return parse_manifest(canonical_json(document))


@pytest.mark.parametrize(
    ("rows", "inputs", "due"),
    [(1, 64, 10112), (2, 64, 20200), (1, 2048, 10112), (1, 2049, 20184), (3, 8192, 120936)],
)
def test_sizes_of_encrypted_matrices_are_those_of_the_formula(
    rows: int, inputs: int, due: int
) -> None:
    assert glwe.matrix_size(rows, inputs) == due
    assert due == 24 + rows * (16 + 10072 * -(-inputs // 2048))


@given(rows=st.integers(1, 16), outputs=st.integers(1, 2048))
def test_sizes_of_results_are_those_of_the_formula(rows: int, outputs: int) -> None:
    words = -(-(2048 + outputs) * 26 // 64)
    assert glwe.result_size(rows, outputs) == 8 + rows * (8 + 72 + 8 * words)


def test_the_key_has_the_size_that_was_measured() -> None:
    assert glwe.KEY_SIZE == 134_217_808


@pytest.mark.parametrize(("rows", "inputs"), [(1, 3), (2, 64), (2, 2049), (1, 6000)])
def test_every_byte_of_a_real_matrix_is_accounted_for(rows: int, inputs: int) -> None:
    keys = real_keys()
    x = np.arange(rows * inputs, dtype=np.int64).reshape(rows, inputs) % 100
    data = keys.encrypt(x)
    glwe.check_matrix(data, rows, inputs)
    refuse_any_change(data, lambda changed: glwe.check_matrix(changed, rows, inputs))
    for wrong in ((rows + 1, inputs), (rows, inputs + 1)):
        with pytest.raises(FrameError):
            glwe.check_matrix(data, *wrong)


@pytest.mark.parametrize(("rows", "outputs"), [(1, 1), (2, 7)])
def test_every_byte_of_a_real_result_is_accounted_for(rows: int, outputs: int) -> None:
    keys = real_keys()
    matrix = keys.encrypt(np.ones((rows, 3), dtype=np.int64))
    data = keys.multiply(matrix, np.ones((outputs, 3), dtype=np.int8))
    glwe.check_result(data, rows, outputs)
    refuse_any_change(data, lambda changed: glwe.check_result(changed, rows, outputs))


def test_a_real_key_is_accepted_and_a_changed_one_is_not() -> None:
    keys = real_keys()
    glwe.check_key(keys.key_bytes)
    for position in (0, *range(glwe.KEY_SIZE // 8 - 9, glwe.KEY_SIZE // 8)):
        changed = bytearray(keys.key_bytes)
        changed[8 * position + 5] ^= 1
        with pytest.raises(FrameError):
            glwe.check_key(changed)


def refuse_any_change(data: bytes, check: Any) -> None:
    """Small words of the library's bytes are lengths and shapes: a change of any of them must be refused."""
    words = np.frombuffer(data, dtype="<u8")
    structure = np.nonzero(words < 1 << 20)[0]
    assert len(structure) > 8
    for position in structure:
        for bit in (0, 40, 63):
            changed = words.copy()
            changed[position] ^= np.uint64(1 << bit)
            with pytest.raises(FrameError):
                check(changed.tobytes())
    for size in (0, 7, 8, len(data) - 8, len(data) - 1):
        with pytest.raises(FrameError):
            check(data[:size])
    with pytest.raises(FrameError):
        check(data + b"\0" * 8)


def fake_matrix(rows: int, inputs: int) -> bytes:
    """Right structure, random ciphertext; needs no library."""
    size = glwe.matrix_size(rows, inputs)
    seed = f"{rows} {inputs}".encode()
    words = np.frombuffer(hashlib.shake_128(seed).digest(size), dtype="<u8").copy()
    positions, values = glwe._matrix_structure(rows, inputs)
    words[positions] = values
    return words.tobytes()


def test_frames_round_trip() -> None:
    served = manifest([(40, 24), (5000, 2100)])
    header = FrameHeader(7, 1, 2)
    matrix = fake_matrix(2, 2100)
    frame = glwe.pack_query(header, matrix)
    assert len(frame) == glwe.query_size(served.groups[1], 2) <= glwe.max_query_size(served)
    found, view = glwe.parse_query(frame, served)
    assert found == header
    assert view == matrix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: b"TQ" + f[2:], "expected kind"),
        (lambda f: f[:2] + b"\x09" + f[3:], "protocol version"),
        (lambda f: f[:3] + b"\x01" + f[4:], "protocol version"),
        (lambda f: f[:8] + b"\x09\x00" + f[10:], "no group"),
        (lambda f: f[:10] + b"\x00\x00" + f[12:], "1 to 16 rows"),
        (lambda f: f[:10] + b"\x11\x00" + f[12:], "1 to 16 rows"),
        (lambda f: f[:10] + b"\x02\x00" + f[12:], "bytes where"),
        (lambda f: f[:-1], "bytes where"),
        (lambda f: f + b"\0", "bytes where"),
        (lambda f: f[:5], "shorter than its header"),
        (lambda f: f[: HEADER.size] + b"\xff" * 8 + f[HEADER.size + 8 :], "shape"),
    ],
)
def test_malformed_queries_are_refused(change: Any, message: str) -> None:
    served = manifest([(40, 24)])
    frame = glwe.pack_query(FrameHeader(7, 0, 1), fake_matrix(1, 24))
    glwe.parse_query(frame, served)
    with pytest.raises(FrameError, match=message):
        glwe.parse_query(change(frame), served)


@given(data=st.binary(max_size=200))
def test_random_bytes_only_ever_raise_frame_errors(data: bytes) -> None:
    with pytest.raises(FrameError):
        glwe.parse_query(data, manifest([(40, 24)]))


def test_answers_are_split_into_blocks_and_must_fit_their_query() -> None:
    group = manifest([(4100, 24)]).groups[0]
    header = FrameHeader(9, 0, 1)
    assert glwe.output_blocks(4100) == ((0, 2048), (2048, 4096), (4096, 4100))
    results = [fake_result(1, b - a) for a, b in glwe.output_blocks(4100)]
    frame = glwe.pack_answer(header, results)
    assert len(frame) == glwe.answer_size(group, 1)
    assert [bytes(r) for r in glwe.parse_answer(frame, group, header)] == results
    with pytest.raises(FrameError, match="another query"):
        glwe.parse_answer(frame, group, FrameHeader(10, 0, 1))
    with pytest.raises(FrameError, match="bytes where"):
        glwe.parse_answer(frame[:-8], group, header)
    with pytest.raises(FrameError, match="shape"):
        glwe.parse_answer(frame[:-1] + b"\1", group, header)


def fake_result(rows: int, outputs: int) -> bytes:
    words = np.full(glwe.result_size(rows, outputs) // 8, 0xABCDEF0123456789, dtype="<u8")
    positions, values = glwe._result_structure(rows, outputs)
    words[positions] = values
    return words.tobytes()


def test_only_the_known_parameters_are_accepted() -> None:
    assert glwe.glwe_parameters_by_name("glwe-2048-27") is glwe.GLWE_2048_27
    with pytest.raises(ParameterError, match="known: glwe-2048-27"):
        glwe.glwe_parameters_by_name("glwe-16-27")


def test_the_parameters_are_the_librarys_own() -> None:
    import json

    known = json.loads(real_keys().library.default_params())
    p = glwe.GLWE_2048_27
    assert known["polynomial_size"] == known["packing_ks_polynomial_size"] == p.polynomial_size
    assert known["encryption_glwe_dimension"] == known["packing_ks_glwe_dimension"] == 1
    assert known["bits_reserved_for_computation"] == p.message_bits
    assert known["input_storage_ciphertext_modulus"] == p.query_bits
    assert known["output_storage_ciphertext_modulus"] == p.answer_bits
    assert known["packing_ks_base_log"] == p.switch_base_log
    assert known["packing_ks_level"] == p.switch_levels


def test_noise_is_what_the_rounding_explains() -> None:
    """Measured before the first line: standard deviation 13 to 26, at most 86."""
    p = glwe.GLWE_2048_27
    assert 13 < p.noise_white_sigma < 15
    assert 18 < p.noise_sigma < 20
    assert 144 < p.guard < 160
