"""Split files -> the protocol: roles, ten rare splits, and what breaks the rule that patients stay apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.cohort.reading import Refused
from common.cohort.splits import Protocol, RareSplit
from common.cohort.tables import Row

Listed = Sequence[tuple[str, Row]]


def build(
    roles: Mapping[str, Listed],
    label_of: Mapping[str, str],
    patient_of: Mapping[str, str],
    silo_of: Mapping[str, str],
) -> tuple[Protocol, list[Refused]]:
    """(protocol, rows refused) of the good rows of each split file.

    A file that is missing leaves its role empty, save that the frequent gallery falls back to train and val,
    and train to the frequent gallery without val. Refused are probes and validation photos whose patient is
    trained on or stands in their gallery, and, where silos are given, photos that lie at none.
    """
    refused: list[Refused] = []
    train, val = roles.get("train"), roles.get("val", [])
    gallery = roles.get("frequent_gallery")
    if gallery is None:
        gallery = [*(train or []), *val]
    if train is None:
        held_out = {photo for photo, _ in val}
        train = [entry for entry in gallery if entry[0] not in held_out]
    if silo_of:
        train, val, gallery = (_placed(rows, silo_of, refused) for rows in (train, val, gallery))
    train_ids = _ids(train, refused)
    trained = {patient_of[photo] for photo in train_ids}
    val_ids = _ids(_apart(val, trained, patient_of, refused), refused)
    gallery_ids = _ids(gallery, refused)
    known = trained | {patient_of[photo] for photo in (*gallery_ids, *val_ids)}
    test_ids = _ids(_apart(roles.get("frequent_test", []), known, patient_of, refused), refused)
    protocol = Protocol(
        train=train_ids,
        val=val_ids,
        frequent_gallery=gallery_ids,
        frequent_test=test_ids,
        rare=_rare_splits(roles, patient_of, silo_of, refused),
        label_of=dict(label_of),
        patient_of=dict(patient_of),
        silo_of={photo: silo_of[photo] for photo in label_of if photo in silo_of},
    )
    return protocol, refused


def _rare_splits(
    roles: Mapping[str, Listed],
    patient_of: Mapping[str, str],
    silo_of: Mapping[str, str],
    refused: list[Refused],
) -> tuple[RareSplit, ...]:
    galleries = _by_split(roles.get("rare_gallery", []), refused)
    tests = _by_split(roles.get("rare_test", []), refused)
    splits = []
    for number in sorted(galleries.keys() | tests.keys()):
        rows = galleries.get(number, [])
        gallery = _ids(_placed(rows, silo_of, refused) if silo_of else rows, refused)
        known = {patient_of[photo] for photo in gallery}
        test = _ids(_apart(tests.get(number, []), known, patient_of, refused), refused)
        splits.append(RareSplit(test=test, gallery=gallery))
    return tuple(splits)


def _by_split(rows: Listed, refused: list[Refused]) -> dict[int, list[tuple[str, Row]]]:
    found: dict[int, list[tuple[str, Row]]] = {}
    for photo, row in rows:
        text = row["split"].removesuffix(".0")
        if text.isascii() and text.isdigit() and len(text) < 7:
            found.setdefault(int(text), []).append((photo, row))
        else:
            refused.append(row.refuse("has a split that is no number"))
    return found


def _ids(rows: Listed, refused: list[Refused]) -> tuple[str, ...]:
    seen: dict[str, None] = {}
    for photo, row in rows:
        if photo in seen:
            refused.append(row.refuse(f"photo {photo} stands here twice"))
        seen[photo] = None
    return tuple(seen)


def _placed(rows: Listed, silo_of: Mapping[str, str], refused: list[Refused]) -> Listed:
    refused += [row.refuse(f"photo {photo} lies at no silo") for photo, row in rows if photo not in silo_of]
    return [(photo, row) for photo, row in rows if photo in silo_of]


def _apart(rows: Listed, known: set[str], patient_of: Mapping[str, str], refused: list[Refused]) -> Listed:
    """The rows whose patient is not ``known`` to the other side of the comparison."""
    refused += [
        row.refuse(f"the patient of photo {photo} is trained on or in the gallery")
        for photo, row in rows
        if patient_of[photo] in known
    ]
    return [(photo, row) for photo, row in rows if patient_of[photo] not in known]
