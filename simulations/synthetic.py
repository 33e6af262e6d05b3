"""Synthetic people and cohorts: procedural faces with the shape of a federated rare-disease study.

    made = make(SyntheticSpec(syndromes=10, silos=4), seed=0)
    made.cohort, made.protocol, made.crops["..."]

Every person and photo has its own generator, derived from the seed and from what it is: a photo is bit-identical
whatever else is drawn, and in whichever order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.cohort.schema import Cohort, Patient, Syndrome
from common.cohort.splits import Protocol
from common.seeding import derive, generator
from simulations import synthetic_splits as splits
from simulations.faces.identities import identities, identity_photo
from simulations.faces.syndromes import SYNDROMES, FacialSyndrome
from simulations.synthetic_patients import draw_patient
from simulations.synthetic_spec import SyntheticSpec
from simulations.synthetic_splits import Role

Crops = NDArray[np.uint8]

__all__ = ["SyntheticCohort", "SyntheticSpec", "identities", "identity_photo", "make"]


@dataclass(frozen=True)
class SyntheticCohort:
    """``crops``: photo id -> (112, 112, 3) uint8 RGB, for every photo of ``cohort``."""

    cohort: Cohort
    protocol: Protocol
    crops: dict[str, Crops]


def make(spec: SyntheticSpec, seed: int) -> SyntheticCohort:
    """Draw a cohort: patients of real syndromes with their photos, hospitals and the evaluation protocol.

    Patients are on one side of every comparison only. Photos exist in memory; their ``path`` is a name.
    """
    chosen = [SYNDROMES[place] for place in generator(seed, "rarity").permutation(spec.syndromes)]
    sizes = splits.class_sizes(
        generator(seed, "class sizes"), spec.syndromes - spec.rare, spec.rare, spec.patients, spec.tail
    )
    members: dict[str, list[str]] = {}
    people: dict[str, tuple[FacialSyndrome, int]] = {}
    role_of: dict[str, Role] = {}
    for syndrome, size in zip(chosen, sizes, strict=True):
        ids = [_patient_id(seed, syndrome, number) for number in range(size)]
        people |= {patient: (syndrome, number) for number, patient in enumerate(ids)}
        members[syndrome.identifier] = ids
        if size > splits.RARE_MAX:
            random = generator(seed, "roles", syndrome.identifier)
            role_of |= splits.roles(random, ids, spec.test_share, spec.val_share)
        else:
            role_of |= dict.fromkeys(ids, Role.RARE)
    homes = _homes(spec, seed, members, role_of)

    patients: list[Patient] = []
    crops: dict[str, Crops] = {}
    for patient_id in sorted(people):
        syndrome, number = people[patient_id]
        patient, pictures = draw_patient(spec, seed, patient_id, syndrome, number, homes[patient_id])
        patients.append(patient)
        crops |= pictures
    cohort = Cohort(
        name=f"synthetic-{spec.syndromes}",
        patients=tuple(patients),
        syndromes=tuple(
            Syndrome(key=s.identifier, name=s.name, identifiers=(s.identifier,))
            for s in sorted(chosen, key=lambda s: s.omim)
        ),
    )
    return SyntheticCohort(cohort, _protocol(seed, cohort, members, role_of, homes), crops)


def _patient_id(seed: int, syndrome: FacialSyndrome, number: int) -> str:
    """A pseudonym that tells nothing of the syndrome, and stays when the cohort grows."""
    return f"s{derive(seed, 'patient', syndrome.omim, number):016x}"[:13]


def _homes(
    spec: SyntheticSpec, seed: int, members: dict[str, list[str]], role_of: dict[str, Role]
) -> dict[str, str]:
    silos = [f"silo-{number}" for number in range(1, spec.silos + 1)]
    if spec.case_mix == "disjoint":
        return splits.disjoint_homes(members, silos)
    if spec.case_mix == "site":
        training = {patient for patient, role in role_of.items() if role is Role.TRAIN}
        return splits.site_homes(seed, members, silos, spec.skew, training)
    by_role = {key: sorted(ids, key=lambda p: (role_of[p], p)) for key, ids in members.items()}
    return splits.uniform_homes(seed, by_role, silos)


def _protocol(
    seed: int,
    cohort: Cohort,
    members: dict[str, list[str]],
    role_of: dict[str, Role],
    homes: dict[str, str],
) -> Protocol:
    photos_of = {patient.id: [photo.id for photo in patient.photos] for patient in cohort.patients}

    def of(*wanted: Role) -> Iterator[str]:
        for patient in cohort.patients:
            if role_of[patient.id] in wanted:
                yield from photos_of[patient.id]

    rare = {key: sorted(ids) for key, ids in sorted(members.items()) if role_of[ids[0]] is Role.RARE}
    return Protocol(
        train=tuple(of(Role.TRAIN)),
        val=tuple(of(Role.VAL)),
        frequent_gallery=tuple(of(Role.TRAIN, Role.VAL)),
        frequent_test=tuple(of(Role.TEST)),
        rare=splits.rare_splits(seed, rare, photos_of),
        label_of={photo.id: str(patient.syndrome) for patient, photo in cohort.photos()},
        patient_of={photo.id: patient.id for patient, photo in cohort.photos()},
        silo_of={photo.id: homes[patient.id] for patient, photo in cohort.photos()},
    )
