"""Running the service: uvicorn on a socket of our own, so that the port is known before the first request."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from fhe_protocol.glwe_library import unavailable_reason
from fhe_server.errors import ServerError
from fhe_server.service import logs
from fhe_server.service.access import Access
from fhe_server.service.app import SchemeService, ServedModel, ServiceState, create_app
from fhe_server.service.batching import Batcher, BatchLimits
from fhe_server.service.config import DEFAULT_PORT, Settings
from fhe_server.service.config_values import address_of
from fhe_server.service.guarded_protocols import GuardedHttp, GuardedWebSocket, guarded
from fhe_server.service.housekeeping import Housekeeper, open_models
from fhe_server.service.limits import Limits, allow_connections
from fhe_server.service.logs import event
from fhe_server.service.round_socket import RoundSocket
from fhe_server.service.shelf import Shelf
from fhe_server.service.tokens import TokenFile
from fhe_server.service.usage import USAGE_NAME, UsageLedger

BACKLOG = 1024
"""Connections that wait to be accepted."""

QUEUED_MESSAGES = 2
"""Messages of one connection that wait in memory. A client sends the next round after the last one's answer."""


@dataclass(frozen=True)
class ServeOptions:
    """What `tacita-server serve` was asked for.

    Attributes:
        names: models to serve; empty means all that were imported.
        port_file: where to write {"host", "port", "pid"} once the socket is bound.
        exit_with_stdin: end when standard input closes (a parent process that died closes it).
        glwe: offer Concrete ML's scheme, too, where its library is installed.
        token_hashes: digests of tokens without names; `tokens` is a file of tokens that have some.
        settings: limits, log, TLS and the rest.
        reread: reads the settings again, when the operator asks for it.
        worker: this process's number among several on the one port.
    """

    models: Path
    names: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    device: str = "cpu"
    token_hashes: frozenset[str] = frozenset()
    port_file: Path | None = None
    exit_with_stdin: bool = False
    glwe: bool = True
    tokens: Path | None = None
    settings: Settings = field(default_factory=Settings)
    reread: Callable[[], Settings] | None = None
    worker: int | None = None


def serve(options: ServeOptions, announce: Callable[[str], None] = print) -> int:
    """Serve until SIGINT or SIGTERM (or, if asked, until standard input closes).

    Raises:
        ServerError: the address cannot be bound, or a model, token file or certificate cannot be opened.
    """
    settings = options.settings
    logs.set_up(settings.log_format, settings.log_level, settings.log_file)
    allow_connections(settings.max_connections)
    bound = bind(options.host, options.port, shared=options.worker is not None)
    try:
        app = make_app(options)
        config = uvicorn_config(app, **_listening(settings))
        server = DrainingServer(_checked(config, settings), app)
        bound.listen(BACKLOG)  # whoever reads the port file may connect at once
        host, port = bound.getsockname()[:2]
        if options.port_file is not None:
            write_port_file(options.port_file, host, port)
        if options.exit_with_stdin:
            _stop_with_stdin(server)
        scheme = "http" if settings.tls_cert is None else "https"
        names = ", ".join(app.state.service.models)
        announce(f"Serving {names} on {scheme}://{host}:{port}")
        event("started", host=host, port=port, worker=options.worker or 0)
        if not app.state.service.access.required and not _is_loopback(host):
            event("open_to_everyone", logging.WARNING, host=host)
        server.run(sockets=[bound])
    finally:
        bound.close()
    return 0


def make_app(options: ServeOptions) -> Starlette:
    """The ASGI app of a server with these options; any ASGI server can run it.

    Raises:
        ServerError: a model or the token file cannot be opened.
    """
    settings = options.settings
    loaded = open_models(options.models, options.names, options.device)
    shelf = Shelf(
        loaded, settings.memory_budget, lambda what, name: event(f"model_{what}", model=name)
    )
    reason = _why_no_glwe(options)
    housekeeper = Housekeeper(
        options.models,
        options.names,
        options.device,
        settings.preload,
        settings.log_token_names,
        _rereader(options),
    )

    @asynccontextmanager
    async def background(state: ServiceState) -> AsyncIterator[None]:
        async with housekeeper.run(state):
            end_metrics = _serve_metrics(state, options)
            try:
                yield
            finally:
                end_metrics()

    app = create_app(
        shelf,
        other=_glwe(shelf) if reason is None else None,
        unavailable={} if reason is None else {"glwe": reason},
        access=_access(options),
        limits=limits_of(settings),
        batcher=Batcher(batch_limits_of(settings)),
        background=background,
    )
    app.state.housekeeper = housekeeper
    return app


def limits_of(settings: Settings) -> Limits:
    """The limits of connections."""
    return Limits(
        max_connections=settings.max_connections,
        connections_per_token=settings.connections_per_token,
        connections_per_address=settings.connections_per_address,
        head_seconds=settings.head_seconds,
        transfer_seconds=settings.transfer_seconds,
        least_rate=settings.least_rate,
        max_arriving_bytes=settings.max_arriving_bytes,
        idle_seconds=settings.idle_seconds,
        drain_seconds=settings.drain_seconds,
    )


def batch_limits_of(settings: Settings) -> BatchLimits:
    """The limits of the queue."""
    return BatchLimits(
        max_rows=settings.max_batch_rows,
        max_wait_s=settings.max_batch_wait_ms / 1000,
        max_waiting=settings.max_waiting,
        max_waiting_bytes=settings.max_waiting_bytes,
    )


