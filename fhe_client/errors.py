"""The root of every error that Tacita shows to a person."""

from __future__ import annotations

from typing import ClassVar, Self

_SHOWN = 200


class TacitaError(Exception):
    """What happened (`message`), what to do about it (`next_step`), and a stable word (`code`).

    Every code is in `error_codes.CODES`. `params` are the figures and names in the message, for telling it in another
    language.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step
        self.params: dict[str, str] = {}

    def about(self, **params: object) -> Self:
        """This error with its variable parts: `raise SomeError(...).about(tokens=5)`. Nothing secret."""
        for name, value in params.items():
            text = str(value)[:_SHOWN]
            self.params[name] = "".join(c if c.isprintable() else " " for c in text)
        return self

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()
