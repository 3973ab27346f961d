"""Messages that are still arriving, of all connections of a process: how many bytes of them are in memory.

One may be tens of megabytes, and its sender may take its time. So that a few hundred of them do not take all memory,
who has been at it for longest gives way once they are too much together: an honest query is here in a moment.
"""

from __future__ import annotations

from typing import Protocol


class Sender(Protocol):
    """A connection whose message is under way."""

    def give_way(self) -> None:
        """End at once."""
        ...


class Inflow:
    """Lives on one event loop.

    Attributes:
        total: bytes.
    """

    def __init__(self) -> None:
        self.total = 0
        self._of: dict[Sender, int] = {}  # in the order in which their messages began

    def add(self, sender: Sender, count: int, most: int) -> None:
        """More of a sender's message has come; all together may be `most` bytes, one alone any number."""
        self._of[sender] = self._of.get(sender, 0) + count
        self.total += count
        while self.total > most and len(self._of) > 1:
            slowest = next(iter(self._of))
            self.end(slowest)
            slowest.give_way()

    def end(self, sender: Sender) -> None:
        """The message is whole, or its sender has gone."""
        self.total -= self._of.pop(sender, 0)
