"""A hospital's data and what a coordinator may ask of it. The only code on the client's side that touches photos.

The folder holds ``cohort/`` (crops and records, see common.cohort.store) and ``training/<run>/`` (what stays
local between rounds: classifier rows). Every read filters by purpose and by the day's consents.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.local_states import LocalStates
from client.patients.participation import Participation
from common.cohort.schema import Cohort, Purpose
from common.cohort.store import StoredCohort, written
from common.cohort.store import load as load_cohort
from common.errors import ConfigError, TrainingError, WeightsError
from common.learning.assembly import ModelPool, parse_model, parse_plan, read_shared, write_shared
from common.learning.data import TrainingData
from common.learning.trainer import train_locally
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from common.seeding import derive, generator
from common.versions import OWN, SOFTWARE


class Silo:
    """One hospital.

    Args:
        name: the silo's roster name.
        folder: the silo's workspace.
        pool: loaded models, shared between the silos of one process.
        today: the day on which consents are judged.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        pool: ModelPool | None = None,
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        self.name = name
        self._folder = folder
        self._pool = pool or ModelPool()
        self._today = today
        self._participation = Participation(folder)
        self._states = LocalStates(folder / "training")
        self._read: tuple[tuple[int, int], StoredCohort] | None = None
        self._ground: tuple[datetime.date, StoredCohort, _Ground] | None = None

    def describe(self, question: Question | None = None) -> SiloDescription:
        """How much may be trained on today, whoever asks."""
        cohort = _trainable(self._stored(), self._today())
        return SiloDescription(
            self.name,
            patients=len(cohort.patients),
            photos=sum(len(patient.photos) for patient in cohort.patients),
            syndromes=len({patient.syndrome for patient in cohort.patients}),
            hello=OWN.text if question and question.hello else "",
        )

    def train(self, request: TrainRequest) -> Update | Refusal:
        """One round on the patients who agreed to training; a refusal names the reason, never a patient."""
        try:
            return self._train(request)
        except (TrainingError, WeightsError, ConfigError) as error:
            return Refusal(self.name, error.what)

    def _train(self, request: TrainRequest) -> Update:
        spec, plan = parse_model(request.model), parse_plan(request.plan)
        ground = self._training_ground()
        model = self._pool.model(spec, plan)
        write_shared(model, request.parameters)
        own_seed = derive(request.seed, self.name, "once")
        state = self._states.before(request.run, request.round, seed=own_seed, data=ground.digest)
        report = train_locally(
            model,
            ground.data,
            plan,
            round=request.round - 1,
            rng=generator(request.seed, self.name, request.round),
            state=state,
        )
        self._states.keep(request.run, request.round, state, data=ground.digest)
        self._participation.took_part(request.run, ground.patients)
        trained = read_shared(model)
        return Update(
            request.run,
            request.round,
            self.name,
            delta={path: trained[path] - request.parameters[path] for path in trained},
            patients=report.patients,
            photos=report.photos,
            loss=report.loss,
            protocol=request.protocol,
            software=SOFTWARE if request.protocol > 1 else "",
        )

    def _stored(self) -> StoredCohort:
        """The patients as stored now: who was imported, or withdrew, since the last round counts."""
        stamp = written(self._folder / "cohort")
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, load_cohort(self._folder / "cohort"))
        return self._read[1]

    def _training_ground(self) -> _Ground:
        """Today's data; kept until the day ends, since consents are judged by the day."""
        today, stored = self._today(), self._stored()
        if self._ground is None or self._ground[0] != today or self._ground[1] is not stored:
            self._ground = (today, stored, _stacked(stored, today))
        return self._ground[2]


@dataclass(frozen=True)
class _Ground:
    """What is trained on, whose it is, and (32 bytes) what tells it from other data."""

    data: TrainingData
    patients: tuple[str, ...]
    digest: bytes


def _trainable(stored: StoredCohort, today: datetime.date) -> Cohort:
    """Solved patients with photos who agreed to training."""
    cohort = stored.cohort.for_purpose(Purpose.TRAIN, today)
    return cohort.subset(p.id for p in cohort.patients if p.syndrome is not None and p.photos)


def _stacked(stored: StoredCohort, today: datetime.date) -> _Ground:
    cohort = _trainable(stored, today)
    pairs = list(cohort.photos())
    label = {key: index for index, key in enumerate(sorted({str(p.syndrome) for p in cohort.patients}))}
    owner = {patient.id: index for index, patient in enumerate(cohort.patients)}
    if not pairs:
        raise TrainingError("no photo to train on", remedy="import photos with consent to train")
    data = TrainingData(
        crops=np.stack([stored.crop(photo.id) for _, photo in pairs]),
        labels=np.array([label[str(patient.syndrome)] for patient, _ in pairs], dtype=np.int64),
        patients=np.array([owner[patient.id] for patient, _ in pairs], dtype=np.int64),
    )
    names = [(photo.id, photo.sha256, patient.id, patient.syndrome) for patient, photo in pairs]
    return _Ground(data, tuple(owner), hashlib.sha256(json.dumps(names).encode()).digest())
