from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_client.keys.errors import (
    BoxDamagedError,
    PassphraseNeededError,
    WeakPassphraseError,
    WrongPassphraseError,
)
from fhe_client.keys.master_key import key_id_of
from fhe_client.keys.passphrase import (
    BOX_BYTES,
    DEFAULT_ARGON2,
    Argon2Parameters,
    BoxKind,
    _checksum,
    box_key_id,
    from_text,
    lock_box,
    to_text,
    unlock_box,
)
from tests.fhe_client.keys.fakes import CHEAP_ARGON2, PASSPHRASE

RAW = bytes(range(32))
BOX = lock_box(RAW, PASSPHRASE, BoxKind.KEY_FILE, CHEAP_ARGON2)


def test_the_right_passphrase_opens() -> None:
    assert unlock_box(BOX, PASSPHRASE, BoxKind.KEY_FILE) == RAW
    assert box_key_id(BOX, BoxKind.KEY_FILE) == key_id_of(RAW)
    assert len(BOX) == BOX_BYTES
    assert RAW not in BOX
    assert PASSPHRASE.encode() not in BOX


def test_the_default_cost_is_dear_and_works() -> None:
    assert DEFAULT_ARGON2.passes >= 3
    assert DEFAULT_ARGON2.memory_kib >= 64 * 1024
    box = lock_box(RAW, PASSPHRASE, BoxKind.KEY_FILE)
    assert unlock_box(box, PASSPHRASE, BoxKind.KEY_FILE) == RAW


def test_two_boxes_of_one_key_differ() -> None:
    again = lock_box(RAW, PASSPHRASE, BoxKind.KEY_FILE, CHEAP_ARGON2)
    assert again[29:] != BOX[29:]


@pytest.mark.parametrize("wrong", ["correct horse batterx", "Correct horse battery", " "])
def test_a_wrong_passphrase_is_told_from_damage(wrong: str) -> None:
    with pytest.raises(WrongPassphraseError):
        unlock_box(BOX, wrong, BoxKind.KEY_FILE)


@pytest.mark.parametrize("none", [None, ""])
def test_no_passphrase_asks_for_one(none: str | None) -> None:
    with pytest.raises(PassphraseNeededError):
        unlock_box(BOX, none, BoxKind.KEY_FILE)


def test_accents_typed_in_two_ways_are_one_passphrase() -> None:
    box = lock_box(RAW, "cafe\u0301 au lait", BoxKind.KEY_FILE, CHEAP_ARGON2)
    assert unlock_box(box, "caf\u00e9 au lait", BoxKind.KEY_FILE) == RAW


@pytest.mark.parametrize("weak", ["", "1234567", "   a       "])
def test_short_passphrases_are_refused(weak: str) -> None:
    with pytest.raises(WeakPassphraseError):
        lock_box(RAW, weak, BoxKind.KEY_FILE, CHEAP_ARGON2)


def test_every_changed_byte_is_damage() -> None:
    for index in range(len(BOX)):
        for mask in (0x01, 0x80):
            changed = bytearray(BOX)
            changed[index] ^= mask
            with pytest.raises(BoxDamagedError):
                unlock_box(bytes(changed), PASSPHRASE, BoxKind.KEY_FILE)


def test_a_forger_who_mends_the_checksum_gains_nothing() -> None:
    """The header is authenticated: no other key id, cost, salt or nonce passes."""
    body = BOX[:-8]
    for index in range(9, len(body)):
        if 17 <= index < 29:
            continue  # the cost: tried below, within its bounds
        changed = bytearray(body)
        changed[index] ^= 1
        forged = bytes(changed) + _checksum(bytes(changed))
        with pytest.raises(WrongPassphraseError):
            unlock_box(forged, PASSPHRASE, BoxKind.KEY_FILE)
    cheaper = body[:17] + (2).to_bytes(4, "big") + body[21:]
    with pytest.raises(WrongPassphraseError):
        unlock_box(cheaper + _checksum(cheaper), PASSPHRASE, BoxKind.KEY_FILE)


@pytest.mark.parametrize("offset", [17, 21, 25])
@pytest.mark.parametrize("value", [0, 2**31, 2**32 - 1])
def test_a_forged_cost_is_refused_before_it_is_paid(offset: int, value: int) -> None:
    body = BOX[:-8]
    body = body[:offset] + value.to_bytes(4, "big") + body[offset + 4 :]
    with pytest.raises(BoxDamagedError):
        unlock_box(body + _checksum(body), PASSPHRASE, BoxKind.KEY_FILE)


def test_a_newer_version_says_so() -> None:
    body = BOX[:8] + b"\x02" + BOX[9:-8]
    with pytest.raises(BoxDamagedError, match="version 2"):
        unlock_box(body + _checksum(body), PASSPHRASE, BoxKind.KEY_FILE)


def test_one_kind_never_opens_as_the_other() -> None:
    with pytest.raises(BoxDamagedError):
        unlock_box(BOX, PASSPHRASE, BoxKind.RECOVERY)
    body = BoxKind.RECOVERY.value + BOX[8:-8]
    with pytest.raises(WrongPassphraseError):
        unlock_box(body + _checksum(body), PASSPHRASE, BoxKind.RECOVERY)


@pytest.mark.parametrize("bad", [(0, 8, 1), (33, 8, 1), (1, 7, 1), (1, 8, 0), (1, 2**21, 1)])
def test_parameters_have_bounds(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        Argon2Parameters(*bad)


def test_recovery_text_survives_what_people_do_to_text() -> None:
    text = to_text(BOX)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 64
    mailed = "Dear me,\r\n" + text.replace("\n", "\r\n   ") + "\r\n-- \r\nme"
    for version in (text, text.encode(), mailed, mailed.encode(), text.strip()):
        assert from_text(version) == BOX


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_any_text_is_damage(text: str | bytes) -> None:
    begin, *_, end = to_text(BOX).splitlines()
    inside = text if isinstance(text, str) else text.decode("latin-1")
    for candidate in (text, f"{begin}\n{inside}\n{end}\n", begin + inside, inside + end):
        with pytest.raises(BoxDamagedError):
            unlock_box(from_text(candidate), PASSPHRASE, BoxKind.RECOVERY)


def test_every_changed_character_of_the_text_is_noticed() -> None:
    """Or it makes no difference: the last base64 digit has two bits that nothing reads."""
    text = to_text(BOX)
    harmless = 0
    for index in range(len(text)):
        bad = text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]
        try:
            opened = unlock_box(from_text(bad), PASSPHRASE, BoxKind.KEY_FILE)
        except BoxDamagedError:
            continue
        assert opened == RAW
        harmless += 1
    assert harmless <= 2  # and the line end after the last line


def test_a_huge_text_is_refused_unread() -> None:
    with pytest.raises(BoxDamagedError):
        from_text(to_text(BOX) + " " * 5000)
