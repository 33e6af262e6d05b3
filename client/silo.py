"""A hospital's data and what a coordinator may ask of it. The only code on the client's side that touches photos.

The folder holds ``cohort/`` (crops and records, see common.cohort.store) and ``training/<run>/`` (what stays
local between rounds: classifier rows). Every read filters by purpose and by the day's consents.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save

from common.cohort.schema import Cohort, Purpose
from common.cohort.store import StoredCohort
from common.cohort.store import load as load_cohort
from common.errors import ConfigError, TrainingError, WeightsError
from common.learning.assembly import ModelPool, parse_model, parse_plan, read_shared, write_shared
from common.learning.data import TrainingData
from common.learning.local_state import LocalState
from common.learning.trainer import train_locally
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from common.seeding import derive, generator
from common.storage import write_bytes


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
        self._states: dict[str, tuple[int, LocalState]] = {}
        self._data: tuple[datetime.date, TrainingData] | None = None

    @cached_property
    def _stored(self) -> StoredCohort:
        return load_cohort(self._folder / "cohort")

    def describe(self, question: Question | None = None) -> SiloDescription:
        """How much may be trained on today, whoever asks."""
        cohort = self._trainable()
        return SiloDescription(
            self.name,
            patients=len(cohort.patients),
            photos=sum(len(patient.photos) for patient in cohort.patients),
            syndromes=len({patient.syndrome for patient in cohort.patients}),
        )

    def train(self, request: TrainRequest) -> Update | Refusal:
        """One round on the patients who agreed to training; a refusal names the reason, never a patient."""
        try:
            return self._train(request)
        except (TrainingError, WeightsError, ConfigError) as error:
            return Refusal(self.name, error.what)

    def _train(self, request: TrainRequest) -> Update:
        spec, plan = parse_model(request.model), parse_plan(request.plan)
        data = self._training_data()
        model = self._pool.model(spec, plan)
        write_shared(model, request.parameters)
        state = self._state_before(request.run, request.round, request.seed)
        report = train_locally(
            model,
            data,
            plan,
            round=request.round - 1,
            rng=generator(request.seed, self.name, request.round),
            state=state,
        )
        self._keep_state(request.run, request.round, state)
        trained = read_shared(model)
        return Update(
            request.run,
            request.round,
            self.name,
            delta={path: trained[path] - request.parameters[path] for path in trained},
            patients=report.patients,
            photos=report.photos,
            loss=report.loss,
        )

    def _trainable(self) -> Cohort:
        """Solved patients with photos who agreed to training."""
        cohort = self._stored.cohort.for_purpose(Purpose.TRAIN, self._today())
        return cohort.subset(p.id for p in cohort.patients if p.syndrome is not None and p.photos)

    def _training_data(self) -> TrainingData:
        """Today's data; kept until the day ends, since consents are judged by the day."""
        if self._data is None or self._data[0] != self._today():
            self._data = (self._today(), self._stacked())
        return self._data[1]

    def _stacked(self) -> TrainingData:
        cohort = self._trainable()
        pairs = list(cohort.photos())
        label = {key: index for index, key in enumerate(sorted({str(p.syndrome) for p in cohort.patients}))}
        owner = {patient.id: index for index, patient in enumerate(cohort.patients)}
        if not pairs:
            raise TrainingError("no photo to train on", remedy="import photos with consent to train")
        return TrainingData(
            crops=np.stack([self._stored.crop(photo.id) for _, photo in pairs]),
            labels=np.array([label[str(patient.syndrome)] for patient, _ in pairs], dtype=np.int64),
            patients=np.array([owner[patient.id] for patient, _ in pairs], dtype=np.int64),
        )

    def _state_before(self, run: str, round: int, seed: int) -> LocalState:
        """What stayed local after the newest round before ``round`` that this silo trained in.

        From memory, else from disk, so that a resumed run goes on alike. A round in which the silo had no part,
        or whose training failed, leaves no state and is passed over.
        """
        own_seed = derive(seed, self.name, "once")
        known, state = self._states.pop(run, (-1, None))
        if state is not None and known < round:
            return state
        kept = [number for number in self._kept_rounds(run) if number < round]
        if not kept:
            return LocalState(own_seed)
        path = self._state_file(run, kept[-1])
        try:
            return LocalState.restored(own_seed, load(path.read_bytes()))
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the silo's own state after round {kept[-1]} is damaged", remedy="start the run afresh"
            ) from error

    def _keep_state(self, run: str, round: int, state: LocalState) -> None:
        """Write the state, then drop those that no resumption can ask for: all but the newest two."""
        tensors = {name: value.contiguous() for name, value in state.tensors().items()}
        write_bytes(self._state_file(run, round), save(tensors), private=True)
        for old in self._kept_rounds(run)[:-2]:
            self._state_file(run, old).unlink(missing_ok=True)
        self._states[run] = (round, state)

    def _kept_rounds(self, run: str) -> list[int]:
        files = self._state_file(run, 0).parent.glob("round-*.safetensors")
        return sorted(int(path.stem.removeprefix("round-")) for path in files)

    def _state_file(self, run: str, round: int) -> Path:
        if not run.replace("-", "").replace("_", "").replace(".", "").isalnum() or run.startswith("."):
            raise TrainingError(f"'{run}' is no name for a run", remedy="use letters, digits, '-', '_' and '.'")
        return self._folder / "training" / run / f"round-{round:05d}.safetensors"
