"""Turns a growing list of tokens into pieces of text that can be shown at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_REPLACEMENT = "\ufffd"
_MAX_HELD_TOKENS = 16
_CONTEXT_TOKENS = 8


class PieceDecoder:
    """Decodes tokens one by one, holding back what may still change.

    A token can end inside a UTF-8 character, and how a token reads can depend on the one before it, so each new token
    is decoded together with a few earlier ones, and text that ends in a replacement character waits for the next one.

    Args:
        tokenizer: has `decode`.
        stop_texts: texts that end the reply, none empty; neither the first one found nor what follows is given out.
        before: tokens of a text that this one continues (a word's first token can read differently at the start).
    """

    def __init__(
        self, tokenizer: Any, stop_texts: Sequence[str] = (), before: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._stop_texts = tuple(stop_texts)
        self._tokens: list[int] = list(before[-_CONTEXT_TOKENS:])
        self._context_start = 0
        self._given = len(self._tokens)
        self._held = ""
        self.stopped = False

    def put(self, token: int) -> str:
        """Take one token; the text that is now certain, often empty or several characters."""
        self._tokens.append(token)
        whole = self._decode(self._context_start, len(self._tokens))
        waiting = len(self._tokens) - self._given
        if whole.endswith(_REPLACEMENT) and waiting < _MAX_HELD_TOKENS:
            return ""
        return self._release(whole)

    def end(self) -> str:
        """The rest, when no token follows. A last character of which not all bytes came is left out."""
        whole = self._decode(self._context_start, len(self._tokens))
        if whole.endswith(_REPLACEMENT) and not whole.endswith(2 * _REPLACEMENT):
            whole = whole[:-1]
        piece = self._release(whole) + ("" if self.stopped else self._held)
        self._held = ""
        return piece

    def _release(self, whole: str) -> str:
        known = self._decode(self._context_start, self._given)
        self._context_start, self._given = self._given, len(self._tokens)
        return self._until_stop(whole[len(known) :])

    def _until_stop(self, piece: str) -> str:
        if self.stopped or not self._stop_texts:
            return "" if self.stopped else piece
        text = self._held + piece
        places = [place for stop in self._stop_texts if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = max(_overlap(text, stop) for stop in self._stop_texts)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _decode(self, start: int, stop: int) -> str:
        text: str = self._tokenizer.decode(
            self._tokens[start:stop], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def _overlap(text: str, stop_text: str) -> int:
    """Length of the longest end of `text` that begins `stop_text`."""
    for length in range(min(len(text), len(stop_text) - 1), 0, -1):
        if text.endswith(stop_text[:length]):
            return length
    return 0
