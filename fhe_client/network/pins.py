"""Which model a server had when it was first used: the digest of the manifest, pinned per (server, model), as SSH does.

    <config>/pins.json  {"version": 1, "models": {server: {model: digest}}, "audited": [digest, ...]}

Nothing in it is secret. A change of a pinned digest stops everything until the user accepts it; a file that cannot be
read is an error as well, never an empty one, or deleting a byte would undo the pins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fhe_client.home import private_folder
from fhe_client.network.disk import cache_lock, fresh_file, storage_errors
from fhe_client.network.errors import ModelChangedError, StorageError
from fhe_client.network.watched_socket import never
from fhe_protocol.manifest import Manifest

LOCAL_SERVER = "local"
"""The embedded server's name among the pins: its port is another one at each start."""

_VERSION = 1
_MAX_BYTES = 4 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PinsDamagedError(StorageError):
    """pins.json cannot be read."""

    code = "pins_damaged"


@dataclass
class _Document:
    models: dict[str, dict[str, str]] = field(default_factory=dict)
    audited: list[str] = field(default_factory=list)


class PinStore:
    """The pins below a configuration folder. Safe between threads and processes."""

    def __init__(self, config: Path) -> None:
        self._path = config / "pins.json"

    def check(self, server: str, manifest: Manifest) -> bool:
        """Compare a manifest with its pin; pin it if this is the first time.

        Args:
            server: `Origin.url`, or LOCAL_SERVER.

        Returns:
            True if it was pinned just now.

        Raises:
            ModelChangedError: another digest is pinned.
            StorageError: the file cannot be read or written.
        """
        with self._editing() as document:
            models = document.models.setdefault(server, {})
            first = manifest.name not in models
            pinned = models.setdefault(manifest.name, manifest.digest)
            if pinned != manifest.digest:
                raise ModelChangedError(server, manifest.name, pinned, manifest.digest)
        return first

    def accept(self, server: str, manifest: Manifest) -> None:
        """Pin this manifest, whatever was pinned before. Only ever at the user's explicit wish."""
        with self._editing() as document:
            document.models.setdefault(server, {})[manifest.name] = manifest.digest

    def forget(self, server: str, model: str | None = None) -> None:
        """Remove the pins of a server, or of one of its models."""
        with self._editing() as document:
            if model is None:
                document.models.pop(server, None)
            else:
                document.models.get(server, {}).pop(model, None)

    def all(self) -> dict[str, dict[str, str]]:
        """server -> model -> digest."""
        with storage_errors():
            return self._load().models

    def is_audited(self, manifest: Manifest) -> bool:
        """Whether the hints of this digest have passed the audit on this computer."""
        with storage_errors():
            return manifest.digest in self._load().audited

    def note_audited(self, manifest: Manifest) -> None:
        """Note that they have."""
        with self._editing() as document:
            if manifest.digest not in document.audited:
                document.audited.append(manifest.digest)

    @contextmanager
    def _editing(self) -> Iterator[_Document]:
        """Read, let the block change it, write if it did; nobody else writes meanwhile."""
        with storage_errors():
            private_folder(self._path.parent)
            with cache_lock(self._path.with_suffix(".lock"), never):
                document = self._load()
                before = _encode(document)
                yield document
                after = _encode(document)
                if after != before:
                    with fresh_file(self._path) as file:
                        file.write(after)

    def _load(self) -> _Document:
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return _Document()
        try:
            return _decode(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PinsDamagedError(
                "The file with the pinned models cannot be read.",
                f"Restore {self._path.name} from a backup, or delete it to trust every model anew.",
            ) from error


def _encode(document: _Document) -> bytes:
    content = {"version": _VERSION, "models": document.models, "audited": document.audited}
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _decode(data: bytes) -> _Document:
    content: Any = json.loads(data) if len(data) <= _MAX_BYTES else None
    models, audited = content["models"], content["audited"]
    digests = [d for by_name in models.values() for d in by_name.values()] + audited
    if content["version"] != _VERSION or not all(_DIGEST.fullmatch(d) for d in digests):
        raise ValueError
    return _Document(models, audited)
