"""results.json: every figure of a run, computed from its predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.cohort.store import StoredCohort, with_photos
from common.ranking.scores import SCORERS
from common.storage import write_json
from simulations import accuracy, environment
from simulations.encrypted import MODE as ENCRYPTED
from simulations.encrypted import Encrypted
from simulations.modes import Trained
from simulations.predictions import Prediction
from simulations.prepare import silo_names
from simulations.scenario import Scenario, as_json

SCHEMA = 1


def collect(
    scenario: Scenario,
    cohort: StoredCohort,
    trained: Sequence[Trained],
    rows: Sequence[Prediction],
    *,
    scorer: str,
    encrypted: Encrypted | None,
    rank_seconds: float,
) -> dict[str, Any]:
    """The content of results.json. Accuracies are fractions, macro-averaged over syndromes."""
    test = [row for row in rows if row.setting != "validation" and row.mode != ENCRYPTED]
    validation = [row for row in rows if row.setting == "validation"]
    metrics = accuracy.table(test, scorer)
    federated = next((item for item in trained if item.mode == "federated"), None)
    figures: dict[str, Any] = _finite(
        {
            "schema": SCHEMA,
            "seed": scenario.seed,
            "scenario": as_json(scenario),
            "environment": environment.describe(scenario, cohort),
            "silos": _silos(cohort),
            "scorer": scorer,
            "metrics": metrics,
            "retention": accuracy.retention(metrics),
            "intervals": accuracy.intervals(test, scorer, seed=scenario.seed),
            "scorers": {name: accuracy.table(test, name) for name in SCORERS},
            "validation": {name: accuracy.table(validation, name) for name in SCORERS},
            "encrypted": _encrypted(encrypted, rows),
            "training": {item.model: _training(item) for item in trained if item.history},
            "notes": [
                *(note for item in trained for note in (*item.notes, *_left_out(item))),
                *(encrypted.notes if encrypted else ()),
            ],
            "refused": [str(row) for row in cohort.refused],
            "timing": {
                "train_s": sum(item.seconds for item in trained),
                "train_cpu_s": sum(item.cpu_seconds for item in trained),
                "round_s": [summary.seconds for summary in federated.history] if federated else [],
                "rank_s": rank_seconds,
            },
        }
    )
    return figures


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write results.json atomically."""
    write_json(path, figures)


def _silos(cohort: StoredCohort) -> list[dict[str, Any]]:
    """What each silo holds for training; galleries and probes beside them are not counted."""
    protocol = cohort.protocol
    assert protocol is not None
    rows = []
    for name in silo_names(protocol):
        photos = [photo for photo in protocol.train if protocol.silo_of[photo] == name]
        mine = with_photos(cohort.cohort, photos)
        rows.append(
            {
                "name": name,
                "patients": len(mine.patients),
                "photos": len(photos),
                "syndromes": len({protocol.label_of[photo] for photo in photos}),
            }
        )
    return rows


def _encrypted(encrypted: Encrypted | None, rows: Sequence[Prediction]) -> dict[str, Any] | None:
    if encrypted is None:
        return None
    table = accuracy.table([row for row in rows if row.mode == ENCRYPTED], "encryptable")
    return encrypted.figures() | {"metrics": table.get(ENCRYPTED, {})}


def _left_out(item: Trained) -> list[str]:
    """Silos that had no part in some rounds, by their last reason."""
    reasons: dict[str, list[str]] = {}
    for summary in item.history:
        for silo, reason in summary.excluded.items():
            reasons.setdefault(silo, []).append(reason)
    return [
        f"{silo} was left out of {len(of)} of {len(item.history)} rounds of {item.model}: {of[-1]}"
        for silo, of in sorted(reasons.items())
    ]


def _training(item: Trained) -> dict[str, Any]:
    return {
        "rounds": [summary.round for summary in item.history],
        "losses": [summary.losses for summary in item.history],
        "excluded": [summary.excluded for summary in item.history],
        "discarded": [summary.discarded for summary in item.history],
        "update_norm": [summary.update_norm for summary in item.history],
        "seconds": item.seconds,
        "cpu_seconds": item.cpu_seconds,
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN: what could not be computed is null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
