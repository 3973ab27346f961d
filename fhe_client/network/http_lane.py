"""HTTP to one server, bounded on every side: time, sizes, redirects, cookies, compression, proxies, certificates.

A *lane* is one kind of traffic on connections of its own, so that the meter can tell kinds apart. Every failure leaves
as an error of `fhe_client.network.errors`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import truststore
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from fhe_client.network.errors import (
    BadUrlError,
    NetworkError,
    NotTacitaError,
    ProtocolBreachError,
    map_network_error,
    retry_after_seconds,
    server_error,
)
from fhe_client.network.meter import TrafficMeter
from fhe_client.network.origin import Origin
from fhe_client.network.retries import Timeouts
from fhe_client.network.watched_socket import Watch, WatchedSocket, never

CHUNK = 1 << 18
MAX_ERROR_BODY = 1 << 16


@dataclass(frozen=True)
class Access:
    """How a server is reached: address, token, certificate, limits, and who counts."""

    origin: Origin
    meter: TrafficMeter
    token: str | None = None
    pinned_certificate: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __repr__(self) -> str:
        return f"Access({self.origin.url!r})"  # never the token


def checked_fingerprint(text: str | None) -> str | None:
    """A SHA-256 fingerprint as 64 lower-case hexadecimal digits; colons and spaces are allowed in `text`.

    Raises:
        BadUrlError: it is something else.
    """
    if text is None:
        return None
    digits = re.sub(r"[\s:]", "", text).lower().removeprefix("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise BadUrlError(
            "The certificate's fingerprint must be SHA-256: 64 hexadecimal digits.",
            "Copy it again from whoever runs the server.",
        )
    return digits


def checked_token(token: str | None) -> str | None:
    """The access token, if a header can carry it.

    Raises:
        BadUrlError: it cannot.
    """
    if token is None or not token.strip():
        return None
    token = token.strip()
    if len(token) > 4096 or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise BadUrlError("The access token has characters that no token has.", "Copy it again.")
    return token


def _socket_options() -> list[tuple[int, int, int]]:
    """No delay for small frames; a peer that vanished is noticed after about a minute, where the system can do that."""
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: unacknowledged data, in milliseconds
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000))
    return options


class _Session(requests.Session):
    """Looks at no redirect: requests would read a redirect's whole body even when told not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _Bearer(requests.auth.AuthBase):
    """The token, or nothing. Its presence keeps requests from sending what it finds in ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _tls_settings(access: Access) -> dict[str, Any]:
    """What urllib3 needs: the system's trust store, or exactly one certificate and nothing else."""
    if not access.origin.secure:
        return {}
    if access.pinned_certificate is None:
        return {"ssl_context": truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
    # The fingerprint of the very certificate is checked instead.
    return {**_unchecked(), "assert_fingerprint": access.pinned_certificate}


def _unchecked() -> dict[str, Any]:
    """TLS with whoever answers. Nothing may be sent over it before a fingerprint was compared."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return {"ssl_context": context, "cert_reqs": "CERT_NONE", "assert_hostname": False}


class _Adapter(HTTPAdapter):
    """Connections whose sockets are watched and counted, with TLS settings of our own."""

    def __init__(
        self, access: Access, kind: str, watch: Watch, tls: Mapping[str, Any] | None = None
    ) -> None:
        self._access, self._kind, self._watch = access, kind, watch
        settings = _tls_settings(access) if tls is None else tls
        self._settings = {"socket_options": _socket_options(), **settings}
        super().__init__(max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs, **self._settings)
        self._instrument(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs, **self._settings)
        self._instrument(manager)
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {}  # neither requests' own certificate bundle nor one named by the environment

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context says it all."""

    def _instrument(self, manager: urllib3.PoolManager) -> None:
        meter, kind, watch = self._access.meter, self._kind, self._watch

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                self.sock: Any = WatchedSocket(self.sock, meter, kind, watch)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                self.sock: Any = WatchedSocket(self.sock, meter, kind, watch)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class Lane:
    """One kind of traffic to one server. Not for two threads at a time."""

    def __init__(self, access: Access, kind: str, should_stop: Callable[[], bool] = never) -> None:
        self.access = access
        self.kind = kind
        self.watch = Watch(should_stop)
        self._session = _Session()
        # A proxy of the environment is never right for a server on this computer.
        self._session.trust_env = not access.origin.loopback
        self._session.auth = _Bearer(access.token)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()
        self._session.headers.update(
            {"User-Agent": "tacita", "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        self._mount(_Adapter(access, kind, self.watch))

    def trust_anyone(self) -> None:
        """Connect to whoever answers, from now on. Only for `presented_certificate`."""
        self._mount(_Adapter(self.access, self.kind, self.watch, _unchecked()))

    def _mount(self, adapter: _Adapter) -> None:
        self._adapter = adapter
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def open(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float,
        rate: float | None = None,
        expected: int = 0,
    ) -> requests.Response:
        """Send GET (or POST, with a body) and read the head of the reply, which is 200 or 206.

        Args:
            seconds, rate, expected: how long all of it may take, body included (see Watch.start).

        Raises:
            NetworkError: anything else.
        """
        self.watch.start(seconds, rate, expected)
        timeouts = self.access.timeouts
        try:
            response = self._session.request(
                "GET" if body is None else "POST",
                self.access.origin.url + path,
                headers=dict(headers or {}),
                data=body,
                stream=True,
                allow_redirects=False,
                timeout=(min(timeouts.connect, seconds), seconds),
            )
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as error:
            raise map_network_error(error) from error
        try:
            self._check(response)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, response: requests.Response) -> None:
        if response.status_code in (200, 206):
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise ProtocolBreachError(
                    "The server compressed a reply that must not be compressed."
                )
            return
        if 300 <= response.status_code < 400:
            raise NotTacitaError(
                "The server sends us on to another address, which is not followed.",
                "Enter the server's final address.",
            )
        raise self._error(response)

    def _error(self, response: requests.Response) -> NetworkError:
        try:
            body = json.loads(b"".join(self.stream(response, MAX_ERROR_BODY)))
            code, message = body["error"]["code"], body["error"]["message"]
        except (NetworkError, ValueError, KeyError, TypeError, RecursionError):
            code, message = "", response.reason or "no reason given"
        error = server_error(code, message, response.status_code)
        error.retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        return error

    def stream(self, response: requests.Response, limit: int) -> Iterator[bytes]:
        """The body in chunks, at most `limit` bytes of it; closes the response unless it was read to its end.

        Raises:
            ProtocolBreachError: it is longer.
            NetworkError: the connection broke, or was too slow.
        """
        announced = response.headers.get("Content-Length", "0")
        if not announced.isascii() or not announced.isdigit() or int(announced[:20]) > limit:
            response.close()
            raise ProtocolBreachError("The server announces more bytes than there can be.")
        total = 0
        ended = False
        try:
            while chunk := _read(response, min(CHUNK, limit + 1 - total)):
                total += len(chunk)
                if total > limit:
                    raise ProtocolBreachError("The server sends more bytes than there can be.")
                yield chunk
            ended = True
        finally:
            if not ended:
                response.close()

    def fetch(self, path: str, limit: int, *, headers: Mapping[str, str] | None = None) -> bytes:
        """GET a small body.

        Raises:
            NetworkError: with the reason.
        """
        response = self.open(path, headers=headers, seconds=self.access.timeouts.control)
        return b"".join(self.stream(response, limit))

    def connect(self, path: str) -> WatchedSocket:
        """A connected socket of our own (through proxy and TLS as everything else), for a WebSocket.

        Raises:
            NetworkError: with the reason.
        """
        request = requests.Request("GET", self.access.origin.url + path).prepare()
        settings = self._session.merge_environment_settings(request.url, {}, True, None, None)
        try:
            pool: Any = self._adapter.get_connection_with_tls_context(
                request, True, dict(settings["proxies"]), None
            )
            # The pool's timeout for connecting is set per request by requests; here it is the connection's.
            connection = pool._new_conn()
            connection.timeout = self.access.timeouts.connect
            if pool.proxy is not None and self.access.origin.secure:
                pool._prepare_proxy(connection)
            else:
                connection.connect()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise map_network_error(error) from error
        watched: WatchedSocket = connection.sock
        return watched


def presented_certificate(access: Access, should_stop: Callable[[], bool] = never) -> str | None:
    """SHA-256 fingerprint of the certificate that whoever answers presents; None where none can be had.

    For a person to compare with what the server's owner says. Nothing is sent over the connection, the token least of
    all: it ends with the handshake.
    """
    if not access.origin.secure:
        return None
    lane = Lane(replace(access, token=None, pinned_certificate=None), "control", should_stop)
    lane.trust_anyone()
    lane.watch.start(access.timeouts.control)
    try:
        sock = lane.connect("/")
        try:
            certificate: bytes | None = sock.getpeercert(binary_form=True)
        finally:
            sock.abort()
    except (NetworkError, OSError):
        return None
    finally:
        lane.close()
    return hashlib.sha256(certificate).hexdigest() if certificate else None


def _read(response: requests.Response, size: int) -> bytes:
    try:
        data: bytes = response.raw.read(size, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise map_network_error(error) from error
    return data
