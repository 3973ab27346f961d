"""What a server offers, and the small files of a model's client part, kept on disk by their digests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhe_client.home import private_folder
from fhe_client.network.disk import cache_lock, check_free_space, fresh_file, storage_errors
from fhe_client.network.errors import NotTacitaError, ProtocolBreachError, StoppedError, shown
from fhe_client.network.retries import with_retries
from fhe_client.network.watched_socket import never
from fhe_protocol import SOFTWARE_NAME
from fhe_protocol.manifest import FileEntry, Manifest

if TYPE_CHECKING:
    from fhe_client.network.transport import ServerConnection

MAX_INFO_BYTES = 1 << 20
MAX_MODELS = 1000
_MAX_REASONS = 20
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")  # as fhe_protocol.manifest has it
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a server offers. Sizes in bytes; hints, not promises: the manifest decides."""

    name: str
    digest: str
    hint_bytes: int
    rounds_per_token: int
    query_bytes_per_token: int
    answer_bytes_per_token: int

    @property
    def mb_per_token(self) -> float:
        """Megabytes (10^6) both ways for one token, without framing."""
        return (self.query_bytes_per_token + self.answer_bytes_per_token) / 1e6


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What /v1/info says.

    Attributes:
        schemes: those that the server offers.
        unavailable: schemes that it does not, with its reason as the server words it.
    """

    protocol_version: int
    version: str
    schemes: tuple[str, ...]
    models: tuple[ModelInfo, ...]
    unavailable: Mapping[str, str] = field(default_factory=dict)


def parse_info(data: bytes) -> ServerInfo:
    """Parse /v1/info from untrusted bytes.

    Raises:
        NotTacitaError: this is not what a Tacita server says.
    """
    try:
        document = json.loads(data)
        if document["software"] != SOFTWARE_NAME:
            raise NotTacitaError(
                "Something answers at this address, but it is not a Tacita server."
            )
        models = document["models"]
        if not isinstance(models, list) or len(models) > MAX_MODELS:
            raise ValueError
        return ServerInfo(
            protocol_version=_number(document["protocol_version"]),
            version=shown(document["version"])[:40],
            schemes=tuple(shown(s)[:40] for s in document["schemes"][:100]),
            models=tuple(_model(m) for m in models),
            unavailable=_reasons(document.get("unavailable_schemes", {})),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotTacitaError(
            "Something answers at this address, but not as a Tacita server does."
        ) from error


def _reasons(items: Any) -> dict[str, str]:
    if not isinstance(items, dict) or len(items) > _MAX_REASONS:
        raise ValueError
    return {shown(name)[:40]: shown(reason)[:200] for name, reason in items.items()}


def _model(item: Any) -> ModelInfo:
    name, digest = item["name"], item["digest"]
    if not MODEL_NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise ValueError
    return ModelInfo(
        name,
        digest,
        _number(item["hint_bytes"]),
        _number(item["rounds_per_token"]),
        _number(item["query_bytes_per_token"]),
        _number(item["answer_bytes_per_token"]),
    )


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError
    return value


class ClientFiles:
    """The client's part of models below `<cache>/models/<model digest>/client/`, each file checked on every use."""

    def __init__(self, cache: Path) -> None:
        self._root = cache / "models"

    def folder(self, manifest: Manifest) -> Path:
        """Where the files of a model are kept."""
        return self._root / manifest.model_digest.hex() / "client"

    def ensure(
        self,
        manifest: Manifest,
        connection: ServerConnection,
        on_progress: Progress | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> Path:
        """The folder with all files of the manifest, intact; what is missing or damaged is downloaded.

        Raises:
            StorageError: the disk is full or not writable.
            NetworkError: with the reason.
        """
        folder = private_folder(self.folder(manifest))
        total = sum(e.size for e in manifest.files)
        done = 0
        with storage_errors(), cache_lock(folder.parent / "lock", should_stop):
            for entry in manifest.files:
                if not _intact(folder / entry.path, entry, should_stop):
                    self._download(folder, entry, manifest, connection, should_stop)
                done += entry.size
                if on_progress is not None:
                    on_progress(done, total)
        return folder

    def find(self, manifest: Manifest, should_stop: Callable[[], bool] = never) -> Path | None:
        """The folder if all files of the manifest are there and intact, without asking anyone."""
        folder = self.folder(manifest)
        with suppress(OSError):
            if all(_intact(folder / e.path, e, should_stop) for e in manifest.files):
                return folder
        return None

    def size(self) -> int:
        """Bytes of all files kept."""
        return sum(p.stat().st_size for p in self._root.glob("*/client/*") if p.is_file())

    def _download(
        self,
        folder: Path,
        entry: FileEntry,
        manifest: Manifest,
        connection: ServerConnection,
        should_stop: Callable[[], bool],
    ) -> None:
        check_free_space(folder, entry.size, entry.path)

        def attempt() -> None:
            digest = hashlib.sha256()
            with fresh_file(folder / entry.path) as file:
                for chunk in connection.file_stream(manifest.name, entry, should_stop):
                    file.write(chunk)
                    digest.update(chunk)
                if digest.hexdigest() != entry.sha256:
                    raise ProtocolBreachError(
                        f"The server's {shown(entry.path)} is not the file that its manifest names."
                    )

        with_retries(attempt, connection.access.timeouts, should_stop)


def _intact(path: Path, entry: FileEntry, should_stop: Callable[[], bool]) -> bool:
    """Whether the file is there with the right size and digest."""
    try:
        if path.is_symlink() or path.stat().st_size != entry.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if should_stop():
                    raise StoppedError("Stopped.")
                digest.update(block)
        return digest.hexdigest() == entry.sha256
    except FileNotFoundError:
        return False
