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
    owner_of,
    read_body,
    state_of,
)

_POLICY, _RESTART, _TRY_LATER = 1008, 1012, 1013
_BUSY_S = 1


async def answer_round(
    state: ServiceState, holder: Holder, model: ServedModel, frame: bytes
) -> bytes:
    """The answer frame to a query frame of a caller.

    Raises:
        ServiceError: no token, quota or room for it.
        FrameError: the frame is malformed.
    """
    holder.begin_round()
    try:
        return await _answer(state, holder, model, frame)
    finally:
        holder.end_round()


async def _answer(state: ServiceState, holder: Holder, model: ServedModel, frame: bytes) -> bytes:
    """Of a round that has begun."""
    started = time.monotonic()
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
    holder.begin_round()  # so that nobody sends megabytes to hear that the quota is used up
    try:
        frame = await read_body(request, model.max_query_size)
        answer = await _answer(state_of(request), holder, model, frame)
    except FrameError as error:
        raise ServiceError(400, "bad_frame", str(error)) from error
    finally:
        holder.end_round()
    return Response(answer, media_type="application/octet-stream")


class _Connection:
    """A WebSocket that may have to end while it waits for its client, because its token does."""

    def __init__(self, socket: WebSocket, state: ServiceState) -> None:
        self._socket = socket
        self._state = state
        self._waiting = False
        self._ending: asyncio.Task[None] | None = None
        self.leaving = False

    def leave(self) -> None:
        """The model is served no more. A round under way ends first; the client comes back by itself."""
        self.leaving = True
        if self._waiting and self._ending is None:
            self._ending = asyncio.create_task(self.send_away())

    async def send_away(self) -> None:
        """Close as a server does that begins anew."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code=_RESTART)

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
        if self._ending is not None:  # the message crossed our goodbye; the client sends it again
            await self._ending
            raise WebSocketDisconnect(_RESTART)
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
        with _joined(state, holder, model, connection, owner_of(socket, holder)):
            while not connection.leaving:
                frame = await connection.receive()
                await socket.send_bytes(await answer_round(state, holder, model, frame))
        await connection.send_away()
    except WebSocketDisconnect:
        return
    except ServiceError as error:
        await connection.refuse(error)
    except FrameError as error:
        await connection.refuse(ServiceError(400, "bad_frame", str(error)))


@contextmanager
def _joined(
    state: ServiceState, holder: Holder, model: ServedModel, connection: _Connection, owner: str
) -> Iterator[None]:
    """One more connection, while it lasts.

    Raises:
        ServiceError: 429 or 503, there are too many.
    """
    limits = state.limits
    most = limits.connections_per_token if holder.token.sha256 else limits.connections_per_address
    with state.connections.joined(owner, most, limits, model, connection.leave):
        state.batcher.clients += 1
        holder.connections.add(connection.end)
        try:
            yield
        finally:
            holder.connections.discard(connection.end)
            state.batcher.clients -= 1
