"""Turns rendered prompts into tokens so that no message can write the model's control tokens.

A template puts tokens such as <|im_end|> around messages. The same characters inside a message (pasted from a web page,
say) would end the turn and begin another one. They are hidden from the template behind markers that cannot be guessed,
and encoded as the plain text that they are.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

from fhe_client.text.transcript import Message


class Render(Protocol):
    """Makes the prompt's text of messages; see `TemplateRenderer.render`."""

    def __call__(self, messages: Sequence[Message], cut_at: str = "") -> str: ...


class PromptEncoder:
    """Encodes prompts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        self._controls = sorted({t.content for t in added if t.special}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._controls)) or r"(?!)")

    def encode(
        self,
        messages: Sequence[Message],
        render: Render,
        add_special: bool,
        continuing: bool = False,
    ) -> list[int]:
        """Token ids of the prompt that `render` makes of the messages.

        Args:
            add_special: whether the tokenizer puts its own tokens around the text (a template brings them along).
            continuing: the prompt ends with the last message's text, so that the model writes on from there.
        """
        nonce = secrets.token_hex(16)
        cut = f"\ue000{nonce}\ue001" if continuing else ""
        if cut:
            messages = [*messages[:-1], _ending(messages[-1], cut)]
        if not any(self._pattern.search(m.content) for m in messages):
            return self._ids(render(messages, cut), add_special_tokens=add_special)
        text = render([Message(m.role, self._hide(m.content, nonce)) for m in messages], cut)
        ids: list[int] = []
        for position, piece in enumerate(re.split(f"\ue000{nonce}([0-9]+)\ue001", text)):
            if position % 2:  # the number of a control token, written as text
                control = self._controls[int(piece)]
                ids += self._ids(control, add_special_tokens=False, split_special_tokens=True)
            elif piece or position == 0:
                ids += self._ids(piece, add_special_tokens=add_special and position == 0)
        return ids

    def _hide(self, content: str, nonce: str) -> str:
        def marker(match: re.Match[str]) -> str:
            return f"\ue000{nonce}{self._controls.index(match.group())}\ue001"

        return self._pattern.sub(marker, content)

    def _ids(self, text: str, **settings: bool) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, **settings)]


def _ending(message: Message, mark: str) -> Message:
    return Message(message.role, message.content + mark)
