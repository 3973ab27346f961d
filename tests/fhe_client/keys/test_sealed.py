from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_client.keys import files, sealed
from fhe_client.keys.errors import (
    KeyLostError,
    NotSealedError,
    SealDamagedError,
    SealedError,
    UnknownVersionError,
    WrongKeyError,
    WrongPurposeError,
)
from fhe_client.keys.master_key import MasterKey
from fhe_client.keys.sealed import data_key, open_sealed, parse_header, read_sealed, seal

KEY = MasterKey(bytes(range(32)), origin="keyring.backends.SecretService.Keyring")
OTHER = MasterKey(bytes(range(1, 33)), origin="passphrase")
FROZEN = bytes.fromhex(
    "895441434954410a013a243d37c07355dd0666726f7a656e266b657972696e672e6261636b656e64732e5365"
    "63726574536572766963652e4b657972696e673dc33c6005c51631d27cb01aef8724122927d064cd5dd04574"
    "72822f16a924827f3979f6d0fcf6347979b66dc6e1e2f9277e1d5a"
)


@given(st.binary(max_size=300), st.text("abc/é", min_size=1, max_size=20))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_what_is_sealed_opens(plaintext: bytes, purpose: str) -> None:
    assert open_sealed(KEY, purpose, seal(KEY, purpose, plaintext)) == plaintext


def test_a_file_of_format_1_opens_for_ever() -> None:
    assert open_sealed(KEY, "frozen", FROZEN) == b"format 1"


def test_the_header_is_public_and_says_whose_it_is() -> None:
    header = parse_header(seal(KEY, "history", b"x"))
    assert (header.key_id, header.purpose) == (KEY.key_id, "history")
    assert header.backend == KEY.origin


def test_two_seals_share_nothing() -> None:
    first, second = (seal(KEY, "p", bytes(64)) for _ in range(2))
    size = parse_header(first).size
    assert first[:size] != second[:size]
    assert first[size:] != second[size:]


def test_every_changed_byte_is_noticed() -> None:
    blob = seal(KEY, "history", b"the quick brown fox")
    for index in range(len(blob)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(blob)
            changed[index] ^= mask
            with pytest.raises(SealedError):
                open_sealed(KEY, "history", bytes(changed))


def test_every_cut_and_every_addition_is_noticed() -> None:
    blob = seal(KEY, "history", b"the quick brown fox")
    for size in range(len(blob)):
        with pytest.raises(SealedError):
            open_sealed(KEY, "history", blob[:size])
    with pytest.raises(SealDamagedError):
        open_sealed(KEY, "history", blob + b"\0")


def test_each_kind_of_wrong_has_its_own_error() -> None:
    blob = seal(KEY, "history", b"x")
    newer = blob[:8] + b"\x02" + blob[9:]
    cases = [
        (WrongKeyError, OTHER, "history", blob),
        (WrongPurposeError, KEY, "token", blob),
        (NotSealedError, KEY, "history", b"SQLite format 3\0"),
        (NotSealedError, KEY, "history", b""),
        (UnknownVersionError, KEY, "history", newer),
        (SealDamagedError, KEY, "history", blob[:-1]),
    ]
    for error, key, purpose, bad in cases:
        with pytest.raises(error) as caught:
            open_sealed(key, purpose, bad)
        assert caught.value.next_step


@given(st.binary(max_size=400))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_bytes_give_a_sealed_error(blob: bytes) -> None:
    for candidate in (blob, sealed.MAGIC + blob, sealed.MAGIC + b"\x01" + blob):
        with pytest.raises(SealedError):
            open_sealed(KEY, "history", candidate)


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_mix_of_real_pieces_gives_a_sealed_error(data: st.DataObject) -> None:
    one, two = seal(KEY, "a", b"x" * 40), seal(KEY, "b", b"y" * 40)
    cut = data.draw(st.integers(1, len(one) - 1))
    junk = data.draw(st.binary(max_size=30))
    for mixed in (one[:cut] + two[cut:], one[:cut] + junk + one[cut + len(junk) + 1 :]):
        if mixed not in (one, two):
            with pytest.raises(SealedError):
                open_sealed(KEY, "a", mixed)


def test_files_are_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.sealed"
    sealed.write_sealed(path, KEY, "p", b"one")
    sealed.write_sealed(path, KEY, "p", b"two")
    assert read_sealed(path, KEY, "p") == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["x.sealed"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "x.sealed"
    sealed.write_sealed(path, KEY, "p", b"old")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, step, fail)
        with pytest.raises(OSError, match="No space"):
            sealed.write_sealed(path, KEY, "p", b"new")
    assert read_sealed(path, KEY, "p") == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_search_finds_sealed_files_only(tmp_path: Path) -> None:
    good, broken = tmp_path / "a" / "good", tmp_path / "broken"
    sealed.write_sealed(good, KEY, "p", b"x")
    broken.write_bytes(sealed.MAGIC + b"\x07")
    (tmp_path / "other.txt").write_bytes(b"hello")
    (tmp_path / ".good.1.tmp").write_bytes(seal(KEY, "p", b"left by a crash"))
    (tmp_path / "link").symlink_to(good)
    found = dict(sealed.sealed_files((tmp_path, tmp_path / "a")))
    assert set(found) == {good, broken}
    assert found[broken] is None
    assert found[good] is not None


def test_files_that_vanish_during_the_search_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed.write_sealed(tmp_path / "stays", KEY, "p", b"x")
    gone = tmp_path / "gone"
    monkeypatch.setattr(files, "regular_files", lambda _roots: iter([gone, tmp_path / "stays"]))
    assert [path.name for path, _ in sealed.sealed_files((tmp_path,))] == ["stays"]


def test_resealing_changes_the_key_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    sealed.write_sealed(path, KEY, "p", b"content")
    sealed.reseal_file(path, KEY, OTHER)
    assert read_sealed(path, OTHER, "p") == b"content"
    with pytest.raises(WrongKeyError):
        read_sealed(path, KEY, "p")


def test_a_data_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "history.key"
    keys: list[bytes] = []
    start = threading.Barrier(4)

    def window() -> None:
        start.wait(60)
        keys.append(data_key(path, KEY, "history"))

    threads = [threading.Thread(target=window) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(keys) == 4
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32


def test_a_data_key_is_never_made_over_data(tmp_path: Path) -> None:
    path, database = tmp_path / "history.key", tmp_path / "history.db"
    data_key(path, KEY, "history", protects=database)
    database.write_bytes(b"encrypted")
    assert data_key(path, KEY, "history", protects=database)
    with pytest.raises(WrongKeyError):
        data_key(path, OTHER, "history", protects=database)
    path.unlink()
    with pytest.raises(KeyLostError):
        data_key(path, KEY, "history", protects=database)
    assert not path.exists()


@pytest.mark.parametrize("purpose", ["", "x" * 256])
def test_purposes_have_bounds(purpose: str) -> None:
    with pytest.raises(ValueError, match="255"):
        seal(KEY, purpose, b"")
