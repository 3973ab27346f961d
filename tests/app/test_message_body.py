from __future__ import annotations

import random

import pytest
from pytestqt.qtbot import QtBot

from app.views.code_block import CodeBlock
from app.views.message_body import MessageBody
from app.views.safe_browser import SafeBrowser
from tests.app.fake_engine import MARKDOWN

LIST = "Before.\n\n" + "".join(f"{i}. item {i}\n\n   with more\n\n" for i in range(3, 60)) + "after"
LONG = "\n\n".join(f"Paragraph {i} with *some* words.\n\n```\ncode {i}\n```" for i in range(12))


def shown(body: MessageBody) -> list[tuple[str, str]]:
    found = []
    for widget in body._widgets():
        if isinstance(widget, CodeBlock):
            found.append(("code", widget.code))
        elif isinstance(widget, SafeBrowser):
            found.append(("prose", widget.toPlainText().strip()))
    return found


@pytest.mark.parametrize(
    "text", [MARKDOWN, LONG, LIST, "plain", "a\n\nb\n\n1. x\n\n2. y\n\nz", "```\nopen"]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_grown_text_looks_like_the_whole_text(qtbot: QtBot, text: str, seed: int) -> None:
    whole, grown = MessageBody(), MessageBody()
    qtbot.addWidget(whole)
    qtbot.addWidget(grown)
    whole.set_text(text)
    steps = random.Random(seed)
    at = 0
    while at < len(text):
        size = steps.randint(1, 30)
        grown.add(text[at : at + size])
        grown.flush()
        at += size
    assert grown.text == text
    joined = ["".join(part for kind, part in shown(b) if kind == "prose") for b in (whole, grown)]
    assert joined[0].replace("\n", "") == joined[1].replace("\n", "")
    assert [c.code for c in grown.code_blocks()] == [c.code for c in whole.code_blocks()]


def test_the_open_part_stays_small_while_a_reply_grows(qtbot: QtBot) -> None:
    body = MessageBody()
    qtbot.addWidget(body)
    largest = 0
    for index in range(400):
        body.add(f"Sentence number {index} of a long reply.\n\n")
        body.flush()
        largest = max(largest, len(body._tail) + len(body._prose_html))
    assert largest < 4_000
    assert len(body.text) > 14_000


def test_line_ends_of_other_systems(qtbot: QtBot) -> None:
    body = MessageBody()
    qtbot.addWidget(body)
    body.set_text("one\r\n\r\ntwo\rthree\r\n\r\nfour")
    body.add(" five")
    body.flush()
    assert body.text == "one\n\ntwo\nthree\n\nfour five"
