"""A server's address, checked before anything is sent to it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fhe_client.network.errors import BadUrlError, InsecureUrlError

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 500


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server is: scheme, host, port and the path in front of /v1 (usually none)."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self.scheme == "https"

    @property
    def loopback(self) -> bool:
        """Whether the server is this computer."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The one spelling of this address, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"


def is_loopback(host: str) -> bool:
    """Whether `host` is localhost or a literal loopback address. Other names are not looked up: they can change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_origin(url: str) -> Origin:
    """Check a server's address.

    Raises:
        BadUrlError: it is malformed, holds credentials, or would send bytes in the clear over a network.
    """
    text = url.strip()
    if not text or len(text) > _MAX_URL or not text.isprintable() or " " in text or "\\" in text:
        raise BadUrlError("This is not a server's address.")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (
            (parts.hostname or "").encode("idna").decode("ascii")
            if "[" not in text
            else parts.hostname
        )
    except (ValueError, UnicodeError) as error:
        raise BadUrlError("This is not a server's address.") from error
    if parts.scheme not in _PORTS or not parts.netloc:
        raise BadUrlError("The address must begin with https:// (or http:// for this computer).")
    if parts.username is not None or parts.password is not None:
        raise BadUrlError(
            "The address must not hold a user name or password.",
            "Enter the access token in its own field.",
        )
    if not host or parts.query or parts.fragment or "?" in text or "#" in text:
        raise BadUrlError(
            "The address must be a host, and a port or a path where needed, nothing else."
        )
    if ".." in parts.path or "%" in parts.path or "//" in parts.path:
        raise BadUrlError("The path of the address is not usable.")
    origin = Origin(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))
    if not origin.secure and not origin.loopback:
        raise InsecureUrlError(
            "http:// is allowed for this computer only: your access token and traffic would travel unprotected."
        )
    return origin
