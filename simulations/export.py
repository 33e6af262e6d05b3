"""Take what a run computed out of its folder, in formats that others read."""

from __future__ import annotations

from pathlib import Path

from common.errors import RunError
from simulations.encodings import read_kept, write_all_encodings
from simulations.folder import RunFolder


def export_encodings(run: Path, *, model: str, out: Path | None = None) -> Path:
    """Write a model's encodings of every photo as all_encodings.csv and return the path.

    Raises:
        RunError: no finished run, or no model of that name in it.
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
    path = out or run / f"all_encodings_{model.replace('/', '_')}.csv"
    write_all_encodings(path, encodings)
    return path