def _access(options: ServeOptions) -> Access:
    if options.tokens is None:
        return Access(options.token_hashes)
    ledger = UsageLedger(options.tokens.with_name(USAGE_NAME))
    try:
        ledger.sync_now()  # what other processes and earlier ones have counted today
    except OSError as error:
        event("usage_not_read", reason=error.strerror or str(error))
    return Access(options.token_hashes, TokenFile(options.tokens), ledger)


def _rereader(options: ServeOptions) -> Callable[[], tuple[Limits, BatchLimits]] | None:
    if options.reread is None:
        return None
    reread = options.reread

    def again() -> tuple[Limits, BatchLimits]:
        settings = reread()
        allow_connections(settings.max_connections)
        logs.set_up(settings.log_format, settings.log_level, settings.log_file)
        return limits_of(settings), batch_limits_of(settings)

    return again


def _serve_metrics(state: ServiceState, options: ServeOptions) -> Callable[[], None]:
    if options.settings.metrics is None:
        return lambda: None
    from fhe_server.service.exposition import serve_metrics

    host, port = address_of(options.settings.metrics)
    return serve_metrics(state, host, port + (options.worker or 0) if port else 0)


def _why_no_glwe(options: ServeOptions) -> str | None:
    """Why Concrete ML's scheme is not offered, or None if it is wanted and its library is installed."""
    if options.worker is not None:
        return "This server runs several processes, and a key is known to one only."
    return unavailable_reason() if options.glwe else "This server was started without it."


def _glwe(models: Mapping[str, ServedModel]) -> SchemeService:
    from fhe_server.glwe.routes import GlweService

    return GlweService(models)


class DrainingServer(uvicorn.Server):
    """Says that it is not ready any more before it ends, and follows limits that change."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app
        self._follows_models = config.ws_max_size == _largest_query(_service_of(app))

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        state = _service_of(self._app)
        if state is not None:
            for protocol in (self.config.http_protocol_class, self.config.ws_protocol_class):
                if protocol is not None and issubclass(protocol, GuardedHttp | GuardedWebSocket):
                    protocol.limits = state.limits
            if self._follows_models:
                self.config.ws_max_size = _largest_query(state)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let rounds under way finish, close."""
        state = _service_of(self._app)
        if state is not None:
            state.ready = False
            event("draining", connections=state.connections.count)
        await super().shutdown(sockets)
        event("ended")


def uvicorn_config(app: Starlette, max_message: int | None = None, **more: Any) -> uvicorn.Config:
    """How the app is run: no access log (addresses), no compression, no pings (a client may idle for an hour).

    Args:
        max_message: bytes of the largest WebSocket message; a longer one ends the connection before it is in memory.
            None takes the largest query of the app's models.
        more: what else uvicorn is told.
    """
    service = _service_of(app)
    limits = Limits() if service is None else service.limits
    http, ws = guarded(limits, RoundSocket)
    options: dict[str, Any] = {
        "http": http,
        "ws": ws,
        "loop": "fhe_server.service.event_loop:make_loop",
        "access_log": False,
        "log_config": None,
        "ws_max_size": _largest_query(service) if max_message is None else max_message,
        "ws_max_queue": QUEUED_MESSAGES,
        "ws_per_message_deflate": False,
        "ws_ping_interval": None,
        "server_header": False,
        "date_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": int(min(600, limits.idle_seconds)),
        "timeout_graceful_shutdown": max(1, round(limits.drain_seconds)),
        "backlog": BACKLOG,
    }
    return uvicorn.Config(app, **(options | more))


def _service_of(app: Starlette) -> ServiceState | None:
    """None for an app that is not ours."""
    return getattr(app.state, "service", None)


def _listening(settings: Settings) -> dict[str, Any]:
    """TLS and proxies."""
    found: dict[str, Any] = {}
    if settings.tls_cert is not None:
        found |= {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
    if settings.trusted_proxies is not None:
        found |= {"proxy_headers": True, "forwarded_allow_ips": settings.trusted_proxies}
    return found


def _checked(config: uvicorn.Config, settings: Settings) -> uvicorn.Config:
    """The config, loaded, so that a bad certificate is said before anything is announced."""
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise ServerError(
            f"Cannot use the certificate {settings.tls_cert}: {error.strerror or error}.",
            "Check --tls-cert and --tls-key.",
        ) from error
    return config


def _largest_query(service: ServiceState | None) -> int:
    models = {} if service is None else service.models
    return max((model.max_query_size for model in models.values()), default=0)


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A bound socket.

    Args:
        shared: several processes bind the same port, and the system spreads connections over them.

    Raises:
        ServerError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    if os.name == "posix":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ServerError(
            f"Cannot listen on {host}:{port}: {error}.", "Choose another --host or --port."
        ) from error
    return bound


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def write_port_file(path: Path, host: str, port: int) -> None:
    """Tell a parent process where we are.

    Raises:
        ServerError: the file cannot be written.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps({"host": host, "port": port, "pid": os.getpid()}))
        os.replace(temporary, path)
    except OSError as error:
        raise ServerError(
            f"Cannot write {path}: {error.strerror}.", "Choose another --port-file."
        ) from error


def _stop_with_stdin(server: uvicorn.Server) -> None:
    def watch() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        server.should_exit = True

    threading.Thread(target=watch, name="stdin-watch", daemon=True).start()
