"""Take what a run computed out of its folder, in formats that others read."""

from __future__ import annotations

import datetime
from pathlib import Path

from common.cohort import store
from common.errors import RunError
from common.ranking.patients import restrict
from simulations.encodings import read_kept, write_all_encodings
from simulations.folder import RunFolder
from simulations.prepare import matchable


def export_encodings(run: Path, *, model: str, out: Path | None = None) -> Path:
    """Write a model's encodings of every photo that may be matched today as all_encodings.csv; the path.

    Raises:
        RunError: no finished run, no model of that name in it, or nobody who may be matched.
    """
    folder = RunFolder(run)
    folder.read_results()
    scenario = folder.read_scenario()
    if not folder.encodings(model).is_file():
        root = run / "encodings"
        known = sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.safetensors"))
        raise RunError(f"the run has no model '{model}'", remedy=f"choose one of {', '.join(known)}")
    encodings = read_kept(folder, model)
    if scenario.ranking.ensemble and model != "pretrained":
        encodings = encodings.with_models_of(
            read_kept(folder, "pretrained"), share=scenario.ranking.untouched_share
        )
    allowed = set(matchable(store.load(folder.cohort), datetime.date.today()))
    photos = [photo for photo in encodings.photo_ids if photo in allowed]
    if not photos:
        raise RunError("no patient of the run may be matched today", remedy="see the consents of its cohort")
    encodings = restrict(encodings, photos)
    path = out or run / f"all_encodings_{model.replace('/', '_')}.csv"
    write_all_encodings(path, encodings)
    return path
