"""A finished run as a release wants it: the federated model as it was written, and the facts for its card.

A run's folder holds ``releases/`` with the bare model and, where it was evaluated, ``results.json``; ``cohort/``
of a simulation says who the patients are. What is missing is told as not recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cohort import store
from common.cohort.store import with_photos
from common.errors import RunError, WeightsError
from common.releases.bare import read_release
from common.releases.facts import CardFacts, Figure, People, SiloSize, people_of
from common.releases.release import Release
from common.storage import sha256_file

MODEL = "federated"
MODES = ("federated", "pretrained", "centralised", "local")

_KINDS = {
    "synthetic": "synthetic faces, drawn by a program",
    "stored": "photographs, imported before the run",
    "gmdb": "photographs in the layout of the GestaltMatcher Database",
}
_MAX_RESULTS = 64 << 20


def read_run(run: Path) -> tuple[Release, CardFacts]:
    """(the federated model, facts of the card).

    Raises:
        RunError: the folder holds no federated model, or results.json cannot be read.
    """
    try:
        model = read_release(run / "releases")
    except WeightsError as error:
        remedy = f"run the federated mode, or repeat with phenofed simulate --resume {run}"
        raise RunError(error.what, remedy=error.remedy if "newer" in error.what else remedy) from error
    return model, read_facts(run)


def read_facts(run: Path) -> CardFacts:
    """What the folder of a run says of its federated model.

    Raises:
        RunError: results.json is damaged, or that of another schema.
    """
    path = run / "results.json"
    if not path.is_file():
        return CardFacts(people=_people(run))
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_RESULTS + 1)
        if len(content) > _MAX_RESULTS:
            raise ValueError("too large")
        results = json.loads(content)
        if results["schema"] != 1:
            raise RunError(f"{path} is of schema {results['schema']!r}, not 1", remedy="update phenofed")
        training = results.get("training", {}).get(MODEL, {})
        return CardFacts(
            data=_KINDS.get(results.get("scenario", {}).get("cohort", {}).get("kind"), ""),
            silos=tuple(_size(silo) for silo in results.get("silos", ())),
            people=_people(run),
            scorer=str(results.get("scorer") or ""),
            figures=tuple(_figures(results.get("metrics", {}), results.get("intervals", {}))),
            left_out=_left_out(training.get("excluded", ())),
            discarded=sum(map(bool, training.get("discarded", ()))),
            sources=_sources(run),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged", remedy="repeat the run, or remove the file") from error


def _people(run: Path) -> People:
    """Of those whose photos trained the model."""
    if not (run / "cohort" / "manifest.json").is_file():
        return People()
    stored = store.load(run / "cohort")
    if stored.protocol is None:
        return People()
    return people_of(with_photos(stored.cohort, stored.protocol.train).patients)


def _size(silo: Mapping[str, Any]) -> SiloSize:
    return SiloSize(str(silo["name"]), int(silo["patients"]), int(silo["photos"]), int(silo["syndromes"]))


def _figures(metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> Iterator[Figure]:
    for mode in MODES:
        for setting, found in metrics.get(mode, {}).items():
            ends = intervals.get(mode, {}).get(setting, {})
            yield Figure(
                mode=mode,
                setting=str(setting),
                classes=int(found.get("classes") or 0),
                top={k: float(v) for k, v in found.items() if k != "classes" and v is not None},
                intervals={k: (float(v[0]), float(v[1])) for k, v in ends.items() if None not in v},
            )


def _left_out(excluded: Sequence[Mapping[str, str]]) -> dict[str, int]:
    names = {silo for reasons in excluded for silo in reasons}
    return {str(name): sum(name in reasons for reasons in excluded) for name in sorted(names)}


def _sources(run: Path) -> dict[str, str]:
    files = (run / name for name in ("results.json", "predictions.csv"))
    return {file.name: sha256_file(file) for file in files if file.is_file()}
