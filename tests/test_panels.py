"""Who is summed with whom: enough panels, and no silo that epochs of them single out."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.consortium.groups import Arrangement, Groups, arrange
from common.consortium.isolation import Span, isolated
from common.consortium.panels import divide
from common.errors import DisclosureError
from tests.gallery_epochs import NEXT_RELEASE, names, opened


def history(seed: int, silos: int, epochs: int) -> Iterator[tuple[list[str], Arrangement, Groups]]:
    """Random comings and goings: who is present, the arrangement, and all groups before it."""
    rng = random.Random(seed)
    present, groups, past, known = {f"h{i:02d}" for i in range(silos)}, (), (), silos
    for _ in range(epochs):
        arrangement = arrange(present, groups=groups, past=past)
        yield sorted(present), arrangement, past
        past, groups = tuple(sorted({*past, *arrangement.groups})), arrangement.groups
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            if rng.random() < 0.5 and len(present) > 8:
                present.discard(rng.choice(sorted(present)))
            else:
                present.add(f"h{rng.randrange(known + 1):02d}")
                known = max(known, len(present))


def test_what_sums_isolate_is_found_exactly() -> None:
    assert isolated([{"a", "b", "c"}, {"a", "b"}]) == {"c"}
    assert isolated([{"a", "b"}, {"b", "c"}, {"a", "c"}]) == {"a", "b", "c"}
    assert isolated([{"a", "b", "c"}, {"d", "e", "f"}, {"a", "d", "e"}]) == set()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefg"), min_size=1), max_size=7))
def test_the_rank_test_agrees_with_searching_all_small_vectors(sets: list[frozenset[str]]) -> None:
    members = "abcdefg"
    matrix = np.array([[member in one for member in members] for one in sets], dtype=float).reshape(-1, 7)
    rank = np.linalg.matrix_rank(matrix) if len(sets) else 0

    def in_span(vectors: list[list[float]]) -> bool:
        # Two vectors on a plane meet the span elsewhere than in zero when the ranks do not add up.
        both = np.vstack([matrix, vectors])
        return bool(np.linalg.matrix_rank(both) < rank + len(vectors))

    unit = np.eye(7).tolist()
    alone = {members[i] for i in range(7) if in_span([unit[i]])}
    paired = any(in_span([unit[i], unit[j]]) for i in range(7) for j in range(i))
    assert isolated(sets) == alone
    assert Span.of(sets).fewest() == (1 if alone else 2 if paired else 3)


def test_the_rank_test_does_not_round() -> None:
    # Parallel to 53 bits, and yet independent.
    span = Span()
    span.add({"a": 2**60 + 1, "b": 2**60})
    assert span.isolated() == set()
    span.add({"a": 2**60, "b": 2**60 - 1})
    assert span.isolated() == {"a", "b"}


@pytest.mark.parametrize(("present", "panels"), [(4, 1), (7, 1), (8, 2), (12, 3), (16, 4), (24, 6)])
def test_there_are_as_many_groups_as_there_are_fours(present: int, panels: int) -> None:
    arrangement = arrange(f"h{index:02d}" for index in range(present))
    assert len(arrangement.groups) == panels
    assert not arrangement.waiting
    assert sorted(name for group in arrangement.groups for name in group) == [f"h{i:02d}" for i in range(present)]


def test_one_silo_lost_of_twelve_leaves_the_other_panels() -> None:
    epoch = opened(names(12))
    for querier in names(12):
        panels = divide(epoch, querier, None).panels
        assert len(panels) == 3
        assert all(len(panel) >= 3 and querier not in panel for panel in panels)
        lost = names(12)[5] if querier != names(12)[5] else names(12)[6]
        assert sum(len(panel) for panel in panels if lost not in panel) >= 7


def test_panels_stay_where_nobody_comes_or_leaves() -> None:
    first = opened(names(13))
    assert opened(names(13), first).groups == first.groups


@pytest.mark.parametrize("present", [0, 1, 2, 3])
def test_a_consortium_too_small_for_a_panel_is_refused(present: int) -> None:
    with pytest.raises(DisclosureError, match="no panel"):
        arrange(names(present))


def test_who_has_no_part_in_an_epoch_gets_no_panels() -> None:
    with pytest.raises(DisclosureError, match="no part"):
        divide(opened(names(8)), names(1, start=9)[0], None)


@pytest.mark.parametrize("newcomers", [1, 2])
def test_one_or_two_newcomers_wait(newcomers: int) -> None:
    first = opened(names(8))
    second = opened(names(8 + newcomers), first)
    assert second.groups == first.groups
    assert second.waiting == tuple(names(newcomers, start=8))


def test_a_newcomer_who_waits_may_ask_already() -> None:
    first = opened(names(8))
    second = opened(names(9), first)
    assert divide(second, names(1, start=8)[0], first).panels == first.groups


def test_three_newcomers_are_taken_in_and_four_make_a_panel_of_their_own() -> None:
    first = opened(names(8))
    three, four = opened(names(11), first), opened(names(12), first)
    assert not three.waiting
    assert len(three.groups) == 2
    assert len(four.groups) == 3
    assert set(first.groups) < set(four.groups)


def test_nobody_learns_the_part_of_one_who_leaves() -> None:
    first = opened(names(12))
    leaver = first.groups[0][0]
    second = opened([name for name in names(12) if name != leaver], first)
    assert set(second.groups) <= set(first.groups)
    assert set(second.waiting) == set(first.groups[0]) - {leaver}
    # All three would be summed again if the rule were only that no panel is too small.
    naive = (*first.groups, tuple(name for name in first.groups[0] if name != leaver))
    assert isolated(naive) == {leaver}


def test_those_left_behind_are_summed_again_with_newcomers() -> None:
    first = opened(names(12))
    leaver = first.groups[0][0]
    second = opened([name for name in names(14) if name != leaver], first)
    assert not second.waiting
    assert sum(len(group) for group in second.groups) == 13


def test_a_new_release_lets_everybody_in_and_an_old_one_finds_its_past_again() -> None:
    first = opened(names(8))
    second = opened(names(9), first, release=NEXT_RELEASE)
    assert not second.waiting
    third = opened(names(9), second)
    assert third.waiting == tuple(names(1, start=8))
    assert third.groups == tuple(sorted(first.groups))


def test_a_division_that_isolates_a_silo_together_with_the_last_one_is_refused() -> None:
    first = opened(names(8))
    # As if nothing came before: what a proposer that forgets, or cheats, would say.
    second = opened(names(9), number=2)
    asked = names(1)[0]
    with pytest.raises(DisclosureError, match="isolate"):
        divide(second, asked, first)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("silos", [9, 12, 20])
def test_over_any_history_no_querier_isolates_a_silo(seed: int, silos: int) -> None:
    for present, arrangement, past in history(seed, silos, epochs=8):
        seen = (*past, *arrangement.groups)
        placed = [name for group in arrangement.groups for name in group]
        assert sorted([*placed, *arrangement.waiting]) == present
        assert len(set(placed)) == len(placed)
        assert all(len(group) >= 4 for group in arrangement.groups)
        for querier in {name for group in seen for name in group}:
            assert isolated([*seen, {querier}]) <= {querier}
            panels = [set(group) - {querier} for group in seen]
            assert isolated([*panels, {querier}]) <= {querier}


@pytest.mark.parametrize("seed", range(12))
def test_panels_of_consecutive_epochs_differ_by_no_silo_or_by_at_least_two(seed: int) -> None:
    before: Groups = ()
    for _, arrangement, _ in history(seed, 12, epochs=8):
        differences = [len(set(old) ^ set(new)) for old in before for new in arrangement.groups]
        assert 1 not in differences
        assert len(set(sum(before, ())) ^ set(sum(arrangement.groups, ()))) != 1 or not before
        before = arrangement.groups


def test_every_silo_finds_the_same_arrangement_whatever_order_it_hears_of_the_others() -> None:
    present = names(14)
    shuffled = random.Random(3).sample(present, len(present))
    groups = arrange(names(12)).groups
    assert arrange(shuffled, groups=groups) == arrange(present, groups=groups)


def test_most_silos_are_served_most_of_the_time() -> None:
    waiting, total = 0, 0
    for seed in range(12):
        for present, arrangement, _ in history(seed, 24, epochs=8):
            waiting, total = waiting + len(arrangement.waiting), total + len(present)
    assert waiting / total < 0.1
