"""Waits until the session bus has an unlocked Secret Service; exit code 1 if none comes within 20 seconds."""

from __future__ import annotations

import sys
import time

import secretstorage
from secretstorage.exceptions import SecretStorageException


def unlocked() -> bool:
    """Whether the default collection can be used without asking anyone."""
    try:
        connection = secretstorage.dbus_init()
        try:
            return not secretstorage.get_default_collection(connection).is_locked()
        finally:
            connection.close()
    except (SecretStorageException, OSError):
        return False


def main() -> int:
    """Polls: the daemon claims its bus name at some moment after its start."""
    deadline = time.monotonic() + 20
    while not unlocked():
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
