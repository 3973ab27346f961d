"""Markdown to the HTML subset that Qt shows, cut into blocks so that a growing reply stays cheap.

Model text is untrusted: HTML in it is shown as text, images become their description, and only
http and https links stay links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_HIGHLIGHTED = 60_000
_STYLES = {False: "friendly", True: "github-dark"}


@dataclass(frozen=True)
class Block:
    """A top-level piece of a message: prose (HTML) or code (its text and language).

    ``end`` is the index in the source just past the block.
    """

    kind: str
    content: str
    language: str = ""
    end: int = 0


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def safe_link(href: str) -> bool:
    """Whether a link may stay one: http and https only."""
    return href.lower().startswith(("http://", "https://"))


def _disarm(tokens: Sequence[Token]) -> None:
    """Turn images into text and every other link scheme into plain text, in place."""
    for token in tokens:
        if token.type == "image":
            token.type, token.tag, token.nesting = "text", "", 0
            token.content = f"[{token.content}]"
            token.children = None
        elif token.type == "link_open" and not safe_link(str(token.attrGet("href") or "")):
            token.attrs.pop("href", None)
        elif token.type == "table_open":
            # Qt's HTML subset draws cell borders and padding from attributes alone.
            token.attrs.update(border="1", cellspacing="0", cellpadding="5")
            # One grey that stands out on both looks; the default is drawn white on white.
            token.attrs.update(style="border-style: solid; border-color: #8a8f8c")
        if token.children:
            _disarm(token.children)


def _top_level(tokens: Sequence[Token]) -> list[list[Token]]:
    groups: list[list[Token]] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            groups.append([])
        groups[-1].append(token)
    return groups


def blocks(source: str) -> list[Block]:
    """The top-level blocks of a text, in order."""
    parser = _parser()
    tokens = parser.parse(source)
    _disarm(tokens)
    starts = _line_starts(source)
    return [_block(parser, group, starts) for group in _top_level(tokens)]


def _line_starts(source: str) -> list[int]:
    # Lines as markdown-it counts them: "\n" alone (it turns "\r\n" and "\r" into one first).
    starts = [0]
    starts += [index + 1 for index, letter in enumerate(source) if letter == "\n"]
    return [*starts, len(source)]


def _block(parser: MarkdownIt, group: list[Token], starts: list[int]) -> Block:
    first = group[0]
    last_line = first.map[1] if first.map else len(starts) - 1
    end = starts[min(last_line, len(starts) - 1)]
    if first.type in ("fence", "code_block"):
        language = first.info.strip().split(" ")[0] if first.info.strip() else ""
        return Block("code", first.content.rstrip("\n"), language, end)
    html = str(parser.renderer.render(group, parser.options, {}))
    return Block("prose", html, end=end)


def highlighted(code: str, language: str, *, dark: bool) -> str:
    """Code as HTML with inline colours; plain when the language is not known or the code is huge."""
    if not language or len(code) > MAX_HIGHLIGHTED:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code)
    formatter = HtmlFormatter(nowrap=True, noclasses=True, style=_STYLES[dark])
    return str(highlight(code, lexer, formatter))
