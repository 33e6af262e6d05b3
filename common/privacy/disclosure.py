"""Disclosure profiles: how often a hospital may ask, and from how many patients on a syndrome is answered.

    name        queries a year   patients N_s   silos   noise (deviation of a score)
    strict                  32       at least 5       2   1e-3, grows with the query's length
    standard               128       at least 3       1   1e-6
    open                   128       at least 3       1   1e-6; fewer where each of them agreed to stand alone
    simulation       unlimited       at least 1       1   1e-6; refused outside simulations

The floors hold for the totals of the whole consortium (common.consortium.counts). They rest on honest counts: a
silo that invents patients lifts N_s for all. A budget slows an insider and does not stop one; docs/privacy.md
gives the measured leakage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.consortium.counts import Totals
from common.errors import DisclosureError


@dataclass(frozen=True)
class Profile:
    """Budget, floors and noise of one way to answer.

    Attributes:
        queries_a_year: units per querier, syndrome lineage and rolling year; None for no limit.
        patients: the least N_s that is answered.
        silos: the least number of silos that hold the syndrome.
        noise: standard deviation of an answered score, before rounding.
        scaled_noise: whether the noise grows with the query's encrypted length, so that none can drown it.
        alone: whether fewer patients are answered if each of them agreed to be a row of its own.
    """

    name: str
    queries_a_year: int | None
    patients: int
    silos: int
    noise: float
    scaled_noise: bool
    alone: bool


STRICT = Profile("strict", 32, patients=5, silos=2, noise=1e-3, scaled_noise=True, alone=False)
STANDARD = Profile("standard", 128, patients=3, silos=1, noise=1e-6, scaled_noise=False, alone=False)
OPEN = Profile("open", 128, patients=3, silos=1, noise=1e-6, scaled_noise=False, alone=True)
SIMULATION = Profile("simulation", None, patients=1, silos=1, noise=1e-6, scaled_noise=False, alone=True)

PROFILES = {profile.name: profile for profile in (STRICT, STANDARD, OPEN, SIMULATION)}

_BANDS = ((3, 5), (6, 10), (11, 20))


def by_name(name: str, *, simulated: bool = False) -> Profile:
    """The profile of that name.

    Raises:
        DisclosureError: there is none, or it is 'simulation' and nothing says that patients are simulated.
    """
    profile = PROFILES.get(name)
    if profile is None:
        raise DisclosureError(
            f"there is no disclosure profile '{name}'", remedy=f"choose {', '.join(sorted(PROFILES))}"
        )
    if profile is SIMULATION and not simulated:
        raise DisclosureError(
            "the profile 'simulation' has no floors and no budget, and answers only in simulations",
            remedy="choose strict, standard or open",
        )
    return profile


def answerable(profile: Profile, totals: Totals) -> npt.NDArray[np.bool_]:
    """(S,) bool: the syndromes that may be answered. One veto, by any silo, is enough to refuse."""
    enough = (totals.patients >= profile.patients) & (totals.silos >= profile.silos)
    if profile.alone:
        enough |= (totals.patients > 0) & (totals.alone >= totals.patients)
    return enough & (totals.vetoes == 0)


def at_least_as_strict(profile: Profile, floor: Profile) -> bool:
    """Whether ``profile`` discloses in no respect more than ``floor``."""

    def queries(of: Profile) -> float:
        return float("inf") if of.queries_a_year is None else of.queries_a_year

    return (
        queries(profile) <= queries(floor)
        and profile.patients >= floor.patients
        and profile.silos >= floor.silos
        and profile.noise >= floor.noise
        and profile.scaled_noise >= floor.scaled_noise
        and profile.alone <= floor.alone
    )


def support_band(patients: int) -> str:
    """How many patients stand behind a syndrome: '3-5', '6-10', '11-20' or 'more than 20'; '' below three."""
    if patients < _BANDS[0][0]:
        return ""
    return next((f"{low}-{high}" for low, high in _BANDS if patients <= high), f"more than {_BANDS[-1][1]}")
