from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_client.text.pieces import PieceDecoder
from tests.small_artefacts import small_tokenizer

TOKENIZER: Any = small_tokenizer()


def stream(text: str, *stop_texts: str) -> list[str]:
    decoder = PieceDecoder(TOKENIZER, stop_texts)
    pieces = []
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        pieces.append(decoder.put(token))
        if decoder.stopped:
            break
    return [*pieces, decoder.end()]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=30))
@settings(max_examples=60, deadline=None)
def test_pieces_add_up_and_never_show_half_a_character(text: str) -> None:
    pieces = stream(text)
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


def test_characters_come_as_soon_as_they_are_whole() -> None:
    assert stream("a€b") == ["a", "", "", "€", "b", ""]


def test_special_tokens_are_not_shown() -> None:
    decoder = PieceDecoder(TOKENIZER)
    tokens = [*TOKENIZER.encode("hi"), 1, *TOKENIZER.encode("!")]
    assert "".join(map(decoder.put, tokens)) + decoder.end() == "hi!"


def test_bytes_that_are_no_text_are_shown_in_the_end() -> None:
    lone = TOKENIZER.encode("€", add_special_tokens=False)[:1]
    decoder = PieceDecoder(TOKENIZER)
    pieces = [decoder.put(token) for token in lone * 40]
    assert any(pieces), "held back for ever"
    assert set("".join(pieces) + decoder.end()) == {"\ufffd"}


@given(st.text("ab.", max_size=12), st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_first_of_several_stop_texts_ends_the_reply(text: str, stops: list[str]) -> None:
    shown = "".join(stream(text, *stops))
    # Stops come letter by letter here, so the one that is complete first counts, as it would for a reader.
    ends = [(place + len(stop), -len(stop)) for stop in stops if (place := text.find(stop)) >= 0]
    if ends:
        end, size = min(ends)
        assert shown == text[: end + size]
    else:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("fine\nUser: more", "fine"),
        ("fine\nUsed", "fine\nUsed"),
        ("fine\nUs", "fine\nUs"),
        ("\n\nUser:", "\n"),
        ("\nUser:", ""),
    ],
)
def test_stop_text(text: str, due: str) -> None:
    assert "".join(stream(text, "\nUser:")) == due


def test_half_a_character_in_the_end_is_left_out() -> None:
    tokens = TOKENIZER.encode("a€", add_special_tokens=False)
    decoder = PieceDecoder(TOKENIZER)
    assert "".join(map(decoder.put, tokens[:-1])) + decoder.end() == "a"


class LeadingSpace:
    """Decodes like SentencePiece: a word's space is lost at the beginning of a text."""

    def decode(self, tokens: list[int], **_: object) -> str:
        return " ".join("abc"[token] for token in tokens)


def test_a_continued_text_keeps_the_space_of_its_first_word() -> None:
    for before, due in (((), "b c"), ([0], " b c"), ([0] * 40, " b c")):
        decoder = PieceDecoder(LeadingSpace(), before=before)
        assert decoder.put(1) + decoder.put(2) + decoder.end() == due
