"""The operating system's keyring, used only where it is known to keep secrets.

The `keyring` package will hand out whatever backend it finds, among them one that stores readable text
(`keyrings.alt`) and one that forgets everything (`null`), both without a word. So only the classes named here are
used, each call runs in a worker with a time limit, and "not stored" (None) is never mixed up with "cannot tell" (any
exception).
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from fhe_client.keys.errors import (
    KeyringLockedError,
    KeyringRefusedError,
    KeyringTimeoutError,
    KeyringUnavailableError,
)

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

USER_NAME = "tacita"
DEFAULT_TIMEOUT_S = 60.0
"""Seconds for one keyring call. Long, because the system may be asking the user to unlock it."""

ALLOWED_BACKENDS: Mapping[str, str] = {
    "keyring.backends.macOS.Keyring": "the macOS Keychain",
    "keyring.backends.Windows.WinVaultKeyring": "the Windows Credential Manager",
    "keyring.backends.SecretService.Keyring": "the Secret Service",
    "keyring.backends.libsecret.Keyring": "the Secret Service (libsecret)",
    "keyring.backends.kwallet.DBusKeyring": "KWallet",
}
_CHAINER = "keyring.backends.chainer.ChainerBackend"
_REFUSALS = (
    ("keyrings.alt.", "it keeps secrets as text that any program can read"),
    ("keyring.backends.null.", "it forgets what it is given without saying so"),
    ("keyring.backends.fail.", "there is no keyring on this system"),
)
_OFFER = (
    "Unlock or start the system keyring, or choose a passphrase or a key for this session only."
)


class KeyringState(Enum):
    """What a probe found."""

    USABLE = "usable"
    REFUSED = "refused"
    LOCKED = "locked"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class KeyringStatus:
    """Result of `KeyringAccess.probe`: the state, the backend's class name ("" if none), one sentence."""

    state: KeyringState
    backend: str
    detail: str

    @property
    def usable(self) -> bool:
        """Whether a key may be kept there."""
        return self.state is KeyringState.USABLE


def backend_name(backend: KeyringBackend | type[KeyringBackend]) -> str:
    """Return the full class name of a backend, which is what the allow-list is about."""
    kind = backend if isinstance(backend, type) else type(backend)
    return f"{kind.__module__}.{kind.__qualname__}"


