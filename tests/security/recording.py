"""The real server, which keeps every query frame that reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_protocol.manifest import Manifest, parse_manifest
from fhe_protocol.planes import from_planes
from fhe_protocol.wire import parse_query
from fhe_server.artefact import Artefact
from fhe_server.service.app import ServedModel, create_app
from tests.servers import running_app


class Recorder:
    """An ASGI app around the real one that copies what arrives over WebSockets.

    Attributes:
        url: the server's address.
        frames: query frames in order of arrival, those of the audit included.
    """

    def __init__(self, folder: Path) -> None:
        served = ServedModel(Artefact(folder))
        self.manifest: Manifest = parse_manifest((folder / "manifest.json").read_bytes())
        self.app = create_app({served.manifest.name: served})
        self.state = self.app.state
        self.frames: list[bytes] = []
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""

        async def kept() -> Any:
            message = await receive()
            if message["type"] == "websocket.receive" and message.get("bytes"):
                self.frames.append(bytes(message["bytes"]))
            return message

        await self.app(scope, kept, send)

    def values(self, frames: list[bytes]) -> dict[int, NDArray[np.int64]]:
        """Rows of each group, in the order in which they were sent: (rows, n), centred modulo 2^24."""
        rows: dict[int, list[NDArray[np.uint32]]] = {}
        for frame in frames:
            header, parts = parse_query(frame, self.manifest)
            rows.setdefault(header.group, []).append(from_planes(np.concatenate(parts, axis=2)))
        return {g: centred(np.concatenate(r).astype(np.int64)) for g, r in rows.items()}


def centred(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Residues modulo 2^24 around zero."""
    found: NDArray[np.int64] = (values + (1 << 23)) % (1 << 24) - (1 << 23)
    return found


@contextmanager
def recording_server(folder: Path) -> Iterator[Recorder]:
    """A recorder on a loopback port."""
    recorder = Recorder(folder)
    with running_app(recorder) as running:  # type: ignore[arg-type]  # an ASGI app, if not Starlette's
        recorder.url = running.url
        yield recorder
