"""Messages that are still arriving: counted, and bounded together."""

from __future__ import annotations

from fhe_server.service.inflow import Inflow


class Sending:
    """A connection that can only end."""

    def __init__(self) -> None:
        self.ended = False

    def give_way(self) -> None:
        self.ended = True


def test_the_oldest_give_way_until_the_rest_fits() -> None:
    inflow, senders = Inflow(), [Sending() for _ in range(4)]
    for sender in senders:
        inflow.add(sender, 10, 40)
    inflow.add(senders[0], 5, 40)  # more of the first message: it is the oldest still
    assert [s.ended for s in senders] == [True, False, False, False]
    inflow.add(senders[3], 25, 40)
    assert [s.ended for s in senders] == [True, True, True, False]
    assert inflow.total == 35


def test_what_is_whole_counts_no_more() -> None:
    inflow, first, second = Inflow(), Sending(), Sending()
    inflow.add(first, 30, 40)
    inflow.end(first)
    inflow.end(first)
    inflow.add(second, 30, 40)
    assert (first.ended, second.ended, inflow.total) == (False, False, 30)


def test_one_alone_may_be_as_large_as_it_is() -> None:
    """Its own size has a limit elsewhere; to cut it would help nobody."""
    inflow, alone = Inflow(), Sending()
    inflow.add(alone, 100, 40)
    assert not alone.ended
