"""What the engine process tells the window, as checked plain values.

The engine is our own program, but a line that is not what it should be must not end the window:
every parser here takes any JSON object and falls back to a harmless value.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


def number(value: Json, name: str) -> float:
    """A finite non-negative number, or 0."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return 0.0
    return float(found) if 0 <= found < 1e18 else 0.0


def integer(value: Json, name: str) -> int:
    """A non-negative integer, or 0."""
    return int(number(value, name))


def string(value: Json, name: str) -> str:
    """A string, or an empty one."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class Status:
    """What the engine is doing: ``done`` of ``total`` ``unit``s (total 0: not known)."""

    state: str
    done: int = 0
    total: int = 0
    unit: str = "items"

    @classmethod
    def parse(cls, value: Json) -> Status:
        unit = string(value, "unit") or "items"
        return cls(string(value, "state"), integer(value, "done"), integer(value, "total"), unit)


@dataclass(frozen=True)
class Meter:
    """Bytes on the wire since the engine started, speed, and slots left under one secret."""

    bytes_up: int = 0
    bytes_down: int = 0
    hint_bytes: int = 0
    seconds_per_token: float = 0.0
    tokens_left: int | None = None
    rounds: int = 0
    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Json) -> Meter:
        left = value.get("tokens_left_in_epoch")
        return cls(
            integer(value, "bytes_up"),
            integer(value, "bytes_down"),
            integer(value, "hint_bytes"),
            number(value, "seconds_per_token"),
            left if isinstance(left, int) and left >= 0 else None,
            integer(value, "rounds"),
            _pairs(value.get("kinds")),
        )


def _pairs(value: object) -> dict[str, tuple[int, int]]:
    """Bytes up and down by kind; what is no such pair is left out."""
    found = value if isinstance(value, dict) else {}
    return {
        str(kind): (integer({"n": both[0]}, "n"), integer({"n": both[1]}, "n"))
        for kind, both in found.items()
        if isinstance(both, list) and len(both) == 2
    }


def reasons(value: object) -> dict[str, str]:
    """Why a scheme cannot be used, by its name; those that can be used are left out."""
    found = value if isinstance(value, dict) else {}
    return {str(name): why for name, why in found.items() if isinstance(why, str) and why}


@dataclass(frozen=True)
class Failure:
    """Why a command failed, what to do, and details without prompt, reply or key.

    ``params`` are the figures and names in ``message``, for telling it in another language.
    """

    code: str
    message: str
    next_step: str = ""
    details: str = ""
    params: Json = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Json) -> Failure:
        params = value.get("params")
        return cls(
            string(value, "code") or "unknown",
            string(value, "message") or "Something went wrong.",
            string(value, "next_step"),
            string(value, "details"),
            params if isinstance(params, dict) else {},
        )

    def report(self) -> str:
        """The text that *Copy details* copies."""
        lines = [f"[{self.code}] {self.message}", self.next_step, self.details]
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Estimate:
    """What reading a prompt would cost, padding included."""

    prompt_tokens: int
    seconds: float
    mb: float

    @classmethod
    def parse(cls, value: Json) -> Estimate:
        return cls(integer(value, "prompt_tokens"), number(value, "seconds"), number(value, "mb"))


@dataclass(frozen=True)
class ServerView:
    """The first bytes of a query exactly as they were sent: ``rows`` tokens of ``width`` values.

    ``index`` of ``total`` says which of the model's groups of layers it was.
    """

    group: str
    rows: int
    width: int
    head: bytes
    index: int = 0
    total: int = 0

    @classmethod
    def parse(cls, value: Json) -> ServerView:
        try:
            head = base64.b64decode(string(value, "head"), validate=True)
        except (binascii.Error, ValueError):
            head = b""
        return cls(
            string(value, "group"),
            integer(value, "rows"),
            integer(value, "n"),
            head[:3072],
            integer(value, "index"),
            integer(value, "total"),
        )


@dataclass(frozen=True)
class KeysStatus:
    """Where the master key is kept: keyring, passphrase, session, missing or unavailable."""

    state: str
    backend: str = ""
    detail: str = ""

    @classmethod
    def parse(cls, value: Json) -> KeysStatus:
        return cls(string(value, "state"), string(value, "backend"), string(value, "detail"))


@dataclass(frozen=True)
class ConnectionReport:
    """The outcome of *Test connection*."""

    outcome: str
    message: str = ""
    rtt_ms: float = 0.0
    models: tuple[str, ...] = ()
    seconds_per_token: float = 0.0
    mb_per_token: float = 0.0
    certificate: str = ""  # fingerprint (SHA-256 in hex) of one that was shown but is not trusted
    why_not: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Json) -> ConnectionReport:
        models = value.get("models")
        names = models if isinstance(models, list) else []
        return cls(
            string(value, "outcome"),
            string(value, "message"),
            number(value, "rtt_ms"),
            tuple(name for name in names if isinstance(name, str)),
            number(value, "seconds_per_token"),
            number(value, "mb_per_token"),
            string(value, "certificate_sha256"),
            reasons(value.get("why_not")),
        )


@dataclass(frozen=True)
class Connection:
    """What the engine is connected to."""

    model: str
    server: str
    hint_bytes: int = 0
    layers: int = 0
    digest: str = ""
    why_not: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Json) -> Connection:
        return cls(
            string(value, "model"),
            string(value, "server"),
            integer(value, "hint_bytes"),
            integer(value, "layers"),
            string(value, "digest"),
            reasons(value.get("schemes")),
        )
