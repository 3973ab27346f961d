from __future__ import annotations

import pytest

from fhe_client.model.errors import ModelError
from fhe_client.text.drafting import AUTO, AUTO_STEPS, MOST, Drafter, check_draft, rows_per_pass


def test_guesses_are_what_followed_the_last_time() -> None:
    drafter = Drafter([1, 2, 3, 4, 5, 6, 9, 1, 2, 3])
    assert drafter.propose(4) == [4, 5, 6, 9]
    assert drafter.propose(7) == [4, 5, 6, 9, 1, 2, 3]


def test_longest_match_wins_over_a_later_shorter_one() -> None:
    assert Drafter([1, 2, 3, 4, 7, 2, 3, 5, 8, 1, 2, 3]).propose(1) == [4]
    assert Drafter([1, 2, 3, 4, 7, 2, 3, 5, 8, 2, 3]).propose(1) == [5]
    assert Drafter([1, 2, 3, 4, 6, 3, 5, 8, 3]).propose(1) == [5]


def test_later_occurrence_wins_among_equals() -> None:
    assert Drafter([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3]).propose(1) == [5]


def test_repetition_goes_on_past_the_end_of_what_is_known() -> None:
    assert Drafter([1, 2, 1, 2]).propose(5) == [1, 2, 1, 2, 1]
    assert Drafter([7, 7]).propose(3) == [7, 7, 7]


@pytest.mark.parametrize("tokens", [[], [5], [1, 2, 3]])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_guesses_are_always_as_many_as_asked_for(tokens: list[int], count: int) -> None:
    guesses = Drafter(tokens).propose(count)
    assert len(guesses) == count
    assert set(guesses) <= {0, *tokens}


def test_proposing_changes_nothing() -> None:
    drafter = Drafter([1, 2, 3, 1, 2])
    assert drafter.propose(5) == drafter.propose(5)
    drafter.add(4)
    assert drafter.propose(1) == Drafter([1, 2, 3, 1, 2, 4]).propose(1)


def test_growing_equals_starting_whole() -> None:
    tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 1]
    grown = Drafter()
    for token in tokens:
        grown.add(token)
    assert grown.propose(8) == Drafter(tokens).propose(8)


@pytest.mark.parametrize("draft", [0, 2, 8, "auto"])
def test_choices(draft: int | str) -> None:
    check_draft(draft)


@pytest.mark.parametrize("draft", [1, 9, -1, True, 4.0, "4", "", None])
def test_other_choices_are_refused(draft: object) -> None:
    with pytest.raises(ModelError, match="draft must be 0"):
        check_draft(draft)


def test_rows_follow_from_choice_and_network() -> None:
    assert rows_per_pass(0, 1.0) == 1
    assert rows_per_pass(6, None) == rows_per_pass(6, 0.0) == 6
    assert rows_per_pass(AUTO, None) == rows_per_pass(AUTO, 0.0) == 1
    for seconds, rows in AUTO_STEPS:
        assert rows_per_pass(AUTO, seconds) == rows
        assert rows_per_pass(AUTO, seconds * 0.999) < rows <= MOST
