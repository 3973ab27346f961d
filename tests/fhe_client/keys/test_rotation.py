from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fhe_client.home import Home
from fhe_client.keys import files
from fhe_client.keys.errors import RotationUnfinishedError, SealedError, WrongKeyError
from fhe_client.keys.marker import load_marker
from fhe_client.keys.master_key import MasterKey
from fhe_client.keys.sealed import MAGIC, data_key, read_sealed, seal, write_sealed
from fhe_client.keys.store import KeyStore
from tests.fhe_client.keys.fakes import (
    CHEAP_ARGON2,
    PASSPHRASE,
    Fuse,
    MemoryKeyring,
    PowerCut,
    access_to,
)

CONTENTS = {"data/a.sealed": b"one", "data/deep/b": b"two", "config/token": b"", "cache/c": b"4"}


def flip_last(blob: bytes) -> bytes:
    return blob[:-1] + bytes([blob[-1] ^ 1])


class Profile:
    """A profile with sealed files, opened anew at each call as after a restart."""

    def __init__(self, root: Path, mode: str) -> None:
        self.home = Home.at(root)
        self.backend = MemoryKeyring()
        self.passphrase = PASSPHRASE if mode == "passphrase" else None
        self.mode = mode
        with self.store().create(mode, self.passphrase) as key:
            self.first = key.key_id
            for name, content in CONTENTS.items():
                write_sealed(root / name, key, f"purpose of {name}", content)

    def store(self) -> KeyStore:
        return KeyStore(self.home, keyring=access_to(self.backend), argon2=CHEAP_ARGON2)

    def check(self) -> str:
        """Open the profile; all data must be there and no trace of a rotation. Return the key id."""
        with self.store().open(passphrase=self.passphrase) as key:
            for name, content in CONTENTS.items():
                path = self.home.config.parent / name
                assert read_sealed(path, key, f"purpose of {name}") == content
        marker = load_marker(self.home.config / "keys.json")
        assert marker is not None
        assert (marker.rotation, marker.key_id) == (None, key.key_id)
        assert len(self.backend.values) == (1 if self.mode == "keyring" else 0)
        assert not (self.home.config / "master.key.previous").exists()
        return key.key_id


@pytest.fixture(params=["keyring", "passphrase"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_rotation_changes_the_key_and_keeps_the_data(tmp_path: Path, mode: str) -> None:
    profile = Profile(tmp_path, mode)
    with profile.store().rotate(profile.passphrase) as new:
        assert profile.check() == new.key_id != profile.first
    assert profile.store().rotate(profile.passphrase).key_id == profile.check()


def test_the_old_key_opens_nothing_any_more(tmp_path: Path) -> None:
    profile = Profile(tmp_path, "keyring")
    old = profile.store().open()
    profile.store().rotate()
    with pytest.raises(WrongKeyError):
        read_sealed(tmp_path / "data/a.sealed", old, "purpose of data/a.sealed")


def test_a_data_key_survives(tmp_path: Path) -> None:
    profile = Profile(tmp_path, "keyring")
    path = tmp_path / "data" / "history.key"
    before = data_key(path, profile.store().open(), "history")
    assert data_key(path, profile.store().rotate(), "history") == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_step_loses_nothing(
    tmp_path: Path, mode: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = Fuse(monkeypatch)
    outcomes: set[bool] = set()
    for step in itertools.count():
        profile = Profile(tmp_path / str(step), mode)
        fuse.arm(step, after=after)
        try:
            profile.store().rotate(profile.passphrase).close()
            break
        except PowerCut:
            fuse.disarm()
        outcomes.add(profile.check() == profile.first)
        assert profile.check() == profile.store().open(passphrase=profile.passphrase).key_id
    assert step >= 9  # marker twice, two slots, four files, one deletion
    assert outcomes == {True, False}  # some were undone, some finished


def test_a_second_power_cut_while_resuming_loses_nothing(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = Fuse(monkeypatch)
    resumed = 0
    for step in itertools.count():
        profile = Profile(tmp_path / str(step), mode)
        fuse.arm(step, after=True)
        try:
            profile.store().rotate(profile.passphrase).close()
            break
        except PowerCut:
            pass
        for again in range(3):
            fuse.arm(again, after=again % 2 == 1)
            try:
                profile.store().open(passphrase=profile.passphrase).close()
            except PowerCut:
                resumed += 1
        fuse.disarm()
        profile.check()
    assert resumed >= 9


def test_a_lost_marker_in_mid_rotation_loses_nothing(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = Fuse(monkeypatch)
    for step in itertools.count():
        profile = Profile(tmp_path / str(step), mode)
        fuse.arm(step, after=True)
        try:
            profile.store().rotate(profile.passphrase).close()
            break
        except PowerCut:
            fuse.disarm()
        (profile.home.config / "keys.json").unlink()
        profile.check()


def test_a_keyring_that_deletes_before_it_sets_is_restored(tmp_path: Path) -> None:
    """As on Windows, where replacing an entry in place would leave a copy of the old key."""
    profile = Profile(tmp_path, "keyring")
    set_password = profile.backend.set_password

    def cut_primary(service: str, username: str, password: str) -> None:
        if "previous" not in service:
            profile.backend.values.pop((service, username))
            raise OSError("the keyring went away")
        set_password(service, username, password)

    profile.backend.set_password = cut_primary  # type: ignore[method-assign]
    with pytest.raises(Exception, match="cannot be reached"):
        profile.store().rotate()
    profile.backend.set_password = set_password  # type: ignore[method-assign]
    assert profile.check() == profile.first


def test_a_full_disk_says_what_to_do_and_the_next_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(tmp_path, "keyring")
    write, calls = files.write_private, itertools.count()

    def full(path: Path, data: bytes, *, replace: bool = True) -> None:
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        write(path, data, replace=replace)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_private", full)
        with pytest.raises(RotationUnfinishedError, match="No space left") as caught:
            profile.store().rotate()
    assert "Nothing is lost" in caught.value.next_step
    assert profile.check() != profile.first


@pytest.mark.parametrize("damage", ["changed", "newer", "cut", "other key"])
def test_rotation_does_not_start_over_a_file_it_cannot_carry(tmp_path: Path, damage: str) -> None:
    profile = Profile(tmp_path, "keyring")
    path = tmp_path / "data" / "broken"
    with profile.store().open() as key:
        blob = seal(key, "p", b"x")
    bad = {
        "changed": flip_last(blob),
        "newer": MAGIC + b"\x09",
        "cut": blob[:-1],
        "other key": seal(MasterKey(bytes(32), origin="x"), "p", b"x"),
    }
    path.write_bytes(bad[damage])
    before = dict(profile.backend.values)
    with pytest.raises(SealedError, match="broken"):
        profile.store().rotate()
    assert profile.backend.values == before
    assert profile.check() == profile.first


def test_damage_in_mid_rotation_does_not_lock_the_user_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(tmp_path, "keyring")
    fuse = Fuse(monkeypatch)
    fuse.arm(6, after=False)
    with pytest.raises(PowerCut):
        profile.store().rotate()
    fuse.disarm()
    extra = tmp_path / "data" / "zz"
    extra.write_bytes(flip_last((tmp_path / "data" / "deep" / "b").read_bytes()))
    assert profile.check() != profile.first
    assert extra.exists()
