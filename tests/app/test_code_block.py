from __future__ import annotations

import random

import pytest
from PySide6.QtGui import QTextDocument
from pytestqt.qtbot import QtBot

from app.highlighting import PLAIN, after, runs
from app.views.code_block import GIVE_UP_LINES, OPEN_LINES, CodeBlock

LINE = 'value_{0} = compute({0}, "text 😀")  # comment {0}\n'
PLAIN_CODE = "".join(LINE.format(i) for i in range(200))
DOCSTRING = 'x = 1\n"""\n' + "words of a docstring, def and class\n" * 70 + '"""\ny = 2\n' * 3


def colours(document: QTextDocument) -> list[tuple[str, str, bool]]:
    """Every letter with its colour and weight."""
    found = []
    block = document.begin()
    while block.isValid():
        for fragment in block:  # type: ignore[attr-defined]
            part = fragment.fragment()
            look = (part.charFormat().foreground().color().name(), part.charFormat().font().bold())
            found += [(letter, *look) for letter in part.text()]
        block = block.next()
    return found


@pytest.mark.parametrize("code", [PLAIN_CODE, DOCSTRING, "no end of line", "a\n\n\nb\n``"])
@pytest.mark.parametrize("language", ["python", "", "no-such-language"])
def test_grown_code_looks_like_the_whole_code(qtbot: QtBot, code: str, language: str) -> None:
    whole, grown = CodeBlock(), CodeBlock()
    qtbot.addWidget(whole)
    qtbot.addWidget(grown)
    whole.show_code(code, language)
    steps = random.Random(5)
    at = 0
    while at < len(code):
        at = min(len(code), at + steps.randint(1, 300))
        grown.show_code(code[:at], language)
    assert grown.code == whole.code == code
    assert grown._view.toPlainText() == code
    assert colours(grown._view.document()) == colours(whole._view.document())


def test_only_the_end_of_growing_code_is_drawn_again(qtbot: QtBot) -> None:
    block = CodeBlock()
    qtbot.addWidget(block)
    largest, code = 0, ""
    for index in range(400):
        code += LINE.format(index)
        block.show_code(code, "python")
        largest = max(largest, block.open_length)
    assert largest <= 2 * OPEN_LINES * len(LINE.format(400))


def test_a_comment_without_end_is_settled_too(qtbot: QtBot) -> None:
    block = CodeBlock()
    qtbot.addWidget(block)
    code = "/*\n" + "words\n" * (GIVE_UP_LINES + 50)
    for end in range(0, len(code), 60):
        block.show_code(code[:end], "c")
    assert block.open_length < 6 * GIVE_UP_LINES


def test_other_code_replaces_the_old(qtbot: QtBot) -> None:
    block = CodeBlock()
    qtbot.addWidget(block)
    block.show_code(PLAIN_CODE, "python")
    block.show_code(PLAIN_CODE + "```", "python")
    block.show_code(PLAIN_CODE, "python")  # the fence turned out to be the end
    assert block._view.toPlainText() == PLAIN_CODE
    block.show_code("int x;", "c")
    assert block._view.toPlainText() == "int x;"


def test_code_is_text_whatever_it_says() -> None:
    assert runs("<b>", "no-such-language", dark=False) == [("<b>", PLAIN)]
    assert "".join(text for text, _ in runs("if a < b: pass", "python", dark=True)) == (
        "if a < b: pass"
    )
    assert any(look.colour for _, look in runs("if a < b: pass", "python", dark=True))
    assert runs("x" * 70_000, "python", dark=False) == [("x" * 70_000, PLAIN)]


def test_runs_after_a_cut() -> None:
    found = [("abc", PLAIN), ("def", PLAIN)]
    assert after(found, 0) == found
    assert after(found, 2) == [("c", PLAIN), ("def", PLAIN)]
    assert after(found, 3) == [("def", PLAIN)]
    assert after(found, 6) == []
