"""Access tokens: made here, kept as digests, looked up by whoever has one.

The file is JSON, mode 0600, replaced in one step, so a running server sees either the old one or the new one. A token
is 256 random bits: one SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fhe_server.errors import ServerError
from fhe_server.home import private_folder

FORMAT = "tacita-tokens"
PREFIX = "tacita_"
MAX_FILE_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOCK_S = 10.0


Stamp = tuple[int, int, int, int]
"""Of a file: its number, two times, its size. All zero if there is none."""


class TokenError(ServerError):
    """The token file cannot be used, or the wish cannot be met."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one token may use; None is no limit.

    Attributes:
        tokens_per_day: tokens of the model (rows that went through all its groups), per day of UTC.
        bytes_per_day: bytes of queries, answers, hints and files.
        rounds_at_once: rounds under way at the same time, in each server process.
    """

    tokens_per_day: int | None = None
    bytes_per_day: int | None = None
    rounds_at_once: int | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """One entry of the file.

    Attributes:
        sha256: digest of the token itself, which is kept nowhere.
        created, expires: seconds since 1970; `expires` may be None.
    """

    name: str
    sha256: str
    created: int = 0
    expires: int | None = None
    quotas: Quotas = field(default_factory=Quotas)

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


def hash_token(token: str) -> str:
    """How bearer tokens are kept: SHA-256, hexadecimal. Tokens are random, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def unnamed(hashes: Iterable[str]) -> list[AccessToken]:
    """Tokens of which only the digests are known, without limits."""
    return [AccessToken(name=f"token-{h[:8]}", sha256=h) for h in sorted(hashes)]


class TokenFile:
    """The file. Every change holds a lock beside it, so that two commands at a time lose nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[AccessToken]:
        """All entries; a file that is not there has none.

        Raises:
            TokenError: it cannot be read, or is not such a file.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TokenError(
                f"Cannot read the token file {self.path}: {error.strerror}.",
                "Check its owner and mode.",
            ) from error
        return _parse(data, self.path)

    def stamp(self) -> Stamp:
        """Changes whenever the file is replaced, or its owner or mode is."""
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)

    def create(self, name: str, quotas: Quotas, days: float | None = None) -> str:
        """Add a token and return it: the only time that it can be seen.

        Raises:
            TokenError: the name is taken or not usable, or the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise TokenError(
                f"No token can be called {name!r}.",
                "Take up to 64 letters, digits, spaces or . _ @ + -, beginning with a letter or digit.",
            )
        token = PREFIX + secrets.token_urlsafe(32)
        now = int(time.time())
        entry = AccessToken(name, hash_token(token), now, expiry(now, days), quotas)
        with self._locked():
            entries = self.read()
            if any(e.name == name for e in entries):
                raise TokenError(
                    f"There is a token called {name!r} already.",
                    "Revoke it first, or take another name.",
                )
            self._write([*entries, entry])
        return token

    def change(self, name: str, altered: Callable[[AccessToken], AccessToken]) -> None:
        """Give a token other limits or another end; servers that run notice within seconds.

        Raises:
            TokenError: there is none of that name, or the file cannot be written.
        """
        with self._locked():
            entries = self.read()
            if not any(e.name == name for e in entries):
                raise _no_such(name)
            self._write([altered(e) if e.name == name else e for e in entries])

    def revoke(self, name: str) -> None:
        """Remove a token; servers that run notice within seconds.

        Raises:
            TokenError: there is none of that name, or the file cannot be written.
        """
        with self._locked():
            entries = self.read()
            kept = [e for e in entries if e.name != name]
            if len(kept) == len(entries):
                raise _no_such(name)
            self._write(kept)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.path.parent
        lock_path = self.path.with_name(self.path.name + ".lock")
        lock = FileLock(lock_path, timeout=_LOCK_S)
        try:
            if not folder.exists():
                private_folder(folder)
                hand_over(folder)
            lock.acquire()
            hand_over(lock_path)
        except Timeout as error:
            raise TokenError(
                f"Another command is changing {self.path}.", "Try again in a moment."
            ) from error
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, entries: Sequence[AccessToken]) -> None:
        document = {"format": FORMAT, "version": 1, "tokens": [asdict(e) for e in entries]}
        try:
            replace_private(self.path, json.dumps(document, indent=1).encode())
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _no_such(name: str) -> TokenError:
    return TokenError(f"There is no token called {name!r}.", "See: tacita-server token list")


def _unwritable(path: Path, error: OSError) -> TokenError:
    return TokenError(
        f"Cannot write {path}: {error.strerror}.",
        "Nothing was changed. Free space on the disk, or check who owns the folder.",
    )


def hand_over(path: Path) -> None:
    """What root makes in a folder belongs to the folder's owner: the service, which could not open it otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def replace_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old one or the new one, and a crash leaves either.

    Raises:
        OSError: it could not be written; the old one is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hand_over(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _parse(data: bytes, path: Path) -> list[AccessToken]:
    try:
        document = json.loads(data)
        if document["format"] != FORMAT or document["version"] != 1 or len(data) > MAX_FILE_BYTES:
            raise ValueError
        entries = [_entry(item) for item in document["tokens"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TokenError(
            f"{path} is not a token file of this version.",
            "Restore it from a backup, or move it away and make new tokens.",
        ) from error
    return entries


def _entry(item: Any) -> AccessToken:
    entry = AccessToken(**{**item, "quotas": Quotas(**item["quotas"])})
    numbers = (*asdict(entry.quotas).values(), entry.expires)
    if not _NAME.fullmatch(entry.name) or not _SHA256.fullmatch(entry.sha256):
        raise ValueError
    if any(n is not None and (type(n) is not int or n < 0) for n in numbers):
        raise ValueError
    return entry


def expiry(now: float, days: float | None) -> int | None:
    """When something ends that lasts for so many days; None is never."""
    return None if days is None else int(now) + round(days * 86_400)


def utc(seconds: float) -> str:
    """A moment in words."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
