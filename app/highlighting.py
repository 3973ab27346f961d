"""Code in colours, as runs of text: so that a growing block of code is coloured where it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

MAX_HIGHLIGHTED = 60_000
_STYLES = {False: "friendly", True: "github-dark"}


@dataclass(frozen=True)
class Look:
    """How a run is drawn; no colour is the colour of plain text."""

    colour: str = ""
    bold: bool = False
    italic: bool = False


PLAIN = Look()
Run = tuple[str, Look]


@cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    if not language:
        return None
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@cache
def _look(kind: Any, dark: bool) -> Look:
    from pygments.styles import get_style_by_name

    style = get_style_by_name(_STYLES[dark]).style_for_token(kind)
    colour = f"#{style['color']}" if style["color"] else ""
    return Look(colour, bool(style["bold"]), bool(style["italic"]))


def runs(code: str, language: str, *, dark: bool) -> list[Run]:
    """The runs of a text; one plain run when the language is not known or the code is huge."""
    lexer = _lexer(language)
    if lexer is None or len(code) > MAX_HIGHLIGHTED:
        return [(code, PLAIN)] if code else []
    found: list[Run] = []
    for kind, text in lexer.get_tokens(code):
        look = _look(kind, dark)
        if found and found[-1][1] == look:
            found[-1] = (found[-1][0] + text, look)
        else:
            found.append((text, look))
    return found


def after(found: Sequence[Run], cut: int) -> list[Run]:
    """The runs of what follows the first ``cut`` characters."""
    rest: list[Run] = []
    for text, look in found:
        if cut < len(text):
            rest.append((text[max(cut, 0) :], look))
        cut -= len(text)
    return rest
