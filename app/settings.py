"""The window's settings: a small JSON file without secrets, written 0600 and whole or not at all.

Server tokens and the system prompt are not here: they lie in the encrypted history.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

LOCAL = "local"
SCHEMES = ("hint", "glwe")
DRAFT_WORDS = ("off", "auto")
DRAFT_TOKENS = range(2, 9)


@dataclass(frozen=True)
class SavedServer:
    """A server the user added. Its token, if any, is kept under its URL in the history."""

    url: str
    name: str = ""
    model: str = ""
    pinned_certificate: str = ""  # SHA-256 of the only certificate that is accepted, in hex

    @property
    def label(self) -> str:
        """What lists show."""
        return self.name or self.url


@dataclass
class Settings:
    """Everything the user chose. ``server`` is a URL, ``local``, or empty before the first run."""

    server: str = ""
    servers: list[SavedServer] = field(default_factory=list)
    local_model: str = ""
    scheme: str = "hint"  # or "glwe"
    pad: bool = False
    draft: str | int = "off"  # or "auto", or 2 to 8 tokens a pass
    max_tokens: int = 256
    temperature: float = 0.2  # what the default model is recommended to be used with
    top_p: float = 0.9
    seed: int | None = None
    appearance: str = "system"
    zoom: int = 100
    language: str = ""
    notify: bool = True
    tray: bool = False
    sidebar: bool = True
    width: int = 1060
    height: int = 760

    @property
    def first_run(self) -> bool:
        """Whether no server has been chosen yet."""
        return not self.server

    def saved_server(self, url: str) -> SavedServer | None:
        """The saved server with this URL."""
        return next((server for server in self.servers if server.url == url), None)

    def add_server(self, server: SavedServer) -> None:
        """Save a server, or replace the one with the same URL."""
        if self.saved_server(server.url) is None:
            self.servers = [*self.servers, server]
        else:
            self.replace_server(server.url, server)

    def replace_server(self, url: str, server: SavedServer) -> None:
        """Put a server in the place of the one with ``url``, which may have been in use."""
        others = [other for other in self.servers if other.url == url or other.url != server.url]
        self.servers = [server if other.url == url else other for other in others]
        if self.server == url:
            self.server = server.url

    def remove_server(self, url: str) -> None:
        """Forget a server; the choice falls back to the local one if it was in use."""
        self.servers = [server for server in self.servers if server.url != url]
        if self.server == url:
            self.server = LOCAL

    def reset(self, *names: str) -> None:
        """Put some settings back to their defaults."""
        fresh = Settings()
        for name in names:
            setattr(self, name, getattr(fresh, name))


def load(path: Path) -> Settings:
    """Read the settings; a missing or damaged file gives the defaults, a damaged value its own."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Settings()
    return _checked(value) if isinstance(value, dict) else Settings()


def _checked(value: Mapping[str, Any]) -> Settings:
    settings = Settings()
    for entry in fields(Settings):
        if entry.name in value and entry.name not in ("servers", "seed", "draft"):
            _take(settings, entry.name, value[entry.name])
    if settings.scheme not in SCHEMES:
        settings.reset("scheme")
    if is_draft(value.get("draft")):
        settings.draft = value["draft"]
    seed = value.get("seed")
    settings.seed = seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    servers = value.get("servers")
    for server in servers if isinstance(servers, list) else []:
        if isinstance(server, dict) and isinstance(server.get("url"), str):
            settings.add_server(_server(server))
    return settings


def _server(value: Mapping[str, Any]) -> SavedServer:
    found = {entry.name: value.get(entry.name) for entry in fields(SavedServer)}
    return SavedServer(**{name: text for name, text in found.items() if isinstance(text, str)})


def is_draft(found: object) -> bool:
    """Whether a value is a choice of drafting: ``off``, ``auto``, or a number of tokens."""
    if isinstance(found, str):
        return found in DRAFT_WORDS
    return isinstance(found, int) and not isinstance(found, bool) and found in DRAFT_TOKENS


def _take(settings: Settings, name: str, found: object) -> None:
    default = getattr(settings, name)
    if isinstance(default, float) and isinstance(found, int) and not isinstance(found, bool):
        found = float(found)
    if type(found) is type(default):
        setattr(settings, name, found)


def save(path: Path, settings: Settings) -> None:
    """Write the settings; on an error the old file stays whole.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(settings), file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
