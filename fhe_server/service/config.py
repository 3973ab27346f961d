"""The operator's settings: one table of them makes the commented config file, its reader, and the flags of `serve`.

A flag beats the file, the file beats the default.
"""

# ruff: noqa: RUF009  # `_setting` makes a dataclass field

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fhe_server.errors import ServerError
from fhe_server.service import config_values as values
from fhe_server.service.limits import Limits
from fhe_server.service.logs import FORMATS, LEVELS

DEFAULT_PORT = 8471
MAX_CONFIG_BYTES = 1 << 20
_LIMITS = Limits()


class ConfigError(ServerError):
    """The config file cannot be used."""


def _setting(
    section: str, default: Any, read: Callable[[Any], Any], text: str, example: str = ""
) -> Any:
    """One setting. `example` is shown in the file where the default is nothing."""
    meta = {"section": section, "read": read, "text": text, "example": example}
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; the words beside each are the documentation."""

    host: str = _setting(
        "listen",
        "127.0.0.1",
        values.text,
        "Address to listen on; 0.0.0.0 is all of this machine's IPv4 ones.",
    )
    port: int = _setting(
        "listen", DEFAULT_PORT, values.number(0, 65535), "Port; 0 picks a free one."
    )
    tls_cert: Path | None = _setting(
        "listen",
        None,
        values.path,
        "PEM file with the certificate and its chain. With it the server speaks https.",
        "/etc/tacita/fullchain.pem",
    )
    tls_key: Path | None = _setting(
        "listen",
        None,
        values.path,
        "PEM file with the private key, if it is not in tls_cert.",
        "/etc/tacita/privkey.pem",
    )
    trusted_proxies: str | None = _setting(
        "listen",
        None,
        values.text,
        "Addresses of reverse proxies whose X-Forwarded-* headers are believed, comma-separated.",
        "127.0.0.1",
    )
    metrics: str | None = _setting(
        "listen",
        None,
        values.address,
        "HOST:PORT where Prometheus may fetch /metrics; keep it private. Worker k listens on PORT + k.",
        "127.0.0.1:9471",
    )

    models: Path | None = _setting(
        "models", None, values.path, "Folder of imported models.", "/var/lib/tacita/data/models"
    )
    model: tuple[str, ...] = _setting(
        "models",
        (),
        values.names,
        "Names of the models to serve; none means all that were imported.",
    )
    memory_budget: int | None = _setting(
        "models",
        None,
        values.size,
        "Weights to keep in memory; models that were idle for longest are put away. Unset: no limit.",
        "8 GB",
    )
    preload: bool = _setting(
        "models",
        True,
        values.switch,
        "Load what fits when the server starts, instead of at the first round.",
    )
    glwe: bool = _setting(
        "models",
        True,
        values.switch,
        "Offer Concrete ML's scheme too, where its library is installed.",
    )

    device: str = _setting(
        "engine", "cpu", values.one_of("cpu", "cuda"), "Where to multiply: cpu or cuda."
    )
    threads: int | None = _setting(
        "engine",
        None,
        values.number(1, 1024),
        "CPU threads of one product. Unset: torch's choice.",
        "1",
    )
    workers: int = _setting(
        "engine",
        1,
        values.number(1, 256),
        "Server processes on the one port. They share the weights' memory; more than cores is of no use.",
    )
    max_batch_rows: int = _setting(
        "engine", 256, values.number(1, 65_536), "Rows of all clients that are multiplied together."
    )
    max_batch_wait_ms: float = _setting(
        "engine",
        250.0,
        values.number(0, 60_000, float),
        "How long a round may be passed over so that others can catch up with it.",
    )

    tokens: Path | None = _setting(
        "access",
        None,
        values.path,
        "Token file of `tacita-server token create`. Unset: the default one if it exists, else everyone may come in.",
        "/var/lib/tacita/config/tokens.json",
    )
    open: bool = _setting(
        "access", False, values.switch, "Let everyone in, even if there is a token file."
    )

    max_connections: int = _setting(
        "limits",
        _LIMITS.max_connections,
        values.number(1, 1_000_000),
        "Connections for rounds at a time, per worker; more are told to come back.",
    )
    connections_per_token: int = _setting(
        "limits",
        _LIMITS.connections_per_token,
        values.number(1, 1_000_000),
        "Those of one token, so that nobody takes all of them. An open chat needs one.",
    )
    connections_per_address: int | None = _setting(
        "limits",
        _LIMITS.connections_per_address,
        values.number(1, 1_000_000),
        "Those of one address, on a server that asks for no tokens. Behind a proxy set trusted_proxies, too, or all "
        "clients count as one. Unset: no limit.",
        "64",
    )
    max_waiting: int = _setting(
        "limits",
        1024,
        values.number(1, 1_000_000),
        "Rounds in the queue, per worker; more are told to come back.",
    )
    max_waiting_bytes: int = _setting("limits", 512_000_000, values.size, "Bytes of those rounds.")
    head_seconds: float = _setting(
        "limits",
        _LIMITS.head_seconds,
        values.number(0.1, 3600, float),
        "For the head of a request, from its first byte.",
    )
    transfer_seconds: float = _setting(
        "limits",
        _LIMITS.transfer_seconds,
        values.number(0.1, 3600, float),
        "What a body, a message or a reader may fall behind least_rate before it is cut.",
    )
    least_rate: float = _setting(
        "limits", _LIMITS.least_rate, values.number(1, 1e9, float), "Bytes per second."
    )
    max_arriving_bytes: int = _setting(
        "limits",
        _LIMITS.max_arriving_bytes,
        values.size,
        "Bytes of queries that are still arriving, per worker; beyond it the one that takes longest is cut.",
    )
    idle_seconds: float = _setting(
        "limits",
        _LIMITS.idle_seconds,
        values.number(1, 1e6, float),
        "A connection that sends nothing for so long is closed; the client opens another when it needs one.",
    )
    drain_seconds: float = _setting(
        "limits",
        _LIMITS.drain_seconds,
        values.number(0, 3600, float),
        "For rounds under way, once the server is asked to end.",
    )

    log_format: str = _setting(
        "log", "text", values.one_of(*FORMATS), "text or json; one line an event."
    )
    log_level: str = _setting(
        "log", "info", values.one_of(*LEVELS), "debug, info, warning or error."
    )
    log_file: Path | None = _setting(
        "log",
        None,
        values.path,
        "Unset: standard error. The file may be rotated.",
        "/var/log/tacita/server.log",
    )
    log_token_names: bool = _setting(
        "log", False, values.switch, "Name tokens in the log (their names, never the tokens)."
    )


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a config file, by name.

    Raises:
        ConfigError: it cannot be read, or says something that is not known.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.loads(file.read(MAX_CONFIG_BYTES).decode())
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.", "Check --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}.", "Compare it with: tacita-server config"
        ) from error
    found: dict[str, Any] = {}
    for section, entries in document.items():
        if not isinstance(entries, dict):
            raise _unknown(path, section)
        for key, value in entries.items():
            found[key] = _read_value(path, section, key, value)
    return found


def _read_value(path: Path, section: str, key: str, value: Any) -> Any:
    known = {f.name: f.metadata for f in fields(Settings)}
    if key not in known or known[key]["section"] != section:
        raise _unknown(path, f"{section}.{key}")
    try:
        return known[key]["read"](value)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{section}.{key} in {path} {error}.", "Compare it with: tacita-server config"
        ) from error


def _unknown(path: Path, name: str) -> ConfigError:
    return ConfigError(
        f"{path} sets {name}, which does not exist.", "Compare it with: tacita-server config"
    )


def resolve(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The settings of a server.

    Args:
        config: a config file.
        flags: what the command line said, by name.

    Raises:
        ConfigError: the file is not usable, or two settings do not go together.
    """
    settings = Settings(**{**(read_config(config) if config else {}), **flags})
    if settings.tls_key is not None and settings.tls_cert is None:
        raise ConfigError("There is a tls_key but no tls_cert.", "Name the certificate, too.")
    if settings.open and settings.tokens is not None:
        raise ConfigError("`open` and `tokens` contradict one another.", "Remove one of them.")
    return settings


