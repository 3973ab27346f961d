"""`tacita api`: opens a chat and serves it to this computer's programs until Ctrl-C."""

from __future__ import annotations

import base64
import contextlib
import signal
import socket
import sys
from types import FrameType

import uvicorn

from fhe_client.api.asking import ChatQueue
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
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
        # The server catches both signals, drains, and then raises what it caught once more.
        signal.signal(signal.SIGTERM, _end)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(configuration(endpoint)).run(sockets=[bound])
    finally:
        queue.close()


def configuration(endpoint: Endpoint) -> uvicorn.Config:
    """The HTTP server: no log, since tracebacks could quote a prompt (failures are told by `_tell`)."""
    return uvicorn.Config(
        endpoint.app(),
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        server_header=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=_DRAIN_S,
    )


def _introduce(chat: OpenChat, key: str, port: int) -> None:
    where = "this computer" if chat.local else chat.server
    sys.stdout.write(
        f"{clean(chat.model)} on {clean(where)}, for the programs of this computer. Ctrl-C ends it.\n"
        f"  base URL  http://{ADDRESS}:{port}/v1\n"
        f"  API key   {key}\n"
        f"  model     {clean(chat.model)}\n"
    )
    sys.stdout.flush()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(error: Exception) -> None:
    failure = describe(error)
    if failure.internal:
        log_failure(failure, Home.locate())
    write_error(failure)
