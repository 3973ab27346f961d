"""How much every token has used today, kept on disk so that neither a restart nor a second process forgets it.

Each process adds what it has counted to one small file every few seconds and reads the sum of all back; between two
such moments N processes may together let through a few seconds of work too much. A disk that is full costs nothing but
that: counting goes on in memory, and the sum is written later.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fhe_server.service.tokens import hand_over, replace_private

USAGE_NAME = "usage.json"
"""Beside the token file."""

_DAY_S = 86_400
_LOCK_S = 5.0


@dataclass(slots=True)
class Used:
    """Tokens of the model and bytes; of one token, on one day."""

    tokens: float = 0.0
    bytes: int = 0

    def add(self, tokens: float, size: int) -> None:
        """Count more."""
        self.tokens += tokens
        self.bytes += size


class UsageLedger:
    """The counts of the current day of UTC, by token name.

    Args:
        path: the shared file; None keeps the counts in memory.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._path = path
        self._day = self._today()
        self._total: dict[str, Used] = {}
        self._unsaved: dict[str, Used] = {}

    def used(self, name: str) -> Used:
        """What a token has used today."""
        self._turn_the_page()
        return self._total.setdefault(name, Used())

    def add(self, name: str, tokens: float, size: int) -> None:
        """Count a round or a download."""
        self.used(name).add(tokens, size)
        self._unsaved.setdefault(name, Used()).add(tokens, size)

    @property
    def resets_at(self) -> int:
        """When the counts begin anew, seconds since 1970."""
        return (self._today() + 1) * _DAY_S

    async def sync(self) -> None:
        """Bring file and memory together; the file is read and written in a thread.

        Raises:
            OSError: that failed; nothing that was counted is lost.
        """
        unsaved = self._take()
        try:
            total = await asyncio.to_thread(self._store, unsaved)
        except Exception:
            self._put_back(unsaved)
            raise
        self._apply(total)

    def sync_now(self) -> None:
        """As `sync`, at the end of a process.

        Raises:
            OSError: as `sync`.
        """
        unsaved = self._take()
        try:
            self._apply(self._store(unsaved))
        except Exception:
            self._put_back(unsaved)
            raise

    def _take(self) -> dict[str, Used]:
        self._turn_the_page()
        unsaved, self._unsaved = self._unsaved, {}
        return unsaved

    def _store(self, unsaved: dict[str, Used]) -> dict[str, Used] | None:
        """Add counts to the file; the sums in it. None without a file."""
        if self._path is None:
            return None
        try:
            lock = self._path.with_name(self._path.name + ".lock")
            with FileLock(lock, timeout=_LOCK_S):
                hand_over(lock)
                total = self._read()
                for name, used in unsaved.items():
                    total.setdefault(name, Used()).add(used.tokens, used.bytes)
                if unsaved:
                    self._write(total)
                return total
        except Timeout as error:
            raise OSError(f"{self._path.name} is locked by another program") from error

    def _apply(self, total: dict[str, Used] | None) -> None:
        if total is None:
            return
        for name, used in self._unsaved.items():  # counted meanwhile
            total.setdefault(name, Used()).add(used.tokens, used.bytes)
        self._total = total

    def _put_back(self, unsaved: dict[str, Used]) -> None:
        for name, used in unsaved.items():
            self._unsaved.setdefault(name, Used()).add(used.tokens, used.bytes)

    def _today(self) -> int:
        return int(self.clock() // _DAY_S)

    def _turn_the_page(self) -> None:
        today = self._today()
        if today != self._day:
            self._day, self._total, self._unsaved = today, {}, {}

    def _read(self) -> dict[str, Used]:
        """The day's counts in the file; an old day, or rubbish, is none."""
        assert self._path is not None
        try:
            document = json.loads(self._path.read_bytes())
            if document["day"] != self._day:
                return {}
            return {str(n): Used(float(t), int(b)) for n, (t, b) in document["used"].items()}
        except FileNotFoundError:
            return {}
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ):
            return {}

    def _write(self, total: dict[str, Used]) -> None:
        assert self._path is not None
        counts = {name: [round(u.tokens, 3), u.bytes] for name, u in total.items()}
        replace_private(self._path, json.dumps({"day": self._day, "used": counts}).encode())
