"""Guesses the tokens that come next, so that one pass can check several of them.

A pass over k tokens costs as many round trips as a pass over one. The guesses come from the conversation alone: what
followed the last time that the same three, two or one tokens stood there. Summaries, rewritten text, code and lists
repeat themselves; free text hardly does.

    pass over        [last, g1, g2, g3]        k = 4 rows, always
    next tokens by   [  c1, c2, c3, c4]        c1 always counts; c2 does if c1 = g1; c3 if c2 = g2, too; ...

Each c is chosen from the model's scores exactly as without guesses, and given the tokens before it, so the reply has
the very same distribution (speculative sampling with a guess of probability one: accepted with probability p(guess),
else drawn from the rest). A wrong guess only wastes its row, whose slot is spent like any other.

What a server sees: k rows in every pass, whatever is known; and, from the number of passes, how well the guesses did,
which says how much the reply repeats the conversation. Hence k never depends on the text, and the user chooses.
"""

from __future__ import annotations

from collections.abc import Iterable

from fhe_client.model.errors import ModelError

AUTO = "auto"
FEWEST, MOST = 2, 8
"""Tokens of a pass while guessing is on."""

LONGEST_MATCH = 3

AUTO_STEPS = ((0.012, 4),)
"""(seconds of round trip, tokens per pass from there on): see docs/round-trips.md for what was measured."""


def check_draft(draft: object) -> None:
    """Whether `draft` is a choice: 0, 2 to 8, or "auto".

    Raises:
        ModelError: it is not.
    """
    number = type(draft) is int and (draft == 0 or FEWEST <= draft <= MOST)
    if not number and draft != AUTO:
        raise ModelError(
            f'draft must be 0 (off), a number of tokens from {FEWEST} to {MOST}, or "{AUTO}".'
        )


def rows_per_pass(draft: int | str, round_trip_s: float | None) -> int:
    """Tokens of each pass of a reply. It follows from the user's choice and the network alone, never from the text.

    Args:
        draft: a checked choice.
        round_trip_s: seconds of a round trip to the server; None if nobody knows, which leaves "auto" off.

    Returns:
        1 where guessing is off.
    """
    if isinstance(draft, int):
        return max(1, draft)
    rows = 1
    for seconds, more in AUTO_STEPS:
        if round_trip_s is not None and round_trip_s >= seconds:
            rows = more
    return rows


class Drafter:
    """What followed each run of up to three tokens the last time.

    Args:
        tokens: the conversation so far.
    """

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._last: tuple[int, ...] = ()
        self._next: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """The conversation goes on with this token."""
        for length in range(len(self._last) + 1):
            self._next[self._last[length:]] = token
        self._last = (*self._last, token)[-LONGEST_MATCH:]

    def propose(self, count: int) -> list[int]:
        """Exactly `count` tokens that may follow. Where nothing is known they are as good as any."""
        tail, guesses = self._last, []
        for _ in range(count):
            guess = self._guess(tail)
            guesses.append(guess)
            tail = (*tail, guess)[-LONGEST_MATCH:]
        return guesses

    def _guess(self, tail: tuple[int, ...]) -> int:
        for start in range(len(tail) + 1):
            if (found := self._next.get(tail[start:])) is not None:
                return found
        return 0
