"""`keys.json`: which key this profile uses and where it is kept. No secrets.

With it, "the key is gone" and "this is the first run" are two different things, and a change that a crash cut short is
finished at the next start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fhe_client.keys import files
from fhe_client.keys.errors import MarkerDamagedError
from fhe_client.keys.master_key import KEY_ID_BYTES

FORMAT = 1
KEYRING, PASSPHRASE, SESSION = "keyring", "passphrase", "session"
MODES = (KEYRING, PASSPHRASE, SESSION)
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Rotation:
    """A change of keys in progress: the ids of the key being left and of the one taken."""

    old: str
    new: str


@dataclass(frozen=True)
class Marker:
    """What `keys.json` says. `leaving` is the mode whose copy of the key is still to be deleted after a move."""

    mode: str
    key_id: str = ""
    backend: str = ""
    rotation: Rotation | None = None
    leaving: str = ""
    leaving_backend: str = ""

    @property
    def stored(self) -> bool:
        """Whether the key outlives the process."""
        return self.mode != SESSION


def load_marker(path: Path) -> Marker | None:
    """Return the marker, None if there is no such file. Raises `MarkerDamagedError`; OSError passes through."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        return _parse(json.loads(raw))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MarkerDamagedError(
            f"{path.name} is damaged, so it is not known which key this profile uses.",
            f"Restore {path.name} from a backup. Or move it away: the key itself is not in it, and a key found in "
            "the keyring or in master.key is taken up again.",
        ) from None


def save_marker(path: Path, marker: Marker) -> None:
    """Write the marker atomically."""
    content = {"format": FORMAT, **asdict(marker)}
    files.write_private(path, (json.dumps(content, indent=2) + "\n").encode("ascii"))


def _parse(value: object) -> Marker:
    if not isinstance(value, dict) or value.pop("format") != FORMAT:
        raise ValueError("format")
    rotation = value.pop("rotation")
    marker = Marker(**value, rotation=None if rotation is None else Rotation(**rotation))
    words = (marker.mode, marker.key_id, marker.backend, marker.leaving, marker.leaving_backend)
    if not all(isinstance(word, str) for word in words) or marker.mode not in MODES:
        raise ValueError("words")
    if marker.leaving not in ("", *MODES) or marker.leaving == marker.mode:
        raise ValueError("leaving")
    ids = [marker.key_id] if marker.stored else []
    for key_id in ids + ([rotation["old"], rotation["new"]] if rotation else []):
        _check_id(key_id)
    return marker


def _check_id(key_id: object) -> None:
    if not isinstance(key_id, str) or bytes.fromhex(key_id).hex() != key_id:
        raise ValueError("key id")
    if len(key_id) != 2 * KEY_ID_BYTES:
        raise ValueError("key id")
