"""The endpoint itself: an ASGI application for this computer's own programs.

Every program of this computer can reach a port of 127.0.0.1, and so can the pages that a browser shows. So a key is
asked for, requests that carry an `Origin` are refused (a page's requests do), and so are those to any other name than
this computer's (a page can point a name of its own at 127.0.0.1). Nothing of a request is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fhe_client.api.asking import ChatQueue, ReplyInTheMaking
from fhe_client.api.errors import ApiError, as_api_error
from fhe_client.api.replies import DONE, ReplyForm, event, model_object
from fhe_client.api.requests import ChatRequest, parse_request
from fhe_client.text.generation import GenerationOptions

MOST_BODY_BYTES = 8 << 20
_THIS_COMPUTER = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
_GONE = 499

T = TypeVar("T")
OnFailure = Callable[[Exception], None]


class Endpoint:
    """The routes.

    Args:
        key: what programs must show as their bearer token.
        defaults: of a reply, where a request does not say.
        on_failure: is told what made a reply fail, after the program was told.
    """

    def __init__(
        self,
        queue: ChatQueue,
        key: str,
        defaults: GenerationOptions,
        on_failure: OnFailure = lambda error: None,
    ) -> None:
        self._queue = queue
        self._key = key.encode("ascii")
        self._defaults = defaults
        self._on_failure = on_failure
        self._model = queue.chat.model
        self._started = int(time.time())

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/models", self._guarded(self._models)),
            Route("/v1/models/{name:path}", self._guarded(self._one_model)),
            Route("/v1/chat/completions", self._guarded(self._complete), methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _not_there})
        app.router.redirect_slashes = (
            False  # it would answer strangers, with the name that they ask for
        )
        return app

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                self._check(request)
                return await handler(request)
            except ClientDisconnect:
                return Response(status_code=_GONE)
            except Exception as error:
                return self._refusal(error)

        return guarded

    def _check(self, request: Request) -> None:
        """Raise unless a program of this computer that knows the key is asking."""
        ours = _THIS_COMPUTER.fullmatch(request.headers.get("host", ""))
        if ours is None or "origin" in request.headers:
            raise ApiError(
                403,
                "not_for_pages",
                "This endpoint is for programs of this computer, not for pages.",
            )
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), self._key)
        if scheme.lower() != "bearer" or not right:
            raise ApiError(
                401,
                "invalid_api_key",
                "The API key is missing or wrong. “tacita api” shows the right one when it starts.",
            )

    def _refusal(self, error: Exception) -> JSONResponse:
        refusal = self._told(error)
        wait = refusal.retry_after_s
        headers = {"Retry-After": str(wait)} if wait is not None else {}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(refusal.body(), refusal.status, headers)

    def _told(self, error: Exception) -> ApiError:
        """As the program gets it. What is not the program's own doing is shown to the user, too."""
        refusal = as_api_error(error)
        if refusal is not error and refusal.status >= 500:
            self._on_failure(error)
        return refusal

    async def _models(self, request: Request) -> Response:
        models = [model_object(self._model, self._started)]
        return JSONResponse({"object": "list", "data": models})

    async def _one_model(self, request: Request) -> Response:
        self._check_model(request.path_params["name"])
        return JSONResponse(model_object(self._model, self._started))

    def _check_model(self, name: str) -> None:
        if name != self._model:
            raise ApiError(
                404,
                "model_not_found",
                f"This endpoint serves the model “{self._model}” and no other.",
                "model",
            )

    async def _complete(self, request: Request) -> Response:
        asked = parse_request(await _body(request), self._defaults)
        self._check_model(asked.model)
        work = self._stream(asked) if asked.stream else self._whole(asked)
        return await _unless_gone(request, work)

    async def _whole(self, asked: ChatRequest) -> Response:
        async with self._queue.asked(asked) as making:
            return JSONResponse(ReplyForm(self._model).whole(await making.reply()))

    async def _stream(self, asked: ChatRequest) -> Response:
        """Begin before answering: what is refused at once is told by the status, as programs expect."""
        async with contextlib.AsyncExitStack() as stack:
            making = await stack.enter_async_context(self._queue.asked(asked))
            first = await making.pieces.get()
            if first is None:
                await making.reply()
            return _Events(self._events(asked, making, first), stack.pop_all())

    async def _events(
        self, asked: ChatRequest, making: ReplyInTheMaking, piece: str | None
    ) -> AsyncIterator[bytes]:
        form = ReplyForm(self._model)
        yield form.first()
        while piece is not None:
            yield form.piece(piece)
            piece = await making.pieces.get()
        try:
            reply = await making.reply()
        except Exception as error:
            yield event(self._told(error).body())
            return
        yield form.last(reply)
        if asked.usage:
            yield form.usage(reply)
        yield DONE


class _Events(StreamingResponse):
    """A stream that lets go of the chat in the end, even if its first event was never sent."""

    def __init__(self, events: AsyncIterator[bytes], chat: contextlib.AsyncExitStack) -> None:
        headers = {"Cache-Control": "no-store"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._chat = chat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._chat:
            await super().__call__(scope, receive, send)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work is cancelled, and waited for, once the program has gone.

    Raises:
        ClientDisconnect: it has gone.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.wait([task, gone])


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise ApiError(413, "too_large", f"A request may have {MOST_BODY_BYTES} bytes.")
    return bytes(body)


async def _disconnected(request: Request) -> None:
    """Return when the program has gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _not_there(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    there = "There are GET /v1/models and POST /v1/chat/completions here."
    return JSONResponse(ApiError(status, "not_found", there).body(), status)
