"""Any exception as something a person can read: what happened, what to do, and details that quote nothing.

The text of a foreign exception may hold a prompt, so it is never shown or logged: only its type, and
where it came from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fhe_client.errors import TacitaError
from fhe_client.home import Home, private_folder
from fhe_protocol.errors import ProtocolError

LOG_NAME = "client.log"
_MAX_LOG_BYTES = 1 << 20
_FRAMES = 12
_NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True, slots=True)
class Failure:
    """The `error` event of the engine protocol, without its id. Every code is in `error_codes.CODES`."""

    code: str
    message: str
    next_step: str
    details: str
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def internal(self) -> bool:
        """Whether this is our own fault, and belongs in the log."""
        return self.code == "internal"


def describe(error: BaseException) -> Failure:
    """What to tell about `error`."""
    details = " < ".join(type(one).__name__ for one in _chain(error))
    if isinstance(error, TacitaError):
        return Failure(error.code, error.message, error.next_step, details, dict(error.params))
    if isinstance(error, ProtocolError):
        return Failure(
            "protocol",
            "The server sent something that the protocol does not allow.",
            "Try again; if it happens once more, the server is faulty or not to be trusted.",
            details,
        )
    if isinstance(error, MemoryError):
        return Failure("memory", "There is not enough memory.", "Close other programs.", details)
    if isinstance(error, OSError):
        return _describe_os_error(error, details)
    return Failure(
        "internal",
        "Something went wrong inside Tacita.",
        "Please report this with its details; they hold nothing of what you wrote.",
        "\n".join([details, *frames(error)]),
    )


def _describe_os_error(error: OSError, details: str) -> Failure:
    if error.errno in _NO_SPACE:
        return Failure("disk_full", "The disk is full.", "Free some space and try again.", details)
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return Failure(
        "files",
        f"A file or a connection could not be used: {reason}.",
        "Check the permissions of Tacita's folders, or set TACITA_HOME to another one.",
        "\n".join([details, *frames(error)]),
        {"reason": reason},
    )


def frames(error: BaseException) -> list[str]:
    """The innermost places of a traceback, as file name, line and function."""
    places = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in places]


def log_failure(failure: Failure, home: Home) -> None:
    """Append a failure to the profile's log. Never raises: there is nobody left to tell."""
    with contextlib.suppress(OSError):
        path = private_folder(home.log) / LOG_NAME
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{now} {failure.code}\n{failure.details}\n")


def _chain(error: BaseException) -> list[BaseException]:
    """`error` and what it was raised from, at most eight."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain and len(chain) < 8:
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return chain