class KeyringAccess:
    """get, set and delete of one short text per service name, in an allowed keyring.

    Every method raises `KeyringUnavailableError` (or a subclass) when the keyring cannot tell. `prefer` names the
    backend where an existing key lives: then no other one is asked, since another keyring's "not stored" would mean
    nothing. Safe to use from several threads: calls go one after the other.
    """

    def __init__(
        self,
        backend: KeyringBackend | None = None,
        *,
        allowed: Mapping[str, str] = ALLOWED_BACKENDS,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._fixed = backend
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self._name = ""

    @property
    def name(self) -> str:
        """Class name of the backend used last, "" before the first call."""
        return self._name

    def label(self, name: str) -> str:
        """Return what people call a backend."""
        return self._allowed.get(name, name)

    def get(self, service: str, prefer: str = "") -> str | None:
        """Return the stored text, or None if the keyring says that there is none."""
        return self._call(lambda: self._backend(prefer).get_password(service, USER_NAME))

    def set(self, service: str, value: str, prefer: str = "") -> None:
        """Store a text, then read it back: some backends ignore that a write failed."""
        self._call(lambda: self._set(self._backend(prefer), service, value))

    def delete(self, service: str, prefer: str = "") -> bool:
        """Delete the text and return whether there was one."""
        return self._call(lambda: _delete(self._backend(prefer), service))

    def probe(self) -> KeyringStatus:
        """Store, read and delete a throw-away value. Never raises."""
        try:
            self._call(self._probe)
        except KeyringUnavailableError as error:
            return KeyringStatus(_state_of(error), self._name, error.message)
        label = self.label(self._name)
        return KeyringStatus(KeyringState.USABLE, self._name, f"Keys can be kept in {label}.")

    def _probe(self) -> None:
        backend = self._backend("")
        service, value = f"Tacita keyring check {secrets.token_hex(4)}", secrets.token_hex(16)
        self._set(backend, service, value)
        if not _delete(backend, service) or backend.get_password(service, USER_NAME) is not None:
            raise KeyringUnavailableError("The keyring does not delete what it is told to.", _OFFER)

    def _set(self, backend: KeyringBackend, service: str, value: str) -> None:
        if backend_name(backend).startswith("keyring.backends.Windows."):
            # It would move the old value to a second name ("tacita@service") and leave it there.
            _delete(backend, service)
        backend.set_password(service, USER_NAME, value)
        if backend.get_password(service, USER_NAME) != value:
            raise KeyringUnavailableError("The keyring does not keep what it is given.", _OFFER)

    def _backend(self, prefer: str) -> KeyringBackend:
        backend = _unchained(self._fixed or find_backend(self._allowed, prefer))
        self._name = backend_name(backend)
        if self._name not in self._allowed:
            raise _refusal(self._name)
        if prefer and self._name != prefer:
            raise KeyringUnavailableError(
                f"The key is kept in {self.label(prefer)}, which cannot be reached now.", _OFFER
            )
        return backend

    def _call(self, work: Callable[[], T]) -> T:
        if not self._turn.acquire(timeout=self._timeout_s):
            raise _timeout(self._timeout_s)
        answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
        # The worker gives the turn back, not this thread: after a timeout the keyring is still busy.
        worker = threading.Thread(
            target=_work, args=(work, answers, self._turn), name="tacita-keyring", daemon=True
        )
        try:
            worker.start()
        except RuntimeError as no_thread:  # no more threads, or the interpreter is going down
            self._turn.release()
            raise _translated(no_thread) from None
        try:
            value, error = answers.get(timeout=self._timeout_s)
        except queue.Empty:
            raise _timeout(self._timeout_s) from None
        if error is not None:
            raise _translated(error) from None
        return value  # type: ignore[return-value]  # None is a value of T wherever there is no error


def find_backend(allowed: Mapping[str, str], prefer: str = "") -> KeyringBackend:
    """Return the keyring that the user configured, else `prefer`, else the best allowed one that works.

    With none of these, whatever `keyring` itself would have taken is returned, for the reason of its refusal.
    """
    import keyring
    import keyring.core

    chosen = keyring.core.load_env() or keyring.core.load_config()
    if chosen is not None:
        return chosen
    found = [backend for name in allowed if (backend := _viable(name)) is not None]
    preferred = [backend for backend in found if backend_name(backend) == prefer]
    if preferred or found:
        return (preferred or sorted(found, key=_priority))[-1]
    return keyring.get_keyring()


def _viable(name: str) -> KeyringBackend | None:
    import keyring.core

    try:
        return keyring.core.load_keyring(name)
    except Exception:
        return None  # not on this system: priority raises whatever its library raises


def _priority(backend: KeyringBackend) -> float:
    return float(backend.priority)


def _unchained(backend: KeyringBackend) -> KeyringBackend:
    """Return the backend that a chain would write to; the chain itself would read from any of them."""
    if backend_name(backend) != _CHAINER:
        return backend
    links: list[KeyringBackend] = list(getattr(backend, "backends", ()))
    if not links:
        raise _refusal("keyring.backends.fail.Keyring")
    return _unchained(links[0])


def _delete(backend: KeyringBackend, service: str) -> bool:
    import keyring.errors

    if backend.get_password(service, USER_NAME) is None:
        return False
    try:
        backend.delete_password(service, USER_NAME)
    except keyring.errors.PasswordDeleteError:
        if backend.get_password(service, USER_NAME) is not None:
            raise
    return True


def _work(
    work: Callable[[], T],
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]],
    turn: threading.Lock,
) -> None:
    try:
        answers.put((work(), None))
    except Exception as error:
        answers.put((None, error))
    finally:
        turn.release()


def _refusal(name: str) -> KeyringRefusedError:
    reasons = (reason for start, reason in _REFUSALS if name.startswith(start))
    reason = next(reasons, "it is not one of the keyrings known to keep secrets")
    message = f"The keyring {name} is not used: {reason}."
    return KeyringRefusedError(message, _OFFER).about(name=name, reason=reason)


def _timeout(seconds: float) -> KeyringTimeoutError:
    message = f"The keyring did not answer within {seconds:g} seconds."
    return KeyringTimeoutError(message, _OFFER).about(seconds=f"{seconds:g}")


def _translated(error: Exception) -> KeyringUnavailableError:
    """Map any exception to ours. Its text is left out, since it might quote the secret."""
    import keyring.errors

    if isinstance(error, KeyringUnavailableError):
        return error
    if isinstance(error, keyring.errors.KeyringLocked):
        return KeyringLockedError("The keyring is locked.", _OFFER)
    if isinstance(error, ImportError) and "PYTHON_KEYRING_BACKEND" in os.environ:
        return KeyringUnavailableError(
            "PYTHON_KEYRING_BACKEND names no keyring that exists.", _OFFER
        )
    kind = type(error).__name__
    return KeyringUnavailableError(f"The keyring cannot be reached ({kind}).", _OFFER)


def _state_of(error: KeyringUnavailableError) -> KeyringState:
    states = {
        KeyringRefusedError: KeyringState.REFUSED,
        KeyringLockedError: KeyringState.LOCKED,
        KeyringTimeoutError: KeyringState.TIMEOUT,
    }
    return states.get(type(error), KeyringState.UNAVAILABLE)
