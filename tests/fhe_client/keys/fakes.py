"""A keyring in memory, and a power cut at any step of a change, for the tests of keys."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from fhe_client.keys import files
from fhe_client.keys.backends import KeyringAccess, backend_name
from fhe_client.keys.passphrase import Argon2Parameters
from fhe_client.keys.slots import FileSlot, KeyringSlot

CHEAP_ARGON2 = Argon2Parameters(passes=1, memory_kib=8, lanes=1)
"""The least that Argon2 allows: the tests are about files, not about the cost of a guess."""

PASSPHRASE = "correct horse battery"
RECOVERY = "staple of recovery"


class MemoryKeyring(KeyringBackend):
    """Behaves as a keyring should; `fails` makes every call raise."""

    priority = -1  # type: ignore[assignment]  # never found by keyring's own search

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[tuple[str, str], str] = {}
        self.fails: Exception | None = None

    def _check(self) -> None:
        if self.fails is not None:
            raise self.fails

    def get_password(self, service: str, username: str) -> str | None:
        self._check()
        return self.values.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._check()
        self.values[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._check()
        if self.values.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


def allow(*backends: KeyringBackend) -> dict[str, str]:
    """An allow-list of exactly these backends' classes."""
    return {backend_name(backend): "the test keyring" for backend in backends}


def access_to(backend: KeyringBackend, timeout_s: float = 30.0) -> KeyringAccess:
    return KeyringAccess(backend, allowed=allow(backend), timeout_s=timeout_s)


class PowerCut(BaseException):
    """Not an Exception, so that no handler of the code under test can soften it."""


class Fuse:
    """Blows at the n-th step that touches a disk or a keyring, before or after the step is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: int | None = None
        self._after = False
        self._turn = threading.Lock()
        monkeypatch.setattr(files, "write_private", self._wrap(files.write_private))
        monkeypatch.setattr(files, "remove", self._wrap(files.remove))
        for slot in (KeyringSlot, FileSlot):
            monkeypatch.setattr(slot, "set", self._wrap(slot.set))
            monkeypatch.setattr(slot, "delete", self._wrap(slot.delete))

    def arm(self, step: int, *, after: bool) -> None:
        self._left, self._after = step, after

    def disarm(self) -> None:
        self._left = None

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            blows = self._count()
            if blows and not self._after:
                raise PowerCut
            result = function(*args, **kwargs)
            if blows:
                raise PowerCut
            return result

        return step

    def _count(self) -> bool:
        with self._turn:
            if self._left is None:
                return False
            self._left -= 1
            return self._left == -1
