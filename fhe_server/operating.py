"""The operator's commands of `tacita-server`: serve, token, config, bench."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

from fhe_server.errors import ServerError
from fhe_server.home import models_folder, tokens_file
from fhe_server.service.config import Settings, add_flags, default_config, resolve
from fhe_server.service.config_values import size_of
from fhe_server.service.hangup import catch_hangups
from fhe_server.service.tokens import AccessToken, Quotas, TokenFile, expiry, hash_token, utc

MIN_TOKEN = 16
"""Characters. Tokens are kept under a fast hash, which only long random ones withstand."""

Commands = argparse._SubParsersAction  # what argparse calls it


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add this module's commands to the parser of `tacita-server`."""
    _add_serve(commands)
    _add_token(commands)
    _add_config(commands)
    _add_bench(commands)


def _add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve", help="serve imported models over HTTP")
    parser.add_argument(
        "--config", type=Path, metavar="PATH", help="a file made from: tacita-server config"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="serve this model; may be given several times (default: all)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="PATH",
        help="ask every client for one of the access tokens in this file, one a line (see `token` for better ones)",
    )
    parser.add_argument(
        "--port-file",
        type=Path,
        metavar="PATH",
        help="write host, port and process id there as JSON",
    )
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="end when standard input is closed"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    add_flags(parser, skip=frozenset({"model"}))
    parser.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    catch_hangups()
    names = {f.name for f in fields(Settings)}
    flags: dict[str, Any] = {k: v for k, v in vars(options).items() if k in names}
    if "model" in flags:
        flags["model"] = tuple(flags["model"])
    read = partial(resolve, options.config, flags)
    settings = read()
    if settings.workers > 1 and options.worker is None:
        return _serve_with_workers(options, settings)
    from fhe_server.service.serving import ServeOptions, serve

    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    tokens = None if options.token_file else chosen_tokens(settings)
    return serve(
        ServeOptions(
            models=settings.models or models_folder(),
            names=settings.model,
            host=settings.host,
            port=settings.port,
            device=settings.device,
            token_hashes=read_token_hashes(options.token_file),
            port_file=options.port_file,
            exit_with_stdin=options.exit_with_stdin,
            glwe=settings.glwe,
            tokens=tokens,
            settings=settings,
            reread=read,
            worker=options.worker,
        )
    )


def _serve_with_workers(options: argparse.Namespace, settings: Settings) -> int:
    from fhe_server.service import logs
    from fhe_server.service.workers import Workers

    logs.set_up(settings.log_format, settings.log_level, settings.log_file)
    workers = Workers(
        options.arguments,
        settings.workers,
        settings.host,
        settings.port,
        settings.drain_seconds,
    )
    return workers.run(print, options.port_file, options.exit_with_stdin)


def chosen_tokens(settings: Settings) -> Path | None:
    """The token file of a server, or None if everyone may come in."""
    if settings.open:
        return None
    if settings.tokens is not None:
        return settings.tokens
    default = tokens_file()
    return default if default.exists() else None


def read_token_hashes(path: Path | None) -> frozenset[str]:
    """Digests of the tokens in a plain file; empty lines and lines that begin with # do not count.

    Raises:
        ServerError: it cannot be read, or holds nothing or something that is no token.
    """
    if path is None:
        return frozenset()
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ServerError(
            f"Cannot read the token file {path}: {reason}.", "Check --token-file."
        ) from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:  # serving everyone because a file is empty is not what was meant
        raise ServerError(
            f"The token file {path} holds no token.", "Write one token a line into it."
        )
    usable = [re.fullmatch(rf"[!-~]{{{MIN_TOKEN},4096}}", token) is not None for token in tokens]
    if not all(usable):
        raise ServerError(
            f"Token {usable.index(False) + 1} in {path} is shorter than {MIN_TOKEN} characters, or has some "
            "that no HTTP header can carry.",
            "Make random ones, for example with: openssl rand -hex 32",
        )
    return frozenset(hash_token(token) for token in tokens)


