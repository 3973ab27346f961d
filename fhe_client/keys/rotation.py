"""Changing the master key under everything that is sealed with it, so that a crash at any point loses nothing.

1  marker: rotation old -> new         crash after: the key in use is still the old one; undone
2  previous slot := old                same
3  primary slot  := new                from here on it can only go forward
4  every sealed file: old -> new       each file atomically; files already done carry the new id
5  previous slot deleted
6  marker: key id new, no rotation
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fhe_client.home import Home
from fhe_client.keys.errors import (
    KeyLostError,
    KeyMismatchError,
    RotationUnfinishedError,
    SealDamagedError,
    SealedError,
    UnknownVersionError,
)
from fhe_client.keys.files import first_bytes
from fhe_client.keys.marker import SESSION, Marker, Rotation
from fhe_client.keys.master_key import MasterKey
from fhe_client.keys.sealed import (
    SealedHeader,
    parse_header,
    read_sealed,
    reseal_file,
    sealed_files,
)
from fhe_client.keys.slots import Place

Save = Callable[[Marker], None]


def data_under_keys(home: Home) -> dict[Path, SealedHeader | None]:
    """Return the sealed files of a profile that are meant to be opened again (a session's own are not)."""
    found = sealed_files((home.config, home.data, home.cache))
    return {path: header for path, header in found if header is None or header.backend != SESSION}


def rotate(place: Place, marker: Marker, home: Home, save: Save) -> MasterKey:
    """Put a fresh key in the place of the one in use and seal everything anew. Returns the new key.

    Raises `SealedError` before anything is changed if a file could not be carried over, `RotationUnfinishedError` if it
    stopped after the change; the next `settle` then goes on.
    """
    with _in_use(place, marker) as old:
        check_all_open(home, old)
        new = MasterKey.generate(origin=old.origin)
        marker = replace(marker, rotation=Rotation(old.key_id, new.key_id))
        with _stoppable():
            save(marker)
            place.previous.set(old.raw_copy())
            place.primary.set(new.raw_copy())
            _finish(place, marker, home, save, old, new)
        return new


def settle(place: Place, marker: Marker, home: Home, save: Save) -> MasterKey:
    """Return the key in use, after finishing or undoing a rotation that was cut short.

    Raises `KeyLostError` if there is no key where the marker says, `KeyMismatchError` if it is another one.
    """
    if marker.rotation is not None:
        with _stoppable():
            return _resume(place, marker, marker.rotation, home, save)
    return _in_use(place, marker)


def check_all_open(home: Home, key: MasterKey) -> None:
    """Raise `SealedError`, naming the file, unless every sealed file of the profile opens with `key`."""
    for path, header in data_under_keys(home).items():
        try:
            read_sealed(path, key, _purpose(path, header))
        except FileNotFoundError:
            continue  # deleted meanwhile
        except SealedError as error:
            raise type(error)(
                f"{path.name} cannot be opened: {error.message}",
                "Restore it from a backup or delete it, then try again. Nothing was changed.",
            ) from None


def _resume(place: Place, marker: Marker, rotation: Rotation, home: Home, save: Save) -> MasterKey:
    primary, previous = _key(place.primary.get(), place), _key(place.previous.get(), place)
    if primary is None and previous is not None and previous.key_id == rotation.old:
        # Stopped inside step 3, on a keyring where replacing is deleting and setting.
        place.primary.set(previous.raw_copy())
        primary = MasterKey(previous.raw_copy(), origin=previous.origin)
    if primary is None:
        raise _lost(marker)
    if primary.key_id == rotation.old:
        place.previous.delete()
        save(replace(marker, key_id=rotation.old, backend=primary_backend(place), rotation=None))
    elif primary.key_id == rotation.new:
        _finish(place, marker, home, save, previous, primary)
    else:
        raise _mismatch(marker, primary)
    return primary


def _finish(
    place: Place, marker: Marker, home: Home, save: Save, old: MasterKey | None, new: MasterKey
) -> None:
    if old is not None:
        _reseal_all(home, old, new)
    place.previous.delete()
    save(replace(marker, key_id=new.key_id, backend=primary_backend(place), rotation=None))


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RotationUnfinishedError(
            f"The change of keys stopped half-way ({error.strerror or type(error).__name__}).",
            "Nothing is lost. Free some disk space if it is full, then start Tacita again to finish.",
        ) from error


def _reseal_all(home: Home, old: MasterKey, new: MasterKey) -> None:
    for path, header in data_under_keys(home).items():
        if header is not None and header.key_id == old.key_id:
            try:
                reseal_file(path, old, new)
            except (SealDamagedError, FileNotFoundError):
                # Unreadable since before, or deleted meanwhile. Its loss must not lock the user out of the rest.
                continue


def _in_use(place: Place, marker: Marker) -> MasterKey:
    key = _key(place.primary.get(), place)
    if key is None:
        raise _lost(marker)
    if key.key_id != marker.key_id:
        raise _mismatch(marker, key)
    return key


def _key(raw: bytearray | None, place: Place) -> MasterKey | None:
    return None if raw is None else MasterKey(raw, origin=primary_backend(place) or place.mode)


def primary_backend(place: Place) -> str:
    """Return the class name of the keyring that answered, "" for a key file."""
    access = getattr(place.primary, "access", None)
    return place.backend or (access.name if access is not None else "")


def _purpose(path: Path, header: SealedHeader | None) -> str:
    if header is not None:
        return header.purpose
    parse_header(first_bytes(path, 1024))  # raises what is wrong
    raise UnknownVersionError("its header cannot be read.")


def _lost(marker: Marker) -> KeyLostError:
    where = "the keyring" if marker.mode == "keyring" else "the key file"
    return KeyLostError(
        f"The key of this profile ({marker.key_id}) is no longer in {where}.",
        "No new key was made, so the data stays as it is. Import your recovery file, restore the key from a backup "
        "(if the profile folder was moved, move it back), or erase everything.",
    ).about(key=marker.key_id)


def _mismatch(marker: Marker, found: MasterKey) -> KeyMismatchError:
    return KeyMismatchError(
        f"This profile was last used with key {marker.key_id}, but key {found.key_id} was found.",
        "The profile may have been restored from a backup. Import the recovery file of its key, or restore the "
        "newer profile. Nothing was changed.",
    ).about(expected=marker.key_id, found=found.key_id)
