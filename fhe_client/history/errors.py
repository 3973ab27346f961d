"""What can go wrong with the history, each with a next step for the reader."""

from __future__ import annotations


class HistoryError(Exception):
    """The history could not be read or written.

    Attributes:
        message: what happened, in one sentence.
        next_step: what the reader can do about it.
    """

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class HistoryLockedError(HistoryError):
    """The file exists but this key does not open it: never replaced, never overwritten."""


class HistoryTransferError(HistoryError):
    """A file that was to be imported is not a Tacita export."""
