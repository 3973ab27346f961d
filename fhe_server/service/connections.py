"""Open connections for rounds: how many there are, whose they are, and to which model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fhe_server.service.limits import Limits
from fhe_server.service.refusals import ServiceError
from fhe_server.service.served_model import ServedModel

COME_BACK_S = 5


class Connections:
    """Those of one process. Lives on one event loop.

    Attributes:
        count: open ones.
    """

    def __init__(self) -> None:
        self.count = 0
        self._of_owner: Counter[str] = Counter()
        self._leave: dict[ServedModel, set[Callable[[], None]]] = {}

    @contextmanager
    def joined(
        self,
        owner: str,
        most: int | None,
        limits: Limits,
        model: ServedModel,
        leave: Callable[[], None],
    ) -> Iterator[None]:
        """One more connection, while it lasts.

        Args:
            owner: whom it counts against.
            most: how many one owner may have; None is no limit.
            leave: called when the model is served no more.

        Raises:
            ServiceError: 429 the owner has too many; 503 all together are too many.
        """
        if most is not None and self._of_owner[owner] >= most:
            raise ServiceError(
                429,
                "too_many_connections",
                f"{most} connections are open already, which is all that one user may have here",
                COME_BACK_S,
            )
        if self.count >= limits.max_connections:
            raise ServiceError(503, "busy", "the server has too many connections", COME_BACK_S)
        self.count += 1
        self._of_owner[owner] += 1
        leaving = self._leave.setdefault(model, set())
        leaving.add(leave)
        try:
            yield
        finally:
            self._left(owner, model, leave)

    def _left(self, owner: str, model: ServedModel, leave: Callable[[], None]) -> None:
        self.count -= 1
        self._of_owner[owner] -= 1
        if not self._of_owner[owner]:  # addresses are kept no longer than they are needed
            del self._of_owner[owner]
        self._leave[model].discard(leave)
        if not self._leave[model]:
            del self._leave[model]

    def leave(self, model: ServedModel) -> int:
        """Send the clients of a model away, each after the round that it is at. How many there were."""
        leaving = list(self._leave.get(model, ()))
        for leave in leaving:
            leave()
        return len(leaving)
