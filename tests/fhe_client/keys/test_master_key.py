from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhe_client.keys.errors import KeyClosedError
from fhe_client.keys.master_key import MasterKey, key_id_of

RAW = bytes(range(32))


def test_key_id_is_frozen() -> None:
    """The id is on disk in every sealed file: a change of its definition loses them all."""
    assert MasterKey(RAW, origin="x").key_id == key_id_of(RAW) == "3a243d37c07355dd"


def test_derive_is_hkdf_with_lengths_and_domain() -> None:
    info = b"tacita/derive/1\0" + (40).to_bytes(4, "big") + (7).to_bytes(4, "big") + b"history"
    expected = HKDF(SHA256(), 40, None, info).derive(RAW)
    assert MasterKey(RAW, origin="x").derive(b"history", 40) == expected


def test_derived_keys_are_unrelated() -> None:
    key = MasterKey(RAW, origin="x")
    outputs = {key.derive(b"a"), key.derive(b"b"), key.derive(b""), key.derive(b"a\0")}
    assert len(outputs) == 4
    assert key.derive(b"a", 64)[:32] != key.derive(b"a", 32)
    assert MasterKey(bytes(32), origin="x").derive(b"a") not in outputs


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MasterKey(bytes(length), origin="x")


def test_nothing_printed_shows_the_key() -> None:
    key = MasterKey(b"\x41" * 32, origin="x")
    for text in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert "4141" not in text
        assert "AAAA" not in text
        assert key.key_id in text


def test_it_cannot_be_pickled_or_copied() -> None:
    key = MasterKey(RAW, origin="x")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(key, protocol)
    with pytest.raises(TypeError, match="never pickled"):
        copy.copy(key)
    with pytest.raises(TypeError, match="never pickled"):
        copy.deepcopy([key])
    assert not hasattr(key, "__dict__")


def test_close_wipes_and_refuses_later_use() -> None:
    key = MasterKey(RAW, origin="x")
    buffer = key._raw
    key.close()
    key.close()
    assert buffer == bytearray(32)
    assert key.closed
    for use in (lambda: key.derive(b"a"), key.raw_copy):
        with pytest.raises(KeyClosedError):
            use()
    assert "closed" in repr(key)


def test_with_closes() -> None:
    with MasterKey.generate(origin="x") as key:
        assert key.derive(b"a") != bytes(32)
    assert key.closed


def test_generated_keys_differ() -> None:
    assert MasterKey.generate(origin="x").key_id != MasterKey.generate(origin="x").key_id


def test_the_window_can_import_this_without_torch_or_numpy() -> None:
    code = (
        "import sys, fhe_client.keys, fhe_client.keys.commands, fhe_client.home\n"
        "sys.exit(str({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "set()"
