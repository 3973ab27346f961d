"""Finding out whether this is a first run, when `keys.json` is not there to say so.

A key file or a keyring entry of this profile is taken up again, and an interrupted rotation with it. Sealed data
without its key is never a first run, and neither is a keyring that cannot tell.
"""

from __future__ import annotations

from dataclasses import replace

from fhe_client.home import Home
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.errors import KeyLostError, KeyMismatchError
from fhe_client.keys.marker import KEYRING, PASSPHRASE, Marker, Rotation
from fhe_client.keys.master_key import key_id_of
from fhe_client.keys.passphrase import DEFAULT_ARGON2, BoxKind, box_key_id
from fhe_client.keys.rotation import data_under_keys
from fhe_client.keys.slots import FileSlot, keyring_place, passphrase_place


def adopt(home: Home, access: KeyringAccess) -> Marker | None:
    """Return a marker rebuilt from what is found, None on a true first run.

    Raises `KeyringUnavailableError` if that cannot be told, `KeyLostError` or `KeyMismatchError` if there is data
    whose key was not found.
    """
    found = adopt_key_file(home) or adopt_keyring(home, access)
    refuse_data_of_other_keys(home, found)
    return found


def adopt_key_file(home: Home) -> Marker | None:
    """Return a marker for the key file of this profile, None if there is none. Needs no passphrase."""
    place = passphrase_place(home, None, DEFAULT_ARGON2)
    return _adopted(Marker(PASSPHRASE), _file_id(place.primary), _file_id(place.previous))


def adopt_keyring(home: Home, access: KeyringAccess) -> Marker | None:
    """Return a marker for this profile's keyring entry, None if the keyring says that there is none."""
    place = keyring_place(home, access)
    ids = [
        "" if raw is None else key_id_of(raw) for raw in (place.primary.get(), place.previous.get())
    ]
    return _adopted(Marker(KEYRING, backend=access.name), *ids)


def refuse_data_of_other_keys(home: Home, found: Marker | None) -> None:
    """Raise unless every sealed file of the profile belongs to a key that `found` names."""
    known = set() if found is None else {found.key_id}
    if found is not None and found.rotation is not None:
        known |= {found.rotation.old, found.rotation.new}
    data = data_under_keys(home).values()
    if all(header is not None and header.key_id in known for header in data):
        return
    advice = "No new key was made. Import your recovery file, restore the profile from a backup, or erase everything."
    if found is None:
        raise KeyLostError("There is sealed data here, but its key was not found.", advice)
    raise KeyMismatchError(
        f"There is sealed data here that key {found.key_id}, the one found, does not open.", advice
    )


def _adopted(marker: Marker, primary: str, previous: str) -> Marker | None:
    if not primary and not previous:
        return None
    if not previous:
        return replace(marker, key_id=primary)
    # The marker was lost in mid-rotation. Without a primary, or with the same key in both, this says "undo".
    rotation = Rotation(previous, primary or previous)
    return replace(marker, key_id=previous, rotation=rotation)


def _file_id(slot: object) -> str:
    blob = slot.read() if isinstance(slot, FileSlot) else None
    return "" if blob is None else box_key_id(blob, BoxKind.KEY_FILE)
