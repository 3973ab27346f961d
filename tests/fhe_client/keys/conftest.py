from __future__ import annotations

from pathlib import Path

import pytest

from fhe_client.home import Home
from fhe_client.keys.backends import KeyringAccess
from fhe_client.keys.store import KeyStore
from tests.fhe_client.keys.fakes import CHEAP_ARGON2, MemoryKeyring, access_to


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "profile")


@pytest.fixture
def backend() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def store(home: Home, backend: MemoryKeyring) -> KeyStore:
    return KeyStore(home, keyring=access_to(backend), argon2=CHEAP_ARGON2)


@pytest.fixture
def secret_service() -> KeyringAccess:
    """The real keyring of this session bus."""
    import secretstorage
    from secretstorage.exceptions import SecretStorageException

    try:
        connection = secretstorage.dbus_init()
    except (SecretStorageException, OSError):
        pytest.skip("no session bus")
    try:
        if not secretstorage.check_service_availability(connection):
            pytest.skip("no Secret Service on the session bus")
    finally:
        connection.close()
    return KeyringAccess(timeout_s=60)
