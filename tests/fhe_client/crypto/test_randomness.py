"""Secret streams and samplers: frozen vectors, and statistics that are the same in every run (the keys are fixed)."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from fhe_client.crypto.randomness import SecretStream, centred_binomial_of, sample_ternary
from fhe_protocol.masks import encode_fields

KEY = bytes(range(32))
COUNT = 200_000


def sample_centred_binomial(rng_secret: SecretStream, count: int, eta: int) -> np.ndarray:
    """`count` values from the next words of a stream, as the secrets of an epoch draw them."""
    return centred_binomial_of(rng_secret.read(2 * count).view("<u2"), eta)


def stream(*purpose: bytes) -> SecretStream:
    return SecretStream(KEY, *purpose)


def chi_square(observed: list[int], expected: list[float]) -> float:
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def test_a_stream_is_the_frozen_one() -> None:
    assert (
        stream(b"a", b"b").read(24).tobytes().hex()
        == "4389f50d3d23fb89ab200cc47a8af7c4e231aa3d94706962"
    )


def test_a_stream_is_what_the_documentation_says() -> None:
    """A second implementation: SHAKE-256 of the fields gives the AES-256-CTR key and its first block."""
    material = hashlib.shake_256(encode_fields(b"tacita/secret-stream", KEY, b"a", b"b")).digest(48)
    cipher = Cipher(algorithms.AES(material[:32]), modes.CTR(material[32:])).encryptor()
    assert stream(b"a", b"b").read(1000).tobytes() == cipher.update(bytes(1000))


def test_samples_are_the_frozen_ones() -> None:
    assert sample_ternary(stream(b"t"), 16).tolist() == [
        -1,
        1,
        -1,
        -1,
        1,
        -1,
        1,
        1,
        1,
        1,
        1,
        -1,
        -1,
        -1,
        0,
        -1,
    ]
    assert sample_centred_binomial(stream(b"e"), 16, 5).tolist() == [
        -1,
        2,
        0,
        0,
        -1,
        -1,
        -2,
        1,
        -2,
        -2,
        1,
        4,
        -1,
        2,
        -1,
        2,
    ]


@given(st.lists(st.integers(0, 700), max_size=6))
def test_reading_in_pieces_changes_nothing(sizes: list[int]) -> None:
    pieces = stream(b"x")
    joined = b"".join(pieces.read(size).tobytes() for size in sizes)
    assert joined == stream(b"x").read(sum(sizes)).tobytes()


@pytest.mark.parametrize("other", [(b"b",), (b"a", b""), (b"", b"a"), (), (b"a", b"a")])
def test_purposes_do_not_share_bytes(other: tuple[bytes, ...]) -> None:
    assert stream(b"a").read(32).tobytes() != stream(*other).read(32).tobytes()


def test_keys_do_not_share_bytes() -> None:
    assert stream(b"a").read(32).tobytes() != SecretStream(KEY[::-1], b"a").read(32).tobytes()


@pytest.mark.parametrize("size", [0, 16, 31])
def test_a_short_key_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SecretStream(bytes(size), b"a")


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_stream_cannot_be_copied(act: Callable[[object], object]) -> None:
    """A copy would give the same errors a second time."""
    with pytest.raises(TypeError, match="cannot be copied"):
        act(stream(b"a"))
    assert KEY.hex() not in repr(stream(b"a"))


@pytest.mark.parametrize("count", [0, 1, 15, 1024, 5000])
def test_samplers_give_as_many_as_asked(count: int) -> None:
    for sample in (
        sample_ternary(stream(b"t"), count),
        sample_centred_binomial(stream(b"e"), count, 5),
    ):
        assert sample.shape == (count,)
        assert sample.dtype == np.int8


def test_ternary_is_uniform() -> None:
    drawn = sample_ternary(stream(b"t"), COUNT)
    counts = [int((drawn == v).sum()) for v in (-1, 0, 1)]
    assert sum(counts) == COUNT
    assert chi_square(counts, [COUNT / 3] * 3) < 13.8  # 2 degrees of freedom, p = 0.001


def test_ternary_rejects_what_would_bias_it() -> None:
    """Byte 255 would make -1 come up 86 times of 256. A stream of nothing else but it gives nothing from it."""

    class Counting(SecretStream):
        def __init__(self) -> None:
            super().__init__(KEY)
            self.reads = 0

        def read(self, count: int) -> np.ndarray:  # type: ignore[type-arg]
            self.reads += 1
            fill = 255 if self.reads < 4 else 4
            return np.full(count, fill, dtype=np.uint8)

    source = Counting()
    assert sample_ternary(source, 10).tolist() == [0] * 10  # 4 mod 3 - 1
    assert source.reads == 4


def test_every_byte_below_the_limit_counts_the_same() -> None:
    class AllBytes(SecretStream):
        def read(self, count: int) -> np.ndarray:  # type: ignore[type-arg]
            return np.resize(np.arange(256, dtype=np.uint8), count)

    drawn = sample_ternary(AllBytes(KEY), 255)
    assert [int((drawn == v).sum()) for v in (-1, 0, 1)] == [85, 85, 85]


@pytest.mark.parametrize("eta", [1, 2, 5, 8])
def test_errors_are_centred_binomial(eta: int) -> None:
    drawn = sample_centred_binomial(stream(b"e"), COUNT, eta).astype(np.int64)
    total = 2 * eta
    expected = [COUNT * math.comb(total, k) / 2**total for k in range(total + 1)]
    counts = [int((drawn == k - eta).sum()) for k in range(total + 1)]
    assert sum(counts) == COUNT
    usual = [k for k in range(total + 1) if expected[k] >= 5]
    statistic = chi_square([counts[k] for k in usual], [expected[k] for k in usual])
    assert statistic < 45  # at most 16 degrees of freedom, p < 0.001
    assert abs(float(drawn.mean())) < 5 * math.sqrt(eta / 2 / COUNT)
    assert abs(float(drawn.var()) - eta / 2) < 0.05 * eta


def test_all_sixteen_bits_make_the_errors_they_should() -> None:
    """Exact: over all 2^16 words, the ten low bits give every binomial value its share."""

    class AllWords(SecretStream):
        def read(self, count: int) -> np.ndarray:  # type: ignore[type-arg]
            return np.arange(count // 2, dtype="<u2").view(np.uint8)

    drawn = sample_centred_binomial(AllWords(KEY), 1 << 16, 5)
    counts = [int((drawn == k - 5).sum()) for k in range(11)]
    assert counts == [math.comb(10, k) * 64 for k in range(11)]


@pytest.mark.parametrize("eta", [0, -1, 9])
def test_eta_must_fit_its_bits(eta: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.8"):
        sample_centred_binomial(stream(b"e"), 4, eta)


def test_neighbouring_samples_are_not_correlated() -> None:
    drawn = sample_centred_binomial(stream(b"e"), COUNT, 5).astype(np.float64)
    for lag in (1, 2, 7, 1024):
        product = float((drawn[lag:] * drawn[:-lag]).mean()) / 2.5
        assert abs(product) < 5 / math.sqrt(COUNT)
