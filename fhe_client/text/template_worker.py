"""Renders chat templates in a process of its own. Run as a file, never imported by the client.

A template is a program from an untrusted server. Jinja's sandbox keeps it from files and network, but it can loop or
allocate without end; here that ends this process and nothing else. One JSON object a line: {"template", "variables"}
in, {"text"} or {"error"} out. Imports nothing but the standard library and jinja2, so that it starts fast.

The environment is that of transformers (`transformers.utils.chat_template_utils`), which tests compare with.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MEMORY_LIMIT = 512 << 20
MAX_OUTPUT_CHARACTERS = 12 << 20
LIFE_AFTER_REQUEST = 120
"""Seconds. The parent gives up much earlier (templates.RENDER_SECONDS)."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` marks replies for training; here it prints its body."""

    tags = {"generation"}  # noqa: RUF012 - the name and form that jinja asks for

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dictionary:
    """`dict(...)` for templates, without the class itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _SafeNamespace(Namespace):
    """`namespace(...)` that refuses names with a leading underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # Written like jinja's own, so that `namespace(self=...)` works.
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError("names must not start with an underscore")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005 - templates want the local date


def make_environment() -> ImmutableSandboxedEnvironment:
    """The sandbox that chat templates are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise_exception,
        strftime_now=_strftime_now,
        dict=_Dictionary(),
        namespace=_SafeNamespace,
    )
    return environment


def render(
    environment: ImmutableSandboxedEnvironment, template: str, variables: dict[str, Any]
) -> str:
    """The rendered text, refused beyond MAX_OUTPUT_CHARACTERS."""
    pieces: list[str] = []
    length = 0
    for piece in environment.from_string(template).generate(**variables):
        length += len(piece)
        if length > MAX_OUTPUT_CHARACTERS:
            raise jinja2.TemplateError("the result is too long")
        pieces.append(piece)
    return "".join(pieces)


def answer(environment: ImmutableSandboxedEnvironment, line: bytes) -> dict[str, str]:
    """One request's answer. An error names its kind only: its text could quote the conversation."""
    try:
        request = json.loads(line)
        return {"text": render(environment, request["template"], request["variables"])}
    except (Exception, RecursionError) as error:
        return {"error": type(error).__name__}


def limit_resources() -> None:
    """Bound memory and switch core dumps off, where the system can do that (not on Windows)."""
    with contextlib.suppress(ImportError):
        import resource

        for kind, value in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_CORE, 0)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (value, value))


def set_alarm(seconds: int) -> None:
    """End this process by itself after a while, in case its parent died and cannot; 0 means never."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def main() -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command line that started this
    limit_resources()
    environment = make_environment()
    for line in sys.stdin.buffer:
        set_alarm(LIFE_AFTER_REQUEST)
        reply = json.dumps(answer(environment, line)).encode("ascii")
        set_alarm(0)
        sys.stdout.buffer.write(reply + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
