"""Rank every test photo, or patient, in the four settings: encodings and a protocol become predictions.

The field's protocol asks with one photo at a time; a hospital asks with a patient, whose views and photos are
averaged before any comparison. Either is a probe here. Galleries are built of patients in both cases, and a
patient who stands among the probes never stands in the gallery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.cohort.splits import Protocol, Setting
from common.ranking import metrics
from common.ranking.patients import Encodings, Floats, patient_embeddings, photo_embeddings, restrict
from common.ranking.scores import SCORERS, Gallery, gallery
from simulations.predictions import Prediction

TOP = 30


@dataclass(frozen=True)
class Case:
    """One comparison. ``probes``: the photos of each probe, a single one or a patient's."""

    split: int
    probes: tuple[tuple[str, ...], ...]
    gallery_photos: tuple[str, ...]


class Evaluation:
    """The cases of a protocol, over photos that may be matched; probes are photos or patients."""

    def __init__(self, protocol: Protocol, photo_ids: Sequence[str], probes: Literal["photo", "patient"]) -> None:
        self.protocol = protocol.restricted_to(photo_ids)
        self._by_patient = probes == "patient"

    def cases(self, setting: Setting) -> list[Case]:
        """One case for each split of a setting that has probes and a gallery."""
        pairs = self.protocol.galleries(setting)
        cases = (self._case(index, probes, held) for index, (probes, held) in enumerate(pairs))
        return [case for case in cases if case.probes and case.gallery_photos]

    def validation(self) -> list[Case]:
        """Validation patients against the training patients: what may be looked at to choose."""
        case = self._case(0, self.protocol.val, self.protocol.train)
        return [case] if case.probes else []

    def gallery(self, encodings: Encodings, case: Case) -> Gallery:
        """The case's gallery under one model."""
        chosen = restrict(encodings, case.gallery_photos)
        photos, patients = photo_embeddings(chosen), patient_embeddings(chosen, self.protocol.patient_of)
        owner, label, silo = self.protocol.patient_of, self.protocol.label_of, self.protocol.silo_of
        return gallery(
            photos,
            patients,
            label_of_photo=label,
            label_of_patient={owner[photo]: label[photo] for photo in case.gallery_photos},
            silo_of_patient={owner[photo]: silo[photo] for photo in case.gallery_photos},
        )

    def probes(self, encodings: Encodings, probes: Sequence[tuple[str, ...]]) -> Floats:
        """One unit vector a probe: (p, D)."""
        name = {photo: str(index) for index, photos in enumerate(probes) for photo in photos}
        return patient_embeddings(restrict(encodings, list(name)), name).matrix

    def label(self, probe: tuple[str, ...]) -> str:
        """The true syndrome of a probe."""
        return self.protocol.label_of[probe[0]]

    def patient(self, probe: tuple[str, ...]) -> str:
        """Whose photos a probe is made of."""
        return self.protocol.patient_of[probe[0]]

    def silo(self, probe: tuple[str, ...]) -> str:
        """The hospital that asks with a probe."""
        return self.protocol.silo_of[probe[0]]

    def _case(self, split: int, probes: Sequence[str], held: Sequence[str]) -> Case:
        owner = self.protocol.patient_of
        grouped: dict[str, tuple[str, ...]] = {}
        for photo in probes:
            key = owner[photo] if self._by_patient else photo
            grouped[key] = (*grouped.get(key, ()), photo)
        asking = {owner[photo] for photo in probes}
        apart = tuple(photo for photo in held if owner[photo] not in asking)
        return Case(split, tuple(grouped.values()), apart)


def predict(
    evaluation: Evaluation,
    encodings: Encodings,
    *,
    mode: str,
    setting: Setting | None,
    scorers: Sequence[str] = tuple(SCORERS),
    with_top: bool = True,
) -> Iterator[Prediction]:
    """Every probe of a setting, ranked by each scorer; ``setting`` None stands for the validation patients."""
    cases = evaluation.validation() if setting is None else evaluation.cases(setting)
    for case in cases:
        held = evaluation.gallery(encodings, case)
        queries = evaluation.probes(encodings, case.probes)
        for scorer in scorers:
            yield from predictions(
                evaluation,
                case.split,
                case.probes,
                SCORERS[scorer](queries, held),
                held.syndromes,
                mode=mode,
                scorer=scorer,
                setting="validation" if setting is None else setting.value,
                with_top=with_top,
            )


def predictions(
    evaluation: Evaluation,
    split: int,
    probes: Sequence[tuple[str, ...]],
    scores: NDArray[np.float32],
    syndromes: Sequence[str],
    *,
    mode: str,
    scorer: str,
    setting: str,
    with_top: bool = True,
) -> Iterator[Prediction]:
    """Scores (p, S) of probes as predictions. A syndrome that no gallery patient has cannot be found."""
    column = {key: index for index, key in enumerate(syndromes)}
    labels = [evaluation.label(probe) for probe in probes]
    ranks = metrics.ranks(scores, np.array([column.get(label, 0) for label in labels], dtype=np.int64))
    order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), axis=1, kind="stable")[:, :TOP]
    for row, (probe, label) in enumerate(zip(probes, labels, strict=True)):
        best = tuple((syndromes[index], float(scores[row, index])) for index in order[row]) if with_top else ()
        yield Prediction(
            mode=mode,
            scorer=scorer,
            setting=setting,
            split=split,
            image=";".join(probe),
            subject=evaluation.patient(probe),
            label=label,
            classes=len(syndromes),
            rank=int(ranks[row]) if label in column else len(syndromes) + 1,
            top=best,
        )
