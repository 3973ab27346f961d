"""Markdown to the HTML subset that Qt shows, cut into blocks so that a growing reply stays cheap.

Model text is untrusted: HTML in it is shown as text, images become their description, and only
http and https links stay links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded with the first text, so that the window shows sooner
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LISTS = {"bullet_list_open": "ul", "ordered_list_open": "ol"}


@dataclass(frozen=True)
class ListItem:
    """Where a block that is one item of a list stands in it. A loose list has space between items."""

    ordered: bool
    number: int
    loose: bool
    first: bool


@dataclass(frozen=True)
class Block:
    """A top-level piece of a message: prose (HTML) or code (its text and language).

    Each item of a top-level list is a block of its own, so that a long list can grow like any
    other text. ``end`` is the index in the source just past the block.
    """

    kind: str
    content: str
    language: str = ""
    end: int = 0
    item: ListItem | None = None


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def warm_up() -> None:
    """Load the parser now rather than with the first text."""
    blocks("")


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


def blocks(source: str, goes_on: ListItem | None = None) -> list[Block]:
    """The top-level blocks of a text, in order.

    Args:
        goes_on: the first item of ``source``, if ``source`` is the rest of a list that was cut.
    """
    parser = _parser()
    tokens = parser.parse(source)
    _disarm(tokens)
    starts = _line_starts(source)
    found: list[Block] = []
    for group in _top_level(tokens):
        if group[0].type in LISTS:
            found += _list_items(parser, group, starts, None if found else goes_on)
        else:
            found.append(_block(parser, group, starts))
    return found


def joined(before: str, block: Block) -> str:
    """The HTML of two neighbouring pieces of prose; an item goes into the list that is open."""
    if block.item is not None and not block.item.first:
        end = "</ol>\n" if block.item.ordered else "</ul>\n"
        if before.endswith(end):
            return before[: -len(end)] + block.content.split("\n", 1)[1]
    return before + block.content


def _list_items(
    parser: MarkdownIt, group: list[Token], starts: list[int], goes_on: ListItem | None
) -> list[Block]:
    """Each item of a list as a list of one, numbered as in the whole."""
    opening, closing = group[0], group[-1]
    ordered = opening.type == "ordered_list_open"
    goes_on = goes_on if goes_on is not None and goes_on.ordered == ordered else None
    items = _items(group[1:-1])
    loose = any(t.type == "paragraph_open" and t.level == 2 and not t.hidden for t in group)
    loose = loose or (goes_on is not None and goes_on.loose)
    number = goes_on.number if goes_on else int(str(opening.attrGet("start") or 1))
    found = []
    for index, tokens in enumerate(items):
        last = index + 1 == len(items)
        line = _end_line(group, starts) if last else _first_line(items[index + 1])
        place = ListItem(ordered, number + index, loose, index == 0 and goes_on is None)
        html = _one_item(parser, opening, tokens, closing, place)
        found.append(Block("prose", html, end=starts[min(line, len(starts) - 1)], item=place))
    return found


def _items(tokens: Sequence[Token]) -> list[list[Token]]:
    items: list[list[Token]] = []
    for token in tokens:
        if token.type == "list_item_open" and token.level == 1:
            items.append([])
        items[-1].append(token)
    return items


def _first_line(tokens: Sequence[Token]) -> int:
    return tokens[0].map[0] if tokens[0].map else 0


def _one_item(
    parser: MarkdownIt, opening: Token, tokens: list[Token], closing: Token, place: ListItem
) -> str:
    if place.loose:
        for token in tokens:
            if token.level == 2 and token.type in ("paragraph_open", "paragraph_close"):
                token.hidden = False
    head = opening.copy()
    head.attrs = {"start": place.number} if place.ordered and place.number != 1 else {}
    return str(parser.renderer.render([head, *tokens, closing], parser.options, {}))


def _line_starts(source: str) -> list[int]:
    # Lines as markdown-it counts them: "\n" alone (it turns "\r\n" and "\r" into one first).
    starts = [0]
    starts += [index + 1 for index, letter in enumerate(source) if letter == "\n"]
    return [*starts, len(source)]


def _end_line(group: Sequence[Token], starts: Sequence[int]) -> int:
    return group[0].map[1] if group[0].map else len(starts) - 1


def _block(parser: MarkdownIt, group: list[Token], starts: list[int]) -> Block:
    first = group[0]
    end = starts[min(_end_line(group, starts), len(starts) - 1)]
    if first.type in ("fence", "code_block"):
        language = first.info.strip().split(" ")[0] if first.info.strip() else ""
        return Block("code", first.content.rstrip("\n"), language, end)
    html = str(parser.renderer.render(group, parser.options, {}))
    return Block("prose", html, end=end)
