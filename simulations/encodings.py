"""Encodings of a run: computed once for each model, kept as arrays, exported in the field's format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.cohort.store import StoredCohort
from common.errors import RunError
from common.faces.decode import Pixels
from common.faces.views import View, render
from common.learning.assembly import ModelPool, write_shared
from common.learning.frozen_part import split
from common.models.device import repeatable
from common.models.phenotype import PhenotypeModel, as_tensor
from common.ranking.patients import Encodings, Floats, unit
from common.records import Parameters, digest
from common.releases.encoder import CHOSEN_VIEWS
from common.storage import write_bytes, write_text
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.prepare import crops_of
from simulations.progress import Advance, Progress
from simulations.scenario import Scenario

COLUMNS = ("img_name", "model", "flip", "gray", "class_conf", "representations")
ALIGNED = "_rot_aligned.jpg"
BATCH = 32


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
    views = CHOSEN_VIEWS[scenario.ranking.views]
    kept = {item.model: _kept(folder, item, photos, views) for item in trained}
    missing = [item for item in trained if kept[item.model] is None]
    if missing:
        model, crops = pool.model(scenario.backbone, scenario.training), crops_of(cohort, photos)
        with progress.stage("encoding photos", len(photos)) as advance:
            vectors = _encode(model, crops, views, [item.parameters for item in missing], advance)
        for item, of in zip(missing, vectors, strict=True):
            fresh = Encodings(photos, of, ("m0",), tuple((int(v.flip), int(v.grey)) for v in views))
            kept[item.model] = _keep(folder, item, fresh)
    single = {name: encodings for name, encodings in kept.items() if encodings is not None}
    if not scenario.ranking.ensemble:
        return single
    untouched = single["pretrained"]
    return {
        name: own
        if name == "pretrained"
        else own.with_models_of(untouched, share=scenario.ranking.untouched_share)
        for name, own in single.items()
    }


def photo_id(name: str) -> str:
    """The photo's id in an aligned photo's file name."""
    return re.sub(r"(_rot)?_aligned\.[A-Za-z]+$", "", name)


def _encode(
    model: PhenotypeModel,
    crops: Pixels,
    views: Sequence[View],
    parameters: Sequence[Parameters],
    on_batch: Advance,
) -> list[Floats]:
    """Unit vectors (n, 1, views, d) under each set of shared parameters.

    The models differ in what was trained, so the frozen part of the backbone sees each view once for all of them.
    """
    model.eval()
    device = model.device
    blocks: list[list[Floats]] = [[] for _ in parameters]
    with torch.no_grad(), repeatable(device):
        parts = split(model, as_tensor(crops[:2], device))
        for start in range(0, len(crops), BATCH):
            batch = crops[start : start + BATCH]
            shown = [as_tensor(render(batch, flip=view.flip, grey=view.grey), device) for view in views]
            values = [parts.frozen(view) for view in shown] if parts else shown
            for block, shared in zip(blocks, parameters, strict=True):
                write_shared(model, shared)
                rest = parts.learning if parts else model.backbone
                vectors = [unit(model.head(rest(value)).cpu().numpy()) for value in values]
                block.append(np.stack(vectors, axis=1)[:, None].astype(np.float32))
            on_batch(len(batch))
    return [np.concatenate(block) for block in blocks]


def write_all_encodings(path: Path, encodings: Encodings) -> None:
    """``all_encodings.csv`` as GestaltMatcher-Arc writes it: one row a photo, model and view, ``;``-separated.

    ``img_name`` is the name of the aligned photo, ``{image_id}_rot_aligned.jpg``: evaluation scripts cut it at the
    first underscore. ``class_conf`` is an empty list: the head knows no classes. Vectors are those that ranking
    uses, unit norm.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerow(COLUMNS)
    for photo, models in zip(encodings.photo_ids, encodings.vectors, strict=True):
        for model, views in zip(encodings.models, models, strict=True):
            for (flip, grey), vector in zip(encodings.views, views, strict=True):
                numbers = "[" + ", ".join(f"{value:.8g}" for value in vector.tolist()) + "]"
                writer.writerow([photo + ALIGNED, model, flip, grey, "[]", numbers])
    write_text(path, text.getvalue(), private=True)


def read_all_encodings(path: Path) -> Encodings:
    """Read ``all_encodings.csv`` by its columns (model, flip, gray), whatever the order of its rows.

    Raises:
        RunError: missing, damaged, or a photo lacks a model or a view.
    """
    try:
        csv.field_size_limit(1 << 24)
        with path.open(newline="", encoding="utf-8") as file:
            table = {
                (photo_id(row["img_name"]), row["model"], int(row["flip"]), int(row["gray"])): np.array(
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


def _keep(folder: RunFolder, item: Trained, encodings: Encodings) -> Encodings:
    """Write the vectors with the digest of the parameters that gave them."""
    state = {
        "digest": digest(item.parameters),
        "photos": json.dumps(encodings.photo_ids),
        "views": json.dumps(encodings.views),
    }
    write_bytes(folder.encodings(item.model), save({"vectors": encodings.vectors}, metadata=state), private=True)
    return encodings


def _kept(folder: RunFolder, item: Trained, photos: tuple[str, ...], views: Sequence[View]) -> Encodings | None:
    """The vectors of a former process, if they are of these parameters, photos and views."""
    if not folder.encodings(item.model).is_file():
        return None
    try:
        kept, of = _read(folder, item.model)
    except RunError:
        return None
    chosen = tuple((int(view.flip), int(view.grey)) for view in views)
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