def add_flags(parser: argparse.ArgumentParser, skip: frozenset[str] = frozenset()) -> None:
    """One flag for every setting; those that were not given leave no trace in the namespace."""
    for setting in fields(Settings):
        if setting.name in skip:
            continue
        flag = "--" + setting.name.replace("_", "-")
        read, shown = setting.metadata["read"], _flag_help(setting)
        if read is values.switch:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=shown
            )
            continue
        parser.add_argument(
            flag,
            type=_for_argparse(read),
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=shown,
        )


def _flag_help(setting: Any) -> str:
    text = setting.metadata["text"].replace("%", "%%").rstrip(".")
    if setting.default in (None, (), True, False):
        return str(text)
    return f"{text} (default: {setting.default})"


def _for_argparse(read: Callable[[Any], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def default_config() -> str:
    """The whole config file, every setting explained and commented out at its default."""
    lines = [
        "# Tacita server. Every setting with its default; remove the # of those that you change."
    ]
    lines += ["# `kill -HUP` (systemctl reload) reads models, tokens, [limits] and [log] again."]
    section = ""
    for setting in fields(Settings):
        if setting.metadata["section"] != section:
            section = setting.metadata["section"]
            lines += ["", f"[{section}]"]
        lines += ["", *_wrapped(setting.metadata["text"])]
        lines.append(f"#{setting.name} = {_toml(setting.default, setting.metadata['example'])}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    words, lines = text.split(), ["#"]
    for word in words:
        if len(lines[-1]) + len(word) > 98:
            lines.append("#")
        lines[-1] += f" {word}"
    return lines


def _toml(value: Any, example: str) -> str:
    if value is None:
        return json.dumps(int(example) if example.isdigit() else example)
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value)
