"""Encodings of a run: computed once for each model, kept as arrays, exported in the field's format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.cohort.store import StoredCohort
from common.errors import RunError
from common.faces.views import VIEWS
from common.models.assembly import ModelPool, write_shared
from common.models.encoding import encode
from common.ranking.patients import Encodings
from common.records import digest
from common.storage import write_bytes, write_text
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.prepare import crops_of
from simulations.progress import Progress
from simulations.scenario import Scenario

COLUMNS = ("img_name", "model", "flip", "gray", "class_conf", "representations")
CHOSEN_VIEWS = {1: VIEWS[:1], 2: (VIEWS[0], VIEWS[2]), 4: VIEWS}


def encode_all(
    scenario: Scenario,
    folder: RunFolder,
    cohort: StoredCohort,
    photos: tuple[str, ...],
    trained: Sequence[Trained],
    pool: ModelPool,
    progress: Progress,
) -> dict[str, Encodings]:
    """Encodings by model name; trained models stand beside the untouched one where the scenario asks for it."""
    crops = crops_of(cohort, photos)
    single: dict[str, Encodings] = {}
    with progress.stage("encoding photos", len(photos) * len(trained)) as advance:
        for item in trained:
            single[item.model] = _kept(folder, item, photos, scenario.ranking.views) or _keep(
                folder,
                item,
                encode(
                    _loaded(scenario, item, pool),
                    photos,
                    crops,
                    views=CHOSEN_VIEWS[scenario.ranking.views],
                    on_batch=advance,
                ),
            )
    if not scenario.ranking.ensemble:
        return single
    untouched = single["pretrained"]
    return {name: own if name == "pretrained" else own.with_models_of(untouched) for name, own in single.items()}


def write_all_encodings(path: Path, encodings: Encodings) -> None:
    """``all_encodings.csv`` as GestaltMatcher-Arc writes it: one row a photo, model and view, ``;``-separated.

    ``class_conf`` is an empty list: the head knows no classes. Vectors are those that ranking uses, unit norm.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerow(COLUMNS)
    for photo, models in zip(encodings.photo_ids, encodings.vectors, strict=True):
        for model, views in zip(encodings.models, models, strict=True):
            for (flip, grey), vector in zip(encodings.views, views, strict=True):
                numbers = "[" + ", ".join(f"{value:.8g}" for value in vector.tolist()) + "]"
                writer.writerow([photo, model, flip, grey, "[]", numbers])
    write_text(path, text.getvalue())


def read_all_encodings(path: Path) -> Encodings:
    """Read ``all_encodings.csv`` by its columns (model, flip, gray), whatever the order of its rows.

    Raises:
        RunError: missing, damaged, or a photo lacks a model or a view.
    """
    try:
        csv.field_size_limit(1 << 24)
        with path.open(newline="", encoding="utf-8") as file:
            table = {
                (row["img_name"], row["model"], int(row["flip"]), int(row["gray"])): np.array(
                    json.loads(row["representations"]), dtype=np.float32
                )
                for row in csv.DictReader(file, delimiter=";")
            }
        photos = tuple(dict.fromkeys(key[0] for key in table))
        models = tuple(sorted({key[1] for key in table}))
        views = tuple(sorted({key[2:] for key in table}))
        vectors = np.stack(
            [np.stack([np.stack([table[p, m, *v] for v in views]) for m in models]) for p in photos]
        )
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is missing or damaged", remedy="export the encodings again") from error
    return Encodings(photos, vectors, models, views)


def _loaded(scenario: Scenario, item: Trained, pool: ModelPool):  # type: ignore[no-untyped-def]
    model = pool.model(scenario.backbone, scenario.training)
    write_shared(model, item.parameters)
    return model


def _keep(folder: RunFolder, item: Trained, encodings: Encodings) -> Encodings:
    """Write the vectors with the digest of the parameters that gave them."""
    state = {
        "digest": digest(item.parameters),
        "photos": json.dumps(encodings.photo_ids),
        "views": json.dumps(encodings.views),
    }
    write_bytes(folder.encodings(item.model), save({"vectors": encodings.vectors}, metadata=state))
    return encodings


def _kept(folder: RunFolder, item: Trained, photos: tuple[str, ...], views: int) -> Encodings | None:
    """The vectors of a former process, if they are of these parameters, photos and views."""
    if not folder.encodings(item.model).is_file():
        return None
    try:
        kept, of = _read(folder, item.model)
    except RunError:
        return None
    chosen = tuple((int(view.flip), int(view.grey)) for view in CHOSEN_VIEWS[views])
    same = of == digest(item.parameters) and kept.photo_ids == photos and kept.views == chosen
    return kept if same else None


def read_kept(folder: RunFolder, model: str) -> Encodings:
    """The encodings that a run kept of one model.

    Raises:
        RunError: missing or damaged.
    """
    return _read(folder, model)[0]


def _read(folder: RunFolder, model: str) -> tuple[Encodings, str]:
    """Encodings, and the digest of the parameters that gave them."""
    path = folder.encodings(model)
    try:
        content = path.read_bytes()
        vectors = load(content)["vectors"]
        state = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        photos = tuple(json.loads(state["photos"]))
        views = tuple((flip, grey) for flip, grey in json.loads(state["views"]))
        return Encodings(photos, vectors, ("m0",), views), state["digest"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path} is missing or damaged", remedy="continue the run with --resume") from error
