"""The connection to one server: what it is, what it serves, its files, its hints, and the channel for rounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import quote

from fhe_client.network.catalogue import MAX_INFO_BYTES, MODEL_NAME, ServerInfo, parse_info
from fhe_client.network.errors import (
    BadUrlError,
    NoSuchModelError,
    NotTacitaError,
    OtherModelError,
    ProtocolBreachError,
    WrongVersionError,
    shown,
)
from fhe_client.network.http_lane import Access, Lane, checked_fingerprint, checked_token
from fhe_client.network.meter import TrafficMeter
from fhe_client.network.origin import Origin, parse_origin
from fhe_client.network.retries import Timeouts, with_retries
from fhe_client.network.round_channel import ReconnectingChannel
from fhe_client.network.watched_socket import never
from fhe_protocol import PROTOCOL_VERSION
from fhe_protocol.errors import ManifestError
from fhe_protocol.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, parse_manifest


class ServerConnection:
    """One server. Thread-safe.

    Args:
        url: https://..., or http:// for this computer.
        token: bearer token, if the server asks for one.
        pinned_certificate: SHA-256 fingerprint of the server's certificate; it then replaces the system's trust store.

    Raises:
        BadUrlError: one of them cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        pinned_certificate: str | None = None,
        meter: TrafficMeter | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.meter = meter or TrafficMeter()
        self.access = Access(
            parse_origin(url),
            self.meter,
            checked_token(token),
            checked_fingerprint(pinned_certificate),
            timeouts or Timeouts(),
        )
        if pinned_certificate is not None and not self.access.origin.secure:
            raise BadUrlError(
                "A certificate can be pinned for https:// addresses only.",
                "Remove the fingerprint, or correct the address.",
            )
        self.should_stop: Callable[[], bool] = never
        self._lock = threading.Lock()
        self._control = Lane(self.access, "control", lambda: self.should_stop())

    @property
    def origin(self) -> Origin:
        """The server's address, normalised."""
        return self.access.origin

    def info(self) -> ServerInfo:
        """What the server says of itself.

        Raises:
            NetworkError: with the reason.
        """
        return parse_info(self._get("/v1/info", MAX_INFO_BYTES))

    def health(self) -> None:
        """One small round trip.

        Raises:
            NetworkError: with the reason.
        """
        self._get("/v1/health", MAX_INFO_BYTES)

    def manifest(self, name: str) -> Manifest:
        """The manifest of a served model, parsed and checked.

        Raises:
            NoSuchModelError: the server has none of that name.
            NetworkError: with the reason.
        """
        data = self._get(f"{_model_path(name)}/manifest", MAX_MANIFEST_BYTES)
        try:
            manifest = parse_manifest(data)
        except ManifestError as error:
            if "protocol version" in str(error):
                raise WrongVersionError(f"The server's {shown(error)}.") from error
            raise ProtocolBreachError(
                f"The server's manifest is not usable: {shown(error)}."
            ) from error
        if manifest.name != name:
            raise ProtocolBreachError("The server's manifest is that of another model.")
        return manifest

    def file(self, name: str, entry: FileEntry) -> bytes:
        """A small file of the client's part, whole. Its digest is for the caller to check (see catalogue.py)."""
        return b"".join(self.file_stream(name, entry, self.should_stop))

    def file_stream(
        self, name: str, entry: FileEntry, should_stop: Callable[[], bool] = never
    ) -> Iterator[bytes]:
        """The chunks of a file of the client's part, at most `entry.size` bytes."""
        path = f"{_model_path(name)}/files/{quote(entry.path, safe='')}"
        return self._download("files", path, 0, entry.size, None, should_stop)

    def hint_stream(
        self, manifest: Manifest, offset: int = 0, should_stop: Callable[[], bool] = never
    ) -> Iterator[bytes]:
        """The chunks of the hint file from `offset` on.

        Raises:
            OtherModelError: the server's hints are those of another manifest by now.
            NetworkError: with the reason.
        """
        # With the digest, so that no cache on the way can take another model's for these.
        path = f"{_model_path(manifest.name)}/hints?digest={manifest.digest}"
        size = manifest.hint_bytes
        return self._download("hints", path, offset, size, f'"{manifest.digest}"', should_stop)

    def open_rounds(self, manifest: Manifest, kind: str = "rounds") -> ReconnectingChannel:
        """A channel for rounds; it connects with its first round."""
        return ReconnectingChannel(self.access, manifest, kind)

    def close(self) -> None:
        """Close the connections of this object; channels have their own."""
        self._control.close()

    def __enter__(self) -> ServerConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, path: str, limit: int) -> bytes:
        with self._lock:
            return with_retries(
                lambda: self._control.fetch(path, limit), self.access.timeouts, self.should_stop
            )

    def _download(
        self,
        kind: str,
        path: str,
        offset: int,
        size: int,
        etag: str | None,
        should_stop: Callable[[], bool],
    ) -> Iterator[bytes]:
        """Bytes offset..size of a file on a connection of its own; repeating it is the caller's (it can resume)."""
        if offset >= size:
            return
        timeouts = self.access.timeouts
        with closing(Lane(self.access, kind, should_stop)) as lane:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            if offset and etag:
                headers["If-Range"] = etag
            response = lane.open(
                path,
                headers=headers,
                seconds=timeouts.stall,
                rate=timeouts.rate,
                expected=size,
            )
            if etag and response.headers.get("ETag") != etag:
                response.close()
                raise OtherModelError("The server's hints belong to another model by now.")
            if response.status_code == 206:
                if response.headers.get("Content-Range") != f"bytes {offset}-{size - 1}/{size}":
                    response.close()
                    raise ProtocolBreachError(
                        "The server sends another range than it was asked for."
                    )
                yield from lane.stream(response, size - offset)
            else:  # it knows no ranges: all of it again
                yield from _skip(lane.stream(response, size), offset)


def _skip(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The chunks without their first `count` bytes."""
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:]
        count = max(0, count - len(chunk))


def _model_path(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise NoSuchModelError(f"No model can be called {shown(name)!r}.")
    return f"/v1/models/{quote(name, safe='')}"


def check_info(info: ServerInfo, model: str | None) -> None:
    """Whether this program can use the server, and the model if one is named.

    Raises:
        WrongVersionError, NoSuchModelError, NotTacitaError
    """
    if info.protocol_version != PROTOCOL_VERSION:
        raise WrongVersionError(
            f"The server speaks protocol version {info.protocol_version}, this program {PROTOCOL_VERSION}."
        ).about(theirs=info.protocol_version, ours=PROTOCOL_VERSION)
    if "hint" not in info.schemes:
        raise NotTacitaError("The server offers no encryption scheme that this program knows.")
    names = [m.name for m in info.models]
    if model is not None and model not in names:
        served = ", ".join(names) or "none"
        raise NoSuchModelError(
            f"The server does not serve {shown(model)!r}; it serves: {shown(served)}."
        ).about(model=model, served=served)
