"""Public masks: frozen vectors, an injective name, rows that do not depend on how many are asked for."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from fhe_protocol.masks import MaskName, encode_fields, expand_mask, mask_seed
from fhe_protocol.parameters import HINT_1024_24

NAME = MaskName(bytes(range(32)), 3, "model.layers.0.q/0", 40, 96)

# Written down once: a change of these breaks every hint that exists and needs a new protocol version.
SEED = (
    "579b68e5b97fce6ac420dfcc958244e26ec5b0118ed2a0a3"
    "368fe8aacfd441125bc9a755574df9707d0f1b87d3d6073f"
)
FIRST = [4382849, 8547844, 16410983, 8393335]
WHOLE = "b59a545e01d6ac36793f75099dfbf0c85c5949c84204c40e3bd986dc2d3c4159"


def test_the_seed_is_the_frozen_one() -> None:
    assert mask_seed(HINT_1024_24, NAME).hex() == SEED


def test_the_mask_is_the_frozen_one() -> None:
    mask = expand_mask(HINT_1024_24, NAME)
    assert mask.shape == (40, 1024)
    assert mask.dtype == np.uint32
    assert mask[0, :4].tolist() == FIRST
    assert hashlib.sha256(mask.astype("<u4").tobytes()).hexdigest() == WHOLE


def test_the_mask_is_what_the_documentation_says() -> None:
    """A second implementation, from the text: SHAKE-256 over length-prefixed fields, AES-256-CTR, 3 bytes each."""
    fields = [b"tacita/mask", b"hint-1024-24", NAME.model_digest, NAME.name.encode()]
    fields += [struct.pack(">Q", v) for v in (1, 1024, 24, 5, 16, 3, 40, 96)]
    encoded = b"".join(struct.pack(">Q", len(f)) + f for f in fields)
    seed = hashlib.shake_256(encoded).digest(48)
    stream = Cipher(algorithms.AES(seed[:32]), modes.CTR(seed[32:])).encryptor()
    raw = stream.update(bytes(40 * 1024 * 3))
    expected = [int.from_bytes(raw[i : i + 3], "little") for i in range(0, len(raw), 3)]
    assert expand_mask(HINT_1024_24, NAME).ravel().tolist() == expected


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (7, 8), (13, 40), (39, 40), (40, 40)])
def test_rows_do_not_depend_on_what_else_is_asked_for(start: int, stop: int) -> None:
    whole = expand_mask(HINT_1024_24, NAME)
    assert np.array_equal(expand_mask(HINT_1024_24, NAME, start, stop), whole[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 41), (41, 41)])
def test_rows_outside_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        expand_mask(HINT_1024_24, NAME, start, stop)


def test_rows_do_not_depend_on_what_else_is_asked_for_when_the_counter_wraps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AES-CTR counts modulo 2^128; so must the row offset."""
    near_the_end = bytes(32) + ((1 << 128) - 100).to_bytes(16, "big")
    monkeypatch.setattr("fhe_protocol.masks.mask_seed", lambda *_: near_the_end)
    whole = expand_mask(HINT_1024_24, NAME)
    assert np.array_equal(expand_mask(HINT_1024_24, NAME, 5, 9), whole[5:9])
    assert len(np.unique(whole[:, 0])) > 30


@pytest.mark.parametrize(
    "change",
    [
        {"model_digest": bytes(32)},
        {"part_index": 4},
        {"name": "model.layers.0.q/1"},
        {"inputs": 41},
        {"outputs": 97},
    ],
)
def test_every_field_of_the_name_counts(change: dict[str, object]) -> None:
    assert mask_seed(HINT_1024_24, replace(NAME, **change)) != mask_seed(HINT_1024_24, NAME)


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
def test_the_encoding_is_injective(one: list[bytes], other: list[bytes]) -> None:
    assert (encode_fields(*one) == encode_fields(*other)) == (one == other)


def test_fields_cannot_borrow_from_each_other() -> None:
    digest, name = b"d" * 32, "ab"
    moved = replace(NAME, model_digest=digest + b"a", name="b")
    assert mask_seed(HINT_1024_24, replace(NAME, model_digest=digest, name=name)) != mask_seed(
        HINT_1024_24, moved
    )


def test_coefficients_look_uniform() -> None:
    mask = expand_mask(HINT_1024_24, NAME)
    assert int(mask.max()) < 1 << 24
    for shift in (0, 8, 16):
        counts = np.bincount(((mask >> np.uint32(shift)) & 0xFF).ravel(), minlength=256)
        expected = mask.size / 256
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert (
            150 < chi_square < 380
        )  # 255 degrees of freedom; the mask is fixed, so is this figure
