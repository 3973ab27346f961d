"""What can be done to the keys and files of a profile. Blocks: call it through ``Background``.

Passphrases come in as arguments and go no further; a recovery file is the only thing written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from fhe_client.home import Home
from fhe_client.keys import KeysError, KeyStore
from fhe_client.keys.marker import KEYRING, PASSPHRASE

MAX_RECOVERY_BYTES = 4096
HISTORY_FILES = ("history.db", "history.db-wal", "history.db-shm", "history.db-journal")


class RecoveryFileError(KeysError):
    """The recovery file cannot be what it should be."""

    code = "keys_file"


def rotate(passphrase: str | None) -> str:
    """Replace the master key and seal everything anew; the new key's id."""
    with KeyStore().rotate(passphrase) as key:
        return key.key_id


def export_recovery(path: Path, recovery_passphrase: str, passphrase: str | None) -> None:
    """Write the key, locked by a passphrase of its own, into a file readable by its owner alone."""
    text = KeyStore().export_recovery(recovery_passphrase, passphrase)
    temporary = path.with_name(
        f"{path.name}.{os.getpid()}.tmp"
    )  # an old file stays whole till then
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def import_recovery(path: Path, recovery_passphrase: str, new_passphrase: str | None) -> None:
    """Put the key of a recovery file in place: in the keyring, or under a new passphrase."""
    with path.open("rb") as file:
        text = file.read(MAX_RECOVERY_BYTES + 1)
    if len(text) > MAX_RECOVERY_BYTES:
        raise RecoveryFileError("This is not a recovery file.", "Choose the file you exported.")
    mode = PASSPHRASE if new_passphrase else KEYRING
    KeyStore().import_recovery(text, recovery_passphrase, mode, new_passphrase).close()


def erase(*, force: bool = False) -> None:
    """Delete the key, all sealed files and the chats. The engine must not run, the history be closed."""
    store = KeyStore()
    store.erase(force=force)  # first: if the keyring cannot be asked, nothing at all is deleted
    for name in HISTORY_FILES:
        (store.home.data / name).unlink(missing_ok=True)


def factory_reset(*, force: bool = False) -> None:
    """``erase``, and then everything else that this profile ever wrote: settings, pins, caches, models, logs."""
    erase(force=force)
    for folder in Home.locate().folders:
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def hints_size() -> int:
    """Bytes of the hints kept on disk."""
    total = 0
    for path in (Home.locate().cache / "hints").glob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def clear_hints(keep: str = "") -> int:
    """Delete the hints, except those of the model in use (``keep``: its digest); the bytes left."""
    for path in (Home.locate().cache / "hints").glob("*"):
        if not keep or path.stem != keep:
            path.unlink(missing_ok=True)
    return hints_size()


def local_models() -> tuple[str, ...]:
    """Names of the models that were imported on this computer."""
    folder = Home.locate().data / "models"
    return tuple(sorted(path.parent.name for path in folder.glob("*/manifest.json")))
