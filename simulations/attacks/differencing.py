"""Two gallery epochs, subtracted: who joined or withdrew in between?

    for line in measure(patients, seed=0):
        line.change, line.rule, line.profile, line.answered, line.cosine, line.reidentified

One silo holds rows of five patients, and in each of them the same happens before the next epoch. The insider
spends half a year's budget before and half after: no change of a gallery gives more. A row is a unit mean, whose
length is lost; the insider puts in the length that patients with one syndrome usually have together. With the
rule the rows are those of ``client.gallery.keeper``; without it each epoch serves whoever is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.gallery.keeper import GalleryKeeper
from common.consortium.counts import Totals
from common.privacy.disclosure import SIMULATION, STANDARD, STRICT, Profile, answerable
from common.ranking.patients import Embeddings
from common.seeding import generator
from simulations.attacks.insider import Patients, Prior, Vectors, cosines, panel_deviation

Groups = NDArray[np.int64]
"""(rows, patients) indices of patients."""

BEFORE = 5
"""Patients of a row in the first epoch."""

CHANGES = {"one joins": (1, 0), "one withdraws": (0, 1), "three join": (3, 0), "three withdraw": (0, 3)}
"""(who joins, who withdraws)."""


@dataclass(frozen=True)
class Differenced:
    """One kind of change.

    Attributes:
        rule: whether galleries changed by the rule.
        profile: whose noise and budget.
        queries: asked in each epoch.
        rows: attacked.
        answered: share of them that the second epoch answers.
        cosine: of what was recovered and the likeliest of those who joined or withdrew; None without an answer.
        reidentified: share of all rows; one of those is the most alike to what was recovered, among all patients.
    """

    change: str
    rule: bool
    profile: str
    queries: int
    rows: int
    answered: float
    cosine: float | None
    reidentified: float


def measure(
    patients: Patients, *, seed: int, profiles: Sequence[Profile] = (STRICT, STANDARD, SIMULATION)
) -> list[Differenced]:
    """Every change, with the rule and without, under each profile; without a budget all d questions are asked."""
    largest = BEFORE + max(joins for joins, _ in CHANGES.values())
    everybody = np.ones(len(patients.matrix), dtype=bool)
    groups = np.array(patients.groups(largest, among=everybody, generator=generator(seed, "rows")))
    others = np.setdiff1d(np.arange(len(patients.matrix)), groups)
    prior = Prior.from_known(patients.matrix[others if len(others) > BEFORE else np.arange(len(patients.matrix))])
    alike = _likeness(patients, groups)
    return [
        _attack(patients, groups, prior, alike, change, profile, rule=rule, seed=seed)
        for change in CHANGES
        for rule in (False, True)
        for profile in profiles
    ]


def _attack(
    patients: Patients,
    groups: Groups,
    prior: Prior,
    alike: float,
    change: str,
    profile: Profile,
    *,
    rule: bool,
    seed: int,
) -> Differenced:
    joins, leaves = CHANGES[change]
    first, second = groups[:, :BEFORE], groups[:, leaves : BEFORE + joins]
    changed = groups[:, BEFORE : BEFORE + joins] if joins else groups[:, :leaves]
    rows, answers = _two_epochs(patients, first, second, rule=rule)
    count = min(len(prior.mean), (profile.queries_a_year or 2 * len(prior.mean)) // 2)
    asked, deviation = prior.questions(count).T, panel_deviation(profile)
    noise = generator(seed, "differencing", change, profile.name).normal(size=(2, len(rows[0]), count))
    before, after = (row @ asked + deviation * part for row, part in zip(rows, noise, strict=True))
    # Lengths of the sums behind the two unit rows, as patients with one syndrome usually have them.
    lengths = [np.sqrt(size + size * (size - 1) * alike) for size in (first.shape[1], second.shape[1])]
    difference = (lengths[1] * after - lengths[0] * before) * (1 if joins else -1) / max(joins, leaves)
    recovered = prior.recover(difference, deviation=deviation * float(np.hypot(*lengths)))
    each = np.stack([cosines(recovered, patients.matrix[column]) for column in changed.T])
    hits = np.any(changed == patients.nearest(recovered)[:, None], axis=1) & answers
    return Differenced(
        change,
        rule,
        profile.name,
        count,
        len(groups),
        float(answers.mean()),
        float(each.max(axis=0)[answers].mean()) if answers.any() else None,
        float(hits.mean()),
    )


def _two_epochs(
    patients: Patients, first: Groups, second: Groups, *, rule: bool
) -> tuple[tuple[Vectors, Vectors], NDArray[np.bool_]]:
    """The rows (n, d) that a silo serves in two epochs, and which of them (n,) the second one answers."""
    with tempfile.TemporaryDirectory(prefix="phenofed-attack-") as folder:
        keeper = GalleryKeeper(Path(folder), new=True)
        served, answered = [], np.ones(len(first), dtype=bool)
        for number, members in enumerate((first, second), start=1):
            ids = [str(index) for index in members.ravel()]
            places = {name: at // members.shape[1] for at, name in enumerate(ids)}
            embeddings = Embeddings(tuple(ids), patients.matrix[members.ravel()].astype(np.float32))
            # The rule is bound to a release, and so a release of its own for each epoch is none.
            release = "model" if rule else f"model {number}"
            gallery = keeper.propose(number, embeddings, places, release=release, rows=len(first))
            counts = gallery.counts
            totals = Totals(counts.patients, counts.holders, counts.vetoes, counts.alone)
            answered &= answerable(SIMULATION, totals)
            served.append(gallery.prototype_rows(totals, SIMULATION))
    return (served[0], served[1]), answered


def _likeness(patients: Patients, groups: Groups) -> float:
    """Mean cosine of two patients with one syndrome."""
    size = groups.shape[1]
    sums = np.linalg.norm(patients.matrix[groups].sum(axis=1), axis=1)
    return float(np.mean((sums**2 - size) / (size * (size - 1))))
