"""What masks cannot hide: rows of a panel in which one silo, or one patient, stands alone.

    for line in measure(finished):
        line.profile, line.answered, line.one_silo, line.one_patient

Floors hold for the whole consortium, its querier's silo included. But a querier decrypts the sum of a panel, in
which its own patients are not: a syndrome with enough of them in all may have a single one there, and then the
row is that patient's embedding, times 1 / N_s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.cohort.splits import Setting
from common.consortium.counts import Totals
from common.errors import RunError
from common.privacy.disclosure import OPEN, PROFILES, answerable
from simulations.finished import FinishedRun


@dataclass(frozen=True)
class Exposed:
    """Pairs of a querier and a syndrome that other silos hold, one panel of all other silos a querier.

    Attributes:
        syndromes, answerable: in the gallery of all syndromes, and those that the profile answers.
        answered: pairs that the profile answers.
        one_silo: of these, pairs in which one silo of the panel holds all patients.
        one_patient: of these, pairs in which that is a single patient.
    """

    profile: str
    syndromes: int
    answerable: int
    answered: int
    one_silo: int
    one_patient: int


def measure(run: FinishedRun) -> list[Exposed]:
    """Every profile but 'open', which answers like 'standard' where nobody agreed to stand alone.

    Raises:
        RunError: the run's protocol has no gallery of all syndromes.
    """
    cases = run.evaluation.cases(Setting.F_BOTH) or run.evaluation.cases(Setting.FF)
    if not cases:
        raise RunError("the run has no gallery", remedy="attack a run with test patients")
    gallery = run.evaluation.gallery(run.encodings, cases[0])
    held = np.zeros((len(gallery.silos), len(gallery.syndromes)), dtype=np.int64)
    np.add.at(held, (gallery.patient_silos, gallery.patient_labels), 1)
    none = np.zeros(held.shape[1], dtype=np.int64)
    totals = Totals(held.sum(axis=0), (held > 0).sum(axis=0), none, none)
    in_panel = totals.patients - held
    silos_in_panel = totals.silos - (held > 0)
    lines = []
    for profile in PROFILES.values():
        if profile is OPEN:
            continue
        known = answerable(profile, totals)
        pairs = known & (in_panel > 0)
        lines.append(
            Exposed(
                profile.name,
                len(known),
                int(known.sum()),
                int(pairs.sum()),
                int((pairs & (silos_in_panel == 1)).sum()),
                int((pairs & (in_panel == 1)).sum()),
            )
        )
    return lines
