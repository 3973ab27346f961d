"""Rounds: one query frame in, one answer frame out, over WebSocket or POST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from fhe_protocol.errors import FrameError
from fhe_protocol.wire import pack_answer, parse_query
from fhe_server.service.access import Holder
from fhe_server.service.batching import QueueFullError
from fhe_server.service.refusals import ServiceError
from fhe_server.service.served_model import ServedModel
from fhe_server.service.service_state import (
    ServiceState,
    admit,
    check_digest,
    find_model,
    read_body,
    state_of,
)

_POLICY, _TRY_LATER = 1008, 1013
_BUSY_S = 1


async def answer_round(
    state: ServiceState, holder: Holder, model: ServedModel, frame: bytes
) -> bytes:
    """The answer frame to a query frame of a caller.

    Raises:
        ServiceError: no token, quota or room for it.
        FrameError: the frame is malformed.
    """
    started = time.monotonic()
    holder.begin_round()
    model.rounds += 1
    try:
        header, planes = parse_query(frame, model.manifest)
        if not model.loaded:
            await state.shelf.make_ready(model)
        sums = await state.batcher.multiply(model, header.group, planes)
        answer = pack_answer(header, sums)
    except QueueFullError as error:
        raise ServiceError(503, "busy", error.message, _BUSY_S) from error
    finally:
        model.rounds -= 1
        holder.end_round()
    model.last_used = started
    _count(state, holder, model, header.rows, len(frame), len(answer))
    state.metrics.round_s.add(time.monotonic() - started)
    return answer


def _count(
    state: ServiceState, holder: Holder, model: ServedModel, rows: int, up: int, down: int
) -> None:
    tokens = rows / len(model.manifest.groups)
    holder.spend(tokens, up + down)
    counters = state.counters
    counters.rounds += 1
    counters.query_bytes += up
    counters.answer_bytes += down
    state.metrics.tokens[model.manifest.name] += tokens


async def post_round(request: Request) -> Response:
    """POST /v1/models/{name}/rounds."""
    holder = admit(request)
    model = find_model(request)
    check_digest(model, request.headers.get("x-tacita-model"))
    frame = await read_body(request, model.max_query_size)
    try:
        answer = await answer_round(state_of(request), holder, model, frame)
    except FrameError as error:
        raise ServiceError(400, "bad_frame", str(error)) from error
    return Response(answer, media_type="application/octet-stream")


class _Connection:
    """A WebSocket that may have to end while it waits for its client, because its token does."""

    def __init__(self, socket: WebSocket, state: ServiceState) -> None:
        self._socket = socket
        self._state = state
        self._waiting = False
        self._ending: asyncio.Task[None] | None = None

    def end(self, reason: ServiceError) -> None:
        """The token is no longer valid. A round under way ends first; its next one is refused by the holder."""
        if self._waiting and self._ending is None:
            self._ending = asyncio.create_task(self.refuse(reason))

    async def receive(self) -> bytes:
        """The next message.

        Raises:
            WebSocketDisconnect: there is none.
            FrameError: it is text.
        """
        self._waiting = True
        message = await self._socket.receive()
        self._waiting = False
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        frame: bytes | None = message.get("bytes")
        if frame is None:
            raise FrameError("binary messages only")
        return frame

    async def refuse(self, error: ServiceError) -> None:
        """Say why and close. If the other side has left already, so be it."""
        self._state.metrics.refused[error.code] += 1
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.send_json(error.body)
            later = error.status_code in (429, 503)
            await self._socket.close(code=_TRY_LATER if later else _POLICY)


async def socket_rounds(socket: WebSocket) -> None:
    """Rounds over one connection: a query frame in, its answer out, in order, until either side leaves."""
    await socket.accept()
    state = state_of(socket)
    connection = _Connection(socket, state)
    try:
        holder = admit(socket)
        model = find_model(socket)
        check_digest(model, socket.query_params.get("digest"))
        with _joined(state, holder, connection):
            while True:
                frame = await connection.receive()
                await socket.send_bytes(await answer_round(state, holder, model, frame))
    except WebSocketDisconnect:
        return
    except ServiceError as error:
        await connection.refuse(error)
    except FrameError as error:
        await connection.refuse(ServiceError(400, "bad_frame", str(error)))


@contextmanager
def _joined(state: ServiceState, holder: Holder, connection: _Connection) -> Iterator[None]:
    """One more connection, while it lasts.

    Raises:
        ServiceError: 503, there are too many.
    """
    if state.metrics.connections >= state.limits.max_connections:
        raise ServiceError(503, "busy", "the server has too many connections", 5 * _BUSY_S)
    state.metrics.connections += 1
    state.batcher.clients += 1
    holder.connections.add(connection.end)
    try:
        yield
    finally:
        holder.connections.discard(connection.end)
        state.batcher.clients -= 1
        state.metrics.connections -= 1
