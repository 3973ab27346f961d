"""What can go wrong between this computer and a server, each with a stable code and the next step.

The codes of the first nine are the outcomes of *Test connection*. No message holds a token, a URL with credentials, or
anything of a prompt; text that a server sent is cut short and stripped of control characters before it is shown.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import ClassVar

from fhe_client.errors import TacitaError

_SHOWN = 200


class NetworkError(TacitaError):
    """The base of this module's errors. `retryable` says whether the same bytes may simply be sent again."""

    code: ClassVar[str] = "network"
    retryable: ClassVar[bool] = False
    default_step: ClassVar[str] = "Check the server's address and try again."
    retry_after: float | None = None
    """Seconds that the server asked us to wait."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step or self.default_step)


class BadUrlError(NetworkError):
    """The address cannot be used; found before anything is sent."""

    code: ClassVar[str] = "bad_url"
    default_step: ClassVar[str] = "Enter an address such as https://tacita.example.org."


class InsecureUrlError(BadUrlError):
    """The address would send bytes over a network without TLS."""

    code: ClassVar[str] = "tls"
    default_step: ClassVar[str] = "Use an https:// address."


class NameNotFoundError(NetworkError):
    """The name has no address."""

    code: ClassVar[str] = "name_not_found"
    retryable: ClassVar[bool] = True
    default_step: ClassVar[str] = "Check the spelling of the address and the network connection."


class RefusedError(NetworkError):
    """Nothing listens at the address."""

    code: ClassVar[str] = "refused"
    retryable: ClassVar[bool] = True
    default_step: ClassVar[str] = "Check the address and port, and that the server is running."


class ServerTimeoutError(NetworkError):
    """No answer, or no complete one, in time."""

    code: ClassVar[str] = "timeout"
    retryable: ClassVar[bool] = True
    default_step: ClassVar[str] = "Check the network connection and try again in a moment."


class TlsError(NetworkError):
    """The encrypted connection could not be trusted."""

    code: ClassVar[str] = "tls"
    default_step: ClassVar[str] = (
        "Do not go on if you did not expect this. Ask whoever runs the server for its certificate's SHA-256 "
        "fingerprint, compare it with the one that Test connection (tacita test) shows, and enter it in the server's "
        "settings (--certificate)."
    )


class NotTacitaError(NetworkError):
    """Something answered, but not as a Tacita server does."""

    code: ClassVar[str] = "not_tacita"
    default_step: ClassVar[str] = "Check the address and port: another program answers there."


class WrongVersionError(NetworkError):
    """The server speaks another version of the protocol."""

    code: ClassVar[str] = "wrong_version"
    default_step: ClassVar[str] = (
        "Update Tacita here or on the server, so that both have the same version."
    )


class UnauthorisedError(NetworkError):
    """The access token is missing or wrong."""

    code: ClassVar[str] = "unauthorised"
    default_step: ClassVar[str] = "Enter the access token that you were given for this server."


class NoSuchModelError(NetworkError):
    """The server does not serve this model."""

    code: ClassVar[str] = "no_such_model"
    default_step: ClassVar[str] = "Choose one of the models that the server offers."


class BusyError(NetworkError):
    """The server has too much to do (429, 503)."""

    code: ClassVar[str] = "busy"
    retryable: ClassVar[bool] = True
    default_step: ClassVar[str] = "Wait a moment and try again."


class QuotaError(NetworkError):
    """What the access token may use today is used up (429). The message says when it begins anew."""

    code: ClassVar[str] = "quota_exceeded"
    default_step: ClassVar[str] = (
        "Wait until the quota begins anew, or ask whoever runs the server for a larger one."
    )


class OtherModelError(NetworkError):
    """The server now serves another model under the same name (409)."""

    code: ClassVar[str] = "other_model"
    default_step: ClassVar[str] = "Connect again to see what changed."


class ProtocolBreachError(NetworkError):
    """The server sent bytes that the protocol does not allow: wrong size, wrong digest, malformed."""

    code: ClassVar[str] = "protocol"
    default_step: ClassVar[str] = (
        "Try again; if it happens once more, the server is faulty or not to be trusted."
    )


class ConnectionLostError(NetworkError):
    """The connection broke, and trying again did not help."""

    code: ClassVar[str] = "connection_lost"
    retryable: ClassVar[bool] = True
    default_step: ClassVar[str] = "Check the network connection; what was written so far is kept."


class StoppedError(NetworkError):
    """Someone asked to stop."""

    code: ClassVar[str] = "stopped"
    default_step: ClassVar[str] = "Start again when you like; what was downloaded is kept."


class StorageError(NetworkError):
    """The cache folder is full, not writable, or in use by another window."""

    code: ClassVar[str] = "storage"
    default_step: ClassVar[str] = "Free some space on the disk and try again."


class ModelChangedError(NetworkError):
    """The model of that name is not the one that was pinned on first use.

    Attributes:
        server, model: where it was met.
        pinned, found: the two digests.
    """

    code: ClassVar[str] = "model_changed"

    def __init__(self, server: str, model: str, pinned: str, found: str) -> None:
        super().__init__(
            f"The model {model!r} of {server} is not the one that was used before "
            f"(it was {pinned[:12]}, now it is {found[:12]}). Nothing has been sent to it.",
            "If whoever runs the server changed it on purpose, accept the new one in the window or with "
            "--accept-model-change; otherwise do not use it.",
        )
        self.server, self.model, self.pinned, self.found = server, model, pinned, found
        self.about(server=server, model=model, pinned=pinned[:12], found=found[:12])


class KeyExpiredError(NetworkError):
    """The server no longer has this session's compression key (scheme `glwe`)."""

    code: ClassVar[str] = "key_expired"
    default_step: ClassVar[str] = "Connect again; the key is then uploaded once more."


