from __future__ import annotations

import threading
from typing import Any

import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest
from keyring.backends.chainer import ChainerBackend
from keyring.errors import InitError, KeyringLocked, NoKeyringError

from fhe_client.keys.backends import (
    ALLOWED_BACKENDS,
    USER_NAME,
    KeyringAccess,
    KeyringState,
    backend_name,
    find_backend,
)
from fhe_client.keys.errors import (
    KeyringLockedError,
    KeyringRefusedError,
    KeyringTimeoutError,
    KeyringUnavailableError,
)
from tests.fhe_client.keys.fakes import MemoryKeyring, access_to, allow

VALUE = "the canary value"


def test_the_allow_list_is_exactly_this() -> None:
    assert set(ALLOWED_BACKENDS) == {
        "keyring.backends.macOS.Keyring",
        "keyring.backends.Windows.WinVaultKeyring",
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.libsecret.Keyring",
        "keyring.backends.kwallet.DBusKeyring",
    }
    for name in ALLOWED_BACKENDS:
        module, _, kind = name.rpartition(".")
        imported = __import__(module, fromlist=[kind])
        assert backend_name(getattr(imported, kind)) == name


def test_get_set_delete(backend: MemoryKeyring) -> None:
    access = access_to(backend)
    assert access.get("s") is None
    access.set("s", VALUE)
    assert access.get("s") == VALUE
    assert backend.values == {("s", USER_NAME): VALUE}
    assert access.delete("s") is True
    assert access.delete("s") is False
    assert access.get("s") is None


def test_the_probe_leaves_nothing(backend: MemoryKeyring) -> None:
    status = access_to(backend).probe()
    assert status.usable
    assert status.state is KeyringState.USABLE
    assert status.backend == backend_name(backend)
    assert status.detail
    assert backend.values == {}


def plaintext_like() -> MemoryKeyring:
    """Works perfectly, but is called what the plaintext keyring is called."""
    kind = type("PlaintextKeyring", (MemoryKeyring,), {"__module__": "keyrings.alt.file"})
    return kind()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (keyring.backends.null.Keyring(), "forgets"),
        (keyring.backends.fail.Keyring(), "no keyring on this system"),
        (plaintext_like(), "any program can read"),
        (MemoryKeyring(), "not one of the keyrings known"),
    ],
)
def test_other_backends_are_refused_with_the_reason(backend: Any, reason: str) -> None:
    access = KeyringAccess(backend, timeout_s=30)
    status = access.probe()
    assert status.state is KeyringState.REFUSED
    assert not status.usable
    assert reason in status.detail
    for call in (
        lambda: access.get("s"),
        lambda: access.set("s", VALUE),
        lambda: access.delete("s"),
    ):
        with pytest.raises(KeyringRefusedError, match=reason):
            call()
    assert getattr(backend, "values", {}) == {}


class Chain(ChainerBackend):
    """A chain of our choosing under the chain's own name."""

    backends: Any = ()


Chain.__module__, Chain.__qualname__ = ChainerBackend.__module__, ChainerBackend.__qualname__


def test_a_chain_stands_and_falls_with_the_backend_it_writes_to(
    backend: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chain, "backends", [backend, plaintext_like()])
    access = KeyringAccess(Chain(), allowed=allow(backend), timeout_s=30)
    access.set("s", VALUE)
    assert access.name == backend_name(backend)
    assert backend.values == {("s", USER_NAME): VALUE}

    monkeypatch.setattr(Chain, "backends", [plaintext_like(), backend])
    assert access.probe().state is KeyringState.REFUSED
    monkeypatch.setattr(Chain, "backends", [])
    assert access.probe().state is KeyringState.REFUSED


