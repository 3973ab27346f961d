"""The arguments of `tacita`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fhe_client.chat_events import SCHEMES
from fhe_client.keys import commands as key_commands
from fhe_client.local_server import DEFAULT_MODEL
from fhe_protocol.version import __version__

SERVER_VARIABLE = "TACITA_SERVER"
TOKEN_VARIABLE = "TACITA_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_PORT = 8422
KEY_MODES = ("auto", "keyring", "session", "passphrase")
_EPILOG = """\
Without --server (or TACITA_SERVER) the embedded server is used, on this computer.
tacita --self-test checks this installation, all the way to an encrypted reply.
TACITA_HOME moves all files; TACITA_DEBUG=1 shows where an error came from.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; `command` names what was chosen."""
    parser = argparse.ArgumentParser(
        prog="tacita",
        description="Talk to a language model on a server that never hears you.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tacita {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_ask(commands)
    chat = commands.add_parser("chat", help="talk in the terminal")
    _add_connection(chat)
    _add_generation(chat)
    _add_system(chat)
    _add_api(commands)
    _add_test(commands)
    _add_pins(commands)
    key_commands.add_parser(commands)
    return parser


def _add_ask(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ask = commands.add_parser("ask", help="ask one question")
    ask.add_argument(
        "prompt",
        nargs="?",
        help="the question; “-”, or nothing while standard input is a pipe or file, reads it from there, "
        "where no list of processes can show it",
    )
    ask.add_argument("--json", action="store_true", help="print the answer and its figures as JSON")
    _add_connection(ask)
    _add_generation(ask)
    _add_system(ask)


def _add_api(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    api = commands.add_parser(
        "api",
        help="let other programs of this computer chat, by OpenAI's API",
        description="Serves OpenAI's chat API at this computer's own address, to programs that know the key which is "
        "shown. Plain text stays on this computer, as in a chat. Options of a reply count where a request has none.",
    )
    api.add_argument(
        "--port", type=int, default=DEFAULT_PORT, metavar="N", help="default: %(default)s; 0: any"
    )
    _add_connection(api)
    _add_generation(api)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", help="a server's address, such as https://host")
    where.add_argument(
        "--local", action="store_true", help="start the embedded server on this computer"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"a model that the server serves (default: its first; locally {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        default=SCHEMES[0],
        help="hint (default), or glwe: Concrete ML's own scheme, minutes a token with most models",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="PATH",
        help=f"read the server's access token from there (default: from {TOKEN_VARIABLE})",
    )
    _add_certificate(parser)
    parser.add_argument(
        "--accept-model-change",
        action="store_true",
        help="go on where the server's model is not the one that was used before",
    )
    parser.add_argument(
        "--keys",
        choices=KEY_MODES,
        default="auto",
        help="where the master key is kept (default: wherever it is, at first in the keyring)",
    )


def _add_certificate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--certificate",
        metavar="SHA256",
        help="accept the server's certificate with this fingerprint and no other (“tacita test” shows the one that "
        "is presented; compare it with what whoever runs the server says)",
    )


def _add_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help="default: 512")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0 always takes the likeliest token"
    )
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="sample among the likeliest tokens only"
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="makes sampling repeatable, as far as the noise of decryption lets it",
    )
    parser.add_argument(
        "--draft",
        type=_draft,
        default=0,
        metavar="K|auto",
        help="check K tokens (2 to 8) in each pass, guessed from the conversation: faster over slow networks, "
        "about K times the bytes, and the number of passes shows the server how much the reply repeats; "
        "“auto” decides by the round-trip time (default: 0, off)",
    )
    parser.add_argument(
        "--pad",
        action="store_true",
        help="pad prompt and reply to multiples of 32, so that the server sees less of their lengths; "
        "each reply then costs at least 32 passes",
    )


def _add_system(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", metavar="TEXT", help="instructions for the model")


def _draft(text: str) -> int | str:
    """A number or "auto"; which numbers are possible is checked with the other options."""
    return text if text == "auto" else int(text)


def _add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    test = commands.add_parser("test", help="test the connection to a server")
    test.add_argument("url", metavar="URL")
    test.add_argument("--model", metavar="NAME", help="a model that it should serve")
    test.add_argument("--token-file", type=Path, metavar="PATH", help="the server's access token")
    _add_certificate(test)
    test.add_argument("--json", action="store_true", help="for scripts")


def _add_pins(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    pins = commands.add_parser("pins", help="which model of which server is trusted")
    actions = pins.add_subparsers(dest="pins_command", required=True, metavar="COMMAND")
    actions.add_parser("list", help="list them")
    forget = actions.add_parser("forget", help="trust what comes next from a server")
    forget.add_argument("server", metavar="URL")
    forget.add_argument("model", metavar="NAME", nargs="?", help="default: all of that server")
