"""The HTTP service: stateless answers to encrypted rounds, and the public files of a model.

Nothing here knows a conversation. A round is parsed, multiplied and answered; the only things counted are bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from fhe_protocol import PROTOCOL_VERSION, SOFTWARE_NAME
from fhe_protocol.errors import FrameError
from fhe_protocol.wire import pack_answer, parse_query
from fhe_server.batching import Batcher, QueueFullError
from fhe_server.served_model import ServedModel

__all__ = ["ServedModel", "create_app"]


@dataclass
class ServerCounters:
    """Payload bytes since start, for tests and metrics. No content, no addresses."""

    rounds: int = 0
    query_bytes: int = 0
    answer_bytes: int = 0


class SchemeService(Protocol):
    """Another scheme that is served beside `hint` (`glwe.routes.GlweService`)."""

    @property
    def scheme(self) -> str:
        """Its name in /v1/info."""
        ...

    def routes(self) -> list[BaseRoute]:
        """What to mount."""
        ...

    def lifespan(self, app: Starlette) -> AbstractAsyncContextManager[None]:
        """Entered when the app starts, left when it ends."""
        ...


@dataclass(frozen=True)
class ServiceState:
    """What the routes need."""

    models: Mapping[str, ServedModel]
    token_hashes: frozenset[str] = frozenset()
    counters: ServerCounters = field(default_factory=ServerCounters)
    schemes: tuple[str, ...] = ("hint",)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    batcher: Batcher = field(default_factory=Batcher)


def hash_token(token: str) -> str:
    """How bearer tokens are kept: SHA-256, hexadecimal. Tokens are random, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_app(
    models: Mapping[str, ServedModel],
    token_hashes: frozenset[str] = frozenset(),
    other: SchemeService | None = None,
    unavailable: Mapping[str, str] | None = None,
) -> Starlette:
    """The ASGI app.

    Args:
        models: served models by name.
        token_hashes: `hash_token` of every accepted bearer token; empty means that none is asked for.
        other: a second scheme to offer.
        unavailable: schemes that this server cannot offer, and why.
    """
    app = Starlette(
        routes=[
            Route("/v1/health", _health),
            Route("/v1/info", _info),
            Route("/v1/models/{name}/manifest", _manifest),
            Route("/v1/models/{name}/files/{path}", _file),
            Route("/v1/models/{name}/hints", _hints),
            Route("/v1/models/{name}/rounds", _post_round, methods=["POST"]),
            WebSocketRoute("/v1/models/{name}/rounds", _socket_rounds),
            *(other.routes() if other is not None else ()),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=other.lifespan if other is not None else None,
    )
    schemes = ("hint",) if other is None else ("hint", other.scheme)
    app.state.service = ServiceState(
        dict(models), token_hashes, schemes=schemes, unavailable=dict(unavailable or {})
    )
    return app


def software_version() -> str:
    """Version of the installed package."""
    try:
        return version(SOFTWARE_NAME)
    except PackageNotFoundError:
        return "source"


class ServiceError(HTTPException):
    """An error with a machine-readable code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        self.code = code


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = getattr(error, "code", "http_error")
    return JSONResponse({"error": {"code": code, "message": error.detail}}, error.status_code)


def state_of(connection: HTTPConnection) -> ServiceState:
    """What the app was created with."""
    state: ServiceState = connection.app.state.service
    return state


def authorise(connection: HTTPConnection) -> ServiceState:
    """The state, for a caller with a valid token.

    Raises:
        ServiceError: 401.
    """
    state = state_of(connection)
    if not state.token_hashes:
        return state
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    offered = hash_token(token.strip())
    known = [hmac.compare_digest(offered, good) for good in state.token_hashes]
    if scheme.lower() != "bearer" or not any(known):
        raise ServiceError(401, "unauthorised", "this server needs a valid access token")
    return state


def find_model(connection: HTTPConnection) -> ServedModel:
    """The model that the path names, for a caller with a valid token.

    Raises:
        ServiceError: 401, 404.
    """
    state = authorise(connection)
    name = connection.path_params["name"]
    model = state.models.get(name)
    if model is None:
        served = ", ".join(sorted(state.models)) or "none"
        raise ServiceError(404, "no_such_model", f"no such model here; served: {served}")
    return model


def check_digest(model: ServedModel, digest: str | None) -> None:
    """Refuse a caller who means another model.

    Raises:
        ServiceError: 409.
    """
    if digest != model.manifest.digest:
        raise ServiceError(409, "other_model", "the model changed on the server; connect again")


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok", "models": len(state_of(request).models)})


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


async def _manifest(request: Request) -> Response:
    model = find_model(request)
    etag = f'"{model.manifest.digest}"'
    return Response(model.manifest_bytes, media_type="application/json", headers={"etag": etag})


async def _file(request: Request) -> Response:
    found = find_model(request).artefact.file(request.path_params["path"])
    if found is None:
        raise ServiceError(404, "no_such_file", "the model has no such file")
    path, entry = found
    return FileResponse(path, headers={"etag": f'"{entry.sha256}"'})


async def _hints(request: Request) -> Response:
    """Hints with Range, If-Range and a strong ETag (Starlette's FileResponse answers the ranges)."""
    model = find_model(request)
    headers = {
        "etag": f'"{model.manifest.digest}"',
        "cache-control": "public, max-age=31536000, immutable",
    }
    path = model.artefact.hints_path
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


async def _post_round(request: Request) -> Response:
    model = find_model(request)
    check_digest(model, request.headers.get("x-tacita-model"))
    frame = await read_body(request, model.max_query_size)
    try:
        answer = await _answer(model, frame, state_of(request))
    except FrameError as error:
        raise ServiceError(400, "bad_frame", str(error)) from error
    return Response(answer, media_type="application/octet-stream")


async def read_body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    try:
        announced = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise ServiceError(400, "bad_request", "content-length is not a number") from None
    chunks: list[bytes] = []
    total = announced
    if announced <= limit:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                break
            chunks.append(chunk)
    if total > limit:
        raise ServiceError(413, "too_large", f"a query has at most {limit} bytes here")
    return b"".join(chunks)


async def _answer(model: ServedModel, frame: bytes, state: ServiceState) -> bytes:
    header, planes = parse_query(frame, model.manifest)
    try:
        sums = await state.batcher.multiply(model, header.group, planes)
    except QueueFullError as error:
        raise ServiceError(503, "busy", error.message) from error
    answer = pack_answer(header, sums)
    counters = state.counters
    counters.rounds += 1
    counters.query_bytes += len(frame)
    counters.answer_bytes += len(answer)
    return answer


async def _socket_rounds(socket: WebSocket) -> None:
    """Rounds over one connection: a query frame in, its answer out, in order, until either side leaves."""
    await socket.accept()
    state = state_of(socket)
    state.batcher.clients += 1
    try:
        model = find_model(socket)
        check_digest(model, socket.query_params.get("digest"))
        while True:
            frame = await _receive_frame(socket)
            await socket.send_bytes(await _answer(model, frame, state))
    except WebSocketDisconnect:
        return
    except ServiceError as error:
        await _refuse(socket, error.code, error.detail)
    except FrameError as error:
        await _refuse(socket, "bad_frame", str(error))
    finally:
        state.batcher.clients -= 1


async def _receive_frame(socket: WebSocket) -> bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    frame: bytes | None = message.get("bytes")
    if frame is None:
        raise FrameError("binary messages only")
    return frame


async def _refuse(socket: WebSocket, code: str, message: str) -> None:
    close: Callable[..., Awaitable[None]] = socket.close
    try:
        await socket.send_json({"error": {"code": code, "message": message}})
        await close(code=1008)
    except (WebSocketDisconnect, RuntimeError):  # the other side has left already
        return
