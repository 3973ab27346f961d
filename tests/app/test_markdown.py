from __future__ import annotations

import pytest

from app.markdown import Block, blocks, joined, safe_link


def html(text: str) -> str:
    made = ""
    for block in blocks(text):
        made = joined(made, block) if block.kind == "prose" else made
    return made


def test_blocks_cover_the_source_in_order() -> None:
    source = "# Title\n\ntext\nmore\n\n- a\n- b\n\n```py\nx = 1\n```\n\nend"
    found = blocks(source)
    assert [block.kind for block in found] == ["prose", "prose", "prose", "prose", "code", "prose"]
    assert found[4].content == "x = 1"
    assert found[4].language == "py"
    ends = [block.end for block in found]
    assert ends == sorted(ends)
    assert source[ends[3] : ends[4]].strip() == "```py\nx = 1\n```"
    assert ends[-1] == len(source)


@pytest.mark.parametrize(
    "text",
    [
        "![alt](https://example.org/x.png)",
        "![alt](file:///etc/passwd)",
        "![alt](//server/share/x.png)",
        "![alt][r]\n\n[r]: https://example.org/x.png",
        '<img src="https://example.org/x.png">',
        "<script>alert(1)</script>",
        '<iframe src="https://example.org"></iframe>',
    ],
)
def test_nothing_that_loads_survives(text: str) -> None:
    made = html(text)
    for tag in ("<img", "<script", "<iframe"):
        assert tag not in made
    assert "alt" in made or "&lt;" in made


@pytest.mark.parametrize(
    "target",
    ["javascript:alert(1)", "file:///etc/passwd", "smb://host/share", "data:text/html,x", "/local"],
)
def test_only_web_links_stay_links(target: str) -> None:
    assert "href" not in html(f"[text]({target})")
    assert not safe_link(target)


def test_web_links_stay() -> None:
    assert 'href="https://example.org/a?b=1"' in html("[text](https://example.org/a?b=1)")
    assert "href" in html("<http://example.org>")


def test_tables_are_tables() -> None:
    made = html("| a | b |\n|---|---|\n| 1 | 2 |")
    assert "<table" in made
    assert 'border="1"' in made


LISTS = [
    "- a\n- b\n- c\n",
    "1. a\n2. b\n3. c\n",
    "7. a\n7. b\n7. c\n",
    "1. a\n\n2. b\n\n   more of b\n\n3. c\n",
    "- a\n  - inner\n  - inner too\n- b\n\n  ```\n  code\n  ```\n- c\n",
    "* a\n* b\n\ntext\n\n* new\n+ another list\n",
]


@pytest.mark.parametrize("text", LISTS)
def test_a_list_in_items_is_the_list_in_one(text: str) -> None:
    from app import markdown

    parser = markdown._parser()
    assert html(text) == parser.render(text)


@pytest.mark.parametrize("text", LISTS[:4])
def test_a_list_that_is_cut_goes_on_with_its_numbers_and_its_space(text: str) -> None:
    whole = blocks(text)
    made = ""
    rest: list[Block] = whole
    source = text
    while len(rest) > 1:
        made = joined(made, rest[0])
        source = source[rest[0].end :]
        rest = blocks(source, rest[1].item)
    assert joined(made, rest[0]) == html(text)


def test_a_cut_list_does_not_swallow_what_is_no_item_of_it() -> None:
    (second,) = blocks("- b", blocks("- a\n- b")[1].item)
    assert second.item is not None
    assert not second.item.first
    for other in ("1. b", "b", "```\nb\n```"):
        first = blocks(other, blocks("- a\n- b")[1].item)[0]
        assert first.item is None or first.item.first
