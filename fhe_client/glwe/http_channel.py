"""Keys and rounds of the `glwe` scheme over HTTP: a resumable upload, then one POST a round."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from fhe_client.network.errors import (
    KeyExpiredError,
    NetworkError,
    ProtocolBreachError,
    StoppedError,
)
from fhe_client.network.http_lane import Access, Lane
from fhe_client.network.retries import with_retries
from fhe_client.network.watched_socket import never
from fhe_protocol.glwe import GLWE_2048_27, KEY_HEADER, KEY_SIZE
from fhe_protocol.manifest import Manifest

Progress = Callable[[int, int], None]

_MAX_REPLY = 4096
_MIN_CHUNK, _MAX_CHUNK = 1 << 16, 64 << 20
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{8,200}")
_RATE = 8192.0  # bytes per second, the slowest upload that is waited for
_ROUND_SECONDS = 180.0
_SECONDS_PER_OUTPUT = 1.0
_UPLOADS = 3
_LOSES_KEYS = "The server keeps losing the key that it was given."


class HttpGlweChannel:
    """A `RoundChannel` that first uploads the session's compression key, and again if the server has lost it.

    Args:
        access: how the server is reached.
        manifest: of the model; its digest goes with every round.
        compression_key: what `GlweKeys` made.
    """

    def __init__(self, access: Access, manifest: Manifest, compression_key: bytes) -> None:
        self.should_stop: Callable[[], bool] = never
        self.on_reconnect: Callable[[NetworkError], None] | None = None
        self._access = access
        self._key = compression_key
        self._digest = manifest.digest
        self._path = f"/v1/models/{quote(manifest.name, safe='')}/glwe/rounds"
        self._rounds = Lane(access, "rounds", lambda: self.should_stop())
        self._uploads = Lane(access, "keys", lambda: self.should_stop())
        self._key_id: str | None = None
        self._lock = threading.Lock()
        self.uploads = 0

    def upload(self, on_progress: Progress | None = None) -> None:
        """Upload the key now, with progress in bytes, instead of with the first round.

        A server that forgets it half way, because it was started again, is sent it from the beginning.

        Raises:
            NetworkError: with the reason.
        """
        with self._lock:
            for _ in range(_UPLOADS):
                try:
                    if self._key_id is None:
                        self._upload(on_progress)
                except KeyExpiredError:
                    continue
                return
        raise ProtocolBreachError(_LOSES_KEYS)

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        """See `RoundChannel`. A lost key is uploaded again; the frame is not encrypted again."""
        with self._lock:
            for _ in range(_UPLOADS):
                try:
                    if self._key_id is None:
                        self._upload(None)
                    answer: bytes = self._retry(lambda: self._round(frame, answer_size))
                except KeyExpiredError:
                    self._key_id = None
                    continue
                self._access.meter.add_round("rounds")
                return answer
        raise ProtocolBreachError(_LOSES_KEYS)

    def close(self) -> None:
        """Tell the server to forget the key, if it can be told, and close the connections."""
        with self._lock:
            key_id, self._key_id = self._key_id, None
            if key_id is not None:
                self.should_stop = never
                with suppress(NetworkError):
                    self._ask(f"/v1/glwe/keys/{key_id}/end", b"", 5.0)
            self._rounds.close()
            self._uploads.close()

    def _retry(self, attempt: Callable[[], Any]) -> Any:
        return with_retries(
            attempt, self._access.timeouts, lambda: self.should_stop(), self.on_reconnect
        )

    def _round(self, frame: bytes, answer_size: int) -> bytes:
        assert self._key_id is not None
        headers = {"X-Tacita-Model": self._digest, KEY_HEADER: self._key_id}
        # About half an output for each word of the answer: how long it takes follows from its size.
        seconds = _ROUND_SECONDS + _SECONDS_PER_OUTPUT * answer_size / 3
        response = self._rounds.open(self._path, headers=headers, body=frame, seconds=seconds)
        answer = b"".join(self._rounds.stream(response, answer_size))
        if len(answer) != answer_size:
            raise ProtocolBreachError("The server's answer has the wrong size.")
        return answer

    def _upload(self, on_progress: Progress | None) -> None:
        key_id, chunk = self._begin_upload()
        sent = 0
        while sent < KEY_SIZE:
            if on_progress is not None:
                on_progress(sent, KEY_SIZE)
            sent = self._send_chunk(key_id, sent, chunk)
        if on_progress is not None:
            on_progress(KEY_SIZE, KEY_SIZE)
        self._key_id = key_id
        self.uploads += 1

    def _begin_upload(self) -> tuple[str, int]:
        digest = hashlib.sha256(self._key).hexdigest()
        wanted = {"parameters": GLWE_2048_27.name, "sha256": digest}
        seconds = self._access.timeouts.control
        told = self._retry(lambda: self._ask("/v1/glwe/keys", json.dumps(wanted).encode(), seconds))
        key_id, chunk = told.get("key"), told.get("chunk")
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
            raise ProtocolBreachError("The server's name for the key is not usable.")
        if (
            told.get("size") != KEY_SIZE
            or type(chunk) is not int
            or not _MIN_CHUNK <= chunk <= _MAX_CHUNK
        ):
            raise ProtocolBreachError("The server wants the key in another form.")
        return key_id, chunk

    def _send_chunk(self, key_id: str, offset: int, size: int) -> int:
        """Send the bytes from `offset` on; how many the server has then. After a failure it is asked first."""
        place = f"/v1/glwe/keys/{key_id}"
        data = self._key[offset : offset + size]
        tries = 0

        def attempt() -> int:
            nonlocal tries
            tries += 1
            if tries > 1:
                received = _received(self._ask(place, None, self._access.timeouts.control))
                if received != offset:
                    return received
            seconds = self._access.timeouts.stall + len(data) / _RATE
            return _received(self._ask(f"{place}/chunks?offset={offset}", data, seconds))

        received: int = self._retry(attempt)
        if not offset < received <= offset + len(data):
            raise ProtocolBreachError("The server miscounts the key that it is sent.")
        return received

    def _ask(self, path: str, body: bytes | None, seconds: float) -> dict[str, Any]:
        """GET or POST, a small JSON object back."""
        if self.should_stop():
            raise StoppedError("Stopped.")
        response = self._uploads.open(path, body=body, seconds=seconds)
        data = b"".join(self._uploads.stream(response, _MAX_REPLY))
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ProtocolBreachError("The server's reply about the key is malformed.")
        return value


def _received(reply: dict[str, Any]) -> int:
    received = reply.get("received")
    if type(received) is not int or not 0 <= received <= KEY_SIZE:
        raise ProtocolBreachError("The server's reply about the key is malformed.")
    return received
