"""What can go wrong with keys. Every class is a `TacitaError`: message, next step, code.

No message ever carries a key, a passphrase, or the text of a foreign exception (which might quote one).
"""

from __future__ import annotations

from fhe_client.errors import TacitaError


class KeysError(TacitaError):
    """Root of this package's errors."""

    code = "keys"


class KeysFileError(KeysError):
    """A file that was named by the user cannot be used."""

    code = "keys_file"


class KeyClosedError(KeysError):
    """A master key was used after `close`."""

    code = "key_closed"


class KeyNotSetUpError(KeysError):
    """This profile has no key yet, and this operation does not make one."""

    code = "key_missing"


class KeyExistsError(KeysError):
    """A new key was asked for where one is already in use."""

    code = "key_exists"


class KeyLostError(KeysError):
    """The profile has a key or sealed data, but the key is not where it should be."""

    code = "key_lost"


class KeyMismatchError(KeyLostError):
    """Another key than the one this profile's data was sealed with was found."""

    code = "key_mismatch"


class KeyRotatedError(KeysError):
    """The key in memory is no longer the profile's key: another window changed it."""

    code = "key_rotated"


class KeyModeError(KeysError):
    """The operation does not exist for the way this profile keeps its key."""

    code = "key_mode"


class RotationUnfinishedError(KeysError):
    """A rotation stopped half-way; it goes on at the next start. No data is lost."""

    code = "rotation_unfinished"


class MarkerDamagedError(KeysError):
    """`keys.json` exists but cannot be understood. Never a first run."""

    code = "marker_damaged"


class ProfileBusyError(KeysError):
    """Another window held the profile's lock for too long."""

    code = "profile_busy"


class KeyringUnavailableError(KeysError):
    """The keyring did not answer: cannot tell whether it holds the key. Never a first run."""

    code = "keyring_unavailable"


class KeyringRefusedError(KeyringUnavailableError):
    """The keyring is not one that keeps secrets safely."""

    code = "keyring_refused"


class KeyringLockedError(KeyringUnavailableError):
    """The keyring is locked and was not unlocked."""

    code = "keyring_locked"


class KeyringTimeoutError(KeyringUnavailableError):
    """The keyring did not answer in time."""

    code = "keyring_timeout"


class KeyValueDamagedError(KeysError):
    """The keyring's entry exists but is not a key of ours."""

    code = "key_value_damaged"


class PassphraseNeededError(KeysError):
    """The key is protected by a passphrase and none was given."""

    code = "passphrase_needed"


class WrongPassphraseError(KeysError):
    """The passphrase does not open the file, which itself is intact."""

    code = "wrong_passphrase"


class WeakPassphraseError(KeysError):
    """A new passphrase is too short to protect anything."""

    code = "weak_passphrase"


class BoxDamagedError(KeysError):
    """A passphrase-protected file (key file, recovery file) is damaged or not one of ours."""

    code = "key_file_damaged"


class SealedError(KeysError):
    """Root of what can be wrong with a sealed file."""

    code = "sealed"


class NotSealedError(SealedError):
    """The bytes are not a sealed file at all."""

    code = "not_sealed"


class UnknownVersionError(SealedError):
    """The file was written by a newer Tacita."""

    code = "sealed_version"


class WrongKeyError(SealedError):
    """The file was sealed with another master key."""

    code = "wrong_key"


class WrongPurposeError(SealedError):
    """The file was sealed for something else, perhaps moved or renamed."""

    code = "wrong_purpose"


class SealDamagedError(SealedError):
    """The file was changed or cut short after it was written."""

    code = "sealed_damaged"
