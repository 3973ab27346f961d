"""How the command line opens the master key: where it is, asking on a terminal, or for this session only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from fhe_client.keys import KeyStore, MasterKey
from fhe_client.keys.errors import KeyringUnavailableError
from fhe_client.keys.marker import PASSPHRASE, SESSION
from fhe_client.keys.passphrase_input import PassphraseInput

_ASK_OPEN = "Passphrase of the key"
_ASK_NEW = "New passphrase of the key"
_CHOICE = "Keep the key under a (p)assphrase, or use a new one for this (s)ession only? [s] "


def open_master_key(
    mode: str,
    store: KeyStore | None = None,
    passphrases: PassphraseInput | None = None,
    *,
    terminal: Callable[[], bool] = lambda: sys.stdin is not None and sys.stdin.isatty(),
    ask: Callable[[str], str] = input,
    messages: TextIO | None = None,
) -> MasterKey:
    """The master key for one run.

    Args:
        mode: "auto" opens the key wherever it is kept, and makes one in the keyring on a first run. Without a usable
            keyring it asks on a terminal, and elsewhere goes on with a key for this session, saying so.

    Raises:
        KeysError: it cannot be opened; a stored key is never replaced by a new one.
    """
    keys = store or KeyStore()
    if mode == SESSION:
        return keys.open(SESSION)
    asking = passphrases or PassphraseInput()
    try:
        if mode == PASSPHRASE:
            return _with_passphrase(keys, asking)
        if keys.status().state == PASSPHRASE:
            return keys.open(mode, asking.existing(_ASK_OPEN) if mode == "auto" else None)
        return _from_keyring(mode, keys, asking, terminal, ask, messages or sys.stderr)
    finally:
        asking.close()


def _with_passphrase(keys: KeyStore, asking: PassphraseInput) -> MasterKey:
    state = keys.status().state
    if state == PASSPHRASE:
        return keys.open(PASSPHRASE, asking.existing(_ASK_OPEN))
    if state in ("missing", "unavailable", SESSION):
        return keys.use(PASSPHRASE, None, asking.fresh(_ASK_NEW))
    return keys.open(PASSPHRASE)  # says that the key is kept in another way


def _from_keyring(
    mode: str,
    keys: KeyStore,
    asking: PassphraseInput,
    terminal: Callable[[], bool],
    ask: Callable[[str], str],
    messages: TextIO,
) -> MasterKey:
    try:
        return keys.open(mode)
    except KeyringUnavailableError as error:
        if mode != "auto":
            raise
        if not terminal():
            messages.write(f"{error.message} Using a key for this session only.\n")
            return keys.open(SESSION)
        messages.write(f"{error.message}\n")
        messages.flush()
        if ask(_CHOICE).strip().lower().startswith("p"):
            return keys.use(PASSPHRASE, None, asking.fresh(_ASK_NEW))
        return keys.open(SESSION)
