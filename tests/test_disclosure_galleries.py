"""The rule by which a gallery row may change: subtracting epochs never singles out fewer than three patients."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.consortium.isolation import Span
from common.privacy.gallery_rule import Change, change

FOUR = frozenset("abcd")


@pytest.mark.parametrize(
    ("current", "decided"),
    [
        ("abcd", Change.KEEP),
        ("abcde", Change.WAIT),
        ("abcdef", Change.WAIT),
        ("abcdefg", Change.REBUILD),
        ("abc", Change.VETO),
        ("abce", Change.VETO),
        ("abcef", Change.REBUILD),
        ("a", Change.REBUILD),
        ("", Change.REBUILD),
    ],
)
def test_a_row_changes_only_when_three_patients_changed(current: str, decided: Change) -> None:
    assert change(frozenset(current), [FOUR], intact=True) is decided


def test_a_row_of_a_new_release_is_free() -> None:
    assert change(frozenset("a"), [], intact=False) is Change.REBUILD


def test_a_row_whose_embeddings_are_gone_is_not_rebuilt_from_the_same_patients() -> None:
    assert change(FOUR, [FOUR], intact=False) is Change.VETO


def test_older_sets_count_as_well_as_the_newest() -> None:
    served = [FOUR, FOUR | set("efg")]
    # Far from the newest set, and one patient away from the oldest.
    assert change(FOUR | {"x"}, served, intact=True) is Change.VETO
    assert change(FOUR, served, intact=True) is Change.VETO


def test_combinations_of_three_sets_count_as_well_as_pairs() -> None:
    served = [FOUR, FOUR | set("efg"), FOUR | set("hij")]
    union = frozenset("abcdefghij")
    assert min(len((union | {"x"}) ^ earlier) for earlier in served) >= 3
    assert change(union, served, intact=True) is Change.REBUILD
    # The second, less the first, plus the third, is all of them but x.
    assert change(union | {"x"}, served, intact=True) is Change.WAIT


@settings(max_examples=60, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefghij"), min_size=1), min_size=2, max_size=12))
def test_over_any_history_no_combination_of_differences_touches_one_or_two_patients(
    galleries: list[frozenset[str]],
) -> None:
    served: list[frozenset[str]] = []
    intact = False
    for current in galleries:
        decided = change(current, served, intact=intact)
        intact = decided is not Change.VETO
        if decided is Change.REBUILD:
            served.append(current)
    differences = Span()
    for one, other in combinations(served, 2):
        differences.add({**dict.fromkeys(one - other, 1), **dict.fromkeys(other - one, -1)})
    assert differences.fewest() == 3
