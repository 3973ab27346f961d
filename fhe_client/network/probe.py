"""*Test connection*: what is wrong with a server's address, or how fast it is, within five seconds always."""

# ruff: noqa: PT028 - test_connection is what the user does, not a test of pytest

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fhe_client.network.catalogue import ModelInfo, ServerInfo
from fhe_client.network.errors import (
    BadUrlError,
    BusyError,
    ConnectionLostError,
    InsecureUrlError,
    NetworkError,
    StoppedError,
    TlsError,
)
from fhe_client.network.http_lane import presented_certificate
from fhe_client.network.retries import Timeouts
from fhe_client.network.transport import ServerConnection, check_info
from fhe_protocol.glwe_library import unavailable_reason

OUTCOMES = (
    "ok",
    "name_not_found",
    "refused",
    "timeout",
    "tls",
    "not_tacita",
    "wrong_version",
    "unauthorised",
    "no_such_model",
)
_SCHEMES = ("hint", "glwe")
LIMIT = 4.5
"""Seconds until the answer is "timeout", whatever still hangs (a name server can hang for half a minute)."""
_TIMEOUTS = Timeouts(connect=2.5, control=3.5, tries=1)
_PINGS = 3
_LOCAL_SECONDS_PER_ROUND = 0.0005
"""Encryption, decryption and the non-linear layers, per round, on a small laptop."""


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What *Test connection* found.

    Attributes:
        outcome: one of OUTCOMES.
        message: one or two sentences for the user: what happened, what to do.
        rtt_ms: fastest of a few HTTP round trips; None unless the outcome is "ok".
        models: what the server offers.
        mb_per_token: of the model that was asked for, or of the first.
        seconds_per_token: an estimate for it, from its rounds and the round-trip time.
        schemes: those that this computer and the server can both use.
        why_not: for each of the others the reason.
        certificate_sha256: where TLS failed because the certificate is not trusted, the fingerprint of the one that
            was presented, for a person to compare and pin.
    """

    outcome: str
    message: str
    rtt_ms: float | None = None
    models: tuple[ModelInfo, ...] = ()
    mb_per_token: float | None = None
    seconds_per_token: float | None = None
    schemes: tuple[str, ...] = ()
    why_not: Mapping[str, str] = field(default_factory=dict)
    certificate_sha256: str | None = None


def outcome_of(error: NetworkError) -> str:
    """The outcome that an error means for *Test connection*."""
    if error.code in OUTCOMES:
        return error.code
    if isinstance(error, InsecureUrlError):
        return "tls"
    if isinstance(error, BadUrlError):
        return "name_not_found"
    if isinstance(error, ConnectionLostError):
        return "refused"
    return "timeout" if isinstance(error, BusyError | StoppedError) else "not_tacita"


def test_connection(
    url: str,
    token: str | None = None,
    model: str | None = None,
    *,
    pinned_certificate: str | None = None,
    limit: float = LIMIT,
) -> ConnectionReport:
    """Look at a server; never raises for what the network or the server does.

    Args:
        pinned_certificate: SHA-256 fingerprint of the only certificate to accept.
        limit: seconds after which the outcome is "timeout".
    """
    given_up = threading.Event()
    reports: list[ConnectionReport] = []

    def work() -> None:
        try:
            reports.append(_probe(url, token, model, pinned_certificate, given_up))
        except NetworkError as error:
            failed = ConnectionReport(outcome_of(error), str(error))
            reports.append(failed)
            if isinstance(error, TlsError):  # one more look, which must not cost the report
                found = _certificate(url, given_up)
                reports.append(replace(failed, certificate_sha256=found))

    # A thread of its own, left behind if need be: looking up a name cannot be interrupted.
    thread = threading.Thread(target=work, name="probe", daemon=True)
    thread.start()
    thread.join(limit)
    given_up.set()
    if reports:
        return reports[-1]
    return ConnectionReport(
        "timeout",
        "The server did not answer in time. Check the address and the network connection, and try again.",
    )


test_connection.__test__ = False  # type: ignore[attr-defined]  # its name is not pytest's business


def _probe(
    url: str,
    token: str | None,
    model: str | None,
    pinned_certificate: str | None,
    given_up: threading.Event,
) -> ConnectionReport:
    with ServerConnection(
        url, token=token, pinned_certificate=pinned_certificate, timeouts=_TIMEOUTS
    ) as connection:
        connection.should_stop = given_up.is_set
        info = connection.info()
        why_not = _why_not(info)
        usable = tuple(s for s in info.schemes if s in _SCHEMES and s not in why_not)
        report = ConnectionReport("ok", "", models=info.models, schemes=usable, why_not=why_not)
        try:
            check_info(info, model)
        except NetworkError as error:
            return replace(report, outcome=outcome_of(error), message=str(error))
        seconds = min(_ping(connection) for _ in range(_PINGS))
    named = [m for m in info.models if model in (None, m.name)]
    return _rated(report, seconds, named[0] if named else None)


def _why_not(info: ServerInfo) -> dict[str, str]:
    """Why Concrete ML's scheme cannot be used, if it cannot: here, or there."""
    if (reason := unavailable_reason()) is not None:
        return {"glwe": reason}
    if "glwe" not in info.schemes:
        told = info.unavailable.get("glwe", "")
        return {"glwe": f"The server does not offer it. {told}".strip()}
    return {}


def _certificate(url: str, given_up: threading.Event) -> str | None:
    with ServerConnection(url, timeouts=_TIMEOUTS) as connection:
        return presented_certificate(connection.access, given_up.is_set)


def _ping(connection: ServerConnection) -> float:
    started = time.perf_counter()
    connection.health()
    return time.perf_counter() - started


def _rated(report: ConnectionReport, seconds: float, model: ModelInfo | None) -> ConnectionReport:
    rtt = round(seconds * 1000, 1)
    if model is None:
        message = f"Connected; a round trip takes {rtt:g} ms. The server offers no model yet."
        return replace(report, message=message, rtt_ms=rtt)
    per_token = model.rounds_per_token * (seconds + _LOCAL_SECONDS_PER_ROUND)
    message = (
        f"Connected; a round trip takes {rtt:g} ms. {model.name}: about {per_token:.2g} seconds "
        f"and {model.mb_per_token:.2f} MB per token."
    )
    return replace(
        report,
        message=message,
        rtt_ms=rtt,
        mb_per_token=model.mb_per_token,
        seconds_per_token=per_token,
    )