@pytest.mark.parametrize(
    ("error", "kind", "state"),
    [
        (KeyringLocked(VALUE), KeyringLockedError, KeyringState.LOCKED),
        (NoKeyringError(VALUE), KeyringUnavailableError, KeyringState.UNAVAILABLE),
        (InitError(VALUE), KeyringUnavailableError, KeyringState.UNAVAILABLE),
        (OSError(5, VALUE), KeyringUnavailableError, KeyringState.UNAVAILABLE),
        (ValueError(VALUE), KeyringUnavailableError, KeyringState.UNAVAILABLE),
    ],
)
def test_every_exception_means_cannot_tell_and_is_not_quoted(
    backend: MemoryKeyring, error: Exception, kind: type[Exception], state: KeyringState
) -> None:
    backend.fails = error
    access = access_to(backend)
    for call in (
        lambda: access.get("s"),
        lambda: access.set("s", VALUE),
        lambda: access.delete("s"),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert VALUE not in str(caught.value)
        assert VALUE not in repr(caught.value)
    status = access.probe()
    assert status.state is state
    assert VALUE not in status.detail


class Forgetful(MemoryKeyring):
    """As KWallet when a write fails: no exception, nothing stored."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class Clinging(MemoryKeyring):
    """Does not delete."""

    def delete_password(self, service: str, username: str) -> None:
        pass


@pytest.mark.parametrize("kind", [Forgetful, Clinging])
def test_a_keyring_that_lies_does_not_pass_the_probe(kind: type[MemoryKeyring]) -> None:
    assert access_to(kind()).probe().state is KeyringState.UNAVAILABLE


def test_a_lost_write_is_an_error() -> None:
    with pytest.raises(KeyringUnavailableError, match="does not keep"):
        access_to(Forgetful()).set("s", VALUE)


class Blocking(MemoryKeyring):
    """Waits for the user until `answer` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.answer.wait(60)
        return super().get_password(service, username)


def test_a_keyring_that_waits_for_ever_does_not_stop_us() -> None:
    backend = Blocking()
    access = access_to(backend, timeout_s=0.2)
    with pytest.raises(KeyringTimeoutError):
        access.get("s")
    # It is still asking the user: no second question is put on top of the first.
    assert access.probe().state is KeyringState.TIMEOUT
    backend.answer.set()
    patient = access_to(backend)
    assert patient.get("s") is None


def test_calls_of_two_threads_go_one_after_the_other() -> None:
    running, overlaps = [0], []

    class Watching(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            running[0] += 1
            overlaps.append(running[0])
            result = super().get_password(service, username)
            running[0] -= 1
            return result

    access = access_to(Watching())
    threads = [threading.Thread(target=access.get, args=("s",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert overlaps == [1] * 8


def test_another_keyring_is_not_asked_for_a_key_it_cannot_have(backend: MemoryKeyring) -> None:
    access = access_to(backend)
    assert access.get("s", prefer=backend_name(backend)) is None
    with pytest.raises(KeyringUnavailableError, match="KWallet, which cannot be reached"):
        KeyringAccess(
            backend,
            allowed={**allow(backend), "keyring.backends.kwallet.DBusKeyring": "KWallet"},
        ).get("s", prefer="keyring.backends.kwallet.DBusKeyring")


@pytest.mark.parametrize("name", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring"])
def test_a_configured_backend_is_honoured_by_refusing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
    assert KeyringAccess(timeout_s=30).probe().state is KeyringState.REFUSED


def test_a_configured_backend_that_does_not_exist_is_cannot_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no.such.Keyring")
    status = KeyringAccess(timeout_s=30).probe()
    assert status.state is KeyringState.UNAVAILABLE
    assert "PYTHON_KEYRING_BACKEND" in status.detail


def test_without_an_allowed_backend_the_refusal_names_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    monkeypatch.setattr(keyring, "get_keyring", plaintext_like)
    found = find_backend({"keyring.backends.no_such_module.Keyring": "nothing"})
    assert backend_name(found) == "keyrings.alt.file.PlaintextKeyring"


def windows_like() -> MemoryKeyring:
    """Moves the old value to a second name when it is replaced, as keyring does on Windows."""

    def set_password(self: MemoryKeyring, service: str, username: str, password: str) -> None:
        if (service, username) in self.values:
            self.values[f"{username}@{service}", username] = self.values[service, username]
        MemoryKeyring.set_password(self, service, username, password)

    body = {"__module__": "keyring.backends.Windows", "set_password": set_password}
    return type("WinVaultKeyring", (MemoryKeyring,), body)()  # type: ignore[no-any-return]


def test_a_replaced_key_leaves_no_copy_on_windows() -> None:
    backend = windows_like()
    access = KeyringAccess(backend, timeout_s=30)  # its name is on the real allow-list
    access.set("s", "old")
    access.set("s", "new")
    assert backend.values == {("s", USER_NAME): "new"}
