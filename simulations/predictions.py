"""predictions.csv: one line a ranked probe, from which every reported accuracy can be computed again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import RunError
from common.storage import write_text

COLUMNS = ("mode", "scorer", "setting", "split", "image", "subject", "label", "classes", "rank", "top30")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A probe's ranking. ``classes``: syndromes in the gallery; a rank beyond them means: not in the gallery.

    ``image``: the probe's photo ids, ``;``-separated. ``top``: (syndrome key, score), best first, at most 30;
    empty where only the rank was kept.
    """

    mode: str
    scorer: str
    setting: str
    split: int
    image: str
    subject: str
    label: str
    classes: int
    rank: int
    top: tuple[tuple[str, float], ...] = ()


def write(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions.csv; scores carry seven digits, which float32 needs no more than."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in predictions:
        top = " ".join(f"{key}:{score:.7g}" for key, score in row.top)
        fixed = (getattr(row, column) for column in COLUMNS[:-1])
        writer.writerow([*fixed, top])
    write_text(path, text.getvalue(), private=True)


def read(path: Path) -> list[Prediction]:
    """Read predictions.csv.

    Raises:
        RunError: the file is missing or does not have the columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_prediction(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path} is missing or damaged", remedy="repeat the run") from error


def _prediction(row: dict[str, str]) -> Prediction:
    pairs = (item.rpartition(":") for item in row["top30"].split())
    return Prediction(
        mode=row["mode"],
        scorer=row["scorer"],
        setting=row["setting"],
        split=int(row["split"]),
        image=row["image"],
        subject=row["subject"],
        label=row["label"],
        classes=int(row["classes"]),
        rank=int(row["rank"]),
        top=tuple((key, float(score)) for key, _, score in pairs),
    )