def shown(text: object) -> str:
    """Text of a server, made safe to show: printable characters only, and few of them."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:_SHOWN])


def causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything that it was raised from, wrapped in its arguments included (urllib3 does that)."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        linked = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        pending.extend(x for x in linked if isinstance(x, BaseException))


_BY_TYPE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], type[NetworkError], str], ...] = (
    (socket.gaierror, NameNotFoundError, "The server's name was not found."),
    (ssl.SSLError, TlsError, "The encrypted connection to the server cannot be trusted."),
    (ConnectionRefusedError, RefusedError, "The server refused the connection."),
    (TimeoutError, ServerTimeoutError, "The server did not answer in time."),
)  # fmt: skip


_NOT_HTTP = {
    "BadStatusLine",
    "InvalidHeader",
    "LineTooLong",
    "UnknownProtocol",
    "InvalidChunkLength",
}


def map_network_error(error: BaseException) -> NetworkError:
    """The error of this module that says what `error` (of requests, urllib3, ssl or socket) means."""
    chain = list(causes(error))
    for one in chain:
        if isinstance(one, NetworkError):
            return one
    for types, found, message in _BY_TYPE:
        if any(isinstance(one, types) for one in chain):
            return found(message)
    names = {type(one).__name__ for one in chain}
    if "SSLError" in names:  # urllib3's own: a fingerprint or host name that does not match
        return TlsError(
            "The server's certificate is not the expected one.",
            "Do not go on unless whoever runs the server tells you that it was renewed; then enter the new "
            "certificate's fingerprint.",
        )
    if names & {"ConnectTimeoutError", "ReadTimeoutError", "Timeout"}:
        return ServerTimeoutError("The server did not answer in time.")
    if names & _NOT_HTTP and "RemoteDisconnected" not in names:
        return NotTacitaError("What answers at this address does not speak HTTP.")
    if "ProxyError" in names:
        return RefusedError(
            "The proxy did not let the connection through.", "Check the proxy settings."
        )
    return ConnectionLostError("The connection to the server broke.")


_BY_CODE: dict[str, type[NetworkError]] = {
    "unauthorised": UnauthorisedError,
    "no_such_model": NoSuchModelError,
    "no_such_file": ProtocolBreachError,
    "other_model": OtherModelError,
    "bad_frame": ProtocolBreachError,
    "bad_request": ProtocolBreachError,
    "too_large": ProtocolBreachError,
    "busy": BusyError,
    "too_many_requests": BusyError,
    "too_many_connections": BusyError,
    "quota_exceeded": QuotaError,
    "loading": BusyError,
    "draining": BusyError,
    "no_such_key": KeyExpiredError,
    "bad_key": ProtocolBreachError,
    "bad_offset": ConnectionLostError,  # a chunk arrived twice: ask where to go on, and repeat
    "too_many_keys": BusyError,
    "worker_failed": BusyError,
}
_BY_STATUS: dict[int, type[NetworkError]] = {
    401: UnauthorisedError,
    403: UnauthorisedError,
    409: OtherModelError,
    429: BusyError,
    503: BusyError,
    502: ConnectionLostError,
    504: ServerTimeoutError,
}


def server_error(code: object, message: object, status: int = 0) -> NetworkError:
    """The error for what a server answered: by its code, else by the HTTP status."""
    found = _BY_CODE.get(str(code)) or _BY_STATUS.get(status)
    if found is None:
        return NotTacitaError(
            f"The server answered with status {status}, which no Tacita server does here."
        )
    return found(f"The server says: {shown(message)}.").about(says=shown(message))


def retry_after_seconds(value: object) -> float | None:
    """Retry-After of a server in seconds; its form as a date, and anything else, is ignored."""
    text = str(value) if isinstance(value, str | int) else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
