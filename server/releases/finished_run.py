"""A finished run as a release wants it: the federated model as it was written, and the facts for its card.

A simulation holds ``releases/`` with the bare model, ``results.json``, and in ``cohort/`` who the patients are. A
run that the coordinator led holds ``release/``, ``plan.json`` and its checkpoint. What is missing is told as not
recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.cohort import store
from common.cohort.store import with_photos
from common.errors import RunError, WeightsError
from common.releases.bare import read_release
from common.releases.facts import CardFacts, Figure, People, SiloSize, people_of
from common.releases.release import Release
from common.storage import sha256_file
from server.training.facts import facts_of_rounds, read_signed_plan

MODEL = "federated"
MODES = ("federated", "pretrained", "centralised", "local")

_KINDS = {
    "synthetic": "synthetic faces, drawn by a program",
    "stored": "photographs, imported before the run",
    "gmdb": "photographs in the layout of the GestaltMatcher Database",
}
_MAX_RESULTS = 64 << 20


@dataclass(frozen=True)
class FinishedRun:
    """A run that can be published. ``plan``: digest of the signed plan; ``parent``: what training began from."""

    model: Release
    facts: CardFacts
    plan: str | None = None
    parent: str | None = None


def read_run(run: Path) -> FinishedRun:
    """The run in a folder: a simulation's, or one that the coordinator led.

    Raises:
        RunError: the folder holds no federated model, or results.json cannot be read.
        ConfigError: a led run's plan is not signed by the consortium's offline key.
    """
    if (run / "plan.json").is_file():
        model, plan = _model(run / "release", "phenofed coordinator resume"), read_signed_plan(run)
        if model.manifest.training != plan.training or model.manifest.scenario != plan.run:
            raise RunError(f"{run / 'release'} is not what {run / 'plan.json'} planned", remedy="restore the run")
        facts = replace(facts_of_rounds(run), aim=plan.stated_purpose)
        return FinishedRun(model, facts, plan.digest, plan.parent)
    return FinishedRun(_model(run / "releases", "phenofed simulate --resume"), read_facts(run))


def read_facts(run: Path) -> CardFacts:
    """What the folder of a run says of its federated model.

    Raises:
        RunError: results.json is damaged, or that of another schema.
    """
    path = run / "results.json"
    if not path.is_file():
        return CardFacts(people=_people(run))
    try:
        results = _results(path)
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


def with_figures(facts: CardFacts, path: Path) -> CardFacts:
    """Facts with figures that were measured elsewhere, as a run's results.json holds them.

    Raises:
        RunError: the file is damaged, of another schema, or has no figures.
    """
    try:
        results = _results(path)
        figures = tuple(_figures(results["metrics"], results.get("intervals", {})))
        if not figures:
            raise ValueError("no figures")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} has no figures that can be read",
            remedy="give schema, scorer, metrics and intervals as in results.json, see docs/files.md",
        ) from error
    sources = {**facts.sources, path.name: sha256_file(path)}
    return replace(facts, scorer=str(results.get("scorer") or ""), figures=figures, sources=sources)


def _results(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(_MAX_RESULTS + 1)
    if len(content) > _MAX_RESULTS:
        raise ValueError("too large")
    results: dict[str, Any] = json.loads(content)
    if results["schema"] != 1:
        raise RunError(f"{path} is of schema {results['schema']!r}, not 1", remedy="update phenofed")
    return results


def _model(folder: Path, command: str) -> Release:
    try:
        return read_release(folder)
    except WeightsError as error:
        raise RunError(error.what, remedy=f"finish the run with {command} {folder.parent}") from error


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
