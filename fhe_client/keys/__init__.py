"""The master key, where it is kept, and what is sealed with it. Imports neither torch nor numpy: the window uses it."""

from __future__ import annotations

from fhe_client.keys.backends import KeyringAccess, KeyringState, KeyringStatus
from fhe_client.keys.errors import KeysError
from fhe_client.keys.master_key import MasterKey
from fhe_client.keys.sealed import data_key, open_sealed, read_sealed, seal, write_sealed
from fhe_client.keys.store import KeysStatus, KeyStore, open_key

__all__ = [
    "KeyStore",
    "KeyringAccess",
    "KeyringState",
    "KeyringStatus",
    "KeysError",
    "KeysStatus",
    "MasterKey",
    "data_key",
    "open_key",
    "open_sealed",
    "read_sealed",
    "seal",
    "write_sealed",
]
