"""Running the service: uvicorn on a socket of our own, so that the port is known before the first request."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from fhe_protocol.glwe_library import unavailable_reason
from fhe_server.artefact import Artefact, find_artefacts
from fhe_server.errors import ArtefactError, ServerError
from fhe_server.service import SchemeService, ServedModel, ServiceState, create_app

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
    """

    models: Path
    names: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 8471
    device: str = "cpu"
    token_hashes: frozenset[str] = frozenset()
    port_file: Path | None = None
    exit_with_stdin: bool = False
    glwe: bool = True


def load_models(models: Path, names: Sequence[str], device: str) -> dict[str, ServedModel]:
    """Open the named models, or all of them.

    Raises:
        ArtefactError: one is missing or damaged, or there is none at all.
    """
    wanted = list(names) or find_artefacts(models)
    if not wanted:
        raise ArtefactError(
            "There is no imported model to serve.", "Run `tacita-server pull smollm2-135m` first."
        )
    return {name: ServedModel(Artefact(models / name), device) for name in wanted}


def serve(options: ServeOptions, announce: Callable[[str], None] = print) -> int:
    """Serve until SIGINT or SIGTERM (or, if asked, until standard input closes).

    Raises:
        ServerError: the address cannot be bound, or a model cannot be opened.
    """
    bound = _bind(options.host, options.port)
    try:
        loaded = load_models(options.models, options.names, options.device)
        reason = _why_no_glwe(options)
        app = create_app(
            loaded,
            options.token_hashes,
            _glwe(loaded) if reason is None else None,
            {} if reason is None else {"glwe": reason},
        )
        server = uvicorn.Server(uvicorn_config(app))
        host, port = bound.getsockname()[:2]
        if options.port_file is not None:
            _write_port_file(options.port_file, host, port)
        if options.exit_with_stdin:
            _stop_with_stdin(server)
        announce(f"Serving {', '.join(loaded)} on http://{host}:{port}")
        server.run(sockets=[bound])
    finally:
        bound.close()
    return 0


def _why_no_glwe(options: ServeOptions) -> str | None:
    """Why Concrete ML's scheme is not offered, or None if it is wanted and its library is installed."""
    return unavailable_reason() if options.glwe else "This server was started without it."


def _glwe(models: Mapping[str, ServedModel]) -> SchemeService:
    from fhe_server.glwe.routes import GlweService

    return GlweService(models)


def uvicorn_config(app: Starlette, max_message: int | None = None) -> uvicorn.Config:
    """How the app is run: no access log (addresses), no compression, no pings (a client may idle for an hour).

    Args:
        max_message: bytes of the largest WebSocket message; a longer one ends the connection before it is in memory.
            None takes the largest query of the app's models.
    """
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        ws_max_size=_largest_query(app) if max_message is None else max_message,
        ws_max_queue=QUEUED_MESSAGES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=5,
    )


def _largest_query(app: Starlette) -> int:
    service: ServiceState | None = getattr(app.state, "service", None)
    models = {} if service is None else service.models
    return max((model.max_query_size for model in models.values()), default=0)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    if os.name == "posix":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ServerError(
            f"Cannot listen on {host}:{port}: {error}.", "Choose another --host or --port."
        ) from error
    return bound


def _write_port_file(path: Path, host: str, port: int) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"host": host, "port": port, "pid": os.getpid()}))
    os.replace(temporary, path)


def _stop_with_stdin(server: uvicorn.Server) -> None:
    def watch() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        server.should_exit = True

    threading.Thread(target=watch, name="stdin-watch", daemon=True).start()
