"""Rotate, save, restore and erase: what the settings ask for, done off the window's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from app import profile
from app.background import Background, OnFailure
from app.controller import Controller
from app.events import Failure
from app.settings import Settings

Done = Callable[[], None]


class KeyActions:
    """Each method ends in exactly one call of ``done`` or ``failed``, on the window's thread."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._background = Background(controller)

    @property
    def asks_passphrase(self) -> bool:
        """Whether the key only opens with the user's passphrase."""
        return self._controller.keys.state == "passphrase"

    def rotate(self, passphrase: str | None, done: Done, failed: OnFailure) -> None:
        """Replace the key, then give the engine the new one."""
        mode = self._controller.keys.state
        self._run(
            lambda: profile.rotate(passphrase),
            lambda: self._controller.use_keys(mode, passphrase, failed, done),
            failed,
        )

    def export(
        self, path: Path, recovery: str, passphrase: str | None, done: Done, failed: OnFailure
    ) -> None:
        """Write a recovery file."""
        self._run(lambda: profile.export_recovery(path, recovery, passphrase), done, failed)

    def bring_back(
        self, path: Path, recovery: str, new: str | None, done: Done, failed: OnFailure
    ) -> None:
        """Put the key of a recovery file in place, then open keys and chats with it."""
        mode = "passphrase" if new else "keyring"
        self._run(
            lambda: profile.import_recovery(path, recovery, new),
            lambda: self._controller.use_keys(mode, new, failed, done),
            failed,
        )

    def erase(self, *, everything: bool, force: bool, done: Done, failed: OnFailure) -> None:
        """Delete key and chats, or the whole profile, and begin again with the first run."""
        controller = self._controller
        controller.suspend()

        def erased() -> None:
            if everything:
                self._forget_settings()
            controller.settings.server = ""
            if not everything:
                controller.save_settings()
            done()
            controller.begin_again()

        def kept(failure: Failure) -> None:
            controller.begin_again()
            failed(failure)

        work = profile.factory_reset if everything else profile.erase
        self._run(lambda: work(force=force), erased, kept)

    def _forget_settings(self) -> None:
        names = [field.name for field in fields(Settings)]
        self._controller.settings.reset(*names)

    def hints_size(self, show: Callable[[int], None], failed: OnFailure) -> None:
        """How many bytes the hints take on disk."""
        self._background.run(profile.hints_size, show, failed)

    def clear_hints(self, show: Callable[[int], None], failed: OnFailure) -> None:
        """Delete the hints of all models but the connected one; tells what is left."""
        found = self._controller.connection if self._controller.ready else None
        keep = found.digest if found is not None else ""
        self._background.run(lambda: profile.clear_hints(keep), show, failed)

    def _run(self, work: Callable[[], Any], done: Done, failed: OnFailure) -> None:
        self._background.run(work, lambda _value: done(), failed)
