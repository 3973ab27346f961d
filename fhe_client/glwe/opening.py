"""What `connect.open_chat` does differently under the `glwe` scheme: keys instead of hints, an upload, no audit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from fhe_client.glwe.errors import GlweUnavailableError
from fhe_client.glwe.http_channel import HttpGlweChannel
from fhe_client.glwe.keys import GlweKeys
from fhe_client.network.catalogue import ServerInfo
from fhe_client.network.transport import ServerConnection
from fhe_protocol.glwe_library import unavailable_reason
from fhe_protocol.manifest import Manifest

SCHEME = "glwe"


def check_glwe(info: ServerInfo) -> None:
    """Whether this computer and the server can use the scheme; asked before anything is downloaded.

    Args:
        info: what the server offers.

    Raises:
        GlweUnavailableError: one of them cannot, with the reason.
    """
    reason = unavailable_reason()
    if reason is not None:
        raise GlweUnavailableError(reason)
    if SCHEME not in info.schemes:
        told = info.unavailable.get(SCHEME)
        says = f" It says: {told}" if told else ""
        raise GlweUnavailableError(f"The server does not offer Concrete ML's scheme.{says}")


def make_channel(
    undo: contextlib.ExitStack,
    manifest: Manifest,
    connection: ServerConnection,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int, int], None],
) -> tuple[GlweKeys, HttpGlweChannel]:
    """Fresh keys of a session and the channel that has uploaded them. Both are closed by `undo`.

    Args:
        on_progress: bytes of the compression key that are sent, and all.

    Raises:
        GlweUnavailableError: the library is missing.
        NetworkError: the upload failed.
    """
    keys = GlweKeys()
    undo.callback(keys.close)
    channel = HttpGlweChannel(connection.access, manifest, keys.compression_key)
    undo.callback(channel.close)
    channel.should_stop = should_stop
    channel.upload(on_progress)
    return keys, channel
