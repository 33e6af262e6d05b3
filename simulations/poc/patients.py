"""A scenario's patients for a trial: each silo's own, and some whom nobody may know yet.

Test patients are in no gallery. Of a synthetic cohort, they are unsolved patients of their hospitals instead, who
agreed to discovery, and a photo of some lies in ``probes/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.cohort import store
from common.cohort.schema import Cohort, Consent, Patient, Purpose, Syndrome
from common.cohort.splits import Protocol
from common.cohort.store import StoredCohort
from common.config import override, parse
from common.errors import ConfigError
from common.faces.decode import Pixels
from simulations import probes
from simulations.folder import RunFolder
from simulations.prepare import prepare, silo_names
from simulations.progress import Progress
from simulations.scenario import GmdbCohort, Scenario, SyntheticCohort, as_json, load_scenario

UNSOLVED = 8
"""At most so many unsolved patients a silo: half of what a partner answers about in a year."""
_DISCOVERED = Consent(purposes=frozenset({Purpose.DISCOVER}))


@dataclass(frozen=True)
class Patients:
    """``of``: each silo's; ``held_out``: in no gallery; ``crops``: of all photos; ``syndromes``: of all."""

    of: Mapping[str, Cohort]
    held_out: Cohort
    crops: Mapping[str, Pixels]
    syndromes: tuple[Syndrome, ...]


def scenario_for(name: str, overrides: Iterable[str], silos: int) -> Scenario:
    """The scenario of that name or file, dealt to so many silos.

    Raises:
        ConfigError: as ``load_scenario``.
    """
    wanted = list(overrides)
    match load_scenario(name, overrides=wanted).cohort:
        case SyntheticCohort():
            wanted.append(f"cohort.spec.silos={silos}")
        case GmdbCohort():
            wanted.append(f"cohort.silos={silos}")
    return load_scenario(name, overrides=wanted)


def settings_for(trial: Scenario, name: str | None, overrides: Iterable[str]) -> Scenario:
    """The scenario of that name or file, or that of the trial, with overrides.

    Raises:
        ConfigError: as ``load_scenario``.
    """
    if name is not None:
        return load_scenario(name, overrides=overrides)
    return parse(override(as_json(trial), overrides), Scenario, origin="the trial's scenario")


def deal(scenario: Scenario, *, work: Path, out: Path, progress: Progress) -> Patients:
    """The patients of each silo; probes are written under ``out``.

    Args:
        work: a folder for files on the way, the caller's to remove.

    Raises:
        ConfigError: the cohort has fewer silos than ranking needs.
        PhenofedError: whatever the scenario or its cohort does not allow.
    """
    run = RunFolder(work)
    whole = prepare(scenario, run, progress)
    protocol = _protocol(whole)
    names = silo_names(protocol)
    if len(names) < 4:
        raise ConfigError(f"the cohort has {len(names)} silos", remedy="ranking needs four: take another split")
    synthetic = isinstance(scenario.cohort, SyntheticCohort)
    asked = _asked(protocol)
    held = {
        name: _solved_and_unsolved(store.load(run.silo(name) / "cohort").cohort, asked, synthetic)
        for name in names
    }
    probes.write(RunFolder(out), scenario, whole)
    crops = {photo: whole.crop(photo) for photo in whole.photo_ids}
    return Patients(held, whole.cohort.subset(asked), crops, whole.cohort.syndromes)


def _protocol(stored: StoredCohort) -> Protocol:
    if stored.protocol is None:
        raise ConfigError("the cohort says nothing of test patients", remedy="use a cohort with splits")
    return stored.protocol


def _asked(protocol: Protocol) -> frozenset[str]:
    """Patients who are kept out of every gallery: the test patients, of the first rare split too."""
    rare = protocol.rare[0].test if protocol.rare else ()
    return frozenset(protocol.patient_of[photo] for photo in (*protocol.frequent_test, *rare))


def _solved_and_unsolved(cohort: Cohort, asked: frozenset[str], synthetic: bool) -> Cohort:
    solved = [patient for patient in cohort.patients if patient.id not in asked]
    # Nobody asked the people on photographs whether they want to be compared.
    unsolved = [patient for patient in cohort.patients if patient.id in asked and synthetic]
    patients = (*solved, *(_unsolved(patient) for patient in unsolved[:UNSOLVED]))
    return cohort.model_copy(update={"patients": patients})


def _unsolved(patient: Patient) -> Patient:
    return patient.model_copy(update={"syndrome": None, "consent": _DISCOVERED})
