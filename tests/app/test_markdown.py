from __future__ import annotations

import pytest

from app.markdown import blocks, highlighted, safe_link


def html(text: str) -> str:
    return "".join(block.content for block in blocks(text) if block.kind == "prose")


def test_blocks_cover_the_source_in_order() -> None:
    source = "# Title\n\ntext\nmore\n\n- a\n- b\n\n```py\nx = 1\n```\n\nend"
    found = blocks(source)
    assert [block.kind for block in found] == ["prose", "prose", "prose", "code", "prose"]
    assert found[3].content == "x = 1"
    assert found[3].language == "py"
    ends = [block.end for block in found]
    assert ends == sorted(ends)
    assert source[ends[2] : ends[3]].strip() == "```py\nx = 1\n```"
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


def test_code_is_escaped_whether_its_language_is_known_or_not() -> None:
    assert highlighted("<b>", "no-such-language", dark=False) == "&lt;b&gt;"
    coloured = highlighted("if a < b: pass", "python", dark=True)
    assert "&lt;" in coloured
    assert "color:" in coloured
    assert highlighted("x" * 70_000, "python", dark=False) == "x" * 70_000
