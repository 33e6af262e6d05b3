"""Disclosure profiles: what each answers, and which one is stricter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from common.consortium.counts import Totals
from common.errors import DisclosureError
from common.privacy.disclosure import (
    OPEN,
    PROFILES,
    SIMULATION,
    STANDARD,
    STRICT,
    Profile,
    answerable,
    at_least_as_strict,
    by_name,
    support_band,
)

#                  none  one   one   two    three   three   five    five   five, one
#                              alone alone  one silo 2 silos one silo 2 silos veto
PATIENTS = np.array([0, 1, 1, 2, 3, 3, 5, 5, 5])
SILOS = np.array([0, 1, 1, 2, 1, 2, 1, 2, 2])
ALONE = np.array([0, 0, 1, 2, 0, 0, 0, 0, 5])
VETOES = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1])
TOTALS = Totals(PATIENTS, SILOS, VETOES, ALONE)


@pytest.mark.parametrize(
    ("profile", "answered"),
    [
        (STRICT, [0, 0, 0, 0, 0, 0, 0, 1, 0]),
        (STANDARD, [0, 0, 0, 0, 1, 1, 1, 1, 0]),
        (OPEN, [0, 0, 1, 1, 1, 1, 1, 1, 0]),
        (SIMULATION, [0, 1, 1, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_each_profile_answers_above_its_floors_only(profile: Profile, answered: list[int]) -> None:
    assert answerable(profile, TOTALS).tolist() == [bool(value) for value in answered]


def test_open_needs_the_agreement_of_every_patient_behind_a_small_row() -> None:
    two, one = np.array([2]), np.array([1])
    assert not answerable(OPEN, Totals(two, two, np.array([0]), one)).any()


def test_budgets_are_those_that_hospitals_were_promised() -> None:
    assert {profile.name: profile.queries_a_year for profile in PROFILES.values()} == {
        "strict": 32,
        "standard": 128,
        "open": 128,
        "simulation": None,
    }
    assert [profile.name for profile in PROFILES.values() if profile.scaled_noise] == ["strict"]


def test_simulation_is_refused_outside_simulations() -> None:
    with pytest.raises(DisclosureError, match="only in simulations"):
        by_name("simulation")
    assert by_name("simulation", simulated=True) is SIMULATION


def test_an_unknown_profile_is_refused_with_the_choices() -> None:
    with pytest.raises(DisclosureError, match="choose open, simulation, standard, strict"):
        by_name("lax")


def test_profiles_are_ordered_from_strict_to_simulation() -> None:
    order = [STRICT, STANDARD, OPEN, SIMULATION]
    for position, profile in enumerate(order):
        for later in order[position:]:
            assert at_least_as_strict(profile, later)
        for earlier in order[:position]:
            assert not at_least_as_strict(profile, earlier)


@pytest.mark.parametrize(
    "laxer",
    [
        {"queries_a_year": 33},
        {"patients": 4},
        {"silos": 1},
        {"noise": 1e-4},
        {"scaled_noise": False},
        {"alone": True},
    ],
)
def test_one_laxer_term_is_enough_to_be_below_the_floor(laxer: dict[str, object]) -> None:
    assert not at_least_as_strict(dataclasses.replace(STRICT, **laxer), STRICT)


def test_support_is_told_in_bands_and_never_below_the_floor() -> None:
    bands = [support_band(count) for count in (0, 2, 3, 5, 6, 10, 11, 20, 21, 4000)]
    wide = "more than 20"
    assert bands == ["", "", "3-5", "3-5", "6-10", "6-10", "11-20", "11-20", wide, wide]
