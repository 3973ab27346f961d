"""The HTTP service: stateless answers to encrypted rounds, and the public files of a model.

Nothing here knows a conversation. A round is parsed, multiplied and answered; the only things counted are tokens and
bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from fhe_protocol import PROTOCOL_VERSION, SOFTWARE_NAME
from fhe_server.service.access import Access, Holder
from fhe_server.service.batching import Batcher
from fhe_server.service.limits import Limits
from fhe_server.service.refusals import ServiceError, http_error
from fhe_server.service.rounds import post_round, socket_rounds
from fhe_server.service.served_model import ServedModel
from fhe_server.service.service_state import (
    SchemeService,
    ServerCounters,
    ServiceState,
    admit,
    authorise,
    check_digest,
    find_model,
    read_body,
    state_of,
)
from fhe_server.service.shelf import Shelf
from fhe_server.service.tokens import hash_token

__all__ = [
    "SchemeService",
    "ServedModel",
    "ServerCounters",
    "ServiceError",
    "ServiceState",
    "admit",
    "authorise",
    "check_digest",
    "create_app",
    "find_model",
    "hash_token",
    "read_body",
    "state_of",
]

_ASK_AGAIN = "no-cache"
"""For caches: the model of that name may have been imported anew."""

Background = Callable[[ServiceState], AbstractAsyncContextManager[None]]
"""What runs beside the routes: reloading, housekeeping."""


def create_app(
    models: Mapping[str, ServedModel],
    token_hashes: frozenset[str] = frozenset(),
    other: SchemeService | None = None,
    unavailable: Mapping[str, str] | None = None,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    batcher: Batcher | None = None,
    background: Background | None = None,
) -> Starlette:
    """The ASGI app.

    Args:
        models: served models by name; a `Shelf` has a memory budget.
        token_hashes: `hash_token` of every accepted bearer token; empty means that none is asked for.
        other: a second scheme to offer.
        unavailable: schemes that this server cannot offer, and why.
        access: tokens with names and quotas, instead of `token_hashes`.
        limits: times, sizes and numbers.
        batcher: the queue before the kernels.
        background: entered when the app starts, left when it ends.
    """
    schemes = ("hint",) if other is None else ("hint", other.scheme)
    state = ServiceState(
        models if isinstance(models, Shelf) else Shelf(models),
        access or Access(token_hashes),
        limits or Limits(),
        batcher or Batcher(),
        schemes,
        dict(unavailable or {}),
    )
    app = Starlette(
        routes=[
            Route("/v1/health", _health),
            Route("/v1/ready", _ready),
            Route("/v1/info", _info),
            Route("/v1/usage", _usage),
            Route("/v1/models/{name}/manifest", _manifest),
            Route("/v1/models/{name}/files/{path}", _file),
            Route("/v1/models/{name}/hints", _hints),
            Route("/v1/models/{name}/rounds", post_round, methods=["POST"]),
            WebSocketRoute("/v1/models/{name}/rounds", socket_rounds),
            *(other.routes() if other is not None else ()),
        ],
        exception_handlers={HTTPException: _refused, ClientDisconnect: _gone},
        lifespan=_lifespan(state, other, background),
    )
    app.state.service = state
    return app


def _lifespan(
    state: ServiceState, other: SchemeService | None, background: Background | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(state.batcher.close)
            if other is not None:
                await stack.enter_async_context(other.lifespan(app))
            if background is not None:
                await stack.enter_async_context(background(state))
            yield

    return lifespan


def software_version() -> str:
    """Version of the installed package."""
    try:
        return version(SOFTWARE_NAME)
    except PackageNotFoundError:
        return "source"


def _refused(request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, ServiceError) else "http_error"
    state_of(request).metrics.refused[code] += 1
    return http_error(request, error)


async def _gone(request: Request, error: Exception) -> Response:
    """An upload was given up, which is nobody's fault here, and nobody is left to read this."""
    return Response(status_code=400)


async def _health(request: Request) -> Response:
    """The process is alive."""
    return JSONResponse({"status": "ok", "models": len(state_of(request).models)})


async def _ready(request: Request) -> Response:
    """A load balancer may send clients here."""
    if not state_of(request).ready:
        raise ServiceError(503, "loading", "the server is starting or about to end", 2)
    return JSONResponse({"status": "ready"})


async def _info(request: Request) -> Response:
    state = authorise(request)
    return JSONResponse(
        {
            "software": SOFTWARE_NAME,
            "protocol_version": PROTOCOL_VERSION,
            "version": software_version(),
            "schemes": list(state.schemes),
            "unavailable_schemes": dict(state.unavailable),
            "models": [_describe(name, model) for name, model in state.models.items()],
        }
    )


def _describe(name: str, model: ServedModel) -> dict[str, object]:
    manifest = model.manifest
    return {
        "name": name,
        "digest": manifest.digest,
        "hint_bytes": manifest.hint_bytes,
        "rounds_per_token": len(manifest.groups),
        "query_bytes_per_token": manifest.query_bytes(),
        "answer_bytes_per_token": manifest.answer_bytes(),
    }


async def _usage(request: Request) -> Response:
    """What the caller's token has used today, and may use."""
    ledger, holder = state_of(request).access.ledger, admit(request)
    used, quotas = ledger.used(holder.name), holder.token.quotas
    return JSONResponse(
        {
            "tokens": {"used": round(used.tokens, 3), "per_day": quotas.tokens_per_day},
            "bytes": {"used": used.bytes, "per_day": quotas.bytes_per_day},
            "resets_at": ledger.resets_at,
            "expires": holder.token.expires,
        }
    )


async def _manifest(request: Request) -> Response:
    model = find_model(request)
    headers = {"etag": f'"{model.manifest.digest}"', "cache-control": _ASK_AGAIN}
    return Response(model.manifest_bytes, media_type="application/json", headers=headers)


class _CountedFile(FileResponse):
    """A file, or ranges of it, whose bytes count for the one who asked."""

    def __init__(self, holder: Holder, path: Any, **options: Any) -> None:
        super().__init__(path, **options)
        self._holder = holder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See Starlette."""

        async def counted(message: Any) -> None:
            await send(message)
            self._holder.spend(0.0, len(message.get("body", b"")))

        await super().__call__(scope, receive, counted)


async def _file(request: Request) -> Response:
    holder = admit(request)
    found = find_model(request).artefact.file(request.path_params["path"])
    if found is None:
        raise ServiceError(404, "no_such_file", "the model has no such file")
    holder.check_quotas()
    path, entry = found
    headers = {"etag": f'"{entry.sha256}"', "cache-control": _ASK_AGAIN}
    return _CountedFile(holder, path, headers=headers)


async def _hints(request: Request) -> Response:
    """Hints with Range, If-Range and a strong ETag (Starlette's FileResponse answers the ranges)."""
    holder = admit(request)
    model = find_model(request)
    named = request.query_params.get("digest")
    if named is not None:
        check_digest(model, named)
    holder.check_quotas()
    headers = {"etag": f'"{model.manifest.digest}"', "cache-control": _ASK_AGAIN}
    if (
        named is not None
    ):  # an address that means these bytes for ever, whatever is imported under the name
        headers["cache-control"] = "public, max-age=31536000, immutable"
    path = model.artefact.hints_path
    return _CountedFile(holder, path, media_type="application/octet-stream", headers=headers)
