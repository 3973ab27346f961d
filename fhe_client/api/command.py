"""`tacita api`: opens a chat and serves it to this computer's programs until Ctrl-C."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn

from fhe_client.api.asking import ChatQueue
from fhe_client.api.connections import LocalHttp
from fhe_client.api.endpoint import Endpoint
from fhe_client.errors import TacitaError
from fhe_client.failures import describe, log_failure
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.open_chat import OpenChat
from fhe_client.printing import clean, write_error
from fhe_client.text.generation import GenerationOptions

ADDRESS = "127.0.0.1"
_KEY_CONTEXT = b"local endpoint"
_KEY_BYTES = 24
_DRAIN_S = 5
_ROUND_S = 5


class PortTakenError(TacitaError):
    """The endpoint cannot listen there."""

    code = "port_taken"


def api_key(key: MasterKey) -> str:
    """What programs must show: the same at each start, as long as the master key is, and stored nowhere."""
    derived = key.derive(_KEY_CONTEXT, _KEY_BYTES)
    return "tacita-" + base64.urlsafe_b64encode(derived).decode("ascii")


def listen(port: int) -> socket.socket:
    """A socket on this computer's own address; 0 takes a free port.

    Raises:
        PortTakenError: another program has it.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # On Windows, SO_REUSEADDR would let any program take the port over, and the keys that are sent to it.
        alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        bound.setsockopt(socket.SOL_SOCKET, alone, 1)
        bound.bind((ADDRESS, port))
        bound.listen(16)
    except (OSError, OverflowError) as error:
        bound.close()
        raise PortTakenError(
            f"Port {port} of this computer cannot be used.", "Choose another one with --port."
        ).about(port=port) from error
    return bound


def serve(
    chat: OpenChat, key: MasterKey, bound: socket.socket, defaults: GenerationOptions
) -> None:
    """Answer until the process is asked to end. The chat stays the caller's."""
    queue = ChatQueue(chat)
    try:
        endpoint = Endpoint(queue, api_key(key), defaults, _tell)
        _introduce(chat, api_key(key), bound.getsockname()[1])
        _silence("uvicorn", "asyncio")
        # The server catches both signals, drains, and then raises what it caught once more.
        signal.signal(signal.SIGTERM, _end)
        with contextlib.suppress(KeyboardInterrupt):
            EndpointServer(configuration(endpoint), queue).run(sockets=[bound])
    finally:
        queue.close()


def configuration(endpoint: Endpoint) -> uvicorn.Config:
    """The HTTP server, without a log (see `_silence`)."""
    return uvicorn.Config(
        endpoint.app(),
        http=LocalHttp,
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S + _ROUND_S,
    )


class EndpointServer(uvicorn.Server):
    """Ends in order: a reply under way gets some seconds, then its program is told that it is not whole."""

    def __init__(self, config: uvicorn.Config, queue: ChatQueue) -> None:
        super().__init__(config)
        self._queue = queue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        self._queue.begin_no_more()
        stopping = asyncio.get_running_loop().call_later(_DRAIN_S, self._queue.stop)
        await super().shutdown(sockets)
        stopping.cancel()


def _introduce(chat: OpenChat, key: str, port: int) -> None:
    where = "this computer" if chat.local else chat.server
    sys.stdout.write(
        f"{clean(chat.model)} on {clean(where)}, for the programs of this computer. Ctrl-C ends it.\n"
        f"  base URL  http://{ADDRESS}:{port}/v1\n"
        f"  API key   {key}\n"
        f"  model     {clean(chat.model)}\n"
    )
    sys.stdout.flush()


def _silence(*names: str) -> None:
    """Without a handler of their own these loggers would write to standard error: tracebacks, which could quote a
    prompt, and a line for each senseless request that any page in a browser makes. Failures are told by `_tell`."""
    for name in names:
        logging.getLogger(name).addHandler(logging.NullHandler())


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(error: Exception) -> None:
    failure = describe(error)
    if failure.internal:
        log_failure(failure, Home.locate())
    write_error(failure)
