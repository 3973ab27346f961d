"""The closed list of error codes: nothing raises one that is not there, and no text promises what no error carries."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import fhe_client
from fhe_client.crypto.errors import SlotError
from fhe_client.error_codes import CODES, ErrorText, placeholders
from fhe_client.errors import TacitaError
from fhe_client.failures import describe
from fhe_client.network.errors import ModelChangedError, UnauthorisedError, server_error
from fhe_protocol.errors import FrameError

PACKAGE = Path(fhe_client.__file__).parent
PROGRAMS = {"fhe_client.__main__", "fhe_client.text.template_worker"}


def subclasses(kind: type[TacitaError]) -> Iterator[type[TacitaError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from subclasses(one)


@pytest.fixture(scope="module")
def kinds() -> list[type[TacitaError]]:
    """All errors of the package, from all of its modules."""
    for module in pkgutil.walk_packages(fhe_client.__path__, "fhe_client."):
        if module.name not in PROGRAMS:
            importlib.import_module(module.name)
    return [k for k in subclasses(TacitaError) if k.__module__.startswith("fhe_client.")]


def test_every_error_has_a_code_of_the_list(kinds: list[type[TacitaError]]) -> None:
    assert len(kinds) > 60
    assert {k.code for k in kinds} <= CODES.keys()


def test_the_list_has_no_code_that_nothing_raises(kinds: list[type[TacitaError]]) -> None:
    described = (FrameError("x"), MemoryError(), OSError(5, "x"), OSError(28, "x"), ValueError())
    raised = {k.code for k in kinds} | {describe(error).code for error in described}
    assert raised == CODES.keys()


@pytest.mark.parametrize("code", CODES)
def test_every_text_is_a_sentence_with_a_next_step(code: str) -> None:
    text = CODES[code]
    for sentence in (text.message, text.next_step, *text.detailed):
        assert sentence[0].isupper() or sentence.startswith("keys.json")
        assert sentence.endswith(".")
    assert not placeholders(text.message + text.next_step)
    assert all(placeholders(sentence) for sentence in text.detailed)


def test_params_and_placeholders_are_the_same_names() -> None:
    given = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "about":
                given |= {keyword.arg for keyword in node.keywords}
    given.add("reason")  # of errors of the operating system; see failures.py
    promised = {name for t in CODES.values() for s in t.detailed for name in placeholders(s)}
    assert given == promised


def test_the_most_precise_text_is_told() -> None:
    changed = ModelChangedError("https://a", "m", "1" * 64, "2" * 64)
    told = CODES["model_changed"].told(describe(changed).params)
    assert "https://a" in told
    assert "1" * 12 in told
    refused = server_error("unauthorised", "no\x1b such token", 401)
    assert isinstance(refused, UnauthorisedError)
    assert describe(refused).params == {"says": "no  such token"}
    assert (
        CODES["unauthorised"].told(describe(refused).params) == "The server says: no  such token."
    )
    assert CODES["unauthorised"].told({}) == CODES["unauthorised"].message
    assert ErrorText("A.", "B.", ("{x} {y}.", "{x}.")).told({"x": "1"}) == "1."


def test_params_are_short_and_printable() -> None:
    error = SlotError("x").about(name="a\x1b]0;\u202eb" + "c" * 1000)
    assert error.params["name"].startswith("a ]0; b")
    assert len(error.params["name"]) == 200
