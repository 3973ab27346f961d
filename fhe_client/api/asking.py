"""One chat, several programs: their requests one after another, each in the chat's own thread, and stopped when its
program has gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fhe_client.api.errors import ApiError
from fhe_client.api.requests import ChatRequest
from fhe_client.open_chat import OpenChat
from fhe_client.text.chat import ChatReply

MOST_WAITING = 8
_RETRY_AFTER_S = 10


class ReplyInTheMaking:
    """A reply as it is written. Made by `ChatQueue.begin`.

    Attributes:
        pieces: texts as they come, and None after the last one.
    """

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._stop = threading.Event()
        self._reply: asyncio.Future[ChatReply] | None = None

    def begin(self, chat: OpenChat, request: ChatRequest, thread: ThreadPoolExecutor) -> None:
        """Ask the chat in its thread."""
        loop = asyncio.get_running_loop()

        def tell(piece: str | None) -> None:
            loop.call_soon_threadsafe(self.pieces.put_nowait, piece)

        def ask() -> ChatReply:
            try:
                return chat.ask(
                    request.messages,
                    request.options,
                    continuing=request.continuing,
                    on_piece=tell,
                    should_stop=self._stop.is_set,
                )
            finally:
                tell(None)

        self._reply = loop.run_in_executor(thread, ask)

    async def reply(self) -> ChatReply:
        """The whole reply. Raises whatever made it fail."""
        assert self._reply is not None
        return await asyncio.shield(self._reply)

    async def end(self) -> None:
        """Stop it within a round if it still goes on, and wait until the chat is free."""
        self._stop.set()
        if self._reply is not None:
            await asyncio.wait([self._reply])
            self._reply.exception()  # it has been told, or nobody is left to tell


class ChatQueue:
    """The chat, and who waits for it.

    Args:
        chat: is asked in a thread of its own, by one request at a time.

    Attributes:
        waiting: requests that are here, the one that is answered included.
    """

    def __init__(self, chat: OpenChat) -> None:
        self.chat = chat
        self._turn = asyncio.Lock()
        self.waiting = 0
        self._thread = ThreadPoolExecutor(1, "tacita-api")

    @asynccontextmanager
    async def asked(self, request: ChatRequest) -> AsyncIterator[ReplyInTheMaking]:
        """The reply, begun as soon as it is this request's turn, and ended on leaving.

        Raises:
            ApiError: too many wait.
        """
        if self.waiting > MOST_WAITING:
            raise ApiError(
                429,
                "too_many_requests",
                "Too many requests wait for this model. It answers one at a time.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.waiting += 1
        try:
            async with self._turn:
                making = ReplyInTheMaking()
                making.begin(self.chat, request, self._thread)
                try:
                    yield making
                finally:
                    await _whatever_happens(making.end())
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Let go of the thread; the chat stays its owner's."""
        self._thread.shutdown(wait=True)


async def _whatever_happens(ending: Coroutine[Any, Any, None]) -> None:
    """Wait for it even while this task is cancelled: the next request must find the chat free."""
    task = asyncio.create_task(ending)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
