"""A finished run for the tests of the report: results and predictions of the real schema, made from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.cohort import store
from common.cohort.reading import Refused
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.cohort.splits import Protocol, RareSplit, Setting
from common.consortium.counts import Totals
from common.ranking.scores import SCORERS
from server.checkpoints import RoundSummary
from simulations import predictions, results
from simulations.encrypted import Encrypted
from simulations.evaluation import Case
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.predictions import Prediction
from simulations.questions import Answers, Asked
from simulations.scenario import Encryption, Scenario

MODES = ("pretrained", "local", "federated", "centralised")
SILOS = ("silo-1", "silo-2", "silo-3")
SKILL = {"pretrained": 1.0, "local": 1.3, "federated": 2.0, "centralised": 2.2}
ALL = frozenset(Purpose)


def make_run(
    path: Path,
    *,
    synthetic: bool = True,
    show_photos: bool = False,
    purposes: frozenset[Purpose] = ALL,
    modes: Sequence[str] = MODES,
    encrypted: bool = True,
    names: Sequence[str] = tuple(f"Syndrome {letter}" for letter in "ABCDEFGHIJKLMN"),
    validation: bool = True,
    refused: Sequence[Refused] = (),
    losses: Sequence[float] = (2.0, 1.5, float("nan"), 1.1),
    crops: dict[str, np.ndarray] | None = None,
) -> RunFolder:
    """A run in ``path``. Every second syndrome is rare; a syndrome has six patients of one photo each."""
    kind = {"kind": "synthetic"} if synthetic else {"kind": "stored", "path": "imported"}
    scenario = Scenario.model_validate(
        {
            "name": "sample",
            "cohort": kind,
            "backbone": {"architecture": "thin"},
            "modes": list(modes),
            "training": {"rounds": len(losses), "warmup_rounds": 2},
            "encryption": {"enabled": encrypted},
            "show_imported_photos": show_photos,
        }
    )
    folder = RunFolder(path)
    folder.start(scenario, replace=False)
    cohort, protocol = _cohort(names, purposes)
    if crops is None:
        random = np.random.default_rng(0)
        crops = {photo: random.integers(0, 256, (112, 112, 3), dtype=np.uint8) for photo in protocol.label_of}
    store.save(folder.cohort, cohort, crops, protocol=protocol, refused=refused)
    trained = [item for mode in modes for item in _trained(mode, losses)]
    rows = [row for item in trained for row in _predictions(item.model, protocol, validation)]
    secret = _encrypted(rows) if encrypted and "federated" in modes else None
    rows += secret.predictions if secret else []
    predictions.write(folder.predictions, rows)
    stored = store.load(folder.cohort)
    read = predictions.read(folder.predictions)
    figures = results.collect(
        scenario, stored, trained, read, scorer="centroid", encrypted=secret, rank_seconds=2.5
    )
    results.write(folder.results, figures)
    return folder


def _cohort(names: Sequence[str], purposes: frozenset[Purpose]) -> tuple[Cohort, Protocol]:
    syndromes = tuple(
        Syndrome(key=f"s{index}", name=name, identifiers=(f"OMIM:{100000 + index}",))
        for index, name in enumerate(names)
    )
    patients, silo_of = [], {}
    for index, syndrome in enumerate(syndromes):
        for number in range(6):
            photo = Photo(id=f"f{index}-{number}", path=Path("crops.npy"), sha256="0" * 64)
            silo_of[photo.id] = SILOS[(index + number) % len(SILOS)]
            patients.append(
                Patient(
                    id=f"p{index}-{number}",
                    photos=(photo,),
                    syndrome=syndrome.key,
                    consent=Consent(purposes=purposes),
                )
            )
    owner = {photo.id: patient for patient in patients for photo in patient.photos}
    place = {photo: int(photo.partition("-")[2]) for photo in owner}
    rare = {photo for photo, patient in owner.items() if int((patient.syndrome or "s0")[1:]) % 2}

    def chosen(numbers: Sequence[int], *, among_rare: bool) -> tuple[str, ...]:
        return tuple(photo for photo in owner if place[photo] in numbers and (photo in rare) == among_rare)

    train = chosen((0, 1, 2), among_rare=False)
    protocol = Protocol(
        train=train,
        val=chosen((3,), among_rare=False),
        frequent_gallery=train,
        frequent_test=chosen((4, 5), among_rare=False),
        rare=tuple(
            RareSplit(chosen(test, among_rare=True), chosen(held, among_rare=True))
            for test, held in (((0, 1), (2, 3, 4, 5)), ((4, 5), (0, 1, 2, 3)))
        ),
        label_of={photo: patient.syndrome or "" for photo, patient in owner.items()},
        patient_of={photo: patient.id for photo, patient in owner.items()},
        silo_of=silo_of,
    )
    return Cohort(name="sample", patients=tuple(patients), syndromes=syndromes), protocol


def _trained(mode: str, losses: Sequence[float]) -> list[Trained]:
    if mode == "pretrained":
        return [Trained(mode, mode, {})]
    models = {"local": [f"local/{silo}" for silo in SILOS]}.get(mode, [mode])
    trained = []
    for model in models:
        held = SILOS if mode == "federated" else (model.rpartition("/")[2],)
        history = tuple(
            RoundSummary(
                round=number,
                seconds=1.5,
                cpu_seconds=2.25,
                losses={silo: loss + 0.1 * index for index, silo in enumerate(held)},
                excluded={"silo-2": "its loss is no number"} if mode == "federated" and number == 3 else {},
                discarded=False,
                update_norm=1.0 / number,
            )
            for number, loss in enumerate(losses, start=1)
        )
        trained.append(Trained(mode, model, {}, history))
    return trained


def _predictions(model: str, protocol: Protocol, validation: bool) -> list[Prediction]:
    cases = [("validation", 0, protocol.val, protocol.train)] if validation else []
    rare = list(enumerate(protocol.rare))
    cases += [("F/F", 0, protocol.frequent_test, protocol.frequent_gallery)]
    cases += [("R/R", index, split.test, split.gallery) for index, split in rare]
    for name, probes in (("F/both", None), ("R/both", "rare")):
        for index, split in rare:
            asked = split.test if probes else protocol.frequent_test
            cases.append((name, index, asked, protocol.frequent_gallery + split.gallery))
    rows = []
    for setting, split, probes, held in cases:
        keys = sorted({protocol.label_of[photo] for photo in held})
        for scorer in SCORERS:
            random = np.random.default_rng([split, len(scorer), len(setting)])
            for photo in probes:
                rows.append(_ranked(random, model, scorer, setting, split, photo, keys, protocol))
    return rows


def _ranked(
    random: np.random.Generator,
    model: str,
    scorer: str,
    setting: str,
    split: int,
    photo: str,
    keys: Sequence[str],
    protocol: Protocol,
) -> Prediction:
    label = protocol.label_of[photo]
    scores = random.normal(0, 1, len(keys)) / 4
    scores[keys.index(label)] += SKILL[model.partition("/")[0]] / 5
    order = np.argsort(-scores, kind="stable")
    kept = scorer == "centroid" and setting != "validation"
    return Prediction(
        mode=model,
        scorer=scorer,
        setting=setting,
        split=split,
        image=photo,
        subject=protocol.patient_of[photo],
        label=label,
        classes=len(keys),
        rank=int(np.flatnonzero(order == keys.index(label))[0]) + 1,
        top=tuple((keys[index], float(scores[index])) for index in order[:30]) if kept else (),
    )


def _encrypted(rows: Sequence[Prediction]) -> Encrypted:
    asked = [row for row in rows if row.mode == "federated" and row.scorer == "encryptable"]
    chosen = [row for row in asked if row.setting == "F/F"]
    secret = [
        Prediction("encrypted", "encryptable", row.setting, row.split, row.image, row.subject, row.label,
                   row.classes, row.rank)
        for row in chosen
    ]  # fmt: skip
    random = np.random.default_rng(1)
    clear = random.uniform(-0.3, 0.9, (len(chosen), 10)).astype(np.float32)
    noisy = (clear + random.normal(0, 1e-5, clear.shape)).astype(np.float32)
    syndromes, patients = tuple(f"s{column}" for column in range(10)), np.full(10, 9)
    none, probes = np.zeros(10, dtype=np.int64), tuple((row.image,) for row in chosen)
    totals = Totals(patients, np.full(10, 3), none, none)
    asked_all = Asked(Setting.FF, Case(0, probes, ()), probes, syndromes, totals, clear, noisy)
    answers = Answers((asked_all,), len(chosen), len(chosen), 12.0, 1.1e6, 2.7e5, ())
    return Encrypted(Encryption(), answers, (asked_all,), secret)
