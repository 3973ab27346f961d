"""One chat, several programs: their requests one after another, all in the chat's one thread, and each stopped when its
program has gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
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
    """A reply as it is written. Made by `ChatQueue.asked`, in whose thread it waits for its turn.

    Attributes:
        pieces: texts as they come, and None after the last one.
    """

    def __init__(self, chat: OpenChat, request: ChatRequest, thread: ThreadPoolExecutor) -> None:
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._chat = chat
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._work = thread.submit(self._ask)
        self._reply = asyncio.wrap_future(self._work)

    @property
    def begun(self) -> bool:
        """Whether it is, or was, its turn."""
        return self._work.running() or self._work.done()

    async def reply(self) -> ChatReply:
        """The whole reply.

        Raises:
            ApiError: the endpoint is being closed.
            Exception: whatever made it fail.
        """
        reply = await asyncio.shield(self._reply)
        if reply.stopped:
            raise _closing()
        return reply

    def when_done(self, then: Callable[[ReplyInTheMaking], None]) -> None:
        """Call `then` in the event loop as soon as the chat is free of it."""
        self._reply.add_done_callback(lambda _: then(self))

    def stop(self) -> None:
        """Let it end within a round. From any thread."""
        self._stop.set()

    async def end(self) -> None:
        """Stop it if it still goes on, and wait until the chat is free of it."""
        self.stop()
        self._work.cancel()  # if it has not begun
        await asyncio.wait([self._reply])
        if not self._reply.cancelled():
            self._reply.exception()  # it has been told, or nobody is left to tell

    def _ask(self) -> ChatReply:
        try:
            if self._stop.is_set():
                raise _closing()
            return self._chat.ask(
                self._request.messages,
                self._request.options,
                continuing=self._request.continuing,
                on_piece=self._tell,
                should_stop=self._stop.is_set,
            )
        finally:
            self._tell(None)

    def _tell(self, piece: str | None) -> None:
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


class ChatQueue:
    """The chat, and who waits for it.

    Args:
        chat: is asked in a thread of its own, by one request at a time.
    """

    def __init__(self, chat: OpenChat) -> None:
        self.chat = chat
        self._thread = ThreadPoolExecutor(1, "tacita-api")
        self._unfinished: set[ReplyInTheMaking] = set()
        self._closing = False

    @property
    def waiting(self) -> int:
        """Requests without a whole reply, the one that is answered included."""
        return len(self._unfinished)

    @asynccontextmanager
    async def asked(self, request: ChatRequest) -> AsyncIterator[ReplyInTheMaking]:
        """The reply, begun as soon as it is this request's turn, and ended on leaving.

        The next one's turn comes when the reply is written: a program that does not read holds up nobody.

        Raises:
            ApiError: too many wait, or the endpoint is being closed.
        """
        if self._closing:
            raise _closing()
        if self.waiting > MOST_WAITING:
            raise ApiError(
                429,
                "too_many_requests",
                "Too many requests wait for this model. It answers one at a time.",
                retry_after_s=_RETRY_AFTER_S,
            )
        making = ReplyInTheMaking(self.chat, request, self._thread)
        self._unfinished.add(making)
        making.when_done(self._unfinished.discard)
        try:
            yield making
        finally:
            await _whatever_happens(making.end())

    def begin_no_more(self) -> None:
        """Refuse what comes from now on, and what waits for its turn."""
        self._closing = True
        for making in self._unfinished:
            if not making.begun:
                making.stop()

    def stop(self) -> None:
        """Let everything end within a round. In the event loop's thread, or after its end."""
        self.begin_no_more()
        for making in tuple(self._unfinished):
            making.stop()

    def close(self) -> None:
        """Stop, and let go of the thread; the chat stays its owner's."""
        self.stop()
        self._thread.shutdown(wait=True)


def _closing() -> ApiError:
    return ApiError(503, "closing", "“tacita api” is being closed. The reply is not whole.")


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
