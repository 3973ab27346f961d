"""The bookkeeping of one forward pass: which rounds are due, when to stop, and what must not depend on secret data.

What the server sees of a pass is the order of the groups and their number of rows. Both must follow from the model and
the number of new tokens alone, so every pass is held to the order of the first one, and to one call a group. A model
that picks layers by content (a mixture of experts) fails here before a byte is sent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fhe_client.model.errors import PassError
from fhe_client.model.runner import LinearRunner
from fhe_protocol.manifest import Group

OVERFLOW = 1e12
"""Decrypted values beyond this are as useless as infinity, and would become infinite a few layers on."""
_SQUARE = OVERFLOW**2

SPOILED_WARNING = (
    "The server's answer held values that cannot be right. The reply may be wrong. "
    "If this happens again, use another server."
)


class StopRequestedError(Exception):
    """Leaves a pass in the middle because the user asked to stop. Never shown."""


class PassState:
    """One pass after another over one runner.

    Args:
        runner: computes the groups.
        head_groups: indices of the groups behind the model's body; they may see fewer rows.
    """

    def __init__(self, runner: LinearRunner, head_groups: frozenset[int]) -> None:
        self.runner = runner
        self.rounds = 0
        self.passes = 0
        self.should_stop: Callable[[], bool] = _never
        self._head_groups = head_groups
        self._rows = 0
        self._order: list[int] = []
        self._known_order: list[int] | None = None
        self._spoiled = False

    def begin(self, rows: int) -> None:
        """Start a pass over `rows` new tokens. An unfinished pass before it is dropped."""
        if rows < 1 or rows > self.runner.rows_until_window_end():
            raise PassError("A pass has more rows than one window of slots holds.", "Try again.")
        self._stop_if_asked()
        self._rows = rows
        self._order = []
        self.passes += 1
        self.runner.begin_pass(rows)

    def make_room(self, rows: int) -> None:
        """Before a pass that must have exactly `rows` rows: give up the rest of a window that is too short for it.

        Its slots are reserved like those of any pass, and lost. A shorter pass instead would tell nothing either, but
        equal passes are easier to be sure of.
        """
        left = self.runner.rows_until_window_end()
        if left < rows:
            self.runner.begin_pass(left)

    def check_round(self, group: Group, rows: int) -> None:
        """Before a round leaves: stop if asked, and refuse what the fixed order does not allow.

        Raises:
            StopRequestedError: the user asked to stop.
            PassError: the round is not the one that is due.
        """
        self._stop_if_asked()
        allowed = rows == self._rows or (
            group.index in self._head_groups and 1 <= rows < self._rows
        )
        if not allowed:
            raise PassError("The model sent another number of rows to a layer than it has tokens.")
        if self._known_order is None and group.index in self._order:
            raise PassError("The model used one layer twice in one pass.")
        if self._known_order is not None and not self._is_due(group.index):
            raise PassError("The model used its layers in another order than before.")
        self._order.append(group.index)
        self.rounds += 1

    def finish(self, with_head: bool) -> None:
        """After a pass: every group must have been used, those of the head only with the head."""
        self._rows = 0
        due = {g.index for g in self.runner.manifest.groups}
        if not with_head:
            due -= self._head_groups
        if set(self._order) != due:
            raise PassError("The model left out layers in a pass.")
        if with_head and self._known_order is None:
            self._known_order = list(self._order)

    def clean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """`values`, with NaN, infinity and overflow set to zero. Remembers that it happened; the pass goes on."""
        # A sum of squares within the square of the limit: no value is beyond it, and none is NaN.
        if np.vdot(values, values) <= _SQUARE or bool(np.abs(values).max() <= OVERFLOW):
            return values
        self._spoiled = True
        return np.where(np.abs(values) <= OVERFLOW, values, np.float32(0))

    def take_warning(self) -> str | None:
        """What to tell the user about the passes since the last call, or None."""
        spoiled, self._spoiled = self._spoiled, False
        return SPOILED_WARNING if spoiled else None

    def _is_due(self, index: int) -> bool:
        assert self._known_order is not None
        position = len(self._order)
        return position < len(self._known_order) and self._known_order[position] == index

    def _stop_if_asked(self) -> None:
        if self.should_stop():
            raise StopRequestedError


def _never() -> bool:
    return False