def _add_token(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("token", help="create, list and revoke access tokens")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a token; it is shown once")
    create.add_argument("name", help="whose it is; shown by `list`")
    _add_quotas(create, None)
    create.set_defaults(command=_create_token)
    change = actions.add_parser(
        "change", help="give a token other limits, or more days; what is not named stays as it is"
    )
    change.add_argument("name")
    _add_quotas(change, argparse.SUPPRESS)
    change.set_defaults(command=_change_token)
    listing = actions.add_parser("list", help="list the tokens and what they used today")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(command=_list_tokens)
    revoke = actions.add_parser("revoke", help="end a token; its connections end within seconds")
    revoke.add_argument("name")
    revoke.set_defaults(command=_revoke_token)
    for action in (create, change, listing, revoke):
        action.add_argument(
            "--tokens", type=Path, metavar="PATH", help="the token file (default: the user's)"
        )


def _add_quotas(parser: argparse.ArgumentParser, default: Any) -> None:
    for flag, read, shown in (
        ("--days", _days, "it expires after so many days from now"),
        ("--tokens-per-day", _count, "tokens of the model, per day of UTC"),
        ("--bytes-per-day", _bytes, "such as '2 GB'"),
        ("--rounds-at-once", _count, "rounds under way at a time"),
    ):
        parser.add_argument(
            flag, type=_or_none(read), default=default, metavar="N", help=f"{shown}, or: none"
        )


def _token_file(options: argparse.Namespace) -> TokenFile:
    chosen: Path | None = options.tokens
    return TokenFile(tokens_file() if chosen is None else chosen.expanduser())


def _create_token(options: argparse.Namespace) -> int:
    quotas = Quotas(options.tokens_per_day, options.bytes_per_day, options.rounds_at_once)
    token = _token_file(options).create(options.name, quotas, options.days)
    print(token)
    print("It is not kept here and cannot be shown again.", file=sys.stderr)
    return 0


def _change_token(options: argparse.Namespace) -> int:
    named = vars(options)
    quotas = {f.name: named[f.name] for f in fields(Quotas) if f.name in named}

    def altered(entry: AccessToken) -> AccessToken:
        expires = expiry(time.time(), named["days"]) if "days" in named else entry.expires
        return replace(entry, quotas=replace(entry.quotas, **quotas), expires=expires)

    _token_file(options).change(options.name, altered)
    return _list_tokens(options, only=options.name)


def _list_tokens(options: argparse.Namespace, only: str | None = None) -> int:
    from fhe_server.service.usage import USAGE_NAME, UsageLedger

    file = _token_file(options)
    entries = [e for e in file.read() if only in (None, e.name)]
    ledger = UsageLedger(file.path.with_name(USAGE_NAME))
    if file.path.exists():
        ledger.sync_now()
    if only is None and options.json:
        rows = [asdict(e) | {"used_today": asdict(ledger.used(e.name))} for e in entries]
        print(json.dumps(rows))
        return 0
    if not entries:
        print("There is no token. Make one with: tacita-server token create NAME", file=sys.stderr)
    for entry in entries:
        used = ledger.used(entry.name)
        quotas = entry.quotas
        ends = "never expires" if entry.expires is None else f"expires {utc(entry.expires)}"
        over = " (expired)" if entry.expired(time.time()) else ""
        print(
            f"{entry.name}  {ends}{over}  today {used.tokens:,.0f} of {_limit(quotas.tokens_per_day)} tokens, "
            f"{used.bytes / 1e6:,.0f} of {_limit(quotas.bytes_per_day, 1e6)} MB"
        )
    return 0


def _limit(value: int | None, unit: float = 1.0) -> str:
    return "any" if value is None else f"{value / unit:,.0f}"


def _revoke_token(options: argparse.Namespace) -> int:
    _token_file(options).revoke(options.name)
    print(f"{options.name} may no longer come in.")
    return 0


def _add_config(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("config", help="print a config file with every setting explained")
    parser.set_defaults(command=_config)


def _config(_: argparse.Namespace) -> int:
    print(default_config(), end="")
    return 0


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("bench", help="measure tokens per second against clients")
    parser.add_argument("model", help="an imported model")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of imported models")
    parser.add_argument("--clients", type=_count, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number of clients")
    parser.add_argument("--rows", type=_count, default=1, help="tokens per pass")
    parser.add_argument("--workers", type=_count, default=1, help="server processes")
    parser.add_argument("--threads", type=_count, help="CPU threads of one product")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.set_defaults(command=_bench)


def _bench(options: argparse.Namespace) -> int:
    from fhe_server.service.bench import BenchOptions, bench

    chosen: Path | None = options.models
    return bench(
        BenchOptions(
            models=models_folder() if chosen is None else chosen.expanduser(),
            model=options.model,
            clients=tuple(options.clients),
            seconds=options.seconds,
            rows=options.rows,
            workers=options.workers,
            threads=options.threads,
            device=options.device,
        )
    )


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader that knows the word "none", too."""

    @wraps(read)  # argparse names it in its errors
    def either(text: str) -> Any:
        return None if text == "none" else read(text)

    return either


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _days(text: str) -> float:
    value = float(text)
    if not 0 < value < 36_500:
        raise argparse.ArgumentTypeError("must be a number of days")
    return value


def _bytes(text: str) -> int:
    try:
        return size_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def arguments_for_workers(arguments: Sequence[str] | None) -> list[str]:
    """What the processes of a server are started with: the command line as it was given."""
    return list(sys.argv[1:] if arguments is None else arguments)
