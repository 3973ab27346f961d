"""The root of every error that Tacita shows to a person."""

from __future__ import annotations

from typing import ClassVar


class TacitaError(Exception):
    """What happened (`message`), what to do about it (`next_step`), and a stable word (`code`)."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()
