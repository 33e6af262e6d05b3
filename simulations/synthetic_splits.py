"""How a synthetic cohort is shaped: class sizes, hospitals, and who is trained on, asked, and in the gallery."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from common.cohort.splits import RareSplit
from common.seeding import generator

RARE_MAX = 6  # patients; syndromes with more are frequent
RARE_SPLITS = 10


class Role(StrEnum):
    """What a patient is for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    RARE = "rare"


def class_sizes(random: np.random.Generator, frequent: int, rare: int, patients: int, tail: float) -> list[int]:
    """Patients of each syndrome, largest first: frequent ones by a power law of exponent ``tail``, then 2 to 6.

    The sizes sum to ``patients`` where there is a frequent syndrome to take the remainder.
    """
    small = sorted(random.integers(2, RARE_MAX + 1, rare).tolist(), reverse=True)
    spare = patients - sum(small) - (RARE_MAX + 1) * frequent
    weights = np.arange(1, frequent + 1) ** -tail
    extra = np.floor(spare * weights / weights.sum()).astype(int) if frequent else np.zeros(0, int)
    large = [RARE_MAX + 1 + int(more) for more in extra]
    for place in range(patients - sum(small) - sum(large) if frequent else 0):
        large[place % frequent] += 1
    return large + small


def roles(random: np.random.Generator, patients: Sequence[str], test: float, val: float) -> dict[str, Role]:
    """The roles of a frequent syndrome's patients: at least one probe, one for validation, most for training."""
    asked = max(1, round(test * len(patients)))
    checked = max(1, round(val * len(patients)))
    order = [patients[place] for place in random.permutation(len(patients))]
    kinds = [Role.TEST] * asked + [Role.VAL] * checked + [Role.TRAIN] * (len(patients) - asked - checked)
    return dict(zip(order, kinds, strict=True))


def rare_splits(
    seed: int, patients_of: Mapping[str, Sequence[str]], photos_of: Mapping[str, Sequence[str]]
) -> tuple[RareSplit, ...]:
    """Ten divisions of the rare patients' photos; in each, a quarter (at least one) of each syndrome is asked."""
    splits = []
    for number in range(RARE_SPLITS if patients_of else 0):
        test: list[str] = []
        gallery: list[str] = []
        for key, patients in patients_of.items():
            order = generator(seed, "rare split", number, key).permutation(len(patients))
            asked = {patients[place] for place in order[: max(1, round(len(patients) / 4))]}
            for patient in patients:
                (test if patient in asked else gallery).extend(photos_of[patient])
        splits.append(RareSplit(test=tuple(test), gallery=tuple(gallery)))
    return tuple(splits)


def uniform_homes(seed: int, patients_of: Mapping[str, Sequence[str]], silos: Sequence[str]) -> dict[str, str]:
    """Patient -> silo; every syndrome is dealt out evenly. Each syndrome starts at another silo."""
    homes: dict[str, str] = {}
    for key, patients in patients_of.items():
        start = int(generator(seed, "deal", key).integers(len(silos)))
        for place, patient in enumerate(patients):
            homes[patient] = silos[(start + place) % len(silos)]
    return homes


def disjoint_homes(patients_of: Mapping[str, Sequence[str]], silos: Sequence[str]) -> dict[str, str]:
    """Patient -> silo; a syndrome is known to one silo alone, the largest go to the emptiest silo first."""
    load = dict.fromkeys(silos, 0)
    homes: dict[str, str] = {}
    for patients in sorted(patients_of.values(), key=len, reverse=True):
        home = min(silos, key=lambda silo: (load[silo], silos.index(silo)))
        load[home] += len(patients)
        homes |= dict.fromkeys(patients, home)
    return homes


def site_homes(
    seed: int, patients_of: Mapping[str, Sequence[str]], silos: Sequence[str], skew: float, movable: set[str]
) -> dict[str, str]:
    """Patient -> silo; hospitals differ in size and attract syndromes unequally (Dirichlet, Hsu et al. 2019).

    ``skew``: 0 is even, 1 is extreme. Of the ``movable`` (training) patients, every silo gets two syndromes.
    """
    size = generator(seed, "hospital sizes").dirichlet(np.full(len(silos), 8.0))
    concentration = (1.05 - skew) * 4.0 * len(silos)
    homes: dict[str, str] = {}
    for key, patients in patients_of.items():
        random = generator(seed, "case mix", key)
        share = random.dirichlet(np.maximum(concentration * size, 0.02))
        for patient in patients:
            homes[patient] = silos[int(random.choice(len(silos), p=share))]
    syndrome_of = {patient: key for key, patients in patients_of.items() for patient in patients}
    for silo in silos:
        while len({syndrome_of[patient] for patient in movable if homes[patient] == silo}) < 2:
            known = {syndrome_of[patient] for patient in movable if homes[patient] == silo}
            count = Counter(homes[patient] for patient in movable)
            givers = defaultdict(list)
            for patient in sorted(movable):
                if homes[patient] != silo and syndrome_of[patient] not in known:
                    givers[homes[patient]].append(patient)
            if not givers:
                break
            largest = max(sorted(givers), key=lambda name: count[name])
            homes[givers[largest][0]] = silo
    return homes
